"""Scores of prices by payoffs: proper, concave, and with the slope that the theory says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market.clearing import clear_market
from databourse.market.standardisation import standardise_within_topics
from databourse.settlement.contracts import settled_contracts
from databourse.settlement.payoffs import PowerOfRank, TopShare
from databourse.settlement.scoring import (
    best_order_flow,
    log_price_ratios,
    log_score,
    log_score_gradient,
    lone_log_scores,
    marginal_log_scores,
    quadratic_score,
)

law = settings(max_examples=30)
seeds = st.integers(0, 2**31)


def drawn(seed, n=30, n_traders=3, n_topics=3):
    rng = np.random.default_rng(seed)
    topics = np.append(np.arange(n_topics), rng.integers(0, n_topics, n - n_topics))
    return settled_contracts(
        rng.normal(size=(n, n_traders)),
        rng.normal(size=n),
        topic_index=topics,
        weights=rng.uniform(0.5, 3, n),
    )


def by_hand():
    """Two contracts of one topic; ranks 1/4 and 3/4, so they pay 1/4 and 3/4."""
    return settled_contracts(
        np.array([[-1.0, 1.0], [1.0, -1.0]]),
        np.array([0.0, 5.0]),
        topic_index=np.zeros(2, dtype=np.int64),
        form=PowerOfRank(1.0),
    )


def test_two_contracts_by_hand():
    # orders ln(3) / 2 on the first trader: prices 1/4 and 3/4, exactly the payoffs
    contracts = by_hand()
    orders = np.array([math.log(3) / 2, 0.0])
    np.testing.assert_allclose(
        contracts.base * np.exp(log_price_ratios(contracts, orders)), [0.25, 0.75], rtol=1e-12
    )
    best = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert log_score(contracts, orders) == pytest.approx(best, rel=1e-12)
    # 2 (u/a)(p/a) - (p/a)^2 = (p/a)^2 here: (0.25 + 2.25) / 2 - 1
    assert quadratic_score(contracts, orders) == pytest.approx(0.25, rel=1e-12)
    np.testing.assert_allclose(log_score_gradient(contracts, orders), [0, 0], atol=1e-15)
    np.testing.assert_allclose(log_score_gradient(contracts, np.zeros(2)), [0.5, -0.5], rtol=1e-12)


def test_lone_and_marginal_scores_by_hand():
    contracts = by_hand()
    flow = math.log(3) / 2
    best = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    worst = 0.75 * math.log(0.5) + 0.25 * math.log(1.5)  # the second trader has it backwards
    np.testing.assert_allclose(lone_log_scores(contracts, flow), [best, worst], rtol=1e-12)
    # both trade the same: prices are even; without the first only the second moves them
    np.testing.assert_allclose(
        marginal_log_scores(contracts, np.array([flow, flow])), [-worst, -best], rtol=1e-12
    )


@law
@given(seeds)
def test_no_trade_scores_nothing(seed):
    contracts = drawn(seed)
    nothing = np.zeros(3)
    assert log_score(contracts, nothing) == pytest.approx(0, abs=1e-14)
    assert quadratic_score(contracts, nothing) == pytest.approx(0, abs=1e-13)


@law
@given(seeds)
def test_a_trader_who_knows_the_payoffs_scores_best_by_both_rules(seed):
    rng = np.random.default_rng(seed)
    n, topics = 20, np.arange(20) % 3
    utilities, weights = rng.normal(size=n), rng.uniform(0.5, 3, n)
    blind = settled_contracts(np.zeros((n, 1)), utilities, topic_index=topics, weights=weights)
    truth = np.empty(n)
    truth[blind.origin] = np.log(blind.payoff / blind.base)
    scores = np.stack([truth, *rng.normal(size=(4, n))], axis=1)
    contracts = settled_contracts(scores, utilities, topic_index=topics, weights=weights)
    ideal = np.eye(5)[0]
    for _ in range(5):
        other = ideal + rng.normal(size=5) * 10 ** rng.uniform(-3, 1)
        assert log_score(contracts, other) <= log_score(contracts, ideal) + 1e-12
        assert quadratic_score(contracts, other) <= quadratic_score(contracts, ideal) + 1e-12
    divergence = (blind.payoff * np.log(blind.payoff / blind.base)).sum()
    assert log_score(contracts, ideal) == pytest.approx(divergence, rel=1e-9)


@law
@given(seeds)
def test_the_gradient_is_the_slope_of_the_score(seed):
    rng = np.random.default_rng(seed)
    contracts, orders, step = drawn(seed), rng.normal(size=3), 1e-5
    for trader in range(3):
        nudge = step * np.eye(3)[trader]
        slope = (log_score(contracts, orders + nudge) - log_score(contracts, orders - nudge)) / (
            2 * step
        )
        # central differences: an error of step^2 times the third derivative, below 100 here
        assert log_score_gradient(contracts, orders)[trader] == pytest.approx(slope, abs=1e-7)


@law
@given(seeds)
def test_the_log_score_is_concave_in_the_orders(seed):
    rng = np.random.default_rng(seed)
    contracts = drawn(seed)
    former, latter = rng.normal(size=(2, 3)) * 3
    middle = log_score(contracts, (former + latter) / 2)
    assert middle >= (log_score(contracts, former) + log_score(contracts, latter)) / 2 - 1e-12


@law
@given(seeds)
def test_the_sample_of_everything_has_the_prices_of_the_cleared_market(seed):
    rng = np.random.default_rng(seed)
    n = 25
    values, topics = rng.normal(size=(n, 2)) * [1, 50], np.arange(n) % 4
    weights = np.array([0.3, 0.7])
    cleared = clear_market(
        values=values,
        weights=weights,
        topic_index=topics,
        tokens=np.ones(n, dtype=np.int64),
        liquidity=0.8,
        topic_mass="proportional",
        length_bias=1.0,
    )
    contracts = settled_contracts(
        standardise_within_topics(values, topics).scores, rng.normal(size=n), topic_index=topics
    )
    prices = contracts.base * np.exp(log_price_ratios(contracts, weights / 0.8))
    np.testing.assert_allclose(prices, np.exp(cleared.log_price)[contracts.origin], rtol=1e-9)


def test_orders_of_any_size_do_not_overflow():
    contracts = drawn(3)
    score = log_score(contracts, np.array([1e6, 0.0, -1e6]))
    assert math.isfinite(score)
    assert score < 0


def test_keeping_some_contracts_scales_bases_and_payoffs_anew():
    contracts = settled_contracts(
        np.arange(5.0)[:, np.newaxis],
        np.array([1.0, 2.0, 3.0, 1.0, 2.0]),
        topic_index=np.array([4, 4, 4, 9, 9]),
        form=PowerOfRank(1.0),
    )
    kept = contracts.kept(np.array([True, False, True, False, True]))
    np.testing.assert_allclose(kept.base, [1 / 3] * 3, rtol=1e-12)
    # of the first topic, 1/9 and 5/9 were paid: 1 to 5; the second keeps one, which gets it all
    np.testing.assert_allclose(kept.payoff, [2 / 18, 10 / 18, 1 / 3], rtol=1e-12)
    np.testing.assert_array_equal(kept.origin, [0, 2, 4])
    np.testing.assert_array_equal(kept.topic_index, [0, 0, 1])


def test_a_topic_that_keeps_only_contracts_paid_nothing_is_paid_evenly():
    from databourse.settlement.payoffs import TopShare

    contracts = settled_contracts(
        np.arange(4.0)[:, np.newaxis],
        np.arange(4.0),
        topic_index=np.zeros(4, dtype=np.int64),
        form=TopShare(0.25),
    )
    kept = contracts.kept(np.array([True, True, False, False]))
    np.testing.assert_allclose(kept.payoff, [0.5, 0.5], rtol=1e-12)


def test_scores_and_orders_outside_their_domain_are_refused():
    contracts = drawn(0)
    with pytest.raises(InputError, match="one finite number for each of 3 traders"):
        log_score(contracts, np.zeros(2))
    with pytest.raises(InputError, match="finite"):
        log_score(contracts, np.array([0.0, np.nan, 0.0]))
    with pytest.raises(InputError, match="scores must be"):
        settled_contracts(np.zeros(3), np.zeros(3), topic_index=np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match="must be finite"):
        settled_contracts(
            np.full((3, 1), np.inf), np.zeros(3), topic_index=np.zeros(3, dtype=np.int64)
        )


@law
@given(seed=seeds)
def test_no_other_size_of_orders_scores_better_than_the_best(seed):
    contracts = drawn(seed, n=200)
    weights = np.random.default_rng(seed).dirichlet(np.ones(3))
    flow = best_order_flow(contracts, weights)
    best = log_score(contracts, flow * weights)
    for other in (0.0, flow / 2, flow * 0.99, flow * 1.01, flow * 2, 0.01, 1.0):
        assert log_score(contracts, other * weights) <= best + 1e-12


def test_the_best_size_of_orders_by_hand():
    # scores -1 and 1 pay 1/4 and 3/4: e^(2 flow) = 3
    contracts = settled_contracts(
        np.array([[-1.0], [1.0]]),
        np.array([0.0, 1.0]),
        topic_index=np.zeros(2, dtype=np.int64),
        form=PowerOfRank(1.0),
    )
    assert best_order_flow(contracts, np.ones(1)) == pytest.approx(math.log(3) / 2, abs=1e-9)


def test_weights_that_foresee_nothing_or_the_contrary_order_nothing():
    contracts = settled_contracts(
        np.array([[1.0, 0.0], [-1.0, 0.0]]),
        np.array([0.0, 1.0]),
        topic_index=np.zeros(2, dtype=np.int64),
    )
    assert best_order_flow(contracts, np.array([1.0, 0.0])) == 0
    assert best_order_flow(contracts, np.array([0.0, 1.0])) == 0


def test_orders_that_foresee_all_end_somewhere():
    contracts = settled_contracts(
        np.array([[-1.0], [1.0]]),
        np.array([0.0, 1.0]),
        topic_index=np.zeros(2, dtype=np.int64),
        form=TopShare(0.5),
    )
    flow = best_order_flow(contracts, np.ones(1))
    assert 15 < flow <= 1e6
    assert log_score(contracts, np.array([flow])) == pytest.approx(math.log(2), abs=1e-9)
