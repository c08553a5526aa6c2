"""Which contracts are settled, and that what is oversampled does not tip an estimate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.settlement.sampling import bandit_index, proportional_counts, settle_sample

law = settings(max_examples=25)
seeds = st.integers(0, 2**31)
METHODS = ["uniform", "stratified", "bandit"]


def pool(seed, n=300, n_topics=6):
    rng = np.random.default_rng(seed)
    topics = np.append(np.arange(n_topics), rng.integers(0, n_topics, n - n_topics) ** 2 % n_topics)
    topics = np.unique(topics, return_inverse=True)[1].astype(np.int64)
    return topics, rng.normal(size=n) * np.where(topics == 0, 5.0, 0.3) + topics


@pytest.mark.parametrize("method", METHODS)
@law
@given(seed=seeds, n_contracts=st.integers(1, 300))
def test_so_many_distinct_documents_are_settled_and_each_once(method, seed, n_contracts):
    topics, utilities = pool(seed)
    asked = []

    def oracle(positions):
        asked.extend(positions.tolist())
        return utilities[positions]

    sample = settle_sample(
        topics,
        oracle,
        n_contracts=n_contracts,
        allocation=method,
        rng=np.random.default_rng(seed),
    )
    assert sample.positions.size == n_contracts
    assert sorted(asked) == sample.positions.tolist()
    assert (np.diff(sample.positions) > 0).all()
    np.testing.assert_array_equal(sample.utilities, utilities[sample.positions])
    np.testing.assert_allclose(sample.weights * sample.inclusion, 1, rtol=1e-12)


@pytest.mark.parametrize("method", ["stratified", "bandit"])
@law
@given(seed=seeds, n_contracts=st.integers(30, 300))
def test_weights_add_up_to_each_topic(method, seed, n_contracts):
    topics, utilities = pool(seed)
    sample = settle_sample(
        topics,
        lambda positions: utilities[positions],
        n_contracts=n_contracts,
        allocation=method,
        rng=np.random.default_rng(seed),
    )
    sizes = np.bincount(topics)
    covered = sample.settled_of_topic > 0
    found = np.bincount(topics[sample.positions], sample.weights, minlength=sizes.size)
    np.testing.assert_allclose(found[covered], sizes[covered], rtol=1e-12)
    assert sample.covered_share == pytest.approx(sizes[covered].sum() / 300)


@pytest.mark.parametrize("method", METHODS)
def test_weighted_means_estimate_the_pool_although_one_topic_is_oversampled(method):
    topics, utilities = pool(11)
    estimates, plain = [], []
    for seed in range(200):
        sample = settle_sample(
            topics,
            lambda positions: utilities[positions],
            n_contracts=60,
            allocation=method,
            rng=np.random.default_rng(seed),
            batch=10,
        )
        estimates.append((sample.weights * sample.utilities).sum() / sample.weights.sum())
        plain.append(sample.utilities.mean())
    # four standard errors of the mean over 200 samples
    slack = 4 * np.std(estimates) / np.sqrt(200)
    assert np.mean(estimates) == pytest.approx(utilities.mean(), abs=slack)
    if method == "bandit":  # without the weights the estimate is off
        assert abs(np.mean(plain) - utilities.mean()) > slack


def test_the_bandit_estimates_a_mean_better_than_the_controls_where_topics_differ_in_spread():
    rng = np.random.default_rng(2)
    topics = np.arange(1000) % 5
    utilities = np.where(topics == 0, rng.normal(size=1000), 1e-3 * rng.normal(size=1000))
    errors = {}
    for method in METHODS:
        errors[method] = []
        for seed in range(150):
            sample = settle_sample(
                topics,
                lambda positions: utilities[positions],
                n_contracts=100,
                allocation=method,
                rng=np.random.default_rng(seed),
                batch=10,
            )
            estimate = (sample.weights * sample.utilities).sum() / sample.weights.sum()
            errors[method].append((estimate - utilities.mean()) ** 2)
    # 0.67 here; over 150 samples the ratio is known within a sixth
    assert np.mean(errors["bandit"]) < 0.85 * np.mean(errors["stratified"])
    assert np.mean(errors["bandit"]) < np.mean(errors["uniform"])


def test_the_bandit_sees_every_topic_twice_before_any_thrice():
    topics = np.repeat(np.arange(10), 20)
    utilities = np.where(topics == 3, 100.0, 0.0) * np.arange(200)
    sample = settle_sample(
        topics,
        lambda positions: utilities[positions],
        n_contracts=20,
        allocation="bandit",
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(sample.settled_of_topic, np.full(10, 2))
    assert sample.covered_share == 1


def test_the_index_by_hand():
    index = bandit_index(
        np.array([50, 30, 20, 5]),
        np.array([4, 9, 1, 5]),
        np.array([0.2, 0.1, 0.9, 0.9]),
        overall=0.3,
        alpha=2.0,
    )
    total = 105
    assert index[0] == pytest.approx(50 / total * (0.2 + 2 * 0.3 / 2) / 4, rel=1e-12)
    assert index[1] == pytest.approx(30 / total * (0.1 + 2 * 0.3 / 3) / 9, rel=1e-12)
    assert index[2] > 1  # known by one document: before the others
    assert index[3] == -np.inf  # settled whole


@law
@given(seeds, st.integers(0, 100))
def test_counts_are_the_due_of_each_topic_rounded(seed, n_contracts):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, 8)
    n_contracts = min(n_contracts, int(sizes.sum()))
    counts = proportional_counts(sizes, n_contracts, rng=rng)
    due = n_contracts * sizes / sizes.sum()
    assert counts.sum() == n_contracts
    assert (np.abs(counts - due) < 1 + 1e-9).all()
    assert (counts <= sizes).all()


def test_counts_have_the_due_as_their_mean():
    sizes = np.array([1, 2, 3, 5])
    rng = np.random.default_rng(4)
    mean = np.mean([proportional_counts(sizes, 4, rng=rng) for _ in range(4000)], axis=0)
    # four standard errors of a count of 0 or 1 more, at most 1/2 each
    np.testing.assert_allclose(mean, 4 * sizes / 11, atol=4 * 0.5 / np.sqrt(4000))


def test_a_small_sample_says_what_it_does_not_cover():
    topics = np.repeat(np.arange(4), [70, 20, 5, 5])
    sample = settle_sample(
        topics,
        lambda positions: positions.astype(float),
        n_contracts=4,
        allocation="bandit",
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(sample.settled_of_topic, [2, 2, 0, 0])
    assert sample.covered_share == pytest.approx(0.9)


def test_the_same_seed_settles_the_same():
    topics, utilities = pool(5)
    found = [
        settle_sample(
            topics,
            lambda positions: utilities[positions],
            n_contracts=80,
            allocation="bandit",
            rng=np.random.default_rng(8),
        ).positions
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"n_contracts": 0}, "between 1 and 300"),
        ({"n_contracts": 301}, "between 1 and 300"),
        ({"allocation": "greedy"}, "uniform, stratified or bandit"),
        ({"batch": 0}, "batch must be >= 1"),
        ({"alpha": float("nan")}, "alpha >= 0"),
    ],
)
def test_settings_outside_their_domain_are_refused(settings_, message):
    topics, utilities = pool(0)
    given_ = {"n_contracts": 5, "allocation": "uniform", "rng": np.random.default_rng(0)}
    with pytest.raises(InputError, match=message):
        settle_sample(topics, lambda positions: utilities[positions], **{**given_, **settings_})


def test_an_oracle_that_cannot_judge_is_refused():
    topics, _ = pool(0)
    for answer, message in ((np.nan, "judge none of 5"), (np.inf, "one utility for each of 5")):
        with pytest.raises(InputError, match=message):
            settle_sample(
                topics,
                lambda positions, answer=answer: np.full(positions.size, answer),
                n_contracts=5,
                allocation="uniform",
                rng=np.random.default_rng(0),
            )
