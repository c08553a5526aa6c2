"""Wealth that is earned: regret, optimum, useless and opposite traders."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from databourse.errors import InputError
from databourse.market.standardisation import standardise_within_topics
from databourse.settlement.contracts import settled_contracts
from databourse.settlement.payoffs import PowerOfRank
from databourse.settlement.scoring import log_score, log_score_gradient
from databourse.settlement.wealth import (
    WealthTerms,
    best_rate,
    decayed,
    exponentiated_step,
    fee_of_luck,
    play_topics,
    regret_bound,
    settle_wealth,
)

law = settings(max_examples=20)
seeds = st.integers(0, 2**31)
PLAIN = WealthTerms(fee=0.0, memory=0.0, decay=0.0)
PURE = WealthTerms(memory=0.0, decay=0.0)


def even(n_traders):
    return np.full(n_traders, 1 / n_traders)


def contracts_of(scores, utilities, topics):
    standardised = standardise_within_topics(scores, topics).scores
    return settled_contracts(standardised, utilities, topic_index=topics)


def drawn(seed, *, n=200, n_topics=5, strengths=(1.0, 0.6, 0.0)):
    """Return raw signals, utilities and topics; signal k has that part in the utility."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n, len(strengths)))
    utilities = signals @ np.array(strengths) + rng.standard_t(2, n)
    return signals, utilities, np.arange(n) % n_topics


def opposite(seed):
    """Return contracts whose third and fourth trader want exactly opposite things, in vain."""
    signals, utilities, topics = drawn(seed, n=600, strengths=(1.0, 0.6, 0.0))
    return contracts_of(np.column_stack([signals, -signals[:, 2]]), utilities, topics)


# --- one step, rates and bounds -------------------------------------------------------------


def test_a_step_by_hand():
    stepped = exponentiated_step(
        np.array([0.5, 0.25, 0.25]), np.array([0.0, math.log(2), 2 * math.log(2)]), rate=1.0
    )
    np.testing.assert_allclose(stepped, [1 / 4, 1 / 4, 1 / 2], rtol=1e-12)


def test_a_step_of_any_size_stays_on_the_simplex():
    stepped = exponentiated_step(np.array([0.5, 0.5, 0.0]), np.array([1e6, -1e6, 1e6]), rate=10.0)
    np.testing.assert_array_equal(stepped, [1, 0, 0])


def test_the_bound_by_hand():
    # ln 4 / 0.1 + 0.1 * 50 * 4 / 2
    bound = regret_bound(even(4), half_ranges=np.full(50, 2.0), rate=0.1)
    assert bound == pytest.approx(10 * math.log(4) + 10, rel=1e-12)
    # at the best rate both parts are equal: G sqrt(2 T ln K)
    rate = best_rate(4, rounds=50, half_range=2.0)
    assert regret_bound(even(4), half_ranges=np.full(50, 2.0), rate=rate) == pytest.approx(
        2 * math.sqrt(2 * 50 * math.log(4)), rel=1e-12
    )


def adversary(kind, seed, n_rounds=120, n_stakes=5):
    """Yield functions from stakes to slopes in [-1, 1]."""
    rng = np.random.default_rng(seed)
    for number in range(n_rounds):
        if kind == "random signs":
            slopes = rng.choice([-1.0, 1.0], n_stakes)
            yield lambda _, slopes=slopes: slopes
        elif kind == "turncoat":  # the best of the first half is the worst of the second
            slopes = np.linspace(-1, 1, n_stakes) * (1 if number < n_rounds / 2 else -1)
            yield lambda _, slopes=slopes: slopes
        else:  # against whoever is richest, for whoever is poorest
            yield (
                lambda stakes: (
                    -1.0 * (stakes == stakes.max())
                    + 1.0 * (np.arange(stakes.size) == stakes.argmin())
                )
            )


@pytest.mark.parametrize("kind", ["random signs", "turncoat", "spite"])
@law
@given(seed=seeds, rate=st.floats(0.01, 3.0))
def test_no_adversary_makes_the_regret_larger_than_the_bound(kind, seed, rate):
    stakes, own, total, half_ranges = even(5), 0.0, np.zeros(5), []
    for slopes_against in adversary(kind, seed):
        slopes = slopes_against(stakes)
        own += slopes @ stakes
        total += slopes
        half_ranges.append((slopes.max() - slopes.min()) / 2)
        stakes = exponentiated_step(stakes, slopes, rate=rate)
    bound = regret_bound(even(5), half_ranges=np.array(half_ranges), rate=rate)
    assert total.max() - own <= bound + 1e-9


