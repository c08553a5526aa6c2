import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.coverage import facility_location
from databourse.coverage.facility_location import (
    covered_similarity,
    exact_cover,
    greedy_cover,
    nearest_cover,
)
from databourse.errors import InputError


def ones(n):
    return np.ones(n, dtype=np.int64)


def dense(cover):
    """Return the matrix of a cover, in millionths: entry (i, j), how well j covers i."""
    n = len(cover.columns)
    matrix = np.zeros((n, n), dtype=np.int64)
    for i, j in itertools.product(range(n), range(n)):
        column = cover.columns[j]
        entries = slice(cover.starts[column], cover.starts[column + 1])
        covered = cover.covered[entries].tolist()
        if cover.columns[i] in covered:
            place = covered.index(cover.columns[i])
            matrix[i, j] = cover.similarities[entries][place]
    return matrix


def value(matrix, chosen):
    """Return f, from the formula."""
    return sum(max((int(row[j]) for j in chosen), default=0) for row in matrix)


def plain_greedy(matrix, costs, budget, length_bias):
    """Every document left looked at, at every step."""
    bought, left = [], budget
    while True:
        open_ones = [j for j in range(len(matrix)) if costs[j] <= left and j not in bought]
        if not open_ones:
            return bought
        now = value(matrix, bought)
        adds = {
            j: (value(matrix, [*bought, j]) - now) / float(costs[j]) ** length_bias
            for j in open_ones
        }
        bought.append(max(open_ones, key=lambda j: (adds[j], -j)))
        left -= costs[bought[-1]]


def test_the_coverage_of_four_directions_is_that_computed_by_hand(unit):
    rows = unit([[1, 0], [0, 1], [1, 1], [-1, 0]])
    cover = exact_cover(rows)
    # the third covers both axes by 0.707107 each and itself; against (-1, 0) it counts as 0
    assert covered_similarity(cover, np.array([2])) == 1_000_000 + 2 * 707_107
    assert covered_similarity(cover, np.array([3])) == 1_000_000
    assert covered_similarity(cover, np.array([2, 3])) == 3_414_214
    assert covered_similarity(cover, np.array([], dtype=np.int64)) == 0
    # then (-1, 0) adds 1; then either axis adds 0.292893, the first of them first
    assert greedy_cover(cover, costs=ones(4), budget=4, length_bias=0).tolist() == [2, 3, 0, 1]


def test_the_exact_cover_holds_every_positive_cosine(planted, cosine):
    rows = planted(20, 4, seed=3)
    expected = [[max(0.0, cosine(left, right)) for right in rows] for left in rows]
    np.testing.assert_array_equal(dense(exact_cover(rows)), np.rint(np.array(expected) * 1e6))


def test_the_sparse_cover_holds_the_nearest_of_each_document(planted, cosine):
    rows = planted(40, 5, seed=5)[:20]  # distinct; few enough for the search to see all
    matrix = dense(nearest_cover(rows, neighbours=3))
    for i, row in enumerate(rows):
        cosines = {j: cosine(row, rows[j]) for j in range(20) if j != i}
        near = sorted(cosines, key=lambda j: -cosines[j])[:3]
        expected = {j: round(cosines[j] * 1e6) for j in near if cosines[j] > 0} | {i: 1_000_000}
        assert {j: int(matrix[i, j]) for j in range(20) if matrix[i, j]} == expected


def test_with_all_neighbours_the_sparse_cover_is_the_exact_one(planted):
    rows = planted(50, 6, seed=6)
    np.testing.assert_array_equal(
        dense(nearest_cover(rows, neighbours=49)), dense(exact_cover(rows))
    )


def test_blocks_of_any_height_give_the_same_covers(planted, monkeypatch):
    rows = planted(120, 6, seed=7)
    whole = [dense(exact_cover(rows)), dense(nearest_cover(rows, neighbours=9))]
    monkeypatch.setattr(facility_location, "_BLOCK_CELLS", 500)
    monkeypatch.setattr(facility_location, "_PAIRS", 13)
    parts = [dense(exact_cover(rows)), dense(nearest_cover(rows, neighbours=9))]
    np.testing.assert_array_equal(parts, whole)


def test_few_probes_still_find_most_neighbours_in_clustered_vectors(planted):
    rows = planted(900, 12, seed=9, centres=30, spread=0.25)
    exact = nearest_cover(rows, neighbours=8, probes=30)  # all clusters there are
    fewer = nearest_cover(rows, neighbours=8, probes=6)

    def pairs(cover):
        covering = np.repeat(np.arange(len(cover.starts) - 1), np.diff(cover.starts))
        return set(zip(covering.tolist(), cover.covered.tolist(), strict=True))

    assert len(pairs(exact) & pairs(fewer)) / len(pairs(exact)) > 0.95


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length_bias", [0.0, 0.5, 1.0])
def test_lazy_greedy_buys_what_plain_greedy_buys(planted, seed, length_bias):
    rng = np.random.default_rng(seed)
    rows = planted(18, 4, seed=seed)
    costs = rng.integers(1, 12, 18)
    for cover in (exact_cover(rows), nearest_cover(rows, neighbours=4)):
        for budget in (0, 9, 40, 1_000):
            found = greedy_cover(cover, costs=costs, budget=budget, length_bias=length_bias)
            expected = plain_greedy(dense(cover), costs.tolist(), budget, length_bias)
            assert found.tolist() == expected


