import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from databourse.digests import canonical_text, document_id
from databourse.errors import InputError
from databourse.importance.ngrams import NgramHashing
from databourse.importance.quality_classifier import (
    ClassifierSettings,
    area_under_curve,
    calibration_error,
    cross_fit,
    fit,
    folds_of_texts,
    loss_and_slope,
    mean_features,
    negatives,
    out_of_fold,
    quality_by_embeddings,
    quality_by_ngrams,
)
from databourse.signals.folds import document_folds

HASHING = NgramHashing(buckets=500)
QUICK = ClassifierSettings(folds=2, penalty=1e-2)


def by_ngrams(texts, targets, *, ids=None, batch=1000, settings=None, progress=lambda done: None):
    return quality_by_ngrams(
        ids or [document_id(canonical_text(text)) for text in texts],
        lambda: (texts[i : i + batch] for i in range(0, len(texts), batch)),
        target_texts=targets,
        hashing=HASHING,
        settings=settings or ClassifierSettings(),
        progress=progress,
    )


def by_embeddings(vectors, target_vectors, **settings):
    return quality_by_embeddings(
        [f"{i:05d}" for i in range(len(vectors))],
        vectors.astype(np.float32),
        target_texts=[f"target {i}" for i in range(len(target_vectors))],
        target_vectors=target_vectors.astype(np.float32),
        settings=ClassifierSettings(**settings),
    )


def problem(seed=0, n=12, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), np.arange(n) % 3 == 0


def test_shares_of_ngrams_are_counts_over_their_sum():
    found = mean_features(csr_array(np.array([[1, 3, 0], [0, 0, 0], [0, 0, 5]], dtype=np.int32)))
    assert found.toarray().tolist() == [[0.25, 0.75, 0], [0, 0, 0], [0, 0, 1]]


def test_the_slope_is_the_gradient_of_the_loss():
    features, is_positive = problem()
    rng = np.random.default_rng(1)
    parameters, weights = rng.normal(size=4), rng.random(12)
    signs = np.where(is_positive, 1.0, -1.0)
    chosen = {"signs": signs, "weights": weights, "penalty": 0.7}
    loss, slope = loss_and_slope(parameters, features, **chosen)
    step = 1e-6
    numeric = [
        (
            loss_and_slope(parameters + step * each, features, **chosen)[0]
            - loss_and_slope(parameters - step * each, features, **chosen)[0]
        )
        / (2 * step)
        for each in np.eye(4)
    ]
    np.testing.assert_allclose(slope, numeric, rtol=1e-7, atol=1e-8)
    by_hand = sum(
        v * math.log(1 + math.exp(-y * (x @ parameters[:3] + parameters[3])))
        for v, y, x in zip(weights, signs, features, strict=True)
    )
    assert loss == pytest.approx(by_hand + 0.35 * (parameters[:3] ** 2).sum(), rel=1e-12)
    sparse_loss, sparse_slope = loss_and_slope(parameters, csr_array(features), **chosen)
    assert sparse_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(sparse_slope, slope, rtol=1e-12)


def test_loss_and_slope_stay_finite_where_exponentials_overflow():
    features = np.array([[1e4], [1e4]])
    loss, slope = loss_and_slope(
        np.array([1.0, 0.0]),
        features,
        signs=np.array([1.0, -1.0]),
        weights=np.array([0.5, 0.5]),
        penalty=0.0,
    )
    assert loss == 5_000
    assert slope.tolist() == [5_000, 0.5]


def test_of_one_feature_with_two_values_the_log_odds_are_those_of_the_shares():
    # 3 of 4 positives and 1 of 5 negatives have it, so that the odds are 15/4 with and 5/16 without
    features = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0], dtype=np.float64)[:, np.newaxis]
    model = fit(features, np.arange(9) < 4, penalty=1e-12)
    found = model.log_odds(np.array([[1.0], [0.0]]))
    np.testing.assert_allclose(found, np.log([15 / 4, 5 / 16]), atol=1e-4)  # where the fit stops


def test_a_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features, is_positive = problem(seed=2, n=60, d=4)
    features[is_positive] += 0.5
    weights = np.where(is_positive, 0.5 / is_positive.sum(), 0.5 / (~is_positive).sum())
    scale = (weights * (features**2).sum(axis=1)).sum()
    penalty = 0.01
    twin = LogisticRegression(C=1 / (penalty * scale), tol=1e-10, max_iter=10_000)
    twin.fit(features, is_positive, sample_weight=weights)
    model = fit(features, is_positive, penalty=penalty)
    np.testing.assert_allclose(model.coefficients, twin.coef_[0], atol=1e-4)
    assert model.intercept == pytest.approx(twin.intercept_[0], abs=1e-4)


def test_the_scale_of_features_changes_no_score_and_neither_does_their_storage():
    features, is_positive = problem(seed=3, n=40, d=5)
    scores = fit(features, is_positive, penalty=1e-2).log_odds(features)
    scaled = fit(features * 1e-3, is_positive, penalty=1e-2).log_odds(features * 1e-3)
    np.testing.assert_allclose(scaled, scores, atol=1e-5)
    sparse = csr_array(features)
    np.testing.assert_allclose(
        fit(sparse, is_positive, penalty=1e-2).log_odds(sparse), scores, atol=1e-5
    )


