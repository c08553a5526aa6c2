"""Liquidity by effective share."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import liquidity, lmsr
from databourse.market.liquidity import EffectiveShare, liquidity_for_share

law = settings(derandomize=True, deadline=None, max_examples=40)


def size_at(shares, liquidity):
    return lmsr.effective_sample_size(lmsr.prices(shares, liquidity))


def share_at(shares, liquidity, prior):
    return lmsr.effective_share(lmsr.prices(shares, liquidity, prior=prior), prior=prior)


def bisected(shares, share, prior):
    """Return the liquidity by plain bisection, with sums that are exactly rounded."""
    low, high = 1e-6, 1e6
    while high - low > 1e-14 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share_at(shares, middle, prior) < share else (low, middle)
    return high


def random_prior(rng, n):
    weights = rng.choice([0.1, 1.0, 3.0], n)
    return weights / weights.sum()


def test_two_of_four_effective_documents_need_the_worked_liquidity():
    shares = np.array([-0.402492, -0.304615, 0.290100, 0.417007])

    assert liquidity_for_share(shares, EffectiveShare(0.5)) == pytest.approx(0.219887, abs=1e-6)


@law
@given(st.integers(0, 2**31), st.integers(2, 60), st.floats(0.02, 0.98))
def test_prices_reach_the_effective_size_that_was_asked_for(seed, n, share):
    shares = np.random.default_rng(seed).normal(size=n)
    liquidity = liquidity_for_share(shares, EffectiveShare(share))

    assert size_at(shares, liquidity) == pytest.approx(max(1.0, share * n), rel=1e-9)


@law
@given(st.integers(0, 2**31), st.integers(2, 60), st.floats(0.02, 0.98))
def test_prices_reach_the_effective_share_of_the_prior(seed, n, share):
    rng = np.random.default_rng(seed)
    shares, prior = rng.normal(size=n), random_prior(rng, n)
    liquidity = liquidity_for_share(shares, EffectiveShare(share), prior=prior)

    least = float(prior[np.argmax(shares)])  # what is left of the prior as b goes to 0
    assert share_at(shares, liquidity, prior) == pytest.approx(max(least, share), rel=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", ["normal", "ties", "heavy", "two groups", "outlier"])
def test_the_search_finds_what_plain_bisection_finds(share, shape):
    rng = np.random.default_rng(7)
    n = 80
    shares = {
        "normal": rng.normal(size=n) * 0.5,
        "ties": np.round(rng.normal(size=n), 1),
        "heavy": rng.standard_cauchy(n),
        "two groups": (rng.random(n) < 0.03) * 1.0 + rng.normal(size=n) * 1e-3,
        "outlier": np.append(rng.normal(size=n - 1), 50.0),
    }[shape]
    for prior in (None, random_prior(rng, n)):
        found = liquidity_for_share(shares, EffectiveShare(share), prior=prior)
        assert found == pytest.approx(bisected(shares, share, prior), rel=5e-12)


def test_an_equal_prior_is_no_prior_and_only_ratios_of_a_prior_matter():
    rng = np.random.default_rng(5)
    shares, prior = rng.normal(size=40), random_prior(rng, 40)
    target = EffectiveShare(0.4)

    assert liquidity_for_share(shares, target, prior=np.full(40, 7.0)) == pytest.approx(
        liquidity_for_share(shares, target), rel=1e-11
    )
    assert liquidity_for_share(shares, target, prior=1e200 * prior) == pytest.approx(
        liquidity_for_share(shares, target, prior=prior), rel=1e-11
    )


def test_a_document_with_a_prior_of_two_is_two_documents():
    shares = np.array([0.3, -1.0, 0.8, 0.1])
    target = EffectiveShare(0.7)

    weighted = liquidity_for_share(shares, target, prior=np.array([2.0, 1.0, 1.0, 1.0]))
    assert weighted == pytest.approx(liquidity_for_share(np.append(shares, 0.3), target), rel=1e-11)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_liquidity_of_normal_orders_is_near_the_closed_form(share):
    shares = np.random.default_rng(1).normal(size=40_000) * 0.5
    liquidity = liquidity_for_share(shares, EffectiveShare(share))

    # b = s / sqrt(ln(n / ESS)), good to some percent unless ESS / n is small
    assert liquidity == pytest.approx(0.5 / math.sqrt(-math.log(share)), rel=0.05)


@law
@given(st.integers(0, 2**31), st.sampled_from([1e-6, 0.1, 1e3]))
def test_liquidity_scales_with_orders(seed, factor):
    shares = np.random.default_rng(seed).normal(size=9)
    target = EffectiveShare(0.4)

    assert liquidity_for_share(factor * shares, target) == pytest.approx(
        factor * liquidity_for_share(shares, target), rel=1e-8
    )


def test_liquidity_grows_with_the_share():
    shares = np.random.default_rng(2).normal(size=50)
    found = [
        liquidity_for_share(shares, EffectiveShare(s)) for s in (0.03, 0.2, 0.5, 0.9, 0.999999)
    ]

    assert found == sorted(set(found))


def test_the_order_of_documents_does_not_change_liquidity():
    rng = np.random.default_rng(3)
    shares = rng.normal(size=999)

    found = {liquidity_for_share(rng.permutation(shares), EffectiveShare(0.3)) for _ in range(5)}
    assert len(found) == 1


def test_the_order_of_documents_with_tied_shares_and_a_prior_does_not_change_liquidity():
    rng = np.random.default_rng(3)
    shares, prior = np.round(rng.normal(size=999), 1), rng.uniform(0.1, 1, 999)
    target = EffectiveShare(0.3)

    found, sorted_bytes = set(), set()
    for _ in range(20):
        order = rng.permutation(999)
        found.add(liquidity_for_share(shares[order], target, prior=prior[order]))
        # 12 digits hide most differences of summation, so what is summed is compared too
        in_order = liquidity._in_order(shares[order], prior[order])
        sorted_bytes.add(b"".join(column.tobytes() for column in in_order))
    assert len(found) == len(sorted_bytes) == 1


@pytest.mark.parametrize("shares", [[5.0], [0.0, 0.0], [2.5] * 7, [1.0, 1.0 + 1e-12]])
def test_liquidity_is_one_where_it_decides_nothing(shares):
    assert liquidity_for_share(np.array(shares), EffectiveShare(0.3)) == 1.0


def test_an_unreachable_share_gives_the_liquidity_at_which_the_ties_hold_everything():
    shares = np.array([3.0, 3.0, 3.0, 1.0, 0.0])  # three tie: 0.5 of 5 documents cannot be reached
    liquidity = liquidity_for_share(shares, EffectiveShare(0.5))

    assert liquidity == pytest.approx(2.0 / 36.04, rel=1e-3)
    np.testing.assert_allclose(lmsr.prices(shares, liquidity)[:3], 1 / 3, rtol=1e-15)


def test_a_share_that_the_tied_documents_hold_by_prior_alone_cannot_be_undercut():
    shares, prior = np.array([2.0, 2.0, 0.0]), np.array([0.3, 0.3, 0.4])

    at_least = liquidity_for_share(shares, EffectiveShare(0.6), prior=prior)
    assert at_least == pytest.approx(2.0 / (36.0437 + math.log(4 / 3)), rel=1e-5)
    above = liquidity_for_share(shares, EffectiveShare(0.61), prior=prior)
    assert share_at(shares, above, prior) == pytest.approx(0.61, rel=1e-9)


def test_ties_up_to_rounding_stay_ties():
    exact = np.array([3.0, 3.0, 1.0, 0.0])
    noisy = exact + np.array([0.0, -4e-16, 0.0, 0.0])

    target = EffectiveShare(0.3)
    assert liquidity_for_share(noisy, target) == liquidity_for_share(exact, target)


def test_a_share_next_to_one_is_found():
    shares = np.array([0.0, 1.0, 5.0])

    assert size_at(shares, liquidity_for_share(shares, EffectiveShare(1 - 1e-9))) == pytest.approx(
        3
    )


def test_a_share_next_to_one_keeps_its_digits():
    shares = np.array([0.0, 1.0, 5.0])
    # 1 - share = s^2 var(q) to first order, var(q) = 14 / 3
    expected = math.sqrt(14 / 3 / 1e-9)

    found = liquidity_for_share(shares, EffectiveShare(1 - 1e-9))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("prior", [[1.0], [1.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_a_prior_that_is_not_one_positive_weight_for_each_is_refused(prior):
    with pytest.raises(InputError, match="prior must be > 0 and finite for each of 2"):
        liquidity_for_share(np.array([0.0, 1.0]), EffectiveShare(0.6), prior=np.array(prior))


def test_a_prior_next_to_zero_on_the_largest_order_does_not_overflow():
    shares, prior = np.array([1.0, 0.0, 0.5]), np.array([1e-250, 0.4, 0.6])

    found = liquidity_for_share(shares, EffectiveShare(0.3), prior=prior)
    assert share_at(shares, found, prior) == pytest.approx(0.3, rel=1e-9)
    with pytest.raises(InputError, match="at most 1e\\+300"):
        liquidity_for_share(shares, EffectiveShare(0.3), prior=np.array([1e-301, 0.4, 0.6]))


def test_shares_a_little_further_apart_than_rounding_count():
    assert liquidity_for_share(np.array([0.0, 1e-9]), EffectiveShare(0.7)) == 1.0
    # (1 + e)^2 / (1 + e^2) = 1.4 where e = exp(-1 / b')
    root = (1 - math.sqrt(1 - 0.4**2)) / 0.4
    found = liquidity_for_share(np.array([0.0, 1.1e-9]), EffectiveShare(0.7))
    assert found == pytest.approx(-1.1e-9 / math.log(root), rel=1e-10)


def test_a_million_documents_are_searched_in_seconds_of_cpu():
    rng = np.random.default_rng(0)
    topics = np.split(rng.normal(size=1_000_000), np.arange(1, 256) * 3906)

    start = time.process_time()
    for shares in topics:
        liquidity_for_share(shares, EffectiveShare(0.3))
    # 0.1 s by the secant; bisection takes 0.6 s, a search that does not end 3 s.
    assert time.process_time() - start < 0.5


def test_orders_too_far_apart_for_a_double_are_refused():
    with pytest.raises(InputError, match="largest double"):
        liquidity_for_share(np.array([-1e308, 1e308]), EffectiveShare(0.6))
    assert liquidity_for_share(np.array([-1e307, 1e307]), EffectiveShare(0.6)) > 1e306


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_shares_outside_0_and_1_are_refused(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        EffectiveShare(share)


@pytest.mark.parametrize("shares", [[], [math.nan, 1.0], [math.inf, 1.0]])
def test_orders_that_are_not_a_finite_vector_are_refused(shares):
    with pytest.raises(InputError, match="finite, non-empty"):
        liquidity_for_share(np.array(shares), EffectiveShare(0.3))
