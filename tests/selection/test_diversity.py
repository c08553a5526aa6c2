"""The order by price and novelty, against a full evaluation at every step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection import diversity
from databourse.selection.diversity import NoveltyOrder, RankOrder

law = settings(max_examples=60)


class Anything:
    """Room for every document."""

    def mask(self, positions):
        return np.ones(len(positions), dtype=bool)

    def has(self, position):
        return True


class Without:
    """Room for every document but some."""

    def __init__(self, closed):
        self.closed = closed

    def mask(self, positions):
        return ~np.isin(positions, self.closed)

    def has(self, position):
        return position not in self.closed


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def order_of(log_price, rows, weight):
    ranking = np.argsort(-log_price, kind="stable")
    return NoveltyOrder(
        log_price_per_token=log_price,
        ranking=ranking,
        weight=weight,
        vectors=lambda positions: rows[positions],
    )


def bought(order, n, room=None):
    found = []
    for _ in range(n):
        position = order.next(room or Anything())
        if position is None:
            break
        order.buy(position)
        found.append(position)
    return found


def full_evaluation(log_price, rows, weight, n):
    """Return the first n documents, every score computed again at every step."""
    rank = np.empty(len(rows), dtype=int)
    rank[np.argsort(-log_price, kind="stable")] = np.arange(len(rows))
    exact = rows.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = np.round(exact @ exact.T, 6)
    found = []
    for _ in range(n):
        novelty = 1.0 - cosines[:, found].max(axis=1) if found else np.ones(len(rows))
        score = log_price + weight * novelty
        left = [i for i in range(len(rows)) if i not in found]
        found.append(min(left, key=lambda i: (-score[i], rank[i])))
    return found


def test_a_copy_of_what_was_bought_waits_and_an_opposite_comes_first():
    log_price = np.array([0.0, -0.125, -0.875, -1.875])
    rows = unit([[1, 0], [1, 0], [0, 1], [-1, 0]])

    # weight 1: after document 0, -0.125, 0.125 and 0.125, so by rank; then -0.125 and -0.875
    assert bought(order_of(log_price, rows, 1.0), 4) == [0, 2, 1, 3]
    # weight 2: after document 0, -0.125, 1.125 and 2.125
    assert bought(order_of(log_price, rows, 2.0), 4) == [0, 3, 2, 1]


def test_novelty_may_rise_at_the_first_purchase_and_the_document_is_not_missed():
    # the document in the last place has the largest score as soon as document 0 is bought
    log_price = np.concatenate([[0.0], np.full(20, -0.5), [-1.4]])
    rows = unit([[1, 0]] + [[0.1, 1]] * 20 + [[-1, 0]])

    assert bought(order_of(log_price, rows, 1.0), 2) == [0, 21]


@st.composite
def pools(draw):
    seed = draw(st.integers(0, 2**31))
    n = draw(st.integers(1, 40))
    d = draw(st.integers(1, 6))
    weight = draw(st.sampled_from([0.01, 0.3, 1.0, 5.0]))
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(n, d)) + rng.choice([0.0, 2.0]))
    rows[rng.random(n) < 0.3] = rows[0]  # duplicates
    log_price = np.round(rng.normal(size=n), draw(st.integers(0, 3)))  # ties
    if draw(st.booleans()):
        log_price[rng.random(n) < 0.2] = -np.inf
    return log_price, rows, weight


@law
@given(pools())
def test_the_lazy_order_is_that_of_a_full_evaluation_at_every_step(pool):
    log_price, rows, weight = pool
    n = len(rows)

    assert bought(order_of(log_price, rows, weight), n) == full_evaluation(
        log_price, rows, weight, n
    )


@pytest.mark.parametrize("sizes", [(2, 3, 2, 1), (8, 8, 5, 3), (1, 1, 1, 2)])
@given(pools())
@settings(max_examples=25)
def test_the_order_does_not_depend_on_the_sizes_of_blocks(sizes, pool):
    log_price, rows, weight = pool
    names = ("_FRONT", "_FIRST", "_MEMBERS", "_FEW_MEMBERS")
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(names, sizes, strict=True):
            patch.setattr(diversity, name, size)
        patch.setattr(diversity, "_BLOCK", 4)
        patch.setattr(diversity, "_MORE_MEMBERS", 2)
        found = bought(order_of(log_price, rows, weight), len(rows))
    assert found == full_evaluation(log_price, rows, weight, len(rows))


def test_a_larger_pool_in_many_dimensions_agrees_with_a_full_evaluation():
    rng = np.random.default_rng(3)
    rows = unit(rng.normal(size=(40, 64))[rng.integers(0, 40, 1500)] + rng.normal(size=(1500, 64)))
    log_price = rng.normal(size=1500)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_FRONT", 32)
        patch.setattr(diversity, "_FIRST", 64)
        found = bought(order_of(log_price, rows, 0.7), 150)
    assert found == full_evaluation(log_price, rows, 0.7, 150)


def test_a_cosine_that_is_a_millionth_lower_than_an_earlier_one_does_not_replace_it():
    rows = np.array([[1, 0], [1, -7e-7], [0.5, np.sqrt(0.75)], [-1, 0]], dtype=np.float32)
    log_price = np.array([2e6, 1e6, 0.0, -1_499_999.5])

    # cosines of document 2 with 0 and 1 are 0.5 and 0.499999: its score is 500,000.0, and that of
    # document 3 is 500,000.5
    assert bought(order_of(log_price, rows, 1e6), 3) == [0, 1, 3]


def test_a_document_whose_price_underflowed_makes_its_copies_less_novel_too():
    order = order_of(np.array([0.0, -0.1, -np.inf]), unit([[1, 0], [0, 1], [1, 0]]), 1.0)

    assert bought(order, 1, Without([0, 1])) == [2]
    order.reopen()
    assert bought(order, 2) == [1, 0]


def test_what_was_closed_early_is_compared_with_everything_bought_before_it_is_reopened():
    order = order_of(np.array([0.0, -0.1, -0.2, -0.3, -0.4]), np.eye(4)[[0, 1, 2, 2, 3]], 1.0)

    assert bought(order, 2) == [0, 1]
    assert bought(order, 1, Without([2])) == [3]
    order.reopen()
    assert bought(order, 2) == [4, 2]  # document 2 is a copy of document 3


def test_vectors_are_read_only_of_documents_that_can_come_up():
    rng = np.random.default_rng(4)
    n = 20_000
    rows, log_price, read = unit(rng.normal(size=(n, 8))), rng.normal(size=n), []

    def vectors(positions):
        read.extend(positions.tolist())
        return rows[positions]

    ranking = np.argsort(-log_price)
    order = NoveltyOrder(
        log_price_per_token=log_price, ranking=ranking, weight=0.05, vectors=vectors
    )
    bought(order, 30)

    assert len(read) == len(set(read)) < 1200


def test_what_was_closed_for_one_room_comes_up_in_the_next_with_what_was_bought_since():
    log_price = np.array([0.0, -0.1, -0.2, -0.3])
    rows = unit([[1, 0], [0, 1], [1, 0], [0, 1]])
    order = order_of(log_price, rows, 1.0)

    assert bought(order, 4, Without([1, 2])) == [0, 3]
    order.reopen()
    # both are copies of what was bought now, so price alone decides
    assert bought(order, 4) == [1, 2]


@settings(max_examples=200)
@given(st.integers(0, 2**31), st.sampled_from([(2, 3), (3, 4), (1, 2)]))
def test_equal_scores_and_bounds_are_ordered_by_rank(seed, sizes):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 25))
    axes = np.concatenate([np.eye(2), -np.eye(2)])[:, : rng.integers(1, 3)]
    axes = axes[np.abs(axes).sum(axis=1) > 0]
    rows = unit(axes[rng.integers(0, len(axes), n)])  # cosines are -1, 0 or 1
    log_price = -rng.integers(0, 4, n).astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_FRONT", sizes[0])
        patch.setattr(diversity, "_FIRST", sizes[1])
        found = bought(order_of(log_price, rows, 1.0), n)
    assert found == full_evaluation(log_price, rows, 1.0, n)


@law
@given(pools(), st.integers(0, 2**31))
def test_two_rooms_one_after_the_other_agree_with_a_full_evaluation(pool, seed):
    log_price, rows, weight = pool
    rng = np.random.default_rng(seed)
    closed = rng.permutation(len(rows))[: len(rows) // 2]
    order = order_of(log_price, rows, weight)
    room = Without(closed[:0])
    first: list[int] = []
    while len(first) < 5 and (position := order.next(room)) is not None:
        order.buy(position)
        first.append(position)
        room.closed = closed[: 3 * len(first)]  # less room after every purchase
    order.reopen()
    found = first + bought(order, len(rows))

    rank = np.argsort(np.argsort(-log_price, kind="stable"))
    exact = rows.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = np.round(exact @ exact.T, 6)
    expected: list[int] = []
    for step in range(len(rows)):
        novelty = 1.0 - cosines[:, expected].max(axis=1) if expected else np.ones(len(rows))
        score = log_price + weight * novelty
        left = [i for i in range(len(rows)) if i not in expected]
        if step < len(first):
            left = [i for i in left if i not in closed[: 3 * step]]
        expected.append(min(left, key=lambda i: (-score[i], rank[i])))
    assert found == expected


@pytest.mark.parametrize("bad", [np.nan, 2.0])
def test_vectors_that_are_not_unit_are_refused(bad):
    order = order_of(np.zeros(2), np.full((2, 1), bad, dtype=np.float32), 1.0)

    with pytest.raises(InputError, match="of length 1"):
        bought(order, 2)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_rank_order_passes_over_for_good_what_has_no_room_until_it_is_reopened(closed):
    order = RankOrder(np.array([4, 2, 0, 1, 3, 5]))

    first = bought(order, 6, Without(closed))
    assert first == [i for i in [4, 2, 0, 1, 3, 5] if i not in closed]
    assert order.next(Anything()) is None
    order.reopen()
    assert bought(order, 6) == [i for i in [4, 2, 0, 1, 3, 5] if i in closed]
