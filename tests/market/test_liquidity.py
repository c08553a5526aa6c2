"""Liquidity by effective share."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr
from databourse.market.liquidity import EffectiveShare, liquidity_for_share

law = settings(derandomize=True, deadline=None, max_examples=40)


def size_at(shares, liquidity):
    return lmsr.effective_sample_size(lmsr.prices(shares, liquidity))


def test_two_of_four_effective_documents_need_the_worked_liquidity():
    shares = np.array([-0.402492, -0.304615, 0.290100, 0.417007])

    assert liquidity_for_share(shares, EffectiveShare(0.5)) == pytest.approx(0.219887, abs=1e-6)


@law
@given(st.integers(0, 2**31), st.integers(2, 60), st.floats(0.02, 0.98))
def test_prices_reach_the_effective_size_that_was_asked_for(seed, n, share):
    shares = np.random.default_rng(seed).normal(size=n)
    liquidity = liquidity_for_share(shares, EffectiveShare(share))

    assert size_at(shares, liquidity) == pytest.approx(max(1.0, share * n), rel=1e-9)


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


@pytest.mark.parametrize("shares", [[5.0], [0.0, 0.0], [2.5] * 7, [1.0, 1.0 + 1e-12]])
def test_liquidity_is_one_where_it_decides_nothing(shares):
    assert liquidity_for_share(np.array(shares), EffectiveShare(0.3)) == 1.0


def test_an_unreachable_share_gives_the_liquidity_at_which_the_ties_hold_everything():
    shares = np.array([3.0, 3.0, 3.0, 1.0, 0.0])  # three tie: 0.5 of 5 documents cannot be reached
    liquidity = liquidity_for_share(shares, EffectiveShare(0.5))

    assert liquidity == pytest.approx(2.0 / 36.04, rel=1e-3)
    np.testing.assert_allclose(lmsr.prices(shares, liquidity)[:3], 1 / 3, rtol=1e-15)


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


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_shares_outside_0_and_1_are_refused(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        EffectiveShare(share)


@pytest.mark.parametrize("shares", [[], [math.nan, 1.0], [math.inf, 1.0]])
def test_orders_that_are_not_a_finite_vector_are_refused(shares):
    with pytest.raises(InputError, match="finite, non-empty"):
        liquidity_for_share(np.array(shares), EffectiveShare(0.3))
