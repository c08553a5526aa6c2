import dataclasses

import numpy as np
import pytest

from databourse.samplers.registry import sampler_spec
from databourse.topics import topics_from_names


def pool(candidates, rows, names, costs=None):
    rows = np.asarray(rows, dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return dataclasses.replace(
        candidates([1] * len(rows) if costs is None else costs),
        embeddings=rows,
        topics=topics_from_names(names, rows),
    )


def test_the_farthest_from_the_own_centroid_are_bought_first_as_computed_by_hand(candidates, buy):
    # topic a: mean of (3, 4), (1, 0), (4, 3) at unit length is near (4, 3); b: alone, cosine 1
    documents = pool(candidates, [[3, 4], [0, 1], [1, 0], [4, 3]], ["a", "b", "a", "a"])
    # sum of topic a = (2.4, 1.4), at 30 degrees: 53 is 23 away, 0 is 30 away, 37 is 7 away
    assert buy("ssl_prototypes", documents, 4) == [2, 0, 3, 1]
    assert buy("ssl_prototypes_nearest", documents, 4) == [1, 3, 0, 2]


def test_what_is_kept_is_farther_from_its_centroid_than_the_pool(candidates, buy):
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 400)
    centres = np.eye(8)[[0, 1]]
    rows = centres[group] + 0.3 * rng.normal(size=(400, 8))
    documents = pool(candidates, rows, [f"topic-{each}" for each in group])
    cosines = (documents.embeddings * centres[group]).sum(axis=1)
    for name, sign in (
        ("ssl_prototypes", -1),
        ("ssl_prototypes_kmeans", -1),
        ("ssl_prototypes_nearest", 1),
    ):
        kept = buy(name, documents, 100)
        assert sign * (cosines[kept].mean() - cosines.mean()) > 0.05


def test_the_centroid_is_that_of_the_candidates_whatever_the_topics_bring(candidates, buy):
    documents = pool(candidates, [[3, 4], [1, 0], [4, 3]], ["a", "a", "a"])
    far = np.array([[-1, 0]], dtype=np.float32)
    moved = dataclasses.replace(documents.topics, centroids=far, similarities=None)
    other = dataclasses.replace(documents, topics=moved)
    assert buy("ssl_prototypes", other, 3) == buy("ssl_prototypes", documents, 3) == [1, 0, 2]


@pytest.mark.parametrize(
    "name", ["ssl_prototypes", "ssl_prototypes_kmeans", "ssl_prototypes_nearest"]
)
def test_equal_vectors_are_bought_by_document_id(candidates, buy, name):
    documents = pool(candidates, [[1, 2]] * 5, ["a"] * 5, costs=[3] * 5)
    assert buy(name, documents, 10) == [0, 1, 2]


def test_the_generator_alone_decides_the_clusters(candidates):
    rows = np.random.default_rng(2).normal(size=(90, 6))
    documents = pool(candidates, rows, ["a"] * 90)
    sampler = sampler_spec("ssl_prototypes_kmeans").sampler
    picks = [sampler(documents, 30, rng=np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]