def test_the_bound_is_no_larger_than_need_be():
    # two traders, one always right: at the best rate the regret is above a fifth of the bound
    rate = best_rate(2, rounds=100, half_range=1.0)
    stakes, own = even(2), 0.0
    for _ in range(100):
        own += stakes @ np.array([1.0, -1.0])
        stakes = exponentiated_step(stakes, np.array([1.0, -1.0]), rate=rate)
    bound = regret_bound(even(2), half_ranges=np.ones(100), rate=rate)
    assert 0.2 * bound < 100 - own < bound


@law
@given(seed=seeds, n_rounds=st.integers(1, 30), rate=st.sampled_from([None, 0.01, 1.0]))
def test_the_regret_of_play_is_below_its_bound(seed, n_rounds, rate):
    signals, utilities, topics = drawn(seed)
    order = np.random.default_rng(seed).integers(0, 5, n_rounds)
    play = play_topics(
        contracts_of(signals, utilities, topics), even(3), order=order, terms=PURE, rate=rate
    )
    assert play.regret <= play.bound
    assert play.rounds == n_rounds
    assert play.stakes.sum() == pytest.approx(1)
    assert play.stakes.min() >= 0


def test_regret_over_rounds_vanishes_as_play_goes_on():
    contracts = contracts_of(*drawn(7))
    regrets = [
        play_topics(contracts, even(3), order=np.arange(rounds) % 5, terms=PURE).regret / rounds
        for rounds in (5, 50, 500)
    ]
    assert regrets[2] < 0.5 * regrets[0]
    assert regrets[2] < 0.6 * regrets[1]


def test_play_gains_what_its_stakes_scored_round_by_round():
    contracts = contracts_of(*drawn(3, n=60, n_topics=3))
    terms = WealthTerms(fee=0.01, liquidity=0.5)
    play = play_topics(contracts, even(3), order=np.array([2, 0]), terms=terms, rate=0.5)
    stakes, own = np.append(even(3) / 2, 0.5), 0.0
    for topic in (2, 0):
        part = contracts.kept(contracts.topic_index == topic)
        orders = stakes[:3] / 0.5
        own += log_score(part, orders) - 0.01 * orders.sum()  # 3 topics of a third each
        slopes = np.append((log_score_gradient(part, orders) - 0.01) / 0.5, 0.0)
        stakes = stakes * np.exp(0.5 * slopes)
        stakes /= stakes.sum()
    assert play.gain == pytest.approx(own, rel=1e-9)
    np.testing.assert_allclose(play.stakes, stakes, rtol=1e-9)


# --- the optimum ----------------------------------------------------------------------------


@law
@given(seeds)
def test_without_fee_and_memory_the_moments_of_rich_traders_match(seed):
    contracts = contracts_of(*drawn(seed))
    settled = settle_wealth(contracts, even(3), terms=PLAIN)
    slopes = log_score_gradient(contracts, settled.orders)
    assert settled.gap <= PLAIN.tolerance
    rich = settled.wealth > 0.01
    # a gap of 1e-8 nats leaves slopes of about its root
    np.testing.assert_allclose(slopes[rich], 0, atol=1e-3)
    assert (slopes < 1e-3).all()
    assert rich[0]


@law
@given(seeds)
def test_with_a_fee_the_slopes_of_rich_traders_are_the_fee(seed):
    contracts = contracts_of(*drawn(seed))
    settled = settle_wealth(contracts, even(3), terms=PURE)
    slopes = log_score_gradient(contracts, settled.orders)
    np.testing.assert_allclose(slopes[settled.wealth > 0.01], settled.fee, atol=1e-3)
    assert (slopes < settled.fee + 1e-3).all()


@law
@given(seed=seeds, fee=st.sampled_from([0.0, 0.03]), memory=st.sampled_from([0.0, 20.0]))
def test_the_passes_end_where_a_general_optimiser_does(seed, fee, memory):
    contracts = contracts_of(*drawn(seed))
    terms = WealthTerms(fee=fee, memory=memory, decay=0.0, cash=0.3)
    before = np.array([0.2, 0.3, 0.5])
    settled = settle_wealth(contracts, before, terms=terms)
    start = np.append(0.7 * before, 0.3)

    def loss(logits):
        stakes = np.exp(logits - logits.max())
        stakes /= stakes.sum()
        orders = stakes[:3] / terms.liquidity
        divergence = (stakes * np.log(np.maximum(stakes, 1e-300) / start)).sum()
        pull = memory / contracts.effective_contracts
        return -log_score(contracts, orders) + fee * orders.sum() + pull * divergence

    best = minimize(loss, np.log(start), method="BFGS").fun
    assert settled.gap <= terms.tolerance
    stakes = np.append(settled.orders * terms.liquidity, 0)
    stakes[3] = 1 - stakes.sum()
    assert loss(np.log(np.maximum(stakes, 1e-300))) <= best + 1e-7


