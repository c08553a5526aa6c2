"""Weights by non-negative regression of ranks on scores."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.settlement.fitted import fitted_weights, non_negative_ridge

law = settings(max_examples=20)
seeds = st.integers(0, 2**31)


def drawn(seed, n=300, strengths=(1.0, 0.5, 0.0)):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, len(strengths)))
    return scores, scores @ np.array(strengths) + rng.normal(size=n), np.arange(n) % 3


def fitted(scores, utilities, topics, **settings_):
    given_ = {"resamples": 2, "rng": np.random.default_rng(0)}
    return fitted_weights(scores, utilities, topic_index=topics, **{**given_, **settings_})


def test_two_orthogonal_traders_by_hand():
    # ranks - 1/2 of utilities 0 1 2 3: -3/8 -1/8 1/8 3/8; beta = mean(z r) / (mean(z z) + rho)
    scores = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    rank = np.array([-3.0, -1, 1, 3]) / 8
    base = np.full(4, 0.25)
    np.testing.assert_allclose(
        non_negative_ridge(scores, rank, base=base, ridge=0.0), [0.25, 0.125], rtol=1e-12
    )
    np.testing.assert_allclose(
        non_negative_ridge(scores, rank, base=base, ridge=1.0), [0.125, 0.0625], rtol=1e-12
    )


@law
@given(seed=seeds, ridge=st.sampled_from([0.0, 0.1]))
def test_the_fit_is_the_best_of_all_sets_of_traders(seed, ridge):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(30, 4)) + rng.normal(size=(30, 1))
    rank, base = rng.normal(size=30), rng.dirichlet(np.ones(30) * 3)
    centred, wanted = scores - base @ scores, rank - base @ rank

    def loss(beta):
        return base @ (wanted - centred @ beta) ** 2 + ridge * beta @ beta

    losses = []
    for chosen in itertools.product([False, True], repeat=4):
        beta, columns = np.zeros(4), np.flatnonzero(chosen)
        gram = centred[:, columns].T @ (base[:, np.newaxis] * centred[:, columns])
        gram += ridge * np.eye(columns.size)
        beta[columns] = np.linalg.solve(gram, centred[:, columns].T @ (base * wanted))
        if (beta >= 0).all():
            losses.append(loss(beta))
    found = non_negative_ridge(scores, rank, base=base, ridge=ridge)
    assert found.min() >= 0
    assert loss(found) == pytest.approx(min(losses), rel=1e-9)


def test_weights_are_as_the_traders_parts_in_utility():
    result = fitted(*drawn(0, n=4000))
    # 1 to 0.5, within two standard errors of a slope at 4,000 contracts
    np.testing.assert_allclose(result.weights, [2 / 3, 1 / 3, 0], atol=0.03)
    assert result.weights.sum() == pytest.approx(1)


def test_a_trader_who_has_it_backwards_gets_nothing():
    scores, utilities, topics = drawn(1)
    assert fitted(scores * [1, -1, 1], utilities, topics).weights[1] == 0


def test_explained_variance_is_that_of_documents_not_fitted():
    scores, utilities, topics = drawn(2, n=2000)
    # signal variance 1.25 of 2.25: a correlation whose square is 0.556, a little less in ranks
    assert fitted(scores, utilities, topics).explained == pytest.approx(0.53, abs=0.05)
    rng = np.random.default_rng(5)
    few = rng.normal(size=(40, 12))
    useless = fitted(few, rng.normal(size=40), np.zeros(40, dtype=np.int64), ridges=(0.0,))
    assert useless.explained < 0  # fitted to noise, it foretells worse than the mean


def test_more_noise_asks_for_more_ridge():
    scores, utilities, topics = drawn(3, n=2000)
    rng = np.random.default_rng(1)
    noisy = utilities + 20 * rng.normal(size=2000)
    sure = fitted(scores, utilities, topics).ridge
    unsure = fitted(scores[:60], noisy[:60], topics[:60]).ridge
    assert sure < unsure


def test_the_bootstrap_spread_is_that_of_new_samples():
    weights = np.array([fitted(*drawn(seed), ridges=(0.0,)).weights for seed in range(60)])
    spread = fitted(*drawn(99), ridges=(0.0,), resamples=200).spread
    # a standard deviation over 60 samples is known within a fifth (two of its standard errors)
    np.testing.assert_allclose(spread[:2], weights.std(axis=0)[:2], rtol=0.4)


@law
@given(seeds)
def test_a_weight_of_two_is_two_contracts(seed):
    rng = np.random.default_rng(seed)
    scores, rank = rng.normal(size=(20, 3)), rng.normal(size=20)
    base = np.ones(20)
    base[4] = 2
    twice = np.append(np.arange(20), 4)
    np.testing.assert_allclose(
        non_negative_ridge(scores, rank, base=base / 21, ridge=0.1),
        non_negative_ridge(scores[twice], rank[twice], base=np.full(21, 1 / 21), ridge=0.1),
        atol=1e-12,
    )


def test_one_trader_gets_all():
    scores, utilities, topics = drawn(0)
    np.testing.assert_array_equal(fitted(scores[:, :1], utilities, topics).weights, [1.0])


def test_ranks_over_the_pool_see_what_lies_between_topics():
    topics = np.repeat([0, 1], 100)
    rng = np.random.default_rng(0)
    level = np.where(topics == 1, 1.0, -1.0)[:, np.newaxis]
    scores = np.column_stack([level[:, 0], rng.normal(size=200)])
    utilities = 10 * level[:, 0] + scores[:, 1]
    # within topics the first trader is constant, over the pool it decides
    assert fitted(scores, utilities, topics, ranked="topic").weights[0] < 0.1
    assert fitted(scores, utilities, topics, ranked="pool").weights[0] > 0.6


def test_where_no_signal_rises_with_utility_there_are_no_weights():
    scores, utilities, topics = drawn(0, strengths=(1.0,))
    with pytest.raises(InputError, match="no trader's signal rises"):
        fitted(-scores, utilities, topics)
    with pytest.raises(InputError, match="no trader's signal rises"):
        fitted(scores, np.zeros(300), topics)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"n_folds": 1}, "2 .. 300 folds"),
        ({"n_folds": 301}, "2 .. 300 folds"),
        ({"ridges": ()}, "at least one number"),
        ({"ridges": (-1.0,)}, "at least one number"),
        ({"resamples": 1}, "at least 2 resamples"),
    ],
)
def test_settings_outside_their_domain_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        fitted(*drawn(0), **settings_)


def test_scores_that_are_not_finite_are_refused():
    scores, utilities, topics = drawn(0)
    scores[3, 1] = np.nan
    with pytest.raises(InputError, match="scores must be finite"):
        fitted(scores, utilities, topics)
