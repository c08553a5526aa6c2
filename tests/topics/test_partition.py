import numpy as np
import pytest

from databourse.errors import InputError
from databourse.topics import topics_from_names
from databourse.topics.partition import merge_destinations


def test_centroids_and_similarities_are_those_computed_by_hand():
    vectors = np.array([[1, 0], [0, 1], [0, -1]], dtype=np.float32)

    topics = topics_from_names(["b", "b", "a"], vectors)

    assert topics.topics == ("a", "b")
    assert topics.index.tolist() == [1, 1, 0]
    np.testing.assert_allclose(topics.centroids, [[0, -1], [0.70710678, 0.70710678]], atol=1e-7)
    expected = np.array([0.707107, 0.707107, 1.0], dtype=np.float32)
    np.testing.assert_array_equal(topics.similarities, expected)
    assert topics.similarities.dtype == np.float32


def test_members_that_cancel_out_have_a_zero_centroid_and_similarity_zero():
    topics = topics_from_names(["a", "a"], np.array([[1, 0], [-1, 0]], dtype=np.float32))
    assert topics.centroids.tolist() == [[0.0, 0.0]]
    assert topics.similarities.tolist() == [0.0, 0.0]


def test_topics_without_vectors_have_no_centroids():
    topics = topics_from_names(["a", "b"], None)
    assert (topics.centroids, topics.similarities) == (None, None)
    assert topics.names.tolist() == ["a", "b"]


def test_a_topic_name_may_end_in_a_nul_byte():
    assert topics_from_names(["a", "a\x00"], None).topics == ("a", "a\x00")


def test_no_documents_and_a_wrong_number_of_vectors_are_refused():
    with pytest.raises(InputError, match="at least one"):
        topics_from_names([], None)
    with pytest.raises(InputError, match="2 documents"):
        topics_from_names(["a", "b"], np.array([[1, 0]], dtype=np.float32))


def test_the_smallest_topic_joins_the_nearest_one_and_moves_its_centroid():
    # 0 has one document near 1. With it, 1 points to 50.2 degrees, so 2 (at 100 degrees, too small
    # as well) joins 3 (at 140 degrees), whereas 1 alone at 65 degrees would have been nearer.
    degrees = np.deg2rad([0.0, 65.0, 100.0, 140.0])
    directions = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    sizes = np.array([1, 2, 2, 9])
    sums = directions * sizes[:, None]
    assert merge_destinations(sizes, sums, 3).tolist() == [1, 1, 3, 3]
    assert merge_destinations(sizes[1:], sums[1:], 3).tolist() == [1, 1, 2]


def test_equally_small_topics_are_merged_in_order_of_number_and_equally_near_ones_too():
    sizes, sums = np.array([1, 1, 1]), np.array([[1.0, 0], [1.0, 0], [1.0, 0]])
    assert merge_destinations(sizes, sums, 2).tolist() == [1, 1, 1]


def test_documents_of_a_topic_that_is_merged_twice_end_in_the_last():
    sizes = np.array([1, 2, 9])
    sums = np.array([[1.0, 0.0], [1.8, 0.8], [0.0, 9.0]])
    assert merge_destinations(sizes, sums, 5).tolist() == [2, 2, 2]


def test_large_topics_stay_and_one_topic_remains_when_all_are_small():
    sums = np.eye(3)
    assert merge_destinations(np.array([4, 4, 4]), sums, 4).tolist() == [0, 1, 2]
    assert len(set(merge_destinations(np.array([1, 1, 1]), sums, 100).tolist())) == 1
