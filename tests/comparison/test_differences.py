import numpy as np
import pytest

from databourse.comparison.differences import deviation_change, mean_interval, paired_difference
from databourse.errors import InputError


def rng():
    return np.random.default_rng(0)


def test_the_interval_of_two_values_is_theirs():
    found = mean_interval(np.array([1.0, 3.0]), rng=rng())
    assert (found.mean, found.low, found.high, found.seeds) == (2.0, 1.0, 3.0, 2)
    assert found.deviation == pytest.approx(2**0.5)


def test_one_seed_has_no_spread():
    found = mean_interval(np.array([0.4]), rng=rng())
    assert (found.mean, found.low, found.high, found.deviation) == (0.4, 0.4, 0.4, 0.0)


def test_what_two_samplers_share_falls_out_of_their_difference():
    shared = np.random.default_rng(1).normal(size=10) * 100
    found = paired_difference(shared + 1.0, shared, rng=rng())
    assert found.mean == pytest.approx(1.0)
    assert found.low == pytest.approx(1.0)
    assert found.excludes_zero


def test_about_as_many_intervals_as_promised_hold_the_mean():
    draws = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        found = mean_interval(draws.normal(1.0, 1.0, 40), rng=rng(), resamples=400)
        held += found.low <= 1.0 <= found.high
    assert 0.88 < held / 300 < 0.98


def test_the_interval_grows_with_the_level():
    values = np.random.default_rng(3).normal(size=20)
    narrow, wide = (mean_interval(values, rng=rng(), level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        (np.array([]), {}, "at least one finite number"),
        (np.array([np.nan]), {}, "at least one finite number"),
        (np.array([1.0]), {"level": 1.0}, "level must be in"),
        (np.array([1.0]), {"resamples": 0}, "resamples >= 1"),
    ],
)
def test_what_has_no_interval_is_refused(values, more, message):
    with pytest.raises(InputError, match=message):
        mean_interval(values, rng=rng(), **more)


def test_pairs_of_other_seeds_are_refused():
    with pytest.raises(InputError, match=r"pairs must be of the same seeds, got \(2,\) and \(3,\)"):
        paired_difference(np.ones(2), np.ones(3), rng=rng())


def test_deviations_of_the_same_seeds_are_compared():
    others = np.array([0.0, 2.0, 4.0, 6.0])
    found = deviation_change(others / 2, others, rng=rng())
    assert found.difference == pytest.approx(-others.std(ddof=1) / 2)
    assert found.ratio == pytest.approx(0.5)
    # halved in every resample, so never larger
    assert found.low < found.high <= 0
    same = deviation_change(others + 9.0, others, rng=rng())
    assert (same.difference, same.low, same.high) == pytest.approx((0.0, 0.0, 0.0))
    assert not same.is_smaller


def test_a_deviation_that_is_surely_smaller_is_told_from_one_that_is_not():
    draws = np.random.default_rng(5)
    wide, narrow = draws.normal(0, 1.0, 30), draws.normal(0, 0.2, 30)
    assert deviation_change(narrow, wide, rng=rng()).is_smaller
    assert not deviation_change(wide, narrow, rng=rng()).is_smaller
    assert not deviation_change(wide[:15], wide[15:], rng=rng()).is_smaller


def test_there_is_no_ratio_to_what_does_not_vary():
    found = deviation_change(np.array([1.0, 2.0, 3.0]), np.ones(3), rng=rng())
    assert (found.difference, found.ratio) == (1.0, None)


@pytest.mark.parametrize(
    ("values", "others", "message"),
    [
        (np.ones(2), np.ones(2), "three seeds or more"),
        (np.ones(3), np.ones(4), "same three seeds"),
        (np.array([1.0, np.nan, 2.0]), np.ones(3), "finite numbers"),
    ],
)
def test_deviations_that_cannot_be_compared_are_refused(values, others, message):
    with pytest.raises(InputError, match=message):
        deviation_change(values, others, rng=rng())
