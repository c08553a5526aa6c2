"""The population stability index: by hand, its laws, its noise, and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from databourse.drift import (
    numeric_shift,
    quantile_edges,
    share_shift,
    stability_index,
)
from databourse.errors import InputError

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


def test_two_bins_by_hand():
    # half a row to each: 9.5 and 1.5 of 11 before, 5.5 and 5.5 of 11 now
    expected = (5.5 - 9.5) / 11 * math.log(5.5 / 9.5) + (5.5 - 1.5) / 11 * math.log(5.5 / 1.5)
    assert stability_index(np.array([9, 1]), np.array([5, 5])) == pytest.approx(expected)
    assert expected == pytest.approx(0.6712, abs=1e-4)


@given(COUNTS)
def test_it_is_symmetric_never_negative_and_zero_for_equal_counts(pairs):
    before, now = (np.array([1, *side]) for side in zip(*pairs, strict=True))
    index = stability_index(before, now)
    assert index >= 0
    assert stability_index(now, before) == pytest.approx(index, abs=1e-12)
    assert stability_index(before, before) == 0


def test_it_is_the_sum_of_both_divergences_of_a_library():
    before, now = np.array([30, 50, 20, 0]), np.array([10, 40, 45, 5])
    p, q = ((each + 0.5) / (each.sum() + 2) for each in (before, now))
    expected = stats.entropy(p, q) + stats.entropy(q, p)
    assert stability_index(before, now) == pytest.approx(expected)


def test_samples_of_one_distribution_exceed_chance_about_once_in_a_thousand_times():
    rng = np.random.default_rng(5)
    shifts = [numeric_shift(rng.normal(size=400), rng.normal(size=300)) for _ in range(400)]
    # expected 0.4 of 400; ten or more has a probability below 1e-10
    assert sum(shift.index > shift.by_chance for shift in shifts) < 10
    # a wrong number of degrees of freedom, or one sample's size alone, would miss this mean
    scaled = np.mean([shift.index for shift in shifts]) / (1 / 400 + 1 / 300)
    assert scaled == pytest.approx(9, rel=0.1)


def test_a_moved_mean_is_found_and_named():
    rng = np.random.default_rng(6)
    moved = numeric_shift(rng.normal(size=2_000), rng.normal(1.0, size=2_000))
    assert moved.index > 0.8
    assert moved.is_beyond(0.25)
    assert moved.largest[0].startswith(("from", "below"))
    assert moved.largest[2] > 3 * moved.largest[1] or moved.largest[1] > 3 * moved.largest[2]


def test_a_few_rows_do_not_drift_by_chance():
    shift = share_shift({"a": 6, "b": 4}, {"a": 3, "b": 7})
    assert shift.index > 0.25
    assert not shift.is_beyond(0.25)


def test_a_name_may_come_or_go():
    shift = share_shift({"a": 500, "old": 500}, {"a": 500, "new": 500})
    assert shift.is_beyond(0.25)
    assert shift.largest[0] in ("new", "old")


def test_edges_of_ties_are_distinct_and_leave_no_empty_bin():
    assert quantile_edges(np.array([1.0, 1.0, 1.0, 2.0]), 4).tolist() == []
    assert quantile_edges(np.array([1.0, 1.0, 2.0, 3.0]), 4).tolist() == [2.0]
    values = np.array([0.0, 1.0, 2.0, 3.0])
    assert quantile_edges(values, 2).tolist() == [1.0]


def test_a_constant_that_stays_does_not_move_and_one_that_changes_does():
    constant = np.full(100, 3.0)
    assert numeric_shift(constant, constant).index == 0
    assert numeric_shift(constant, constant + 1).is_beyond(0.25)
    assert numeric_shift(constant, constant - 1).is_beyond(0.25)


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, 1.0]])
def test_numbers_must_be_there_and_finite(values):
    with pytest.raises(InputError, match="finite"):
        numeric_shift(np.array(values), np.array([1.0]))


@pytest.mark.parametrize(
    ("before", "now"), [([1, 2], [1]), ([], []), ([0, 0], [1, 2]), ([[1]], [[1]])]
)
def test_counts_must_be_of_the_same_bins_and_of_some_rows(before, now):
    with pytest.raises(InputError, match="stability index"):
        stability_index(np.array(before), np.array(now))
