"""Contracts of a pool, chosen, settled and paid."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.market.standardisation import standardise_within_topics
from databourse.settlement.market import LEAST_CONTRACTS, SettlementRules, pay_contracts
from databourse.settlement.payoffs import PowerOfRank, TopShare, payoffs

TOPICS = np.repeat([0, 1, 2], [12, 8, 20])
VALUES = np.random.default_rng(3).normal(size=(40, 3))
UTILITIES = np.random.default_rng(4).normal(size=40)


def paid(utilities_of=UTILITIES.__getitem__, *, seed=0, **rules):
    return pay_contracts(
        VALUES,
        topic_index=TOPICS,
        utilities_of=utilities_of,
        rng=np.random.default_rng(seed),
        rules=SettlementRules(**{"n_contracts": 20, **rules}),
    )


def test_scores_are_those_that_the_whole_market_trades_on_not_the_sample():
    found = paid()
    whole = standardise_within_topics(VALUES, TOPICS).scores
    np.testing.assert_array_equal(found.scores, whole[found.sample.positions])
    own = standardise_within_topics(
        VALUES[found.sample.positions], TOPICS[found.sample.positions]
    ).scores
    assert np.abs(own - found.scores).max() > 0.1


@pytest.mark.parametrize("allocation", ["uniform", "stratified", "bandit"])
def test_payoffs_come_back_in_the_order_of_the_sample(allocation):
    found = paid(allocation=allocation, form=PowerOfRank(1.0))
    sample = found.sample
    expected = payoffs(
        UTILITIES[sample.positions],
        topic_index=TOPICS[sample.positions],
        weights=sample.weights,
        form=PowerOfRank(1.0),
    )
    np.testing.assert_allclose(found.payoffs(), expected, rtol=1e-12)


def test_rules_reach_the_payoffs():
    top = paid(form=TopShare(0.2)).payoffs()
    assert (top == 0).sum() > 10
    by_pool, by_topic = paid(ranked="pool").payoffs(), paid(ranked="topic").payoffs()
    assert np.abs(by_pool - by_topic).max() > 1e-3


def test_all_documents_are_settled_where_there_are_fewer_than_asked_for():
    assert paid(n_contracts=1_000).sample.positions.tolist() == list(range(40))


def test_what_the_oracle_cannot_judge_is_no_contract_and_is_counted():
    def oracle(positions):
        return np.where(positions % 2 == 0, UTILITIES[positions], np.nan)

    found = paid(oracle, n_contracts=40)
    assert found.sample.positions.tolist() == list(range(0, 40, 2))
    assert found.sample.unjudged == 20
    assert np.isfinite(found.payoffs()).all()
    assert found.payoffs().sum() == pytest.approx(1, abs=1e-12)


def test_written_utilities_are_settled_and_stand_for_their_topic():
    written = np.full(40, np.nan)
    written[[0, 1, 2, 12, 13, 20, 21, 22, 23, 24]] = np.arange(10.0)
    found = paid(written, n_contracts=40).sample
    assert found.positions.tolist() == [0, 1, 2, 12, 13, 20, 21, 22, 23, 24]
    assert found.utilities.tolist() == list(range(10))
    assert found.weights.tolist() == [4] * 3 + [4] * 2 + [4] * 5  # 12 / 3, 8 / 2, 20 / 5


def test_too_many_written_utilities_are_thinned_topic_by_topic():
    found = paid(UTILITIES, n_contracts=20).sample
    assert np.bincount(TOPICS[found.positions]).tolist() == [6, 4, 10]
    assert (found.utilities == UTILITIES[found.positions]).all()
    other = paid(UTILITIES, n_contracts=20, seed=1).sample
    assert found.positions.tolist() != other.positions.tolist()


def test_a_topic_without_a_written_utility_has_no_part_and_the_rest_no_gap():
    written = UTILITIES.copy()
    written[12:20] = np.nan
    found = paid(written, n_contracts=40)
    assert found.sample.settled_of_topic.tolist() == [12, 0, 20]
    assert found.sample.covered_share == pytest.approx(32 / 40)
    assert found.contracts.n_topics == 2


@pytest.mark.parametrize("judged", [LEAST_CONTRACTS - 1, 0], ids=["too few", "none"])
def test_too_few_judgements_are_refused(judged):
    def oracle(positions):
        return np.where(positions < judged, 1.0 * positions, np.nan)

    with pytest.raises(InputError, match=r"judged? (9|none) of 40"):
        paid(oracle, n_contracts=40)
    with pytest.raises(InputError, match=r"judged 9 of 40|at least one of 40"):
        paid(oracle(np.arange(40)), n_contracts=40)


def test_fewer_contracts_than_anything_can_be_learnt_from_are_refused():
    with pytest.raises(InputError, match="at least 10 contracts"):
        SettlementRules(n_contracts=9)
