import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from databourse.errors import ConfigError
from databourse.signals.folds import document_folds
from databourse.signals.probe import MEASURES, can_train, out_of_fold


@pytest.fixture
def planted(unit):
    """Return vectors of three classes, their labels, and which documents lie between two."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 240)
    centres = np.eye(10)[truth] * 2
    between = np.arange(240) < 20
    centres[between] += 2 * np.eye(10)[(truth[between] + 1) % 3]
    vectors = unit(centres + 0.3 * rng.normal(size=(240, 10)))
    return vectors, np.array([f"class {each}" for each in truth], dtype=object), between


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("entropy", [math.log(2), 0.0, 0.8018185525]),  # -(.7 ln .7 + .2 ln .2 + .1 ln .1)
        ("margin", [1.0, 0.0, 0.5]),
        ("least_confidence", [0.5, 0.0, 0.3]),
    ],
)
def test_measures_are_those_computed_by_hand(measure, expected):
    posteriors = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.7, 0.2, 0.1]])
    values = MEASURES[measure](posteriors)
    np.testing.assert_allclose(values, expected, atol=1e-10)
    assert not np.signbit(values).any()


def test_each_document_has_the_entropy_of_a_probe_of_the_other_folds(score, pool, planted):
    vectors, labels, _ = planted
    inputs = pool(vectors, labels=labels, texts=[""] * 240)
    folds = document_folds(inputs.document_ids, 5)
    expected = np.empty(240)
    for fold in range(5):
        probe = LogisticRegression(C=1.0, max_iter=1000)
        probe.fit(vectors[folds != fold].astype(np.float64), labels[folds != fold])
        p = probe.predict_proba(vectors[folds == fold].astype(np.float64))
        expected[folds == fold] = [-sum(x * math.log(x) for x in row) for row in p]

    result = score("uncertainty", inputs)

    np.testing.assert_allclose(result.values, expected, rtol=1e-9)
    assert result.details["model"].startswith("softmax-regression-probe; scikit-learn ")
    assert (result.details["classes"], result.details["training_documents"]) == (3, 240)


@pytest.mark.parametrize("measure", ["entropy", "margin", "least_confidence"])
def test_documents_between_two_classes_are_the_most_uncertain(score, pool, planted, measure):
    vectors, labels, between = planted
    inputs = pool(vectors, labels=labels, texts=[""] * 240)
    values = score({"name": "uncertainty", "measure": measure}, inputs).values
    assert np.mean(np.argsort(values)[-20:] < 20) >= 0.8
    assert np.median(values[between]) > np.quantile(values[~between], 0.95)


def test_a_region_with_noisy_labels_is_more_uncertain_than_the_others(score, pool, planted):
    vectors, labels, _ = planted
    noisy = labels == "class 2"
    given = labels.copy()
    given[noisy] = np.random.default_rng(0).choice(["class 0", "class 1", "class 2"], noisy.sum())
    values = score("uncertainty", pool(vectors, labels=given, texts=[""] * 240)).values
    assert np.quantile(values[noisy], 0.25) > np.median(values[~noisy])


def test_no_document_is_scored_by_a_probe_that_saw_its_fold(score, pool, planted):
    vectors, labels, _ = planted
    before = pool(vectors, labels=labels, texts=[""] * 240)
    changed = labels.copy()
    changed[7] = "class 0" if labels[7] != "class 0" else "class 1"
    after = pool(vectors, labels=changed, texts=[""] * 240)
    folds = document_folds(before.document_ids, 5)
    old, new = (score("uncertainty", each).values for each in (before, after))
    same = folds == folds[7]
    np.testing.assert_array_equal(old[same], new[same])
    assert (old[~same] != new[~same]).all()


def test_values_follow_a_permutation_of_the_documents_bit_by_bit(score, pool, planted):
    vectors, labels, _ = planted
    inputs = pool(vectors, labels=labels, texts=[""] * 240)
    order = np.random.default_rng(3).permutation(240)
    ids = [inputs.document_ids[i] for i in order]
    permuted = pool(vectors[order], labels=labels[order], texts=[""] * 240, document_ids=ids)
    np.testing.assert_array_equal(
        score("uncertainty", permuted).values, score("uncertainty", inputs).values[order]
    )


def test_unlabelled_documents_are_scored_and_train_nothing(score, pool, planted):
    vectors, labels, _ = planted
    partly = labels.copy()
    partly[::3] = None
    result = score("uncertainty", pool(vectors, labels=partly, texts=[""] * 240))
    assert result.details["training_documents"] == 160
    # the probe of a fold does not change when documents without a label vanish
    kept = np.flatnonzero([each is not None for each in partly])
    ids = [f"{i:05d}" for i in kept]
    alone = pool(vectors[kept], labels=partly[kept], texts=[""] * 160, document_ids=ids)
    np.testing.assert_allclose(score("uncertainty", alone).values, result.values[kept], rtol=1e-9)


def test_a_class_with_fewer_members_than_folds_works(score, pool, planted):
    vectors, labels, _ = planted
    rare = labels.copy()
    rare[3:5] = "rare"
    inputs = pool(vectors, labels=rare, texts=[""] * 240)
    few = score("uncertainty", inputs)
    assert (few.details["classes"], few.details["training_documents"]) == (3, 238)
    every = score({"name": "uncertainty", "smallest_class": 1}, inputs)
    assert (every.details["classes"], every.details["training_documents"]) == (4, 240)
    assert np.isfinite(every.values).all()


@pytest.mark.parametrize("labels", [[None] * 30, ["a"] * 30, ["a"] * 27 + ["b"] * 3])
def test_without_two_usable_classes_uncertainty_is_the_surprisal_and_says_so(
    score, pool, unit, labels
):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["one", "two", "three"], 9)) for _ in range(30)]
    inputs = pool(unit(rng.normal(size=(30, 4))), labels=labels, texts=texts)

    result = score("uncertainty", inputs)

    np.testing.assert_array_equal(result.values, score("surprisal", inputs).values)
    assert result.details["model"] == "byte-5-gram-witten-bell; revision 1"


def test_the_text_can_be_asked_for_although_there_are_labels(score, pool, planted):
    vectors, labels, _ = planted
    inputs = pool(vectors, labels=labels, texts=[str(i) for i in range(240)])
    result = score({"name": "uncertainty", "by": "text"}, inputs)
    assert result.details["model"].startswith("byte-5-gram")


def test_labels_asked_for_and_not_there_are_an_error_and_no_fallback(score, pool, unit):
    inputs = pool(unit(np.eye(12)), labels=["a"] * 7 + ["b"] * 5, texts=[""] * 12)
    with pytest.raises(ConfigError, match=r"by = 'labels' needs two classes .* 1 with 7 documents"):
        score({"name": "uncertainty", "by": "labels", "smallest_class": 6}, inputs)


def test_one_document_has_a_finite_value(score, pool, unit):
    result = score("uncertainty", pool(unit([[1, 0]]), labels=["a"], texts=["ab"]))
    assert result.values.tolist() == [8.0]


def test_a_probe_needs_two_classes_without_any_one_fold():
    folds = np.array([0, 0, 1, 1])
    assert can_train(np.array([0, 1, 0, 1]), folds, 2)
    assert not can_train(np.array([0, 0, 0, 1]), folds, 2)  # without fold 1 there is one class
    assert not can_train(np.array([0, 1, -1, -1]), folds, 2)


def test_a_class_in_one_fold_only_is_unknown_to_the_probe_of_that_fold(unit):
    codes = np.array([0, 1, 2, 0, 1, 0])
    folds = np.array([0, 0, 0, 1, 1, 1])
    seen = []
    out_of_fold(
        unit(np.random.default_rng(0).normal(size=(6, 3))),
        codes,
        folds,
        measure=lambda posteriors: seen.append(posteriors.shape[1]) or posteriors[:, 0],
        inverse_penalty=1.0,
        progress=lambda done: None,
    )
    assert seen == [2, 3]
