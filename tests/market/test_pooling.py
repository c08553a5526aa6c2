"""Pools of opinions and sums of makers: laws L17 to L19."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr, pooling
from databourse.market.liquidity import EffectiveShare
from databourse.market.pooling import FixedOrders, RiskAverse, shares_per_spread

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


def believers(risk_aversion=1.0, confidence=1.0, order=(0, 1)):
    return RiskAverse(risk_aversion=risk_aversion, confidence=confidence, order=order)


def one_after_another(scores, weights, prior, liquidity, traders):
    """Return the prices after each trader of weight > 0 has moved them, by the move itself."""
    prices = prior
    n_trading = int((weights > 0).sum())
    for trader in traders.order:
        if weights[trader] > 0:
            belief = prior * np.exp(traders.confidence * scores[:, trader])
            prices = pooling.risk_averse_move(
                prices,
                belief / belief.sum(),
                risk_aversion=traders.risk_aversion / (n_trading * weights[trader]),
                liquidity=liquidity,
            )
    return prices


def test_stakes_of_fixed_orders_are_the_weights_in_every_topic():
    stakes = shares_per_spread(np.array([0.7, 0.3]), [0.1, EffectiveShare(0.5), 9.0], FixedOrders())

    assert stakes.tolist() == [[0.7, 0.3]] * 3


def test_law_18_stakes_of_two_risk_averse_traders_are_those_worked_by_hand():
    # a_k = 1 / (2 * 0.5) = 1, so v = 1/2 at b = 1 and 1/3 at b = 2. Shares are b c o:
    # 1 * 2 * (1/2 * 1/2, 1/2) and 2 * 2 * (1/3 * 2/3, 1/3).
    stakes = shares_per_spread(np.array([0.5, 0.5]), [1.0, 2.0], believers(confidence=2.0))

    np.testing.assert_allclose(stakes, [[0.5, 1.0], [8 / 9, 4 / 3]], rtol=1e-15)


@law
@given(seeds, st.integers(1, 5), st.integers(1, 8), positive)
def test_law_18_stakes_price_as_the_moves_one_after_another_do(
    seed, n_traders, n_contracts, liquidity
):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_contracts, n_traders))
    weights = rng.uniform(0.1, 1, n_traders) * np.append(1.0, rng.integers(0, 2, n_traders - 1))
    weights /= weights.sum()
    prior = rng.dirichlet(np.full(n_contracts, 2.0))
    order = tuple(rng.permutation(n_traders).tolist())
    traders = believers(rng.uniform(0.1, 10), rng.uniform(0.1, 3), order)

    stakes = shares_per_spread(weights, [liquidity], traders)[0]
    np.testing.assert_allclose(
        lmsr.prices(scores @ stakes, liquidity, prior=prior),
        one_after_another(scores, weights, prior, liquidity, traders),
        rtol=1e-9,
        atol=1e-13,
    )


def test_law_18_who_trades_last_decides_more():
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    weights = np.array([0.5, 0.5])
    first, second = (
        lmsr.prices(opposed @ shares_per_spread(weights, [1.0], believers(order=order))[0], 1.0)
        for order in ((0, 1), (1, 0))
    )

    # exponents are 1/4 and 1/2, so the log odds are 2 (1/4 - 1/2) = -1/2, and 1/2 the other way
    np.testing.assert_allclose(first, [0.377541, 0.622459], atol=5e-7)
    np.testing.assert_allclose(second, first[::-1], rtol=1e-14)


@pytest.mark.parametrize("n_traders", [1, 2, 5])
def test_law_18_tuned_weights_give_every_belief_the_same_exponent(n_traders):
    rank = np.arange(1.0, n_traders + 1)
    harmonic = (1 / rank).sum()
    # a_k = a / (K w_k) = k, so v_k = 1 / (k + 1) and every exponent is 1 / (K + 1).
    tuned = believers(risk_aversion=n_traders / harmonic, order=tuple(range(n_traders)))
    stakes = shares_per_spread(1 / rank / harmonic, [1.0], tuned)

    np.testing.assert_allclose(stakes, np.full((1, n_traders), 1 / (n_traders + 1)), rtol=1e-14)


def test_law_18_stakes_have_the_limits_of_daring_of_fear_and_of_depth():
    weights = np.array([0.2, 0.5, 0.3])
    order = (2, 0, 1)
    bold = shares_per_spread(weights, [4.0], believers(1e-12, 3.0, order))
    timid = shares_per_spread(weights, [4.0], believers(1e12, 3.0, order))
    deep = shares_per_spread(weights, [1e15], believers(1.0, 3.0, order))

    np.testing.assert_allclose(bold, [[0.0, 12.0, 0.0]], atol=1e-10)  # the last belief wins: b c
    np.testing.assert_allclose(timid, [[0.0, 0.0, 0.0]], atol=1e-10)  # the price stays
    np.testing.assert_allclose(deep / 1e15, [[0.0, 0.0, 0.0]], atol=1e-10)  # so it does here
    np.testing.assert_allclose(deep, 3.0 * 3 * weights[np.newaxis], rtol=1e-12)  # c / a_k


def test_a_trader_of_weight_zero_changes_nothing_for_the_others():
    without = shares_per_spread(np.array([0.4, 0.6]), [0.5], believers(order=(1, 0)))
    stakes = shares_per_spread(np.array([0.4, 0.0, 0.6]), [0.5], believers(order=(1, 2, 0)))

    assert stakes[0, 1] == 0
    assert stakes[:, [0, 2]].tolist() == without.tolist()


def test_ten_times_the_liquidity_and_a_tenth_of_the_fear_give_the_same_prices():
    weights = np.array([0.4, 0.6])
    stakes = shares_per_spread(weights, [0.3], believers(2.0))

    np.testing.assert_allclose(shares_per_spread(weights, [3.0], believers(0.2)), 10 * stakes)


def test_the_least_liquidity_of_risk_averse_traders_is_accepted():
    # v = 1 / (1 + 0.001) of one trader alone: it buys b v shares per spread
    stakes = shares_per_spread(np.ones(1), [0.001], believers(order=(0,)))

    np.testing.assert_allclose(stakes, [[0.001 / 1.001]], rtol=1e-14)


@pytest.mark.parametrize(
    ("weights", "liquidities", "traders", "message"),
    [
        ([0.5, 0.5], [EffectiveShare(0.3)], believers(), "need liquidity in shares"),
        ([0.5, 0.5], [1.0, 1e-4], believers(), "at least 0.001 shares"),
        ([0.5, 0.5], [np.inf], believers(), "at least 0.001 shares"),
        ([0.5, 0.5], [np.nan], believers(), "at least 0.001 shares"),
        ([0.5, 0.5], [2.0], believers(1e-9, 1e3), "at most 1,000 are allowed"),
        ([0.5, 0.5], [1.0], believers(order=(0,)), "name each of 2 traders"),
        ([0.5, 0.6], [1.0], believers(), "weights must sum to 1"),
        ([1.5, -0.5], [1.0], believers(), "non-empty vector >= 0"),
        ([], [1.0], FixedOrders(), "non-empty vector >= 0"),
        ([np.nan, 0.5], [1.0], FixedOrders(), "non-empty vector >= 0"),
    ],
)
def test_stakes_that_cannot_be_placed_are_refused(weights, liquidities, traders, message):
    with pytest.raises(InputError, match=message):
        shares_per_spread(np.array(weights), liquidities, traders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk_aversion": 0.0}, "risk_aversion must be > 0"),
        ({"risk_aversion": np.nan}, "risk_aversion must be > 0"),
        ({"confidence": -1.0}, "confidence must be > 0"),
        ({"confidence": np.inf}, "confidence must be > 0"),
        ({"order": (0, 0)}, "each trader's position once"),
        ({"order": (1, 2)}, "each trader's position once"),
        ({"order": ()}, "each trader's position once"),
    ],
)
def test_risk_averse_traders_outside_their_domain_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        believers(**change)


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


@law
@given(seeds, st.integers(2, 6))
def test_law_19_makers_of_one_prior_merge_too(seed, n_contracts):
    rng = np.random.default_rng(seed)
    liquidities, q = rng.uniform(0.05, 5, 3), rng.normal(size=n_contracts) * 3
    prior = rng.dirichlet(np.full(n_contracts, 2.0))
    split = pooling.holdings_of_makers(q, liquidities)

    apart = sum(lmsr.cost(x, b, prior=prior) for x, b in zip(split, liquidities, strict=True))
    assert apart == pytest.approx(lmsr.cost(q, liquidities.sum(), prior=prior), abs=1e-12)
    for held, liquidity in zip(split, liquidities, strict=True):  # each quotes the merged price
        np.testing.assert_allclose(
            lmsr.log_prices(held, liquidity, prior=prior),
            lmsr.log_prices(q, liquidities.sum(), prior=prior),
            atol=1e-11,
        )


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
    with pytest.raises(InputError, match="risk_aversion must be >= 0 and liquidity > 0"):
        pooling.risk_averse_move(NEAR, FAR, risk_aversion=1.0, liquidity=0.0)
    with pytest.raises(InputError, match="belief must have 3 elements"):
        pooling.risk_averse_move(NEAR, FAR[:2] / FAR[:2].sum(), risk_aversion=1.0, liquidity=1.0)
    with pytest.raises(InputError, match="liquidities must be > 0"):
        pooling.holdings_of_makers(NEAR, np.array([1.0, 0.0]))
