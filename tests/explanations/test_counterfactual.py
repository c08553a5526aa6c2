"""Each single change, applied to the LMSR market, has the effect that was promised."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from databourse.explanations.counterfactual import (
    longest_at_price,
    share_of_tokens,
    shares_to_price,
    signal_to_order,
)
from databourse.market import lmsr
from databourse.selection.greedy import costs_within


def test_the_odds_of_an_even_contract_grow_fourfold_with_b_ln_4_shares():
    # p = 1/2 of a topic of mass 1/2 with b = 2; to p = 4/5, the odds must go from 1 to 4
    shares = shares_to_price(math.log(0.4), log_price=math.log(0.25), mass=0.5, liquidity=2.0)
    assert shares == pytest.approx(2 * math.log(4), abs=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 12),
    liquidity=st.floats(0.05, 5),
    mass=st.floats(0.01, 1),
    within=st.floats(1e-6, 1 - 1e-6),
)
def test_the_shares_bring_the_lmsr_price_to_the_target(seed, n, liquidity, mass, within):
    shares = np.random.default_rng(seed).normal(size=n)
    before = lmsr.log_prices(shares, liquidity)[0]
    assume(-30 < before < -1e-6)  # next to 0, 1 - p has no digits left to compute with
    log_price = math.log(mass) + before

    more = shares_to_price(
        math.log(mass * within), log_price=log_price, mass=mass, liquidity=liquidity
    )

    shares[0] += more
    after = lmsr.prices(shares, liquidity)[0]
    assert after == pytest.approx(within, rel=1e-8)


@given(p=st.floats(1e-9, 0.999), target=st.floats(1e-9, 0.999), liquidity=st.floats(0.01, 10))
def test_the_way_there_and_the_way_back_are_the_same_shares(p, target, liquidity):
    settings = {"mass": 1.0, "liquidity": liquidity}
    there = shares_to_price(math.log(target), log_price=math.log(p), **settings)
    back = shares_to_price(math.log(p), log_price=math.log(target), **settings)

    assert there == pytest.approx(-back, abs=1e-9)
    assert there * (target - p) >= 0


def test_its_own_effect_on_the_topic_makes_a_rise_dearer_than_b_times_the_rise():
    log_price, rise, liquidity = math.log(0.3), 0.5, 0.7
    shares = shares_to_price(log_price + rise, log_price=log_price, mass=1.0, liquidity=liquidity)
    assert shares > liquidity * rise


@pytest.mark.parametrize(
    ("price", "target", "mass"),
    [
        (0.1, 0.5, 0.5),  # the whole topic
        (0.1, 0.7, 0.5),  # more than the topic
        (0.5, 0.4, 0.5),  # alone in its topic
        (0.0, 0.1, 0.5),  # a price that underflowed
    ],
)
def test_no_number_of_shares_is_said_where_there_is_none(price, target, mass):
    log_price = math.log(price) if price else -math.inf
    settings = {"log_price": log_price, "mass": mass, "liquidity": 1.0}
    assert shares_to_price(math.log(target), **settings) is None


def test_a_signal_one_spread_up_buys_the_shares_of_one_spread():
    # mean 3, spread 2, value 4: z = 0.5; 0.6 more shares at 0.3 a spread are two spreads
    needed = signal_to_order(0.6, value=4.0, spread=2.0, shares_per_spread=0.3)
    assert needed == pytest.approx(8.0)
    assert (needed - 3) / 2 == pytest.approx(0.5 + 0.6 / 0.3)


@pytest.mark.parametrize(("spread", "shares_per_spread"), [(0.0, 0.3), (2.0, 0.0)])
def test_a_constant_signal_or_one_without_weight_moves_nothing(spread, shares_per_spread):
    value = signal_to_order(0.6, value=4.0, spread=spread, shares_per_spread=shares_per_spread)
    assert value is None


def test_a_signal_that_would_have_to_be_infinite_is_none():
    assert signal_to_order(1e300, value=0.0, spread=1e300, shares_per_spread=0.1) is None


@given(log_price=st.floats(-20, 0), rise=st.floats(0.01, 8), bias=st.floats(0.3, 2))
def test_the_longest_length_reaches_the_price_and_one_token_more_does_not(log_price, rise, bias):
    target = log_price - rise
    length = longest_at_price(target, log_price=log_price, length_bias=bias)

    assert log_price - bias * math.log(length + 1) < target
    if length:
        assert log_price - bias * math.log(length) >= target - 1e-11


def test_a_length_that_just_reaches_the_price_counts():
    assert longest_at_price(-math.log(40), log_price=0.0, length_bias=1.0) == 40
    assert longest_at_price(1.0, log_price=0.0, length_bias=1.0) == 0


@pytest.mark.parametrize(("target", "bias"), [(-1.0, 0.0), (-1.0, -1.0), (-1e9, 1e-3)])
def test_there_is_no_longest_length_where_length_does_not_lower_the_price(target, bias):
    assert longest_at_price(target, log_price=0.0, length_bias=bias) is None


@given(total=st.integers(1, 10**9), part=st.floats(0, 1))
def test_the_share_is_the_least_that_buys_so_many_tokens(total, part):
    tokens = max(1, int(part * total))
    share = share_of_tokens(tokens, total)

    assert costs_within(np.array([total]), "share", share)[1] >= tokens
    if share > 2e-6:
        less = round(share - 1e-6, 6)
        assert round(less * 1e6) * total < tokens * 10**6
