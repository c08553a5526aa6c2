"""Pools of opinions and sums of makers: laws L17 to L19."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr, pooling

law = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**31)
positive = st.floats(-2, 2).map(lambda power: 10.0**power)
NEAR = np.array([0.5, 0.3, 0.2])
FAR = np.array([0.2, 0.2, 0.6])


def opinions(seed, n_traders, n_contracts):
    return np.random.default_rng(seed).dirichlet(np.full(n_contracts, 2.0), n_traders)


@law
@given(seeds, st.integers(1, 5), st.integers(1, 8), positive)
def test_law_17_fixed_orders_pool_the_traders_own_softmax_opinions(
    seed, n_traders, n_contracts, liquidity
):
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n_traders, n_contracts))
    weights = rng.uniform(0.1, 3, n_traders)
    own = np.array([lmsr.prices(z * weights.sum(), liquidity) for z in signals])
    assume(own.min() > 0)  # an opinion must not have underflowed

    pooled = pooling.log_pool(own, weights)
    np.testing.assert_allclose(
        pooled, lmsr.prices(weights @ signals, liquidity), rtol=1e-9, atol=1e-13
    )


@law
@given(seeds, st.integers(2, 5))
def test_law_17_the_order_of_traders_does_not_matter(seed, n_traders):
    own = opinions(seed, n_traders, 4)
    weights = np.arange(1.0, n_traders + 1)

    np.testing.assert_allclose(
        pooling.log_pool(own[::-1], weights[::-1]), pooling.log_pool(own, weights), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("risk_aversion", "expected"),
    [(1.0, (0.348427, 0.269890, 0.381683)), (3.0, (0.426679, 0.290881, 0.282440))],
)
def test_law_18_a_risk_averse_trader_leaves_the_worked_prices(risk_aversion, expected):
    moved = pooling.risk_averse_move(NEAR, FAR, risk_aversion=risk_aversion, liquidity=1.0)

    np.testing.assert_allclose(moved, expected, atol=5.1e-7)


@law
@given(seeds, positive, positive)
def test_law_18_a_risk_averse_trader_can_do_no_better(seed, risk_aversion, liquidity):
    p, r = opinions(seed, 2, 4)
    moved = pooling.risk_averse_move(p, r, risk_aversion=risk_aversion, liquidity=liquidity)

    def log_disutility(target):
        exponent = -risk_aversion * lmsr.trade_to_prices(p, target, liquidity) + np.log(r)
        return exponent.max() + np.log(np.exp(exponent - exponent.max()).sum())

    best = log_disutility(moved)
    for other in opinions(seed + 1, 5, 4):
        nearby = 0.999 * moved + 0.001 * other
        assert log_disutility(nearby) >= best - 1e-12


def test_law_18_limits_are_the_belief_and_the_price():
    bold = pooling.risk_averse_move(NEAR, FAR, risk_aversion=0.0, liquidity=1.0)
    timid = pooling.risk_averse_move(NEAR, FAR, risk_aversion=1.0, liquidity=1e9)

    np.testing.assert_allclose(bold, FAR, rtol=1e-12)
    np.testing.assert_allclose(timid, NEAR, rtol=1e-8)


def test_law_18_the_order_of_risk_averse_traders_matters():
    def after(first, second):
        once = pooling.risk_averse_move(NEAR, first, risk_aversion=1.0, liquidity=1.0)
        return pooling.risk_averse_move(once, second, risk_aversion=1.0, liquidity=1.0)

    other = np.array([0.1, 0.8, 0.1])
    assert np.abs(after(FAR, other) - after(other, FAR)).max() > 0.1


@law
@given(seeds, st.integers(1, 6))
def test_law_18_tuned_traders_leave_the_equal_pool_of_start_and_beliefs(seed, n_traders):
    own = opinions(seed, n_traders + 1, 4)
    price = own[0]
    for k, belief in enumerate(own[1:], start=1):  # v_k = 1 / (1 + a b) = 1 / (k + 1)
        price = pooling.risk_averse_move(price, belief, risk_aversion=float(k), liquidity=1.0)

    equal = np.ones(n_traders + 1)
    np.testing.assert_allclose(price, pooling.log_pool(own, equal), rtol=1e-10)


@law
@given(seeds, st.integers(1, 5))
def test_a_pool_of_equal_opinions_is_that_opinion(seed, n_traders):
    own = np.repeat(opinions(seed, 1, 5), n_traders, axis=0)

    np.testing.assert_allclose(
        pooling.log_pool(own, np.arange(1.0, n_traders + 1)), own[0], rtol=1e-12
    )


@law
@given(seeds)
def test_a_pool_over_two_outcomes_stays_between_opinions_and_follows_them(seed):
    own = opinions(seed, 3, 2)
    weights = np.array([1.0, 2.0, 3.0])
    pooled = pooling.log_pool(own, weights)[0]
    raised = own.copy()
    raised[1] = 0.9 * own[1] + np.array([0.1, 0.0])

    assert own[:, 0].min() - 1e-12 <= pooled <= own[:, 0].max() + 1e-12
    assert pooling.log_pool(raised, weights)[0] > pooled


@law
@given(seeds, st.integers(1, 4), st.integers(1, 6))
def test_law_19_makers_together_are_one_maker_with_the_sum_of_liquidities(
    seed, n_makers, n_contracts
):
    rng = np.random.default_rng(seed)
    liquidities = rng.uniform(0.05, 5, n_makers)
    q = rng.normal(size=n_contracts) * 3

    def cost_of(holdings):
        return sum(lmsr.cost(x, b) for x, b in zip(holdings, liquidities, strict=True))

    def plain_start(b):  # the plain form starts at b ln n; infimal convolution needs C(0) = 0
        return b * np.log(n_contracts)

    split = pooling.holdings_of_makers(q, liquidities)
    best = cost_of(split) - sum(plain_start(b) for b in liquidities)
    merged = lmsr.cost(q, liquidities.sum()) - plain_start(liquidities.sum())
    np.testing.assert_allclose(split.sum(axis=0), q, atol=1e-12)
    assert best == pytest.approx(merged, abs=1e-11)
    noise = rng.normal(size=split.shape)
    other = split + noise - noise.mean(axis=0)  # another way to share out the same order
    assert cost_of(other) >= cost_of(split) - 1e-11


@pytest.mark.parametrize(
    "weights", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0], [1.0], []]
)
def test_weights_outside_their_domain_are_refused(weights):
    with pytest.raises(InputError, match="weights must be"):
        pooling.normalised_weights(np.array(weights), n_traders=2)


def test_huge_weights_are_normalised_without_overflow():
    assert pooling.normalised_weights(np.full(2, 1e308), n_traders=2).tolist() == [0.5, 0.5]


def test_opinions_and_makers_outside_their_domain_are_refused():
    with pytest.raises(InputError, match="each opinion must"):
        pooling.log_pool(np.array([[0.5, 0.5], [1.0, 0.0]]), np.ones(2))
    with pytest.raises(InputError, match="n_traders, n_contracts"):
        pooling.log_pool(NEAR, np.ones(3))
    with pytest.raises(InputError, match="risk_aversion must be >= 0"):
        pooling.risk_averse_move(NEAR, FAR, risk_aversion=-1.0, liquidity=1.0)
    with pytest.raises(InputError, match="liquidities must be > 0"):
        pooling.holdings_of_makers(NEAR, np.array([1.0, 0.0]))