def test_how_often_a_class_is_repeated_changes_no_score():
    features, is_positive = problem(seed=4, n=30, d=3)
    model = fit(features, is_positive, penalty=1e-2)
    more = np.concatenate([features, *[features[~is_positive]] * 20])
    repeated = fit(more, np.append(is_positive, np.zeros(20 * 20, dtype=bool)), penalty=1e-2)
    np.testing.assert_allclose(repeated.log_odds(features), model.log_odds(features), atol=1e-5)


def test_features_that_say_nothing_give_even_odds():
    model = fit(np.zeros((5, 2)), np.array([True, False, False, False, False]), penalty=1e-3)
    np.testing.assert_allclose(model.log_odds(np.ones((1, 2))), 0, atol=1e-6)


def test_a_planted_domain_is_told_apart(planted):
    texts, is_market, targets = planted
    found = by_ngrams(texts, targets)
    assert area_under_curve(found.log_odds[is_market], found.log_odds[~is_market]) > 0.97
    # a fifth of the negatives are as good as targets: 0.9 is all that can be reached
    assert 0.85 < found.auc < 0.93
    assert found.n_negatives == 300
    assert found.log_loss < math.log(2)


def test_without_anything_to_learn_the_auc_is_half_and_memorising_is_not_rewarded():
    rng = np.random.default_rng(6)
    found = by_embeddings(rng.normal(size=(400, 300)), rng.normal(size=(200, 300)))
    # sd of an AUC of chance with 200 and 400 is 0.025
    assert abs(found.auc - 0.5) < 0.1
    # far too sure of itself, and it shows
    assert found.log_loss > 1
    assert found.calibration_error > 0.3


def test_a_document_is_scored_by_a_model_that_never_saw_it():
    rng = np.random.default_rng(7)
    texts = [" ".join(f"w{j}" for j in rng.integers(0, 400, 30)) for _ in range(80)]
    targets = [" ".join(f"w{j}" for j in rng.integers(0, 400, 30)) for _ in range(40)]
    folds = document_folds([document_id(text) for text in texts], 5)
    found = by_ngrams(texts, targets)
    # other documents than those of the own fold do not matter to a model: give those new texts
    fold = int(folds[0])
    inside = np.flatnonzero(folds == fold)
    changed = list(texts)
    for position in inside[1:]:
        changed[position] = f"entirely new {position}"
    ids = [document_id(text) for text in texts]
    again = by_ngrams(changed, targets, ids=ids)
    assert again.log_odds[0] == found.log_odds[0]
    assert again.log_odds[folds != fold].tolist() != found.log_odds[folds != fold].tolist()


def test_a_memorised_negative_scores_lower_than_a_cross_fitted_one():
    rng = np.random.default_rng(8)
    of_negatives, of_positives = rng.normal(size=(60, 100)), rng.normal(size=(60, 100))
    folds = np.arange(60) % 3
    settings = ClassifierSettings(folds=3, penalty=1e-3)
    models = cross_fit(
        of_negatives, of_positives, negative_folds=folds, positive_folds=folds, settings=settings
    )
    unseen = out_of_fold(models, of_negatives, folds)
    seen = out_of_fold(models, of_negatives, (folds + 1) % 3)
    assert seen.max() < 0  # all memorised
    assert seen.mean() < unseen.mean() - 1
    assert 0.3 < (unseen < 0).mean() < 0.7


def test_a_target_text_is_in_the_fold_of_the_document_with_the_same_text():
    # the id of a document is that of its text with plain line ends and no space around
    documents = [f"shares rose\non day {i}" for i in range(40)]
    targets = [f" shares rose\r\non day {i}\n" for i in range(40)]
    folds = document_folds([document_id(text) for text in documents], 5)
    assert folds_of_texts(targets, 5).tolist() == folds.tolist()


def test_batches_and_line_ends_change_no_bit(planted):
    texts, targets = planted[0][:80], planted[2]
    ids = [document_id(text) for text in texts]
    other_ends = [text.replace(" and ", "\r\nand\n") for text in texts]
    found = [
        by_ngrams(each, targets, ids=ids, batch=size, settings=QUICK).log_odds.tobytes()
        for each, size in ((texts, 1), (texts, 13), (texts, 1000), (other_ends, 1000))
    ]
    assert found[0] == found[1] == found[2] == found[3]


def test_many_more_documents_than_targets_do_not_drown_them():
    rng = np.random.default_rng(10)
    vectors, targets = rng.normal(size=(3_000, 2)), rng.normal([2, 0], size=(60, 2))
    found = by_embeddings(vectors, targets)
    # between means of 0 and 2 with sd 1 lies 1: P(z < 1) = 0.84 on either side
    assert 0.80 < (found.log_odds < 0).mean() < 0.88
    assert 0.70 < (found.target_log_odds > 0).mean() < 0.98
    # ln p / q = 2 x - 2
    np.testing.assert_allclose(found.log_odds, 2 * vectors[:, 0] - 2, atol=2.5)


