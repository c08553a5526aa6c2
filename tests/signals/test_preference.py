import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.signals.preference import oriented, rank_distances

numbers = st.integers(-8, 8).map(lambda n: n / 4)  # with ties
measures = st.lists(st.one_of(numbers, st.just(math.nan)), min_size=1, max_size=20).map(np.array)
centres = st.integers(0, 8).map(lambda n: n / 8)


def slow_middle(values, centre):
    """The definition, one document at a time."""
    known = [each for each in values if not math.isnan(each)]
    distances = []
    for value in values:
        below = sum(each < value for each in known)
        same = sum(each == value for each in known)
        distances.append(-abs((below + same / 2) / max(len(known), 1) - centre))
    return [
        math.nan if math.isnan(value) else distance
        for value, distance in zip(values, distances, strict=True)
    ]


def test_the_three_preferences_of_four_measures_computed_by_hand():
    values = np.array([2.0, 8.0, math.nan, 4.0, 4.0])
    low, middle, high = (
        oriented(values, prefer=each, centre=0.5).tolist() for each in ("low", "middle", "high")
    )
    np.testing.assert_array_equal(low, [-2.0, -8.0, math.nan, -4.0, -4.0])
    np.testing.assert_array_equal(high, [2.0, 8.0, math.nan, 4.0, 4.0])
    # ranks 1/8, 7/8 and twice 4/8
    np.testing.assert_array_equal(middle, [-0.375, -0.375, math.nan, 0.0, 0.0])


def test_another_centre_prefers_other_documents():
    values = np.array([10.0, 20.0, 30.0, 40.0])  # ranks 1/8, 3/8, 5/8, 7/8
    assert oriented(values, prefer="middle", centre=0.875).tolist() == [-0.75, -0.5, -0.25, 0]
    assert oriented(values, prefer="middle", centre=0.0).tolist() == [
        -0.125,
        -0.375,
        -0.625,
        -0.875,
    ]
    for prefer in ("low", "high"):
        assert (
            oriented(values, prefer=prefer, centre=0.875).tolist()
            == oriented(values, prefer=prefer, centre=0.5).tolist()
        )


@given(measures, centres)
def test_the_middle_equals_its_definition(values, centre):
    found = oriented(values, prefer="middle", centre=centre)
    np.testing.assert_allclose(found, slow_middle(values.tolist(), centre), atol=1e-15)
    known = found[~np.isnan(found)]
    assert ((known > -1) & (known <= 0)).all()


@given(measures)
def test_turning_the_measure_round_swaps_low_and_high_and_keeps_the_middle(values):
    np.testing.assert_array_equal(
        oriented(-values, prefer="low", centre=0.5), oriented(values, prefer="high", centre=0.5)
    )
    # bit by bit, so that the two sides of the median tie
    np.testing.assert_array_equal(
        oriented(-values, prefer="middle", centre=0.5),
        oriented(values, prefer="middle", centre=0.5),
    )


@given(measures, centres)
def test_the_middle_depends_on_the_order_of_the_measures_alone(values, centre):
    np.testing.assert_array_equal(
        oriented(np.exp(values), prefer="middle", centre=centre),
        oriented(values, prefer="middle", centre=centre),
    )


def test_documents_that_cannot_be_judged_stay_so_and_move_no_rank():
    values = np.array([3.0, 1.0, 2.0])
    with_others = np.array([math.nan, 3.0, math.nan, 1.0, 2.0])
    found = oriented(with_others, prefer="middle", centre=0.25)
    np.testing.assert_array_equal(found[[1, 3, 4]], oriented(values, prefer="middle", centre=0.25))
    assert np.isnan(found[[0, 2]]).all()
    nobody = oriented(np.array([math.nan]), prefer="middle", centre=0.5)
    assert np.isnan(nobody).all()


@pytest.mark.parametrize("prefer", ["low", "middle", "high"])
def test_the_input_stays_as_it_was_and_zero_has_no_sign(prefer):
    values = np.array([0.0, 0.0])
    found = oriented(values, prefer=prefer, centre=0.5)
    assert found.tolist() == [0.0, 0.0]
    assert not np.signbit(found).any()
    found[0] = 7
    assert values.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("prefer", ["low", "middle", "high"])
def test_an_infinite_measure_is_refused(prefer):
    with pytest.raises(InputError, match=r"finite or NaN, got -inf at position 2$"):
        oriented(np.array([1.0, math.nan, -math.inf]), prefer=prefer, centre=0.5)


def test_arguments_outside_their_domain_are_refused():
    with pytest.raises(InputError, match="low, middle or high, got 'mid'"):
        oriented(np.zeros(2), prefer="mid", centre=0.5)
    for centre in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match=r"percentile rank in \[0, 1\], got"):
            rank_distances(np.zeros(2), centre=centre)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1000])
def test_the_two_sides_of_the_median_are_equally_far(n):
    distances = rank_distances(np.arange(n, dtype=np.float64), centre=0.5)
    assert distances.tolist() == distances[::-1].tolist()
    assert distances.max() == (n - 1) / (2 * n)
