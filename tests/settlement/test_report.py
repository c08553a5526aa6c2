"""A settlement's account of itself."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.market.standardisation import standardise_within_topics
from databourse.settlement.contracts import settled_contracts
from databourse.settlement.report import settle, settlement_folds
from databourse.settlement.scoring import log_score
from databourse.settlement.wealth import WealthTerms, settle_wealth


def drawn(seed, n=400, n_topics=10, strengths=(1.0, 0.5, 0.0)):
    rng = np.random.default_rng(seed)
    signals, topics = rng.normal(size=(n, len(strengths))), np.arange(n) % n_topics
    utilities = signals @ np.array(strengths) + rng.standard_t(2, n)
    scores = standardise_within_topics(signals, topics).scores
    return settled_contracts(scores, utilities, topic_index=topics)


def settled(contracts, wealth=(1 / 3, 1 / 3, 1 / 3), **settings):
    return settle(
        contracts,
        np.array(wealth),
        traders=("strong", "weak", "useless"),
        rng=np.random.default_rng(0),
        **settings,
    )


def test_the_market_that_has_settled_foresees_held_out_payoffs_better():
    report = settled(drawn(0), wealth=(0.1, 0.1, 0.8))
    assert report.log_score_before < 0 < report.log_score_after < report.best_log_score
    assert report.quadratic_score_before < report.quadratic_score_after
    assert report.wealth[0] > report.wealth[1] > report.wealth[2]
    assert report.n_contracts == 400
    assert report.rounds == 10
    assert report.regret <= report.regret_bound


def test_scores_of_single_traders_are_in_the_order_of_their_use():
    report = settled(drawn(1))
    assert report.lone_log_score[0] > report.lone_log_score[1] > report.lone_log_score[2]
    assert report.marginal_log_score[0] > report.marginal_log_score[1] > 0
    assert report.order_flow == pytest.approx(report.orders.sum())
    np.testing.assert_allclose(report.wealth, report.orders / report.order_flow, rtol=1e-9)


def test_held_out_scores_by_the_long_way():
    contracts, wealth = drawn(2, n=60, n_topics=4), np.array([0.2, 0.3, 0.5])
    terms = WealthTerms(fee=0.02)
    report = settled(contracts, wealth=wealth, terms=terms, n_folds=2)
    folds = settlement_folds(contracts, n_folds=2, rng=np.random.default_rng(0))
    before = after = 0.0
    for fold in (0, 1):
        held = folds == fold
        orders = settle_wealth(contracts.kept(~held), wealth, terms=terms).orders
        part, test = held.mean(), contracts.kept(held)
        before += part * log_score(test, wealth * orders.sum())
        after += part * log_score(test, orders)
    assert report.log_score_before == pytest.approx(before, rel=1e-9)
    assert report.log_score_after == pytest.approx(after, rel=1e-9)


def test_what_traders_do_not_know_scores_nothing():
    contracts = drawn(3, strengths=(0.0, 0.0, 0.0))
    report = settled(contracts)
    assert not report.has_earned
    assert report.order_flow == 0
    np.testing.assert_allclose(report.marginal_log_score, 0, atol=1e-15)


def test_folds_are_whole_topics_where_there_are_enough():
    contracts = drawn(0)
    folds = settlement_folds(contracts, n_folds=5, rng=np.random.default_rng(1))
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]
    for topic in range(10):
        assert np.unique(folds[contracts.topic_index == topic]).size == 1
    assert np.bincount(folds).tolist() == [80] * 5


def test_folds_are_contracts_where_topics_are_few():
    contracts = drawn(0, n=23, n_topics=2)
    folds = settlement_folds(contracts, n_folds=5, rng=np.random.default_rng(1))
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 5, 5, 5]


def test_names_and_folds_outside_their_domain_are_refused():
    contracts = drawn(0)
    with pytest.raises(InputError, match="3 distinct names"):
        settle(contracts, np.ones(3) / 3, traders=("a", "b"), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="3 distinct names"):
        settle(contracts, np.ones(3) / 3, traders=("a", "b", "b"), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"2 \.\. 400 folds"):
        settled(contracts, n_folds=401)
