"""Clusters of embeddings, and how near each document lies to the centre of its own.

Spherical k-means puts a vector into the cluster whose centroid has the largest cosine to it. The
centroid of a cluster here is the mean of its members, scaled to length 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.neighbours.vectors import paired_cosines, unit_rows
from databourse.selection.greedy import FloatArray, IntArray
from databourse.topics.clusters import cluster_topics
from databourse.topics.partition import topic_sums, unit_or_zero

ITERATIONS = 20
"""Of k-means, as in Sachdeva et al. 2024 and Tirumala et al. 2023 (by secondary sources)."""


def root_count(n_documents: int) -> int:
    """Return about sqrt(n) clusters: then centroids and pairs within clusters cost alike.

    Our choice; the papers take 10,000 clusters for 364 million documents and 11,000 for C4.
    """
    return math.isqrt(max(n_documents - 1, 0)) + 1


def cluster_numbers(vectors: NDArray[Any], count: int, *, seed: int) -> IntArray:
    """Return the cluster of each document, shape (n,), 0 .. clusters - 1, the largest first.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        count: clusters to look for, >= 1; more than n become n, and fewer may come out.
        seed: of k-means, 0 to 2**31 - 1.

    Raises:
        InputError: an argument is outside its domain.
        MissingExtraError: faiss is not installed.
    """
    topics = cluster_topics(vectors, count=count, smallest=1, seed=seed, iterations=ITERATIONS)
    return topics.index


def centroid_cosines(vectors: NDArray[Any], clusters: IntArray) -> FloatArray:
    """Return the cosine of each document to the centroid of its cluster, to 6 decimals.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        clusters: shape (n,), integers >= 0.

    Returns:
        Shape (n,), in [-1, 1]; 0 where the members of a cluster cancel out.

    Raises:
        InputError: vectors are not finite or not of length 1.
    """
    rows = unit_rows(vectors)
    sums = topic_sums(rows, clusters, int(clusters.max()) + 1)
    centroids = unit_or_zero(sums).astype(np.float32)
    return paired_cosines(rows, centroids[clusters])
