import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import chi2

from databourse.errors import InputError
from databourse.importance.dsir import (
    PUBLISHED,
    SMOOTHED,
    ImportanceSettings,
    gumbel_order,
    log_importance,
    log_ratios,
    pool_importance,
)
from databourse.importance.ngrams import PUBLISHED_HASHING, NgramHashing, ngram_counts


def counts(rows):
    return csr_array(np.array(rows, dtype=np.int32))


def importance(texts, targets, *, per="document", settings=PUBLISHED, batch=1000):
    return pool_importance(
        lambda: (texts[i : i + batch] for i in range(0, len(texts), batch)),
        targets,
        n_documents=len(texts),
        per=per,
        settings=settings,
    )


@pytest.mark.parametrize("per", ["document", "ngram"])
def test_log_weights_are_those_computed_by_hand(per):
    pool = counts([[3, 1, 0], [0, 2, 2], [0, 0, 0]])  # n = 3, 3, 2: q = 3/8, 3/8, 1/4
    targets = counts([[1, 1, 0], [2, 0, 0]])  # c = 3, 1, 0: p = 3/4, 1/4, 0
    found = log_importance(pool, targets, per=per, pseudo_count=0, prior="pool")
    twice, thirds, unseen = math.log(2), math.log(2 / 3), math.log(1e-8) - math.log(0.25)
    parts = {"document": (1, 1), "ngram": (4, 4)}[per]
    expected = [(3 * twice + thirds) / parts[0], (2 * thirds + 2 * unseen) / parts[1], 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # the offset of 1e-8


def test_weights_are_those_of_the_published_library():
    # by HashedNgramDSIR of data-selection 1.0.3, fitted to all
    pool = [
        "the cat sat on the mat",
        "stocks fell as rates rose",
        "the dog sat",
        "rates rose; the market fell!",
    ]
    found = importance(pool, ["rates rose as the market fell", "stocks and rates"])
    expected = [-134.78359538585977, -41.23874244943779, -60.34682370609693, -70.46123201903623]
    np.testing.assert_allclose(found.log_weights, expected, rtol=1e-12)
    assert found.tokens.tolist() == [6, 5, 3, 7]
    assert found.ngrams.tolist() == [11, 9, 5, 13]
    assert PUBLISHED.hashing == PUBLISHED_HASHING


def test_smoothing_adds_pseudo_ngrams_like_the_pool_or_evenly():
    pool, targets = np.array([6, 2, 2, 0]), np.array([1, 1, 0, 0])
    like_pool = log_ratios(pool, targets, pseudo_count=0.5, prior="pool")
    # two pseudo n-grams of 0.6, 0.2, 0.2, 0 beside two real ones
    expected = [(1 + 1.2) / 4 / 0.6, (1 + 0.4) / 4 / 0.2, 0.4 / 4 / 0.2]
    np.testing.assert_allclose(like_pool[:3], np.log(expected), rtol=1e-6)
    assert like_pool[3] == 0  # met nowhere
    evenly = log_ratios(pool, targets, pseudo_count=0.5, prior="uniform")
    expected = [1.5 / 4 / 0.6, 1.5 / 4 / 0.2, 0.5 / 4 / 0.2]
    np.testing.assert_allclose(evenly[:3], np.log(expected), rtol=1e-6)


def test_what_no_target_has_weighs_the_same_however_rare_with_the_pool_as_prior():
    pool = np.array([1, 100, 10_000, 5_000])
    targets = np.array([0, 0, 0, 40])
    floor = -math.log(1 + 40 / (4 * 0.25))
    found = log_ratios(pool, targets, pseudo_count=0.25, prior="pool")
    np.testing.assert_allclose(found[:3], floor, atol=0.01)  # 1e-8 is that of p = 2e-6
    # evenly spread, few targets make every rare n-gram important
    assert log_ratios(pool, targets, pseudo_count=1.0, prior="uniform")[0] > 0
    assert log_ratios(pool, targets, pseudo_count=0.0, prior="uniform")[0] < -8


@pytest.mark.parametrize("settings", [PUBLISHED, SMOOTHED])
@pytest.mark.parametrize("per", ["document", "ngram"])
def test_a_pool_that_is_its_own_target_is_drawn_uniformly(planted, settings, per):
    texts = planted[0][:40]
    found = importance(texts, texts, per=per, settings=settings)
    assert np.abs(found.log_weights).max() < 1e-9  # rounding of sums of 80 terms
    assert found.divergence == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(5)
    drawn = np.zeros(40)
    for _ in range(1_000):
        drawn[gumbel_order(found.log_weights, rng)[:10]] += 1
    # without replacement, counts vary by 1 - 10/40 of the multinomial's; 39 degrees of freedom
    statistic = ((drawn - 250) ** 2 / (250 * 0.75)).sum() * 39 / 40
    assert 0.001 < chi2.sf(statistic, 39) < 0.999


@pytest.mark.parametrize("settings", [PUBLISHED, SMOOTHED])
@pytest.mark.parametrize("per", ["document", "ngram"])
def test_a_planted_domain_is_found(planted, settings, per):
    texts, is_market, targets = planted
    weights = importance(texts, targets, per=per, settings=settings).log_weights
    assert is_market[np.argsort(-weights)[:60]].mean() > 0.95
    if per == "document":
        drawn = gumbel_order(weights, np.random.default_rng(0))[:60]
        assert is_market[drawn].mean() > 0.9


def test_a_mean_is_too_small_to_draw_by(planted):
    texts, is_market, targets = planted
    weights = importance(texts, targets, per="ngram", settings=SMOOTHED).log_weights
    rng = np.random.default_rng(0)
    shares = [is_market[gumbel_order(weights, rng)[:60]].mean() for _ in range(50)]
    assert 0.2 < np.mean(shares) < 0.6  # 0.2 is chance; the top is above 0.95


def test_a_sum_goes_with_length_and_a_mean_does_not(sentences):
    rng = np.random.default_rng(8)
    short = sentences(["oven", "rates"], 150, rng=rng, length=(10, 12))
    long = sentences(["oven", "rates"], 150, rng=rng, length=(100, 110))
    targets = sentences(["rates"], 40, rng=rng)
    gap = {}
    for per in ("document", "ngram"):
        weights = importance(short + long, targets, per=per, settings=SMOOTHED).log_weights
        gap[per] = (weights[:150].mean() - weights[150:].mean()) / weights.std()
    assert abs(gap["ngram"]) < 0.25
    assert abs(gap["document"]) > 0.5


def test_batches_change_no_bit_and_a_stream_gives_what_arrays_give(planted):
    texts, _, targets = planted
    found = [
        importance(texts, targets, per="ngram", settings=SMOOTHED, batch=size).log_weights
        for size in (1, 7, 1000)
    ]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    hashing = SMOOTHED.hashing
    whole = log_importance(
        ngram_counts(texts, hashing),
        ngram_counts(targets, hashing),
        per="ngram",
        pseudo_count=SMOOTHED.pseudo_count,
        prior=SMOOTHED.prior,
    )
    assert whole.tobytes() == found[0].tobytes()


def test_weights_follow_a_permutation_of_the_documents(planted):
    texts, _, targets = planted
    order = np.random.default_rng(1).permutation(len(texts))
    permuted = importance([texts[i] for i in order], targets[::-1]).log_weights
    assert permuted.tobytes() == importance(texts, targets).log_weights[order].tobytes()


@pytest.mark.parametrize("per", ["document", "ngram"])
def test_a_text_without_ngrams_has_zero_and_disturbs_no_other(per):
    texts = ["rates rose", "", "bread and salt", " \n"]
    found = importance(texts, ["rates", ""], per=per)
    assert found.log_weights[[1, 3]].tolist() == [0, 0]
    assert found.ngrams.tolist() == [3, 0, 5, 0]
    without = importance([texts[0], texts[2]], ["rates"], per=per)
    assert found.log_weights[[0, 2]].tolist() == without.log_weights.tolist()


def test_the_pool_is_fitted_to_its_first_documents_whatever_the_batches():
    texts = ["a b", "c", "a a a", "d d"]  # 3, 1, 5 and 3 n-grams
    base = {"hashing": NgramHashing(), "pseudo_count": 1.0, "prior": "pool"}
    for most, first in ((0, 1), (2, 1), (3, 2), (4, 3), (8, 3), (9, 4), (1000, 4)):
        for batch in (1, 2, 4):
            settings = ImportanceSettings(**base, fitted_ngrams=most)
            found = importance(texts, ["a c"], settings=settings, batch=batch)
            assert found.fitted_ngrams == sum([3, 1, 5, 3][:first])
    # what the sample lacks and the target has is very important, and finite
    settings = ImportanceSettings(**base, fitted_ngrams=0)
    unseen = importance(texts, ["a c"], settings=settings).log_weights[1]
    assert unseen == pytest.approx(math.log(1 / 10_003 / 1e-8), rel=1e-4)


def test_divergence_is_that_of_the_shares():
    pool, targets = ["x x y"], ["x y y"]
    settings = ImportanceSettings(hashing=NgramHashing(order=1), pseudo_count=0.0, prior="pool")
    found = importance(pool, targets, settings=settings)
    expected = math.log(0.5) / 3 + 2 * math.log(2) / 3
    assert found.divergence == pytest.approx(expected, rel=1e-6)
    assert (found.target_ngrams, found.fitted_ngrams) == (3, 3)


def successive_draws(weights, k):
    """Return the exact probability that each item is among the first k, by all orders."""
    inclusion = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights))):
        left, probability = sum(weights), 1.0
        for item in order:
            probability *= weights[item] / left
            left -= weights[item]
        inclusion[list(order[:k])] += probability
    return inclusion


