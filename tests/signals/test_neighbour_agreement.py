import numpy as np
import pytest

from databourse.errors import ConfigError


def test_agreement_is_the_share_computed_by_hand(score, pool, unit):
    # on a line: each looks at the two nearest
    angles = np.deg2rad([0, 10, 19, 60, 69])
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    labels = ["a", "a", "b", "b", "b"]
    # neighbours: 0: 1,2; 1: 2,0; 2: 1,0; 3: 4,2; 4: 3,2
    result = score({"name": "neighbour_agreement", "k": 2}, pool(vectors, labels=labels))
    assert result.values.tolist() == [0.5, 0.5, 0.0, 1.0, 1.0]


def test_unlabelled_neighbours_are_not_asked(score, pool, unit):
    vectors = unit([[1, 0], [10, 1], [10, 2], [10, 3]])
    labels = ["a", None, "a", "b"]
    values = score({"name": "neighbour_agreement", "k": 3}, pool(vectors, labels=labels)).values
    assert values[0] == 0.5


def test_documents_that_cannot_be_judged_get_the_mean_of_the_others(score, pool, unit):
    # 0, 1, 2 look at each other; 3 has no label; 4 sees only 3, which has none
    vectors = unit([[1, 0, 0], [20, 1, 0], [20, 2, 0], [0, 0, 1], [0, 0.1, 1]])
    labels = ["a", "a", "b", None, "b"]
    result = score({"name": "neighbour_agreement", "k": 1}, pool(vectors, labels=labels))
    # 0 sees 1: agrees; 1 sees 2 or 0; 2 sees 1: disagrees
    judged = result.values[:3]
    assert judged[0] == 1.0
    assert judged[2] == 0.0
    assert result.values[3] == result.values[4] == pytest.approx(judged.mean())
    assert result.details["judged_documents"] == 3


def test_planted_label_noise_has_the_least_agreement(score, pool, unit):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    vectors = unit(np.eye(8)[truth] + 0.1 * rng.normal(size=(120, 8)))
    noisy = rng.choice(120, 8, replace=False)
    labels = truth.copy()
    labels[noisy] = (labels[noisy] + 1) % 3
    inputs = pool(vectors, labels=[f"class {each}" for each in labels])
    values = score("neighbour_agreement", inputs).values
    assert values[noisy].max() < np.delete(values, noisy).min()


def test_one_label_everywhere_agrees_everywhere(score, pool, unit):
    inputs = pool(unit(np.eye(4)), labels=["a"] * 4)
    assert score("neighbour_agreement", inputs).values.tolist() == [1.0] * 4


def test_a_lone_labelled_document_has_a_finite_value(score, pool, unit):
    inputs = pool(unit([[1, 0]]), labels=["a"])
    assert score("neighbour_agreement", inputs).values.tolist() == [0.0]


def test_a_pool_without_labels_is_refused_with_the_remedy(score, pool, unit):
    with pytest.raises(ConfigError, match="needs labels, and no document has one; name the label"):
        score("neighbour_agreement", pool(unit(np.eye(3))))


def test_renaming_labels_changes_nothing(score, pool, unit):
    vectors = unit(np.random.default_rng(0).normal(size=(30, 4)))
    labels = np.array(["a", "b", "c"], dtype=object)[np.arange(30) % 3]
    renamed = np.array(["ö", "a", "b"], dtype=object)[np.arange(30) % 3]
    np.testing.assert_array_equal(
        score("neighbour_agreement", pool(vectors, labels=labels)).values,
        score("neighbour_agreement", pool(vectors, labels=renamed)).values,
    )
