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
from numpy.typing import NDArray

from databourse.coverage.clusters import centroid_cosines
from databourse.samplers.clustered import lowest_in_kmeans, lowest_in_topics
from databourse.samplers.interface import SamplerSpec
from databourse.selection.greedy import FloatArray, IntArray


def turned_cosines(vectors: NDArray[np.float32], clusters: IntArray) -> FloatArray:
    """Return minus the cosine of each document to its own centroid, shape (n,)."""
    return -centroid_cosines(vectors, clusters)


SAMPLERS = (
    SamplerSpec(
        name="ssl_prototypes",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=lowest_in_topics(centroid_cosines),
        is_random=False,
        summary="documents farthest from the centroid of their topic",
    ),
    SamplerSpec(
        name="ssl_prototypes_kmeans",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=lowest_in_kmeans(centroid_cosines),
        is_random=True,
        summary="documents farthest from the centroid of their cluster of k-means",
    ),
    SamplerSpec(
        name="ssl_prototypes_nearest",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=lowest_in_topics(turned_cosines),
        is_random=False,
        summary="documents nearest to the centroid of their topic",
    ),
)