@law
@given(seeds)
def test_the_scale_of_signals_and_the_order_of_documents_change_no_wealth(seed):
    signals, utilities, topics = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(utilities))
    former = settle_wealth(contracts_of(signals, utilities, topics), even(3)).wealth
    latter = settle_wealth(
        contracts_of((signals * [1e-6, 1, 1e6] + 3)[order], utilities[order], topics[order]),
        even(3),
    ).wealth
    np.testing.assert_allclose(former, latter, atol=1e-5)


def test_equal_traders_earn_the_same():
    signals, utilities, topics = drawn(1)
    twice = contracts_of(signals[:, [0, 0, 1]], utilities, topics)
    wealth = settle_wealth(twice, even(3)).wealth
    assert wealth[0] == pytest.approx(wealth[1], rel=1e-9)
    assert wealth[0] > 0.1


# --- who loses ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_useless_trader_among_good_ones_is_ruined_by_a_thousand_contracts(seed):
    strengths = (0.6, 0.5, 0.4, 0.4, 0.3, 0.0)
    signals, utilities, topics = drawn(seed, n=1000, n_topics=50, strengths=strengths)
    wealth = settle_wealth(contracts_of(signals, utilities, topics), even(6)).wealth
    assert wealth[5] < 0.1 / 6
    assert wealth[:5].min() > 0.01


def test_who_has_it_backwards_is_ruined_too():
    signals, utilities, topics = drawn(2, n=1000)
    wealth = settle_wealth(contracts_of(signals * [1, -1, 1], utilities, topics), even(3)).wealth
    assert wealth[1] < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_opposite_useless_traders_do_not_both_hold_wealth(seed):
    wealth = settle_wealth(opposite(seed), even(4)).wealth
    assert min(wealth[2], wealth[3]) < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_of_two_opposite_traders_the_one_that_is_wrong_is_ruined(seed):
    signals, utilities, topics = drawn(seed, n=600)
    contracts = contracts_of(np.column_stack([signals, -signals[:, 0]]), utilities, topics)
    rich_in_error = np.array([0.02, 0.02, 0.02, 0.94])
    wealth = settle_wealth(contracts, rich_in_error).wealth
    assert wealth[3] < 1e-3
    assert wealth[0] > 0.4


def test_without_a_fee_opposite_traders_could_both_stay_rich():
    # the fee is what does it: prices do not see a pair that cancels
    wealth = settle_wealth(opposite(1), even(4), terms=PLAIN).wealth
    assert min(wealth[2], wealth[3]) > 1e-3


def test_nobody_earns_where_no_trader_knows_anything():
    rng = np.random.default_rng(12)
    signals, utilities, topics = rng.normal(size=(500, 3)), rng.normal(size=500), np.arange(500) % 5
    before = np.array([0.7, 0.2, 0.1])
    settled = settle_wealth(contracts_of(signals, utilities, topics), before)
    assert not settled.has_earned
    np.testing.assert_array_equal(settled.orders, 0)
    # a tenth of the way to a third each
    np.testing.assert_allclose(settled.wealth, 0.9 * before + 0.1 / 3, rtol=1e-12)


def test_the_fee_by_hand_and_luck_stays_below_it():
    # ranks 1/4 and 3/4 pay 1/2 and 3/2 of the base: sd 1/2; two contracts, one trader
    pair = settled_contracts(
        np.array([[0.0], [1.0]]),
        np.array([0.0, 1.0]),
        topic_index=np.zeros(2, dtype=np.int64),
        form=PowerOfRank(1.0),
    )
    assert fee_of_luck(pair) == pytest.approx(0.5 * math.sqrt(2 * math.log(2) / 2), rel=1e-12)
    rng = np.random.default_rng(0)
    beaten = []
    for _ in range(200):
        contracts = contracts_of(
            rng.normal(size=(300, 8)), rng.normal(size=300), np.arange(300) % 10
        )
        best = log_score_gradient(contracts, np.zeros(8)).max()
        beaten.append(best > fee_of_luck(contracts))
    assert np.mean(beaten) < 0.25


# --- ties, edges and memory -----------------------------------------------------------------


def test_equal_utilities_leave_wealth_as_it_was():
    signals, _, topics = drawn(0)
    before = np.array([0.6, 0.4, 0.0])
    settled = settle_wealth(contracts_of(signals, np.zeros(200), topics), before)
    np.testing.assert_array_equal(settled.wealth, before)
    assert not settled.has_earned


