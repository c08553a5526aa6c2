import numpy as np
import pytest

from databourse.errors import InputError
from databourse.topics import label_topics


def test_a_topic_is_a_label_and_documents_without_one_are_unlabelled():
    topics = label_topics(["sport", None, "sport", "Économie"], None, smallest=1)
    assert topics.names.tolist() == ["sport", "unlabelled", "sport", "Économie"]
    assert topics.merged == {}


def test_small_labels_join_the_label_with_the_nearest_centroid():
    labels = ["a", "a", "b", "b", "c"]
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0.6, 0.8]], dtype=np.float32)
    topics = label_topics(labels, vectors, smallest=2)
    assert topics.names.tolist() == ["a", "a", "b", "b", "b"]
    assert topics.merged == {"c": "b"}
    # the mean of (0, 1), (0, 1), (0.6, 0.8), scaled to length 1
    np.testing.assert_allclose(topics.centroids[1], [0.20952909, 0.97780241], atol=1e-7)


def test_without_vectors_small_labels_are_one_topic_together():
    topics = label_topics(["a"] * 5 + ["b"] * 2 + ["c"], None, smallest=3)
    assert topics.names.tolist() == ["a"] * 5 + ["other"] * 3
    assert topics.merged == {"b": "other", "c": "other"}


def test_without_vectors_too_few_leftovers_join_the_largest_label():
    topics = label_topics(["b"] * 5 + ["a"] * 5 + ["c"], None, smallest=3)
    assert topics.names.tolist() == ["b"] * 5 + ["a"] * 5 + ["a"]  # of two as large, the first


def test_without_vectors_only_small_labels_are_one_topic():
    assert set(label_topics(["a", "b"], None, smallest=9).names) == {"other"}


def test_the_order_of_documents_does_not_change_their_topic():
    rng = np.random.default_rng(0)
    labels = np.array([*"aaabbbcd", None, None], dtype=object)
    vectors = rng.normal(size=(10, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    order = rng.permutation(10)
    expected = label_topics(labels, vectors, smallest=3).names[order].tolist()
    assert label_topics(labels[order], vectors[order], smallest=3).names.tolist() == expected


def test_a_label_that_is_not_text_is_refused():
    with pytest.raises(InputError, match="got 3"):
        label_topics(["a", 3], None, smallest=1)


@pytest.mark.parametrize(("labels", "smallest"), [([], 1), (["a"], 0)])
def test_no_documents_or_a_smallest_below_one_is_refused(labels, smallest):
    with pytest.raises(InputError, match=f"got {smallest} and {len(labels)}"):
        label_topics(labels, None, smallest=smallest)
