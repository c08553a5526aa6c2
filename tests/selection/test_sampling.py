"""Sampling in proportion to price under a strict budget."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.sampling import (
    QUANTA,
    draw_within_budget,
    inclusion_probabilities,
    systematic_sample,
)

THIRD = 1 / 3


def probabilities(sizes, costs, budget):
    with np.errstate(divide="ignore"):
        log_size = np.log(np.array(sizes, dtype=float))
    return inclusion_probabilities(log_size=log_size, costs=np.array(costs), budget=budget)


def every_sample(probability):
    """Yield the share of starts, the first and last of them in quanta, and what they draw.

    The definition, in exact fractions: document i is drawn where some whole k has
    P_(i-1) <= u + k < P_i. What is drawn changes only where u is the fraction of some P_i.
    """
    ends = np.cumsum([Fraction(0), *map(Fraction, np.asarray(probability).tolist())])
    edges = sorted({end % 1 for end in ends} | {Fraction(0)})
    for low, high in zip(edges, [*edges[1:], Fraction(1)], strict=True):
        drawn = [low + math.ceil(begin - low) < end for begin, end in pairwise(ends)]
        yield high - low, int(low * QUANTA), int(high * QUANTA) - 1, drawn


def costs_of_every_sample(probability, costs):
    costs = np.asarray(costs)
    order = np.argsort(costs, kind="stable")
    return [
        (share, sum(costs[order][drawn].tolist()))
        for share, _, _, drawn in every_sample(np.asarray(probability)[order])
    ]


pools = st.integers(min_value=1, max_value=9).flatmap(
    lambda n: st.tuples(
        st.lists(
            st.floats(min_value=-6, max_value=6) | st.sampled_from([0.0, -40.0, -900.0]),
            min_size=n,
            max_size=n,
        ),
        st.lists(st.integers(min_value=1, max_value=12), min_size=n, max_size=n),
        st.integers(min_value=0, max_value=70),
    )
)
exact_probabilities = st.lists(
    st.integers(min_value=0, max_value=QUANTA) | st.sampled_from([1, QUANTA // 2, QUANTA]),
    min_size=1,
    max_size=10,
).map(lambda quanta: np.array(quanta) / QUANTA)


def test_the_worked_example_of_three_documents():
    # Costs 1, 2, 4 of sizes 1, 1, 2: with pi = a, a, 2a the dearest sample holds the third and,
    # for 1/4 < a <= 1/3, the first: 5. Above 1/3 it holds the third and the second: 6.
    found = probabilities([1, 1, 2], [1, 2, 4], budget=5)

    assert found == pytest.approx([THIRD, THIRD, 2 * THIRD], rel=1e-15)
    samples = [drawn for _, _, _, drawn in every_sample(found)]
    assert samples == [[True, False, True], [False, True, False], [False, False, True]]


def test_the_points_of_a_start_pick_the_documents_that_they_fall_on():
    # ends 0.5, 1.25, 2: [0, .25) draws 1 and 2, [.25, .5) draws 1 and 3, [.5, 1) draws 2 and 3
    probability = np.array([0.5, 0.75, 0.75])
    quarter = QUANTA // 4
    expected = {
        0: [True, True, False],
        quarter - 1: [True, True, False],
        quarter: [True, False, True],
        2 * quarter - 1: [True, False, True],
        2 * quarter: [False, True, True],
        QUANTA - 1: [False, True, True],
    }
    assert {
        start: systematic_sample(probability, start=start).tolist() for start in expected
    } == expected


def test_a_size_above_its_share_is_always_drawn_and_the_rest_share_what_is_left():
    found = probabilities([10, 1, 1, 1], [1, 1, 1, 1], budget=2)
    assert found[0] == 1
    assert found[1:] == pytest.approx([THIRD] * 3, rel=1e-15)
    assert sum(map(Fraction, found.tolist())) == 2


def test_equal_sizes_are_a_simple_systematic_sample():
    found = probabilities([3] * 6, [1] * 6, budget=3)
    assert found == pytest.approx([0.5] * 6, abs=2 * 2.0**-53)
    every_second = np.array([0.5] * 6)
    assert systematic_sample(every_second, start=0).tolist() == [True, False] * 3
    assert systematic_sample(every_second, start=QUANTA // 2).tolist() == [False, True] * 3


@given(exact_probabilities)
def test_the_share_of_starts_that_draw_a_document_is_its_probability_exactly(probability):
    drawn_share = [Fraction(0)] * probability.size
    for share, first, last, drawn in every_sample(probability):
        assert systematic_sample(probability, start=first).tolist() == drawn
        assert systematic_sample(probability, start=last).tolist() == drawn
        drawn_share = [
            held + share * is_drawn for held, is_drawn in zip(drawn_share, drawn, strict=True)
        ]
    assert drawn_share == list(map(Fraction, probability.tolist()))


@given(exact_probabilities, st.data())
def test_costs_of_samples_differ_by_at_most_the_largest_cost(probability, data):
    n = probability.size
    costs = data.draw(st.lists(st.integers(min_value=1, max_value=50), min_size=n, max_size=n))
    spent = [cost for _, cost in costs_of_every_sample(probability, costs)]
    assert max(spent) - min(spent) <= max(costs)


@given(pools)
def test_no_start_overspends_and_less_than_the_largest_cost_is_left(pool):
    log_size, costs, budget = pool
    found = inclusion_probabilities(
        log_size=np.array(log_size), costs=np.array(costs), budget=budget
    )
    eligible = [cost for cost in costs if cost <= budget]
    spent = [cost for _, cost in costs_of_every_sample(found, costs)]

    assert max(spent) <= budget
    assert [p > 0 for p in found] == [cost <= budget for cost in costs]
    if sum(eligible) <= budget:
        assert spent == [sum(eligible)] * len(spent)
    else:
        assert budget - min(spent) < max(eligible)


@given(pools)
def test_probabilities_are_in_proportion_to_size_up_to_one(pool):
    log_size, costs, budget = pool
    found = inclusion_probabilities(
        log_size=np.array(log_size), costs=np.array(costs), budget=budget
    )
    open_ones = [
        (size, p) for size, p in zip(log_size, found.tolist(), strict=True) if 0 < p < 1 - 1e-14
    ]
    for size, p in open_ones:
        for other_size, other in open_ones:
            ratio = math.exp(min(other_size - size, 700.0))
            # three quanta on either side, and the rounding of the logs and of their exp
            rounding = 4e-15 * (1 + abs(size) + abs(other_size)) * p * ratio
            assert abs(other - p * ratio) <= 3 * 2.0**-53 * (1 + ratio) + rounding
    for size, cost, p in zip(log_size, costs, found.tolist(), strict=True):
        if p == 1 and cost <= budget:
            assert all(size >= other - 1e-13 for other, _ in open_ones)


@given(pools)
def test_slightly_larger_probabilities_would_let_some_start_overspend(pool):
    log_size, costs, budget = pool
    found = inclusion_probabilities(
        log_size=np.array(log_size), costs=np.array(costs), budget=budget
    )
    if (found[np.array(costs) <= budget] == 1).all():
        return
    larger = np.minimum(np.floor(found * (1 + 1e-13) * QUANTA) + (found > 0), QUANTA) / QUANTA
    assert max(cost for _, cost in costs_of_every_sample(larger, costs)) > budget


@given(pools, st.integers(min_value=0, max_value=2**32))
def test_the_estimate_of_a_total_is_right_on_average(pool, seed):
    log_size, costs, budget = pool
    found = inclusion_probabilities(
        log_size=np.array(log_size), costs=np.array(costs), budget=budget
    )
    values = np.random.default_rng(seed).integers(-9, 10, size=found.size).tolist()
    expected = Fraction(0)
    for share, _, _, drawn in every_sample(found):
        expected += share * sum(
            Fraction(value) / Fraction(p)
            for value, p, is_drawn in zip(values, found.tolist(), drawn, strict=True)
            if is_drawn
        )
    assert expected == sum(value for value, p in zip(values, found, strict=True) if p > 0)


@pytest.mark.parametrize("n_wanted", [1, 17, 5000, 9999])
def test_a_budget_of_documents_draws_exactly_as_many(n_wanted):
    # thousands of documents: the cumulated quanta pass 2^64
    rng = np.random.default_rng(3)
    log_size, costs = rng.normal(0, 2, 10_000), np.ones(10_000, dtype=np.int64)
    found = inclusion_probabilities(log_size=log_size, costs=costs, budget=n_wanted)

    assert sum(int(p * QUANTA) for p in found) == n_wanted * QUANTA
    for start in (0, 1, QUANTA // 3, QUANTA - 1):
        assert systematic_sample(found, start=start).sum() == n_wanted
    drawn = draw_within_budget(log_size=log_size, costs=costs, budget=n_wanted, rng=rng)
    assert drawn.is_drawn.sum() == n_wanted


def test_a_large_pool_is_drawn_within_its_budget():
    rng = np.random.default_rng(8)
    costs = np.exp(rng.normal(4, 1, 60_000)).astype(np.int64) + 1
    budget = int(costs.sum() // 3)
    drawn = draw_within_budget(
        log_size=rng.normal(0, 3, 60_000), costs=costs, budget=budget, rng=rng
    )
    assert 0 <= budget - costs[drawn.is_drawn].sum() < costs.max()


def test_the_cost_varies_less_than_with_independent_draws():
    rng = np.random.default_rng(1)
    costs = rng.integers(1, 30, 40)
    found = inclusion_probabilities(log_size=rng.normal(0, 1, 40), costs=costs, budget=200)
    spent = costs_of_every_sample(found, costs)
    mean = sum(share * cost for share, cost in spent)
    variance = float(sum(share * (cost - mean) ** 2 for share, cost in spent))
    independent = float((found * (1 - found) * costs**2).sum())

    assert float(mean) == pytest.approx(float((found * costs).sum()))
    assert variance < independent / 20


def test_documents_are_drawn_as_often_as_their_probability_says():
    log_size, costs = np.log([4.0, 1.0, 2.0, 8.0, 1.0]), np.array([3, 1, 2, 2, 3])
    draws = [
        draw_within_budget(
            log_size=log_size, costs=costs, budget=6, rng=np.random.default_rng(seed)
        )
        for seed in range(400)
    ]
    share = np.mean([draw.is_drawn for draw in draws], axis=0)
    p = draws[0].inclusion_probability
    assert 0.1 < p.min() < p.max()
    # five standard errors of a share over 400 draws
    assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / 400)).all()
    assert max(costs[draw.is_drawn].sum() for draw in draws) <= 6


def test_weights_are_inverse_probabilities_of_the_drawn():
    drawn = draw_within_budget(
        log_size=np.log([10.0, 1, 1, 1]),
        costs=np.array([1, 1, 1, 1]),
        budget=2,
        rng=np.random.default_rng(0),
    )
    assert drawn.is_drawn[0]
    assert sorted(drawn.weight) == pytest.approx([0, 0, 1, 3])
    assert drawn.weight[0] == 1
    assert (drawn.weight > 0).tolist() == drawn.is_drawn.tolist()
    # the square of 1 + 3, over 1 + 9
    assert drawn.effective_sample_size == pytest.approx(1.6)


def test_probabilities_do_not_depend_on_the_generator_and_samples_do():
    rng = np.random.default_rng(2)
    pool = {"log_size": rng.normal(size=50), "costs": rng.integers(1, 9, 50), "budget": 60}
    draws = [draw_within_budget(**pool, rng=np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert len({draw.inclusion_probability.tobytes() for draw in draws}) == 1
    assert draws[0].is_drawn.tolist() == draws[1].is_drawn.tolist()
    assert draws[0].is_drawn.tolist() != draws[2].is_drawn.tolist()


def test_neighbours_of_equal_cost_can_be_drawn_together():
    pairs = {
        tuple(
            np.flatnonzero(
                draw_within_budget(
                    log_size=np.zeros(4),
                    costs=np.full(4, 7),
                    budget=14,
                    rng=np.random.default_rng(seed),
                ).is_drawn
            )
        )
        for seed in range(60)
    }
    assert pairs == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_the_order_of_documents_with_different_costs_changes_nothing():
    rng = np.random.default_rng(4)
    log_size, costs = rng.normal(size=30), rng.permutation(30) + 1
    shuffle = rng.permutation(30)
    straight = draw_within_budget(
        log_size=log_size, costs=costs, budget=150, rng=np.random.default_rng(0)
    )
    shuffled = draw_within_budget(
        log_size=log_size[shuffle],
        costs=costs[shuffle],
        budget=150,
        rng=np.random.default_rng(0),
    )
    assert shuffled.is_drawn.tolist() == straight.is_drawn[shuffle].tolist()
    assert (
        shuffled.inclusion_probability.tolist() == straight.inclusion_probability[shuffle].tolist()
    )


@pytest.mark.parametrize("shift", [-5000.0, 0.0, 5000.0])
def test_only_differences_of_log_sizes_count(shift):
    log_size = np.log([1.0, 1.0, 2.0]) + shift  # e^-5000 and e^5000 are no doubles
    found = inclusion_probabilities(log_size=log_size, costs=np.array([1, 2, 4]), budget=5)
    assert found == pytest.approx([THIRD, THIRD, 2 * THIRD], rel=1e-15 + 2e-15 * abs(shift))


@pytest.mark.parametrize("gap", [50.0, 5000.0, 1e12, 1e308])
def test_sizes_that_underflow_beside_the_largest_still_share_what_is_left(gap):
    log_size = np.array([1e308 if gap == 1e308 else 0.0, -gap, -gap, -gap])
    found = inclusion_probabilities(log_size=log_size, costs=np.ones(4, dtype=int), budget=2)
    assert found.tolist() == pytest.approx([1, THIRD, THIRD, THIRD], rel=1e-9)


def test_what_has_no_size_or_exceeds_the_budget_is_never_drawn():
    found = probabilities([0, 1, 1, 100], [1, 1, 1, 9], budget=2)
    assert found.tolist() == [0, 1, 1, 0]
    assert probabilities([0, 0], [1, 1], budget=2).tolist() == [0, 0]


def test_a_budget_that_reaches_for_everything_draws_everything():
    assert probabilities([5, 1e-300, 1], [4, 9, 2], budget=15).tolist() == [1, 1, 1]
    assert probabilities([5, 1e-300, 1], [4, 9, 2], budget=14)[1] < 1


@pytest.mark.parametrize(("costs", "budget"), [([], 5), ([3], 0), ([3], 2), ([7, 9], 6)])
def test_nothing_is_drawn_of_nothing_that_can_be_paid(costs, budget):
    drawn = draw_within_budget(
        log_size=np.zeros(len(costs)),
        costs=np.array(costs, dtype=np.int64),
        budget=budget,
        rng=np.random.default_rng(0),
    )
    assert not drawn.is_drawn.any()
    assert drawn.weight.tolist() == drawn.inclusion_probability.tolist() == [0] * len(costs)
    assert drawn.effective_sample_size == 0


def test_one_document_is_drawn_where_the_budget_pays_it():
    drawn = draw_within_budget(
        log_size=np.array([-800.0]), costs=np.array([3]), budget=3, rng=np.random.default_rng(0)
    )
    assert (drawn.is_drawn.tolist(), drawn.weight.tolist()) == ([True], [1.0])


@pytest.mark.parametrize(
    ("log_size", "costs", "budget", "message"),
    [
        ([0.0, np.nan], [1, 1], 1, "got nan at position 1; price that document again"),
        ([np.inf, 0.0], [1, 1], 1, "got inf at position 0"),
        ([0.0], [1, 1], 1, "of one length"),
        ([0.0, 0.0], [1, 0], 1, "at least 1, got 0 at position 1"),
        ([0.0], [1.5], 1, "vector of integers"),
        ([[0.0]], [[1]], 1, "vector of integers"),
        ([0.0], [1], -1, "budget must be >= 0, got -1"),
        ([0.0, 0.0], [2**61, 2**61], 1, "below 2\\^62"),
    ],
)
def test_arguments_outside_their_domain_are_refused(log_size, costs, budget, message):
    with pytest.raises(InputError, match=message):
        inclusion_probabilities(log_size=np.array(log_size), costs=np.array(costs), budget=budget)


@pytest.mark.parametrize("probability", [np.nan, -0.5, 1.5, 2.0**-54])
def test_probabilities_that_are_not_whole_quanta_are_refused(probability):
    with pytest.raises(InputError, match="multiples of 2\\^-53"):
        systematic_sample(np.array([0.5, probability]), start=0)


@pytest.mark.parametrize("start", [-1, QUANTA])
def test_a_start_outside_the_first_unit_is_refused(start):
    with pytest.raises(InputError, match="below 2\\^53"):
        systematic_sample(np.array([0.5]), start=start)