def test_an_empty_text_gets_the_intercept_and_harms_nothing(planted):
    texts, _, targets = planted
    found = by_ngrams([*texts, ""], [*targets, ""])
    assert np.isfinite(found.log_odds).all()
    assert np.isfinite(found.target_log_odds).all()


def test_embeddings_are_told_apart_in_blocks_of_any_size():
    rng = np.random.default_rng(9)
    is_like = np.arange(200) % 4 == 0
    vectors = rng.normal(size=(200, 8))
    vectors[is_like, 0] += 4
    targets = rng.normal(size=(50, 8))
    targets[:, 0] += 4
    found = by_embeddings(vectors, targets)
    assert area_under_curve(found.log_odds[is_like], found.log_odds[~is_like]) > 0.95
    assert found.log_odds.shape == (200,)
    assert found.target_log_odds.shape == (50,)
    assert found.target_log_odds.mean() > 1


def test_negatives_are_a_sample_that_ids_alone_decide():
    ids = [f"{i:04d}" for i in range(1_000)]
    chosen = negatives(ids, 100)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == 100
    assert chosen.tolist() == sorted(chosen.tolist())
    # half of the ids: of those, the same are among the smallest
    half = negatives(ids[::2], 100)
    kept = {ids[i] for i in chosen} & set(ids[::2])
    assert kept <= {ids[::2][i] for i in half}
    # neither the first nor one end: chance puts 50 +- 5 in either half
    assert 30 < (chosen < 500).sum() < 70
    assert negatives(ids, 1_000).tolist() == list(range(1_000))


def test_fewer_negatives_than_documents_still_score_all(planted):
    texts, is_market, targets = planted
    few = ClassifierSettings(folds=2, penalty=1e-3, most_negatives=120)
    found = by_ngrams(texts, targets, settings=few)
    assert found.n_negatives == 120
    assert area_under_curve(found.log_odds[is_market], found.log_odds[~is_market]) > 0.95
    batched = by_ngrams(texts, targets, settings=few, batch=7)
    assert batched.log_odds.tobytes() == found.log_odds.tobytes()


def test_the_area_counts_pairs_won_and_half_of_the_ties():
    positives, others = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0, 3.0, 1.0])
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(positives, others)]
    assert area_under_curve(positives, others) == sum(pairs) / 12
    assert area_under_curve(others, positives) == pytest.approx(1 - sum(pairs) / 12)


def test_calibration_compares_probability_and_share_in_each_bin():
    # at even odds, half of the weight is positive: nothing is wrong
    assert calibration_error(np.zeros(3), np.zeros(5)) == pytest.approx(0)
    # P = 0.8 for all: 0.3 too much
    even = np.full(4, math.log(4))
    assert calibration_error(even, even) == pytest.approx(0.3)
    # positives at 0.75 and negatives at 0.25: each bin is off by 0.25 of its half
    side = np.full(2, math.log(3))
    assert calibration_error(side, -side) == pytest.approx(0.25)
    # nothing overflows, and P = 1 is in the last bin
    assert calibration_error(np.full(2, 1e4), np.full(2, -1e4)) == 0


def test_progress_adds_up_to_the_number_of_documents(planted):
    told = []
    by_ngrams(planted[0], planted[2], batch=11, settings=QUICK, progress=told.append)
    assert sum(told) == 300


def test_where_a_fold_leaves_nothing_to_learn_from_log_odds_are_even(planted):
    texts, _, targets = planted
    found = by_ngrams(texts, targets[:1])
    fold = folds_of_texts(targets[:1], 5)[0]
    inside = folds_of_texts(texts, 5) == fold
    assert found.n_unjudged == inside.sum() > 0
    assert (found.log_odds[inside] == 0).all()
    assert (found.log_odds[~inside] != 0).all()
    alone = by_ngrams(texts[:1], targets)
    assert (alone.log_odds.tolist(), alone.n_unjudged, alone.n_negatives) == ([0], 1, 1)
    assert by_ngrams(texts, targets).n_unjudged == 0


@pytest.mark.parametrize("is_positive", [True, False])
def test_one_kind_alone_is_refused(is_positive):
    with pytest.raises(InputError, match="both kinds are needed to learn from"):
        fit(np.ones((3, 2)), np.full(3, is_positive), penalty=1.0)


def test_another_number_of_texts_than_documents_is_refused(planted):
    texts, _, targets = planted
    with pytest.raises(InputError, match="texts must cover 2 documents"):
        by_ngrams(texts, targets, ids=["a", "b"])


@pytest.mark.parametrize(
    "changed",
    [{"folds": 1}, {"penalty": 0.0}, {"penalty": math.nan}, {"most_negatives": 0}],
)
def test_settings_outside_their_domain_are_refused(changed):
    with pytest.raises(InputError, match="folds must be >= 2, penalty finite and > 0"):
        ClassifierSettings(**changed)
