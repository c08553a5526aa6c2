"""Selection by intervals of entropies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.intervals import (
    Interval,
    check_kept,
    keep_within,
    keep_within_all,
    least_to_keep,
    mean_percentile_ranks,
    quantile_interval,
    tuned_interval,
    vanished_labels,
)

numbers = st.integers(-20, 20).map(lambda n: n / 4)  # with ties
arrays = st.lists(numbers, min_size=1, max_size=25).map(np.array)
ends = st.tuples(numbers, numbers).map(sorted)
tables = st.integers(1, 15).flatmap(
    lambda n: st.lists(
        st.lists(numbers, min_size=n, max_size=n).map(np.array), min_size=1, max_size=3
    )
)


def test_both_ends_are_kept_and_the_order_is_that_of_the_input():
    values = np.array([3.0, 1.0, 2.0, 0.999, 3.001, 1.0])
    assert keep_within(values, low=1, high=3).tolist() == [True, True, True, False, False, True]
    open_below = keep_within(values, low=-math.inf, high=1)
    assert open_below.tolist() == [False, True, False, True, False, True]
    assert keep_within(np.array([]), low=0, high=1).tolist() == []


@given(arrays, ends, st.integers(0, 5), st.integers(0, 5))
def test_widening_never_removes_and_the_whole_range_keeps_all(values, interval, down, up):
    low, high = interval
    kept = keep_within(values, low=low, high=high)
    assert kept.tolist() == [low <= each <= high for each in values.tolist()]
    assert keep_within(values, low=low - down, high=high + up)[kept].all()
    assert keep_within(values, low=values.min(), high=values.max()).all()
    # the same numbers again change nothing
    assert keep_within(values[kept], low=low, high=high).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_everywhere(bad):
    values = np.array([1.0, bad, 2.0])
    for selection in (
        lambda: keep_within(values, low=0, high=3),
        lambda: keep_within_all([values], [Interval(0, 3)]),
        lambda: mean_percentile_ranks([np.zeros(3), values]),
        lambda: quantile_interval(values),
        lambda: tuned_interval(values, "abc", bins=2, score=len),
    ):
        with pytest.raises(InputError, match=r"finite numbers, got shape \(3,\) .* at \[1\]"):
            selection()


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.nan)])
def test_an_interval_with_its_ends_the_wrong_way_round_or_nan_is_refused(low, high):
    with pytest.raises(InputError, match="low <= high, got"):
        keep_within(np.array([0.5]), low=low, high=high)


@given(tables, st.data())
def test_an_intersection_is_what_every_single_interval_keeps(columns, data):
    intervals = [Interval(*data.draw(ends)) for _ in columns]
    kept = keep_within_all(columns, intervals)
    single = [
        set(np.flatnonzero(keep_within(values, low=each.low, high=each.high)).tolist())
        for values, each in zip(columns, intervals, strict=True)
    ]
    assert set(np.flatnonzero(kept).tolist()) == set.intersection(*single)


def test_entropies_of_other_lengths_or_without_interval_are_refused():
    one, two = np.zeros(1), np.zeros(2)
    with pytest.raises(InputError, match="one length, got shapes"):
        keep_within_all([one, two], [Interval(0, 1)] * 2)
    with pytest.raises(InputError, match="at least one"):
        mean_percentile_ranks([])
    with pytest.raises(InputError, match="2 entropies and 1 intervals"):
        keep_within_all([one, one], [Interval(0, 1)])


def test_mean_percentile_ranks_are_those_computed_by_hand():
    first = np.array([5.0, 1.0, 1.0, 9.0])  # below: 2, 0, 0, 3; equal: 1, 2, 2, 1
    second = np.array([1.0, 2.0, 3.0, 4.0])
    assert mean_percentile_ranks([first]).tolist() == [0.625, 0.25, 0.25, 0.875]
    assert mean_percentile_ranks([first, second]).tolist() == [0.375, 0.3125, 0.4375, 0.875]
    assert mean_percentile_ranks([np.array([]), np.array([])]).tolist() == []


@given(tables)
def test_mean_percentile_ranks_equal_a_slow_twin(columns):
    n = len(columns[0])
    twin = [
        sum((sum(c < v[i] for c in v) + sum(c == v[i] for c in v) / 2) / n for v in columns)
        / len(columns)
        for i in range(n)
    ]
    found = mean_percentile_ranks(columns)
    np.testing.assert_allclose(found, twin, atol=1e-12)
    assert 0 < found.min() <= found.max() < 1
    assert found.mean() == pytest.approx(0.5, abs=1e-12)


@given(tables)
def test_mean_ranks_stand_any_strictly_increasing_change_and_any_order_of_entropies(columns):
    changed = [np.exp(values) * 7 - 3 for values in columns]
    found = mean_percentile_ranks(columns)
    np.testing.assert_array_equal(mean_percentile_ranks(changed), found)
    np.testing.assert_array_equal(mean_percentile_ranks(columns[::-1]), found)


def test_a_fixed_interval_does_not_stand_a_change_of_unit():
    values = np.array([0.5, 1.0, 2.0])
    bits = values / math.log(2)
    assert keep_within(values, low=0.6, high=2).tolist() != (
        keep_within(bits, low=0.6, high=2).tolist()
    )


@pytest.mark.parametrize(
    ("n", "low", "high", "expected"),
    [
        (11, 0.3, 0.7, (3, 7)),
        (101, 0.07, 0.57, (7, 57)),  # 0.07 * 100 and 0.57 * 100 are not whole in floats
        (10, 0.3, 0.7, (3, 6)),  # 2.7 and 6.3
        (5, 0.0, 1.0, (0, 4)),
        (1, 0.3, 0.7, (0, 0)),
    ],
)
def test_quantile_intervals_end_at_documents(n, low, high, expected):
    values = np.random.default_rng(0).permutation(n).astype(float)
    assert quantile_interval(values, low_share=low, high_share=high) == Interval(*expected)


def test_the_default_is_the_central_forty_percent():
    assert quantile_interval(np.arange(101.0)) == Interval(30, 70)


@given(st.integers(6, 200), st.integers(0, 100), st.integers(0, 100))
def test_without_ties_the_kept_share_is_within_two_documents_of_the_target(n, one, other):
    low, high = sorted([one / 100, other / 100])
    values = np.random.default_rng(n).normal(size=n)
    try:
        interval = quantile_interval(values, low_share=low, high_share=high)
    except InputError:
        kept = 0
    else:
        kept = int(keep_within(values, low=interval.low, high=interval.high).sum())
        changed = quantile_interval(np.exp(values), low_share=low, high_share=high)
        assert changed == Interval(np.exp(interval.low), np.exp(interval.high))
    assert abs(kept / n - (high - low)) <= 2 / n


def test_ties_at_an_end_are_all_kept():
    values = np.array([0.0] * 40 + [1.0] * 20 + [2.0] * 40)
    interval = quantile_interval(values)
    assert keep_within(values, low=interval.low, high=interval.high).all()


def test_quantile_intervals_shrink_when_taken_again():
    values = np.arange(101.0)
    once = quantile_interval(values)
    inside = values[keep_within(values, low=once.low, high=once.high)]
    assert quantile_interval(inside) == Interval(42, 58)


def test_quantiles_that_no_document_lies_between_are_refused():
    for values in (np.array([]), np.array([1.0, 2.0])):
        with pytest.raises(InputError, match=f"none of {values.size} documents lies between"):
            quantile_interval(values)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.3), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5)])
def test_shares_outside_their_domain_are_refused(low, high):
    with pytest.raises(InputError, match="0 <= low <= high <= 1"):
        quantile_interval(np.arange(9.0), low_share=low, high_share=high)


def scored_by(table):
    """Return a score that looks its bin up by the first id in it."""
    return lambda ids: table[ids[0]]


def test_the_best_run_is_the_one_found_by_hand():
    # four bins of width 1: 0..1, 1..2, 2..3, 3..4; 2.0 begins the third, 4.0 is in the last
    values = np.array([4.0, 0.0, 2.0, 1.5, 2.5, 1.0])
    asked = []

    def score(ids):
        asked.append(list(ids))
        return {"b": 1.0, "d": 5.0, "c": 4.0, "a": 2.0}[ids[0]]

    tuned = tuned_interval(values, list("abcdef"), bins=4, score=score)

    assert asked == [["b"], ["d", "f"], ["c", "e"], ["a"]]
    # the mean is 3: gains -2, 2, 1, -1
    assert (tuned.first_bin, tuned.last_bin) == (1, 2)
    assert tuned.interval == Interval(1.0, 2.5)
    assert tuned.sizes == (1, 2, 2, 1)
    assert tuned.scores == (1.0, 5.0, 4.0, 2.0)
    kept = keep_within(values, low=tuned.interval.low, high=tuned.interval.high)
    assert kept.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 1, 1, 1], (0, 3)),  # nothing speaks for dropping any
        ([0.1, 0.1, 0.1], (0, 2)),  # whose mean in floats is above 0.1
        ([5, 0, 5, 2], (0, 0)),  # gains 2, -3, 2, -1: the lowest of equals
        ([0, 4, 2, 2], (1, 3)),  # gains -2, 2, 0, 0: the longest of equals
        ([4, 3, 4, 0], (0, 2)),  # gains 1.25, 0.25, 1.25: a weak bin between good ones
        ([0.1, 0.2, 0.3, 0.4], (2, 3)),
        ([7], (0, 0)),
    ],
)
def test_the_run_with_the_largest_gain_over_the_mean_is_best(scores, expected):
    n = len(scores)
    table = dict(enumerate(scores))
    tuned = tuned_interval(np.arange(n) + 0.5, range(n), bins=n, score=scored_by(table))
    assert (tuned.first_bin, tuned.last_bin) == expected


@given(st.integers(0, 9), st.lists(st.integers(0, 9) | st.none(), max_size=7), st.integers(0, 9))
def test_the_best_run_equals_brute_force_with_bins_too_small_to_ask_about(first, middle, last):
    scores = [first, *middle, last]
    asked = [j for j, each in enumerate(scores) if each is not None]
    # two documents or more in bins that are asked about, one in the others
    ids = [j for j, each in enumerate(scores) for _ in range(1 if each is None else 2)]
    values = np.array([j + 0.5 for j in ids] + [0.0, len(scores)])  # the bins are 0..1, 1..2, ...
    tuned = tuned_interval(
        values,
        [*ids, 0, len(scores) - 1],
        bins=len(scores),
        score=scored_by(dict(enumerate(scores))),
        smallest_bin=2,
    )
    n, total = len(asked), sum(scores[j] for j in asked)
    best = max(
        (
            (
                sum(n * scores[j] - total for j in asked if first <= j <= last),
                last - first,
                -first,
            )
            for first in asked
            for last in asked
            if first <= last
        ),
    )
    assert (tuned.last_bin - tuned.first_bin, -tuned.first_bin) == best[1:]
    assert tuned.scores == tuple(scores)


def test_a_constant_entropy_is_one_bin():
    tuned = tuned_interval(np.full(3, 2.5), "abc", bins=5, score=len)
    assert (tuned.interval, tuned.sizes) == (Interval(2.5, 2.5), (3, 0, 0, 0, 0))


@pytest.mark.parametrize("scale", [1e308, 1.0, 1e-300, 5e-324])
def test_bins_are_the_same_at_any_scale(scale):
    values = np.array([-1.0, -0.5, 0.0, 1.0]) if scale == 1e308 else np.array([0.0, 1, 2, 4])
    tuned = tuned_interval(values * scale, "abcd", bins=4, score=len)
    assert tuned.sizes == (1, 1, 1, 1)


def test_whole_numbers_fall_into_the_bin_that_they_begin():
    # 29 / 100 * 100 is 28.999999999999996 in floats
    tuned = tuned_interval(np.arange(101.0), [str(i) for i in range(101)], bins=100, score=len)
    assert tuned.sizes == (*[1] * 99, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"document_ids": "ab"}, "3 values and 2 ids"),
        ({"values": np.array([]), "document_ids": ""}, "0 values and 0 ids"),
        ({"bins": 0}, "bins and smallest_bin must be >= 1, got 0 and 1"),
        ({"smallest_bin": 0}, "must be >= 1, got 2 and 0"),
        ({"smallest_bin": 3}, "no bin has smallest_bin = 3 documents, the largest has 2"),
        ({"score": lambda ids: math.nan}, "score of bin 0 must be finite, got nan"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes, message):
    arguments = {
        "values": np.array([0.0, 1.0, 2.0]),
        "document_ids": "abc",
        "bins": 2,
        "score": len,
        **changes,
    }
    values, document_ids = arguments.pop("values"), arguments.pop("document_ids")
    with pytest.raises(InputError, match=message):
        tuned_interval(values, document_ids, **arguments)


@pytest.mark.parametrize(("n", "expected"), [(0, 32), (3200, 32), (3201, 33), (10_000, 100)])
def test_a_hundredth_of_the_pool_and_at_least_32_must_be_kept(n, expected):
    assert least_to_keep(n) == expected


def test_a_selection_that_keeps_too_little_is_refused_with_what_to_do():
    kept = np.arange(100) < 32
    check_kept(kept, min_keep=least_to_keep(100))
    with pytest.raises(InputError, match=r"at least 33 of 100 .* got 32; widen it, or combine"):
        check_kept(kept, min_keep=33)


def test_labels_that_no_kept_document_has_are_named():
    labels = np.array(["b", "a", None, "c", "a"], dtype=object)
    kept = np.array([False, True, True, False, False])
    assert vanished_labels(kept, labels) == ("b", "c")
    assert vanished_labels(np.ones(5, bool), labels) == ()
