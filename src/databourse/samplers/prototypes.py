"""Samplers by the distance from the centroid of the own cluster: SSL prototypes.

    ssl_prototypes:           the lowest cosine to the own centroid first, so prototypes go
    ssl_prototypes_nearest:   the highest first

Ties by document_id. Clusters are the pool's topics, and about sqrt(n) clusters of k-means in
`ssl_prototypes_kmeans`; the centroid is the mean of the candidates of the cluster, at length 1.

Source: Sorscher et al. 2022 (arXiv 2206.14486) keep the hard documents where data abound and the
easy ones where they are scarce; in Sachdeva et al. 2024 (arXiv 2402.09668) what is closest to its
centroid is dropped. The floor of each class in Sorscher et al. is left out. Caveat: far from every
centroid lie outliers and garbage. On topics, `ssl_prototypes` is the top of the signal `diversity`.
"""

from __future__ import annotations

import numpy as np

from databourse.coverage.clusters import centroid_cosines, cluster_numbers, root_count
from databourse.samplers.interface import (
    Candidates,
    SamplerSpec,
    buy_in_order,
    required,
)
from databourse.samplers.ranked import rising
from databourse.selection.greedy import FloatArray, IntArray


def farthest(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys of the documents farthest from the centroid of their topic."""
    del rng
    return buy_in_order(rising(_to_topic(candidates)), candidates, budget)


def nearest(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys of the documents nearest to the centroid of their topic."""
    del rng
    return buy_in_order(rising(-_to_topic(candidates)), candidates, budget)


def farthest_by_kmeans(
    candidates: Candidates, budget: int, *, rng: np.random.Generator
) -> IntArray:
    """Return what the budget buys of the documents farthest from their centroid of k-means."""
    vectors = required(candidates.embeddings, "embeddings")
    clusters = cluster_numbers(vectors, root_count(len(vectors)), seed=int(rng.integers(2**31)))
    return buy_in_order(rising(centroid_cosines(vectors, clusters)), candidates, budget)


def _to_topic(candidates: Candidates) -> FloatArray:
    vectors = required(candidates.embeddings, "embeddings")
    return centroid_cosines(vectors, required(candidates.topics, "topics").index)


SAMPLERS = (
    SamplerSpec(
        name="ssl_prototypes",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=farthest,
        is_random=False,
        summary="documents farthest from the centroid of their topic",
    ),
    SamplerSpec(
        name="ssl_prototypes_kmeans",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=farthest_by_kmeans,
        is_random=True,
        summary="documents farthest from the centroid of their cluster of k-means",
    ),
    SamplerSpec(
        name="ssl_prototypes_nearest",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=nearest,
        is_random=False,
        summary="documents nearest to the centroid of their topic",
    ),
)