@pytest.mark.parametrize("k", [1, 2, 3])
def test_items_are_among_the_first_as_often_as_successive_draws_put_them_there(k):
    weights = np.array([1.0, 2.0, 4.0, 8.0])
    rng = np.random.default_rng(k)
    n_draws = 8_000
    found = np.zeros(4)
    for _ in range(n_draws):
        found[gumbel_order(np.log(weights) + 700.0, rng)[:k]] += 1  # only differences count
    expected = successive_draws(weights, k)
    assert expected.sum() == pytest.approx(k)
    spread = np.sqrt(expected * (1 - expected) / n_draws)
    assert (np.abs(found / n_draws - expected) < 4 * spread).all()


def test_the_same_generator_gives_the_same_order_and_another_one_another():
    weights = np.zeros(50)
    orders = [gumbel_order(weights, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(50))


def test_what_has_no_weight_is_never_drawn_and_changes_no_other_key():
    weights = np.array([0.0, 1.0, 2.0, 3.0])
    everything = gumbel_order(weights, np.random.default_rng(4)).tolist()
    weights[2] = -np.inf
    left = gumbel_order(weights, np.random.default_rng(4)).tolist()
    assert left == [each for each in everything if each != 2]
    assert gumbel_order(np.full(3, -np.inf), np.random.default_rng(0)).size == 0
    assert gumbel_order(np.array([-1e300, 1e300]), np.random.default_rng(0)).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_log_weight_that_is_no_weight_is_refused(bad):
    with pytest.raises(InputError, match=r"finite or -inf, got .* at position 1"):
        gumbel_order(np.array([0.0, bad]), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("texts", "targets", "message"),
    [
        (["a"], [""], "the targets must have at least one n-gram"),
        (["", " "], ["a"], "the pool must have at least one n-gram"),
    ],
)
def test_a_side_without_any_ngram_is_refused(texts, targets, message):
    with pytest.raises(InputError, match=message):
        importance(texts, targets)


def test_counts_in_other_buckets_are_refused():
    with pytest.raises(InputError, match=r"same buckets, got shapes \(2,\) and \(3,\)"):
        log_ratios(np.array([1, 1]), np.array([1, 1, 1]), pseudo_count=0.0, prior="pool")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pseudo_count": -1.0}, "pseudo_count must be finite and >= 0, got -1.0"),
        ({"pseudo_count": math.nan}, "got nan"),
        ({"prior": "flat"}, "pool or uniform, got 'flat'"),
        ({"fitted_ngrams": -1}, "fitted_ngrams must be >= 0, got -1"),
    ],
)
def test_settings_outside_their_domain_are_refused(changed, message):
    base = {"hashing": NgramHashing(), "pseudo_count": 0.0, "prior": "pool"}
    with pytest.raises(InputError, match=message):
        ImportanceSettings(**{**base, **changed})


def test_progress_adds_up_to_the_number_of_documents():
    told = []
    texts = ["a"] * 5
    pool_importance(
        lambda: iter([texts[:2], texts[2:]]),
        ["a"],
        n_documents=5,
        per="ngram",
        settings=SMOOTHED,
        progress=told.append,
    )
    assert sum(told) == 5
