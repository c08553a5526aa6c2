import faiss
import numpy as np
import pytest

from databourse.errors import InputError
from databourse.seeds import stage_seed
from databourse.topics import cluster_topics, default_topic_count

SEED = stage_seed(17, "topics")


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(sizes, dimension=16, spread=0.1, seed=0):
    """Return vectors around one axis per size, shuffled, and the axis of each."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = np.eye(dimension)[truth] + spread * rng.normal(size=(len(truth), dimension))
    return unit(vectors), truth


def test_planted_clusters_are_found_and_named_by_size():
    vectors, truth = planted([70, 40, 20])

    topics = cluster_topics(vectors, count=3, smallest=5, seed=SEED)

    assert topics.names.tolist() == [f"topic-00{each}" for each in truth]
    assert topics.topics == ("topic-000", "topic-001", "topic-002")
    assert topics.similarities.min() > 0.8
    assert topics.merged == {}


def test_equally_large_topics_are_named_in_order_of_their_first_document():
    vectors = unit([[0, 1], [1, 0], [0, 1], [1, 0]])
    topics = cluster_topics(vectors, count=2, smallest=1, seed=SEED)
    assert topics.names.tolist() == ["topic-000", "topic-001", "topic-000", "topic-001"]


def test_a_small_cluster_joins_the_nearest_and_is_reported():
    directions = unit([[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    truth = np.array([0] * 12 + [1] * 14 + [2] * 3)

    # as many clusters as documents: each direction becomes one, whatever the seed
    topics = cluster_topics(directions[truth], count=29, smallest=10, seed=SEED)

    assert topics.names.tolist() == ["topic-001"] * 12 + ["topic-000"] * 17
    assert list(topics.merged.values()) == ["topic-000"]


def test_every_topic_has_the_smallest_size_at_least():
    vectors, _ = planted([30] * 8, spread=0.6)
    topics = cluster_topics(vectors, count=30, smallest=12, seed=SEED)
    assert np.bincount(topics.index).min() >= 12


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads():
    vectors, _ = planted([40, 40, 40], spread=0.5)
    threads = faiss.omp_get_max_threads()
    found = []
    for each in (1, 2, 1):
        faiss.omp_set_num_threads(each)
        topics = cluster_topics(vectors, count=9, smallest=1, seed=SEED)
        assert faiss.omp_get_max_threads() == each
        found.append((topics.names.tolist(), topics.centroids.tobytes()))
    faiss.omp_set_num_threads(threads)
    assert found[0] == found[1] == found[2]


def test_topics_are_a_fixed_point_of_k_means_over_all_documents():
    # faiss would train on 256 * 2 of these documents only, and silently
    vectors, _ = planted([1500, 1500], spread=0.8)

    topics = cluster_topics(vectors, count=2, smallest=1, seed=SEED, iterations=200)

    nearest = np.argmax(vectors.astype(np.float64) @ topics.centroids.T.astype(np.float64), axis=1)
    np.testing.assert_array_equal(topics.index, nearest)


def test_more_clusters_than_documents_give_at_most_one_topic_per_document():
    topics = cluster_topics(unit([[1, 0], [0, 1], [-1, 0]]), count=50, smallest=1, seed=SEED)
    assert topics.names.tolist() == ["topic-000", "topic-001", "topic-002"]


def test_equal_vectors_share_a_topic_however_many_clusters_are_asked_for():
    vectors = unit([[1, 0]] * 6 + [[0, 1]] * 4)
    topics = cluster_topics(vectors, count=8, smallest=1, seed=SEED)
    assert topics.names.tolist() == ["topic-000"] * 6 + ["topic-001"] * 4


@pytest.mark.parametrize("n", [1, 5])
def test_one_cluster_holds_every_document(n):
    topics = cluster_topics(unit(np.eye(5)[:n]), count=1, smallest=1, seed=SEED)
    assert topics.names.tolist() == ["topic-000"] * n


@pytest.mark.parametrize(("n", "count"), [(1, 1), (8, 2), (200, 10), (5000, 50), (10**7, 50)])
def test_the_default_count_is_the_root_of_half_the_documents_up_to_fifty(n, count):
    assert default_topic_count(n) == count


@pytest.mark.parametrize("wrong", [{"count": 0}, {"smallest": 0}, {"seed": -1}, {"seed": 2**31}])
def test_arguments_outside_their_domain_are_refused(wrong):
    arguments = {"count": 2, "smallest": 1, "seed": 1} | wrong
    with pytest.raises(InputError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        cluster_topics(unit([[1, 0], [0, 1]]), **arguments)


def test_a_vector_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="finite"):
        cluster_topics(np.array([[np.nan, 0]], dtype=np.float32), count=1, smallest=1, seed=1)
