import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.coverage.farthest_first import farthest_first
from databourse.errors import InputError


def ones(n):
    return np.ones(n, dtype=np.int64)


def test_the_order_of_five_directions_is_that_computed_by_hand(unit):
    # the axes cancel out, so the mean is along (1, 1); its cosine to (-1, 0) and (0, -1) is -0.707
    # and the first of them is next; (-1, 0) has then 0 and both others 0.707
    rows = unit([[1, 0], [0, -1], [1, 1], [0, 1], [-1, 0]])
    assert farthest_first(rows, costs=ones(5), budget=5).tolist() == [2, 1, 4, 0, 3]


def slow_twin(rows, costs, budget, cosine):
    """Every document compared with every one bought, at every step."""
    fitting = [i for i in range(len(rows)) if costs[i] <= budget]
    if not fitting:
        return []
    mean = sum(rows[i].astype(float) for i in fitting)
    bought = [max(fitting, key=lambda i: (cosine(rows[i], mean), -i))]
    left = budget - costs[bought[0]]
    while True:
        open_ones = [i for i in range(len(rows)) if costs[i] <= left and i not in bought]
        if not open_ones:
            return bought
        nearest = {i: max(cosine(rows[i], rows[j]) for j in bought) for i in open_ones}
        bought.append(min(open_ones, key=lambda i: (nearest[i], i)))
        left -= costs[bought[-1]]


@pytest.mark.parametrize("seed", range(6))
def test_farthest_first_equals_the_slow_twin(planted, cosine, seed):
    rows = planted(24, 5, seed=seed)
    costs = np.random.default_rng(seed).integers(1, 20, 24)
    for budget in (0, 5, 60, 1_000):
        found = farthest_first(rows, costs=costs, budget=budget).tolist()
        assert found == slow_twin(rows, costs.tolist(), budget, cosine)


def radius(rows, chosen):
    distances = np.linalg.norm(rows[:, None].astype(float) - rows[chosen].astype(float), axis=2)
    return distances.min(axis=1).max()


@pytest.mark.parametrize("seed", range(15))
def test_the_radius_is_at_most_twice_the_least_possible(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(11, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    for k in (1, 2, 3, 4):
        best = min(radius(rows, list(each)) for each in itertools.combinations(range(11), k))
        found = farthest_first(rows, costs=ones(11), budget=k)
        assert radius(rows, found) <= 2 * best + 1e-5  # cosines are rounded to 6 decimals


def test_the_radius_never_rises(planted):
    rows = planted(60, 6, seed=4)
    order = farthest_first(rows, costs=ones(60), budget=60)
    radii = [radius(rows, order[:k]) for k in range(1, 61)]
    assert all(later <= former for former, later in itertools.pairwise(radii))


def test_every_far_group_is_met_before_any_is_met_twice(unit):
    rng = np.random.default_rng(1)
    group = rng.permutation(np.repeat(np.arange(8), 25))
    rows = unit(np.eye(8)[group] + 0.02 * rng.normal(size=(200, 8)))
    found = farthest_first(rows, costs=ones(200), budget=8)
    assert sorted(group[found].tolist()) == list(range(8))


def test_equal_vectors_are_bought_in_order(unit):
    rows = unit([[1, 2, 3]] * 5)
    assert farthest_first(rows, costs=ones(5), budget=4).tolist() == [0, 1, 2, 3]


def test_the_start_must_fit(unit):
    rows = unit([[1, 0], [1, 0], [0, 1]])
    found = farthest_first(rows, costs=np.array([9, 9, 2]), budget=5)
    assert found.tolist() == [2]


@given(st.integers(0, 10_000), st.integers(0, 150))
def test_the_budget_is_kept_and_nothing_left_fits(seed, budget):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    costs = rng.integers(1, 30, 20)
    found = farthest_first(rows, costs=costs, budget=budget)
    left = budget - int(costs[found].sum())
    assert left >= 0
    assert (np.delete(costs, found) > left).all()
    assert len(set(found.tolist())) == len(found)


@pytest.mark.parametrize(
    ("costs", "budget", "message"),
    [
        ([1, 1], -1, "the budget must be >= 0, got -1"),
        ([1, 0], 1, "must cost at least 1, got 0 at position 1"),
        ([1], 1, "costs must cover 2 documents, got 1"),
    ],
)
def test_costs_and_budgets_that_buy_nothing_are_refused(unit, costs, budget, message):
    rows = unit([[1, 0], [0, 1]])
    with pytest.raises(InputError, match=message):
        farthest_first(rows, costs=np.array(costs), budget=budget)