@given(st.lists(st.lists(st.integers(-1, 1), min_size=2, max_size=2), min_size=1, max_size=12))
def test_lazy_greedy_buys_what_plain_greedy_buys_where_nearly_all_is_tied(points):
    rows = np.array([point if any(point) else [1, 0] for point in points], dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    cover = exact_cover(rows)
    n = len(rows)
    found = greedy_cover(cover, costs=ones(n), budget=n, length_bias=0)
    assert found.tolist() == plain_greedy(dense(cover), [1] * n, n, 0)


@pytest.mark.parametrize("seed", range(10))
def test_greedy_covers_at_least_1_minus_1_over_e_of_the_best(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(10, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    cover = exact_cover(rows)
    matrix = dense(cover)
    for k in (1, 2, 3, 4):
        best = max(value(matrix, each) for each in itertools.combinations(range(10), k))
        found = greedy_cover(cover, costs=ones(10), budget=k, length_bias=0)
        assert value(matrix, found.tolist()) >= (1 - 1 / math.e) * best
        if k == 1:
            assert value(matrix, found.tolist()) == best


@given(st.integers(0, 10_000))
def test_coverage_never_falls_and_what_a_document_adds_never_rises(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(12, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    cover = nearest_cover(rows, neighbours=5)
    order = rng.permutation(12)
    few, many, added = order[:3], order[:7], order[7]

    def with_it(chosen):
        return covered_similarity(cover, np.append(chosen, added))

    early = with_it(few) - covered_similarity(cover, few)
    late = with_it(many) - covered_similarity(cover, many)
    assert early >= late >= 0
    assert covered_similarity(cover, many) >= covered_similarity(cover, few)
    assert covered_similarity(cover, order) == 12_000_000


def test_the_sparse_coverage_never_exceeds_the_true_one(planted):
    rows = planted(80, 5, seed=11)
    sparse, exact = nearest_cover(rows, neighbours=6), exact_cover(rows)
    rng = np.random.default_rng(0)
    for size in (1, 4, 20):
        chosen = rng.choice(80, size, replace=False)
        assert covered_similarity(sparse, chosen) <= covered_similarity(exact, chosen)


def test_a_copy_counts_twice_to_be_covered_and_adds_nothing_once_its_twin_is_there(unit):
    rows = unit([[0, 1], [1, 0], [1, 0]])
    cover = exact_cover(rows)
    assert covered_similarity(cover, np.array([1])) == 2_000_000
    assert greedy_cover(cover, costs=ones(3), budget=3, length_bias=0).tolist() == [1, 0, 2]
    # of equal vectors the cheaper one adds more per token
    found = greedy_cover(cover, costs=np.array([5, 5, 4]), budget=14, length_bias=1.0)
    assert found.tolist() == [2, 0, 1]


def test_many_equal_vectors_are_one_column(unit):
    rows = unit([[1, 2, 3]] * 400)
    for cover in (nearest_cover(rows), exact_cover(rows)):
        assert cover.weights.tolist() == [400]
        found = greedy_cover(cover, costs=ones(400), budget=3, length_bias=0)
        assert found.tolist() == [0, 1, 2]


def test_per_token_a_short_document_is_bought_before_a_long_one_that_covers_more(unit):
    rows = unit([[1, 0], [1, 0.1], [1, -0.1], [-1, 0]])
    cover = exact_cover(rows)
    costs = np.array([30, 30, 30, 2])
    assert greedy_cover(cover, costs=costs, budget=32, length_bias=0.0).tolist() == [0, 3]
    assert greedy_cover(cover, costs=costs, budget=32, length_bias=1.0).tolist() == [3, 0]


@given(st.integers(0, 10_000), st.integers(0, 150), st.sampled_from([0.0, 1.0]))
def test_the_budget_is_kept_and_nothing_left_fits(seed, budget, length_bias):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    costs = rng.integers(1, 30, 20)
    found = greedy_cover(exact_cover(rows), costs=costs, budget=budget, length_bias=length_bias)
    left = budget - int(costs[found].sum())
    assert left >= 0
    assert (np.delete(costs, found) > left).all()
    assert len(set(found.tolist())) == len(found)


def test_too_many_documents_for_all_pairs_are_refused(unit, monkeypatch):
    monkeypatch.setattr(facility_location, "MOST_EXACT", 10)
    with pytest.raises(InputError, match="at most 10 distinct vectors, got 12; take the sparse"):
        exact_cover(unit(np.random.default_rng(0).normal(size=(12, 4))))


@pytest.mark.parametrize("length_bias", [-1.0, math.nan, math.inf])
def test_a_length_bias_outside_its_domain_is_refused(unit, length_bias):
    cover = exact_cover(unit([[1, 0]]))
    with pytest.raises(InputError, match="the length bias must be finite and >= 0"):
        greedy_cover(cover, costs=ones(1), budget=1, length_bias=length_bias)


@pytest.mark.parametrize(
    ("costs", "budget", "message"),
    [
        ([1, 1], -1, "the budget must be >= 0, got -1"),
        ([1, 0], 1, "must cost at least 1, got 0 at position 1"),
        ([1], 1, "costs must cover 2 documents, got 1"),
    ],
)
def test_costs_and_budgets_that_buy_nothing_are_refused(unit, costs, budget, message):
    cover = exact_cover(unit([[1, 0], [0, 1]]))
    with pytest.raises(InputError, match=message):
        greedy_cover(cover, costs=np.array(costs), budget=budget, length_bias=0)


@pytest.mark.parametrize("changed", [{"neighbours": 0}, {"probes": 0}])
def test_a_search_without_neighbours_or_probes_is_refused(unit, changed):
    with pytest.raises(InputError, match="neighbours and probes must be >= 1"):
        nearest_cover(unit([[1, 0]]), **changed)
