import math

import numpy as np
import pytest

from databourse.coverage.d2_pruning import MOST_DIFFICULT, buy_by_messages, forward_values
from databourse.errors import InputError
from databourse.neighbours.search import Neighbours, nearest_neighbours


def graph(positions, cosines):
    """Return the neighbours of documents, row by row."""
    return Neighbours(
        np.array(positions, dtype=np.int32),
        np.array(cosines, dtype=np.float32),
        requested=len(positions[0]),
    )


def order(difficulties, neighbours, gamma):
    """Return all documents in the order of buying."""
    n = len(difficulties)
    bought = buy_by_messages(
        np.array(difficulties, dtype=np.float64),
        neighbours,
        costs=np.ones(n, dtype=np.int64),
        budget=n,
        gamma=gamma,
    )
    return bought.tolist()


def by_definition(rows, difficulties, costs, budget, *, k, gamma, cosine):
    """Every document left looked at, at every step, from all distances."""
    n = len(rows)
    near = {}
    for i in range(n):
        cosines = {j: cosine(rows[i], rows[j]) for j in range(n) if j != i}
        nearest = sorted(cosines, key=lambda j: (-cosines[j], j))[:k]
        near[i] = {j: math.sqrt(2 - 2 * min(cosines[j], 1.0)) for j in nearest}
    values = []
    for i in range(n):
        value = difficulties[i]
        for j, distance in near[i].items():
            value += round(math.exp(-distance), 6) * difficulties[j]
        values.append(value)
    bought, open_ones, left = [], set(range(n)), budget
    while open_ones:
        best = min(open_ones, key=lambda i: (-values[i], i))
        open_ones.remove(best)
        if costs[best] > left:
            continue
        left -= costs[best]
        bought.append(best)
        for j, distance in near[best].items():
            if j in open_ones:
                values[j] -= round(math.exp(-gamma * distance), 6) * values[best]
    return bought


# 0 and 1 at distance 1, 2 opposite to 1 at distance 2, 3 alone with 2 at distance sqrt 2
HAND = graph([[1], [0], [1], [2]], [[0.5], [0.5], [-1.0], [0.0]])


def test_the_forward_message_of_four_documents_is_that_computed_by_hand():
    found = forward_values(np.array([2.0, 1.0, 3.0, 0.5]), HAND)
    expected = [
        2 + 0.367879 * 1,  # exp(-1)
        1 + 0.367879 * 2,
        3 + 0.135335 * 1,  # exp(-2)
        0.5 + 0.243117 * 3,  # exp(-1.414214)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_is_like_a_bought_document_falls_behind_as_computed_by_hand():
    # values 2.367879, 1.735758, 3.135335, 1.229351; then 2 takes from 1 alone:
    # g = 1: 1.735758 - 0.135335 * 3.135335 = 1.311437, before 3; 0 then takes 0.871093 of it
    assert order([2.0, 1.0, 3.0, 0.5], HAND, 1.0) == [2, 0, 3, 1]
    # g = 3: 2 takes 0.002479 * 3.135335, 0 takes 0.049787 * 2.367879: 1.610096 is left
    assert order([2.0, 1.0, 3.0, 0.5], HAND, 3.0) == [2, 0, 1, 3]


@pytest.mark.parametrize("k", [1, 3])
def test_with_a_large_gamma_the_order_is_that_of_the_forward_values(planted, k):
    rows = np.unique(planted(40, 5, seed=1), axis=0)  # no equal vectors: their distance is 0
    difficulties = np.random.default_rng(2).uniform(0, 1, len(rows))
    neighbours = nearest_neighbours(rows, k)
    values = forward_values(difficulties, neighbours)
    falling = np.argsort(-values, kind="stable").tolist()
    assert order(difficulties, neighbours, 1e5) == falling
    assert order(difficulties, neighbours, 0.1) != falling


def test_with_gamma_0_a_bought_document_takes_its_whole_value_at_any_distance():
    # the mode "absolute": 1 is opposite to 0, and 0 takes all 10 + 0.135335 * 9 of it
    neighbours = graph([[1], [0], [0]], [[-1.0], [-1.0], [0.0]])
    assert order([10.0, 9.0, 0.0], neighbours, 0.0) == [0, 2, 1]
    # v_1 = 9 + 0.135335 * 10 = 10.35335, less 0.135335 * 11.218015, is far above v_2 = 2.43117
    assert order([10.0, 9.0, 0.0], neighbours, 1.0) == [0, 1, 2]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 50.0])
