"""What contracts pay: by rank, within topics, and whatever traders think."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.settlement.payoffs import (
    PowerOfRank,
    SoftmaxOfScores,
    TopShare,
    base_of,
    payoffs,
    ranks,
)

law = settings(max_examples=30)
seeds = st.integers(0, 2**31)
FORMS = [PowerOfRank(1.0), PowerOfRank(0.5), TopShare(0.3), SoftmaxOfScores(1.0)]


def drawn(seed, n=40, n_topics=4):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_t(1.5, n),
        np.append(np.arange(n_topics), rng.integers(0, n_topics, n - n_topics)),
        rng.uniform(0.5, 4, n),
    )


def test_two_topics_by_hand():
    # ranks 1/6, 3/6, 5/6 in the first topic, 1/4 and 3/4 in the second; masses 3/5 and 2/5
    paid = payoffs(
        np.array([-5.0, 100.0, 0.0, 2.0, 1.0]),
        topic_index=np.array([0, 0, 0, 7, 7]),
        form=PowerOfRank(1.0),
    )
    np.testing.assert_allclose(
        paid, [0.6 * 1 / 9, 0.6 * 5 / 9, 0.6 * 3 / 9, 0.4 * 3 / 4, 0.4 * 1 / 4], rtol=1e-12
    )


def test_ranks_over_the_pool_by_hand_still_pay_every_topic_its_mass():
    # pool ranks .1 .9 .5 | .7 .3; normalised within topics of mass 3/5 and 2/5
    paid = payoffs(
        np.array([-5.0, 100.0, 0.0, 2.0, -1.0]),
        topic_index=np.array([0, 0, 0, 1, 1]),
        ranked="pool",
        form=PowerOfRank(1.0),
    )
    np.testing.assert_allclose(
        paid, [0.6 * 0.1 / 1.5, 0.6 * 0.9 / 1.5, 0.6 * 0.5 / 1.5, 0.4 * 0.7, 0.4 * 0.3], rtol=1e-12
    )


def test_weighted_ranks_by_hand():
    # weights 1, 2, 1 in order of utility: mid-points 1/8, 1/2, 7/8
    found = ranks(
        np.array([3.0, 1.0, 2.0]),
        groups=np.zeros(3, dtype=np.int64),
        weights=np.array([1.0, 1.0, 2.0]),
    )
    np.testing.assert_allclose(found, [7 / 8, 1 / 8, 1 / 2], rtol=1e-12)


def test_top_share_pays_the_top_alone_and_evenly():
    paid = payoffs(np.arange(10.0), topic_index=np.zeros(10, dtype=np.int64), form=TopShare(0.3))
    np.testing.assert_allclose(paid, [0] * 7 + [1 / 3] * 3, atol=1e-15)


def test_softmax_pays_e_to_the_normal_score():
    paid = payoffs(
        np.array([1.0, 2.0]), topic_index=np.zeros(2, dtype=np.int64), form=SoftmaxOfScores(2.0)
    )
    # the quartiles of a normal are at -+ 0.6744897501960817
    assert paid[1] / paid[0] == pytest.approx(np.exp(4 * 0.6744897501960817), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ranked", ["topic", "pool"])
@law
@given(seed=seeds)
def test_payoffs_are_a_distribution_that_gives_each_topic_its_mass(form, ranked, seed):
    utilities, topics, weights = drawn(seed)
    paid = payoffs(utilities, topic_index=topics, weights=weights, ranked=ranked, form=form)
    assert paid.min() >= 0
    np.testing.assert_allclose(
        np.bincount(topics, paid), np.bincount(topics, weights) / weights.sum(), rtol=1e-10
    )


@law
@given(seeds)
def test_a_rising_function_of_utilities_changes_no_payoff(seed):
    utilities, topics, weights = drawn(seed)
    squashed = np.arctan(utilities * 1e-3)
    np.testing.assert_array_equal(
        payoffs(utilities, topic_index=topics, weights=weights),
        payoffs(squashed, topic_index=topics, weights=weights),
    )


@law
@given(seeds)
def test_a_contract_of_weight_two_is_paid_as_two_contracts_of_weight_one(seed):
    utilities, topics, _ = drawn(seed, n=12, n_topics=2)
    weights = np.ones(12)
    weights[3] = 2.0
    twice = np.append(np.arange(12), 3)
    merged = payoffs(utilities, topic_index=topics, weights=weights)
    split = payoffs(utilities[twice], topic_index=topics[twice])
    assert merged[3] == pytest.approx(split[3] + split[12], rel=1e-12)
    np.testing.assert_allclose(np.delete(merged, 3), np.delete(split[:12], 3), rtol=1e-12)


@law
@given(seeds)
def test_ranks_agree_with_counting_who_is_below(seed):
    utilities, topics, weights = drawn(seed)
    utilities = np.round(utilities)  # ties
    found = ranks(utilities, groups=topics, weights=weights)
    for i in range(utilities.size):
        same = topics == topics[i]
        below = weights[same & (utilities < utilities[i])].sum()
        tied = weights[same & (utilities == utilities[i])].sum()
        assert found[i] == pytest.approx((below + tied / 2) / weights[same].sum(), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_equal_utilities_pay_the_base(form):
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    paid = payoffs(np.full(4, 7.0), topic_index=np.array([0, 0, 1, 1]), weights=weights, form=form)
    np.testing.assert_allclose(paid, weights / 10, rtol=1e-12)


def test_equal_utilities_are_paid_equally():
    paid = payoffs(np.array([1.0, 1.0, 0.0]), topic_index=np.zeros(3, dtype=np.int64))
    assert paid[0] == paid[1] > paid[2]


@pytest.mark.parametrize(
    ("utilities", "topics", "weights", "message"),
    [
        ([1.0, np.nan], [0, 0], None, "1 of 2 are not, the first at position 1"),
        ([1.0, 2.0], [0], None, "one length"),
        ([1.0, 2.0], [0, -1], None, "integers >= 0"),
        ([1.0, 2.0], [0, 0], [1.0, 0.0], "> 0 and finite"),
        ([1.0, 2.0], [0, 0], [1.0], "one number for each of 2"),
        ([], [], None, "at least 1"),
    ],
)
def test_what_cannot_be_paid_is_refused(utilities, topics, weights, message):
    with pytest.raises(InputError, match=message):
        payoffs(
            np.array(utilities),
            topic_index=np.array(topics, dtype=np.int64),
            weights=None if weights is None else np.array(weights),
        )


@pytest.mark.parametrize(
    "build",
    [lambda: PowerOfRank(-1.0), lambda: TopShare(0.0), lambda: SoftmaxOfScores(float("nan"))],
)
def test_forms_outside_their_domain_are_refused(build):
    with pytest.raises(InputError):
        build()


def test_the_base_does_not_overflow():
    np.testing.assert_allclose(base_of(np.array([1e308, 1e308]), n_contracts=2), [0.5, 0.5])
