"""Topics by spherical k-means on unit vectors (Dhillon & Modha 2001), run by faiss.

Every document is used for training: faiss' default of 256 points per centroid would silently
subsample. The cost is iterations * n * count * d multiplications: 100,000 x 384 into 256 clusters
take about 3 s on one core.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError, MissingExtraError
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import rounded, unit_rows
from databourse.topics.partition import (
    Topics,
    merge_destinations,
    topic_sums,
    topics_from_names,
)

_LARGEST_DEFAULT = 50
_ASSIGN_ROWS = 4096


def default_topic_count(n_documents: int) -> int:
    """Return about sqrt(n / 2) clusters, at least 1, at most 50: a rule of thumb, not a result."""
    return max(1, min(_LARGEST_DEFAULT, round(math.sqrt(n_documents / 2))))


def cluster_topics(
    vectors: NDArray[Any], *, count: int, smallest: int, seed: int, iterations: int = 25
) -> Topics:
    """Return topics named 'topic-000', 'topic-001', ... from the largest to the smallest.

    Equally large topics are in order of their first document. The outcome depends on the order of
    the rows through the start of k-means: pass documents in order of their id.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        count: clusters to look for, >= 1; more than n become n. Fewer may come out: empty clusters
            vanish and small ones are merged.
        smallest: least documents of a topic, >= 1; smaller ones join the nearest centroid.
        seed: of k-means, 0 to 2**31 - 1 (`databourse.seeds.stage_seed`).
        iterations: of k-means, >= 1.

    Raises:
        InputError: an argument outside its domain.
        MissingExtraError: faiss is not installed.
    """
    if min(count, smallest, iterations) < 1 or not 0 <= seed < 2**31:
        raise InputError(
            "count, smallest and iterations must be >= 1 and seed in [0, 2**31), got "
            f"count={count}, smallest={smallest}, iterations={iterations}, seed={seed}"
        )
    rows = unit_rows(vectors)
    clusters = _clusters(rows, min(count, len(rows)), seed=seed, iterations=iterations)
    sizes = np.bincount(clusters)
    destinations = merge_destinations(sizes, topic_sums(rows, clusters, len(sizes)), smallest)
    final = destinations[clusters]
    names = _names_by_size(final)
    name_of = dict(zip(final.tolist(), names.tolist(), strict=True))
    merged = {
        f"cluster {cluster}": str(name_of[int(taker)])
        for cluster, taker in enumerate(destinations)
        if taker != cluster and sizes[cluster]
    }
    return topics_from_names(names, rows, merged=merged)


def _clusters(
    rows: NDArray[np.float32], count: int, *, seed: int, iterations: int
) -> NDArray[np.int64]:
    if count == 1:
        return np.zeros(len(rows), dtype=np.int64)
    centroids = _trained_centroids(rows, count, seed=seed, iterations=iterations)
    with single_threaded_blas():
        return np.concatenate(
            [
                np.argmax(rounded(rows[start : start + _ASSIGN_ROWS] @ centroids.T), axis=1)
                for start in range(0, len(rows), _ASSIGN_ROWS)
            ]
        )


def _trained_centroids(
    rows: NDArray[np.float32], count: int, *, seed: int, iterations: int
) -> NDArray[np.float64]:
    faiss = _faiss()
    kmeans = faiss.Kmeans(
        rows.shape[1],
        count,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with single_threaded_blas():
            kmeans.train(rows)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(kmeans.centroids, dtype=np.float64)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss", "pipeline,cpu", "finding topics by k-means") from error
    module: ModuleType = faiss
    return module


def _names_by_size(clusters: NDArray[np.int64]) -> NDArray[np.object_]:
    found, first, index, sizes = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(found))
    digits = max(3, len(str(len(found) - 1)))  # so that names sort like ranks
    names = np.array([f"topic-{each:0{digits}d}" for each in rank], dtype=np.object_)
    return names[index]
