import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from databourse.errors import ConfigError
from databourse.signals.el2n import out_of_fold_error_norms
from databourse.signals.folds import document_folds
from databourse.signals.probe import out_of_fold


@pytest.fixture(name="planted", scope="module")
def _planted():
    """Return vectors of three classes, their true labels, and labels of which 12 are wrong."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 180)
    rows = np.eye(8)[truth] * 2 + 0.5 * rng.normal(size=(180, 8))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    given = truth.copy()
    given[:12] = (given[:12] + 1) % 3
    return vectors, names(truth), names(given)


def names(classes):
    return np.array([f"class {each}" for each in classes], dtype=object)


def slow_norms(vectors, labels, folds, documents):
    """The definition: one regression per document, one class at a time."""
    expected = []
    for document in documents:
        training = [
            i for i in range(len(labels)) if folds[i] != folds[document] and labels[i] is not None
        ]
        probe = LogisticRegression(C=1.0, max_iter=1000)
        probe.fit(vectors[training].astype(np.float64), labels[training].astype(str))
        p = probe.predict_proba(vectors[[document]].astype(np.float64))[0]
        target = [1.0 if each == labels[document] else 0.0 for each in probe.classes_]
        expected.append(math.dist(p, target))
    return np.array(expected)


def test_each_value_is_the_mean_over_fold_assignments_of_a_slow_twin(score, pool, planted):
    vectors, _, labels = (each[:60] for each in planted)
    inputs = pool(vectors, labels=labels)
    ids = inputs.document_ids
    folds = [document_folds(ids, 3), document_folds([f"1\x1f{each}" for each in ids], 3)]
    expected = np.mean([slow_norms(vectors, labels, each, range(60)) for each in folds], axis=0)

    result = score({"name": "el2n", "folds": 3, "fold_assignments": 2}, inputs)

    np.testing.assert_allclose(result.values, expected, rtol=1e-6)  # fits stop at 1e-4 of a slope
    assert result.details["judged_documents"] == result.details["training_documents"] == 60
    assert result.details["model"].startswith("softmax-regression-probe; scikit-learn ")


def test_norms_are_those_computed_by_hand(monkeypatch, unit):
    # classes 0, 1, 2; document 4 has no class, and class 2 is in fold 1 only
    codes, folds = np.array([0, 1, 0, 1, -1, 2, 2]), np.array([0, 0, 1, 1, 0, 1, 1])
    posteriors = {
        3: np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]]),  # of fold 0
        4: np.array([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [0.1, 0.9]]),  # of fold 1
    }

    class Probe:
        def __init__(self, **settings):
            pass

        def fit(self, vectors, classes):
            assert sorted(set(classes.tolist())) in ([0, 1, 2], [0, 1])

        def predict_proba(self, vectors):
            return posteriors[len(vectors)]

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Probe)
    found = out_of_fold_error_norms(
        unit(np.eye(7)), codes, folds, inverse_penalty=1.0, progress=lambda done: None
    )
    expected = [
        math.sqrt(0.25 + 0.09 + 0.04),
        math.sqrt(0.01 + 0.04 + 0.01),
        math.sqrt(2),  # sure of the wrong class
        math.sqrt(0.125),
        math.nan,
        math.nan,
        math.nan,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_with_one_assignment_the_probe_is_that_of_uncertainty(score, pool, planted):
    # with two classes || p - onehot || is sqrt 2 * (1 - p of the label)
    vectors, labels, _ = planted
    two = np.where(labels == "class 0", "class 0", "others").astype(object)
    inputs = pool(vectors, labels=two, texts=[""] * 180)
    norms = score({"name": "el2n", "fold_assignments": 1}, inputs).values
    doubt = score({"name": "uncertainty", "measure": "least_confidence"}, inputs).values
    distance = norms / math.sqrt(2)
    np.testing.assert_allclose(np.minimum(distance, 1 - distance), doubt, atol=1e-12)


def test_wrong_labels_have_the_largest_values(score, pool, planted):
    vectors, _, given = planted
    values = score("el2n", pool(vectors, labels=given)).values
    assert set(np.argsort(values)[-12:].tolist()) == set(range(12))
    assert 0 <= values.min() <= values.max() <= math.sqrt(2)


def test_documents_that_cannot_be_judged_get_the_mean_of_the_others_and_train_nothing(
    score, pool, planted
):
    vectors, labels, _ = planted
    partly = labels.copy()
    partly[::4] = None
    partly[1:4] = "a rare one"  # fewer than smallest_class, and before the others in order
    result = score("el2n", pool(vectors, labels=partly))
    unjudged = np.isin(np.arange(180), [1, 2, 3]) | (np.arange(180) % 4 == 0)
    assert result.details["judged_documents"] == 180 - 48
    assert result.details["training_documents"] == 180 - 48
    assert np.unique(result.values[unjudged]).size == 1
    np.testing.assert_allclose(result.values[unjudged], result.values[~unjudged].mean())
    # the values of the others are as if those did not exist
    kept = np.flatnonzero(~unjudged)
    alone = pool(vectors[kept], labels=partly[kept], document_ids=[f"{i:05d}" for i in kept])
    np.testing.assert_allclose(score("el2n", alone).values, result.values[kept], rtol=1e-9)


def test_a_document_is_judged_by_the_assignments_that_know_its_class(score, pool, planted):
    vectors, labels, _ = planted
    rare = labels.copy()
    ids = [f"{i:05d}" for i in range(180)]
    first, second = (document_folds([f"{mark}{each}" for each in ids], 5) for mark in ("", "1\x1f"))
    pair = next(
        [i, j]
        for i in range(180)
        for j in range(i)
        if first[i] == first[j] and second[i] != second[j]
    )
    rare[pair] = "rare"
    entry = {"name": "el2n", "smallest_class": 1, "fold_assignments": 2}
    values = score(entry, pool(vectors, labels=rare)).values
    # and not the mean with the first assignment, which cannot judge
    np.testing.assert_allclose(values[pair], slow_norms(vectors, rare, second, pair), rtol=1e-6)


def test_no_document_is_scored_by_a_probe_that_saw_its_fold(score, pool, planted):
    vectors, labels, _ = planted
    entry = {"name": "el2n", "fold_assignments": 1}
    changed = labels.copy()
    changed[7] = "class 0" if labels[7] != "class 0" else "class 1"
    before = score(entry, pool(vectors, labels=labels)).values
    after = score(entry, pool(vectors, labels=changed)).values
    folds = document_folds([f"{i:05d}" for i in range(180)], 5)
    same = (folds == folds[7]) & (np.arange(180) != 7)
    np.testing.assert_array_equal(before[same], after[same])
    assert (before[folds != folds[7]] != after[folds != folds[7]]).all()


def test_values_follow_a_permutation_of_the_documents_bit_by_bit(score, pool, planted):
    vectors, _, labels = planted
    order = np.random.default_rng(3).permutation(180)
    ids = [f"{i:05d}" for i in order]
    permuted = pool(vectors[order], labels=labels[order], document_ids=ids)
    np.testing.assert_array_equal(
        score("el2n", permuted).values, score("el2n", pool(vectors, labels=labels)).values[order]
    )


def test_renaming_labels_in_their_order_changes_nothing(score, pool, planted):
    vectors, _, labels = planted
    renamed = np.array([each.replace("class", "kind") for each in labels], dtype=object)
    np.testing.assert_array_equal(
        score("el2n", pool(vectors, labels=renamed)).values,
        score("el2n", pool(vectors, labels=labels)).values,
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([None] * 30, "0 with 0 documents"),
        (["a"] * 30, "1 with 30 documents"),
        (["a"] * 27 + ["b"] * 3, "1 with 27 documents"),
    ],
)
def test_a_pool_without_two_usable_classes_is_refused_with_the_remedy(
    score, pool, unit, labels, found
):
    vectors = unit(np.random.default_rng(0).normal(size=(30, 4)))
    with pytest.raises(ConfigError, match=rf"'el2n' needs two classes .* {found}; label more"):
        score("el2n", pool(vectors, labels=labels))


def test_a_pool_in_which_nobody_can_be_judged_is_refused(score, pool, unit):
    # three classes, each in one fold of its own
    ids = [next(str(i) for i in range(99) if document_folds([str(i)], 3)[0] == f) for f in range(3)]
    entry = {"name": "el2n", "folds": 3, "smallest_class": 1, "fold_assignments": 1}
    with pytest.raises(ConfigError, match="and one in several folds"):
        score(entry, pool(unit(np.eye(3)), labels=["a", "b", "c"], document_ids=ids))


def test_progress_adds_up_to_the_documents(score, pool, planted):
    vectors, labels, _ = planted
    told = []
    score("el2n", pool(vectors, labels=labels, progress=told.append))
    assert sum(told) == 180
    assert len(told) == 15  # folds times assignments


def test_the_posterior_of_each_document_is_found_whatever_the_order_of_the_folds(unit):
    # folds interleaved, so that no fold is a run of rows
    rng = np.random.default_rng(2)
    vectors = unit(rng.normal(size=(40, 5)))
    codes, folds = rng.integers(0, 3, 40), rng.integers(0, 4, 40)
    order = np.argsort(-folds, kind="stable")
    arguments = {"inverse_penalty": 1.0, "progress": lambda done: None}
    found = out_of_fold_error_norms(vectors, codes, folds, **arguments)
    squares = out_of_fold(vectors, codes, folds, measure=lambda p: (p * p).sum(axis=1), **arguments)
    # || p - e ||^2 = || p ||^2 - 2 p_y + 1
    p_label = (squares + 1 - found**2) / 2
    for label in range(3):
        column = out_of_fold(
            vectors, codes, folds, measure=lambda p, label=label: p[:, label], **arguments
        )
        np.testing.assert_allclose(p_label[codes == label], column[codes == label], atol=1e-12)
    again = out_of_fold_error_norms(vectors[order], codes[order], folds[order], **arguments)
    np.testing.assert_allclose(again, found[order], rtol=1e-6)


def test_who_prefers_low_norms_hears_the_same_with_the_other_sign(score, pool, planted):
    vectors, labels = planted[:2]
    documents = pool(vectors, labels=labels)
    high = score("el2n", documents).values
    low = score({"name": "el2n", "prefer": "low"}, documents).values
    np.testing.assert_array_equal(low, -high)
