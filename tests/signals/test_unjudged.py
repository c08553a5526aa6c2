import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.signals.unjudged import with_mean_for_unjudged

finite = st.floats(allow_nan=False, allow_infinity=False)
pools = st.lists(st.one_of(finite, st.just(math.nan)), min_size=1, max_size=20)


def test_those_that_cannot_be_judged_get_the_mean_of_the_others():
    values = np.array([1.0, math.nan, 2.0, 6.0, math.nan])
    assert with_mean_for_unjudged(values).tolist() == [1.0, 3.0, 2.0, 6.0, 3.0]
    assert np.isnan(values).sum() == 2  # the input stays as it was


@given(pools, st.randoms())
def test_the_mean_is_that_of_fractions_within_an_ulp_and_in_any_order(values, random):
    judged = [each for each in values if not math.isnan(each)]
    if not judged:
        return
    found = with_mean_for_unjudged(np.array([*values, math.nan]))
    exact = sum(map(Fraction, judged)) / len(judged)
    # rounded twice, and what is far below the largest may underflow
    largest = max(map(abs, judged))
    assert abs(Fraction(float(found[-1])) - exact) <= Fraction(2 * math.ulp(largest))
    assert min(judged) <= found[-1] <= max(judged)
    np.testing.assert_array_equal(found[:-1][~np.isnan(values)], judged)
    shuffled = [*values]
    random.shuffle(shuffled)
    assert with_mean_for_unjudged(np.array([*shuffled, math.nan]))[-1] == found[-1]


@given(finite, st.integers(1, 60))
def test_a_pool_of_one_value_stays_a_pool_of_one_value(value, n):
    found = with_mean_for_unjudged(np.array([value] * n + [math.nan]))
    assert found.tolist() == [value] * (n + 1)


def test_sums_beyond_the_range_of_a_double_have_a_mean():
    most = np.finfo(np.float64).max
    assert with_mean_for_unjudged(np.array([most, most, math.nan])).tolist() == [most] * 3
    assert with_mean_for_unjudged(np.array([most, -most, math.nan])).tolist() == [most, -most, 0]


def test_what_is_infinite_stays_and_does_not_count():
    values = np.array([math.inf, 2.0, math.nan, -math.inf])
    assert with_mean_for_unjudged(values).tolist() == [math.inf, 2.0, 2.0, -math.inf]


@pytest.mark.parametrize("values", [[], [math.nan] * 3, [math.nan, math.inf]])
def test_a_pool_without_a_judged_document_is_refused(values):
    with pytest.raises(InputError, match=f"a finite value for none of {len(values)}$"):
        with_mean_for_unjudged(np.array(values))