def test_one_trader_has_all():
    signals, utilities, topics = drawn(0)
    settled = settle_wealth(contracts_of(signals[:, :1], utilities, topics), np.ones(1))
    np.testing.assert_array_equal(settled.wealth, [1.0])
    assert settled.orders[0] > 0


def test_ties_in_utility_settle_like_any_other():
    signals, utilities, topics = drawn(4)
    wealth = settle_wealth(contracts_of(signals, np.sign(utilities), topics), even(3)).wealth
    assert wealth[0] > wealth[1] > wealth[2]
    assert wealth.sum() == pytest.approx(1)


def test_decay_by_hand():
    np.testing.assert_allclose(decayed(np.array([1.0, 0.0]), 0.1), [0.95, 0.05], rtol=1e-12)


def test_wealth_that_nothing_confirms_decays_at_the_stated_rate():
    signals, _, topics = drawn(0)
    rng = np.random.default_rng(3)
    wealth = np.array([1.0, 0.0, 0.0])
    for _ in range(4):
        contracts = contracts_of(signals, rng.normal(size=200), topics)
        wealth = settle_wealth(contracts, wealth, terms=WealthTerms(fee=10.0, decay=0.25)).wealth
    np.testing.assert_allclose(wealth[0] - wealth[1], 0.75**4, rtol=1e-12)


def test_the_ruined_come_back_by_decay_and_only_by_it():
    contracts = contracts_of(*drawn(5, n=600))
    ruined = np.array([0.0, 0.5, 0.5])
    assert settle_wealth(contracts, ruined).wealth[0] > 0.3
    assert settle_wealth(contracts, ruined, terms=WealthTerms(decay=0.0)).wealth[0] == 0


def test_the_longer_the_memory_the_nearer_to_the_wealth_before():
    contracts = contracts_of(*drawn(5))
    before = np.array([0.1, 0.1, 0.8])
    distances = [
        np.abs(
            settle_wealth(contracts, before, terms=WealthTerms(memory=memory, decay=0.0)).wealth
            - before
        ).sum()
        for memory in (0.0, 30.0, 300.0, 1e6)
    ]
    assert distances[0] > distances[1] > distances[2] > distances[3]
    assert distances[3] < 0.01


def test_few_contracts_move_wealth_less_than_many():
    few = settle_wealth(
        contracts_of(*drawn(5, n=40)), even(3), terms=WealthTerms(fee=0.0, memory=10.0)
    )
    many = settle_wealth(
        contracts_of(*drawn(5, n=2000)), even(3), terms=WealthTerms(fee=0.0, memory=10.0)
    )
    assert few.wealth[2] > 5 * many.wealth[2]


@pytest.mark.parametrize(
    ("wealth", "message"),
    [
        ([0.5, 0.5], "each of 3 traders"),
        ([0.5, 0.6, -0.1], ">= 0 and finite"),
        ([0.5, 0.5, 0.5], "sum to 1"),
    ],
)
def test_wealth_outside_its_domain_is_refused(wealth, message):
    with pytest.raises(InputError, match=message):
        settle_wealth(contracts_of(*drawn(0)), np.array(wealth))


@pytest.mark.parametrize(
    "terms",
    [
        {"fee": -0.1},
        {"memory": float("inf")},
        {"liquidity": 0.0},
        {"decay": 1.1},
        {"cash": 1.0},
        {"tolerance": 0.0},
        {"most_passes": 0},
    ],
)
def test_terms_outside_their_domain_are_refused(terms):
    with pytest.raises(InputError):
        WealthTerms(**terms)


def test_steps_rates_and_rounds_outside_their_domain_are_refused():
    contracts = contracts_of(*drawn(0))
    with pytest.raises(InputError, match="a rate > 0"):
        exponentiated_step(even(2), np.zeros(2), rate=0.0)
    with pytest.raises(InputError, match="stakes must be"):
        exponentiated_step(np.array([-0.1, 1.1]), np.zeros(2), rate=1.0)
    with pytest.raises(InputError, match="at least 2 stakes"):
        best_rate(1, rounds=1, half_range=1.0)
    with pytest.raises(InputError, match=r"topics 0 \.\. 4"):
        play_topics(contracts, even(3), order=np.array([5]))
    with pytest.raises(InputError, match="wealth to begin with"):
        play_topics(contracts, np.array([1.0, 0.0, 0.0]), order=np.array([0]))
    with pytest.raises(InputError, match="rate of decay"):
        decayed(even(2), 2.0)