def test_the_second_of_two_equal_documents_is_bought_after_all_that_are_unlike(unit, gamma):
    rng = np.random.default_rng(3)
    rows = unit(rng.normal(size=(12, 4)))
    rows[7] = rows[2]
    difficulties = np.full(12, 0.5)
    difficulties[[2, 7]] = 9.0
    found = order(difficulties, nearest_neighbours(rows, 1), gamma)
    assert found[0] == 2
    values = forward_values(difficulties, nearest_neighbours(rows, 1))
    assert values[7] == values[2] == values.max()
    # its value is 0 then, and that of one whose only neighbour is unlike it stays above 0
    assert found.index(7) >= 6


@pytest.mark.parametrize("gamma", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_bought_is_what_the_definition_buys(planted, cosine, gamma, seed):
    rng = np.random.default_rng(seed)
    rows = planted(14, 3, seed=seed)
    difficulties = rng.choice([0.0, 0.25, 0.5, 1.0], 14)  # many ties
    costs = rng.integers(1, 12, 14)
    for k in (1, 4, 13):
        neighbours = nearest_neighbours(rows, k)
        for budget in (0, 40, 200):  # the last buys all, also what has a negative value
            found = buy_by_messages(
                difficulties, neighbours, costs=costs, budget=budget, gamma=gamma
            )
            expected = by_definition(
                rows,
                difficulties.tolist(),
                costs.tolist(),
                budget,
                k=k,
                gamma=gamma,
                cosine=cosine,
            )
            assert found.tolist() == expected
            left = budget - int(costs[found].sum())
            assert left >= 0
            assert (np.delete(costs, found) > left).all()


def test_a_document_that_does_not_fit_sends_no_message():
    neighbours = graph([[1], [0], [1]], [[1.0], [1.0], [0.0]])
    difficulties, costs = np.array([3.0, 3.0, 1.0]), np.array([9, 1, 1])
    found = buy_by_messages(difficulties, neighbours, costs=costs, budget=1, gamma=1.0)
    assert found.tolist() == [1]  # 0 was first, and would have taken all of 1


def test_another_unit_of_difficulty_changes_no_order(planted):
    neighbours = nearest_neighbours(planted(60, 4, seed=8), 5)
    difficulties = np.random.default_rng(9).uniform(0, 1, 60)
    assert order(difficulties * 2.0**-40, neighbours, 0.5) == order(difficulties, neighbours, 0.5)


def test_the_largest_difficulties_do_not_overflow(planted):
    neighbours = nearest_neighbours(planted(60, 4, seed=8), 5)
    found = order(np.full(60, MOST_DIFFICULT), neighbours, 0.0)
    assert sorted(found) == list(range(60))


def test_without_difficulty_documents_are_bought_by_position(planted):
    assert order(np.zeros(9), nearest_neighbours(planted(9, 4, seed=1), 3), 1.0) == list(range(9))


def test_one_document_is_bought_and_an_empty_budget_buys_none(unit):
    alone = nearest_neighbours(unit([[1, 0]]), 5)
    assert order([0.5], alone, 1.0) == [0]
    nothing = buy_by_messages(np.array([0.5]), alone, costs=np.array([1]), budget=0, gamma=1.0)
    assert nothing.tolist() == []
    assert nothing.dtype == np.int64


@pytest.mark.parametrize("bad", [-0.5, math.nan, math.inf, 1e300])
def test_a_difficulty_outside_its_domain_is_refused(unit, bad):
    neighbours = nearest_neighbours(unit([[1, 0], [0, 1]]), 1)
    with pytest.raises(InputError, match=r"difficulties must be in .* at position 1; turn"):
        order([1.0, bad], neighbours, 1.0)


def test_difficulties_of_other_documents_are_refused(unit):
    neighbours = nearest_neighbours(unit([[1, 0], [0, 1]]), 1)
    with pytest.raises(InputError, match=r"must cover 2 documents, got shape \(3,\)"):
        order([1.0, 1.0, 1.0], neighbours, 1.0)


@pytest.mark.parametrize("gamma", [-1.0, math.nan, math.inf])
def test_a_gamma_outside_its_domain_is_refused(unit, gamma):
    neighbours = nearest_neighbours(unit([[1, 0], [0, 1]]), 1)
    with pytest.raises(InputError, match="gamma must be finite and >= 0"):
        order([1.0, 1.0], neighbours, gamma)


def test_a_negative_budget_is_refused(unit):
    neighbours = nearest_neighbours(unit([[1, 0], [0, 1]]), 1)
    with pytest.raises(InputError, match="the budget must be >= 0, got -1"):
        buy_by_messages(np.ones(2), neighbours, costs=np.array([1, 1]), budget=-1, gamma=1.0)
