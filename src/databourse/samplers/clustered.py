"""How a score within clusters becomes a sampler: clusters are topics, or made for the occasion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from databourse.coverage.clusters import cluster_numbers, root_count
from databourse.samplers.interface import Candidates, Sampler, buy_in_order, required
from databourse.samplers.ranked import rising
from databourse.selection.greedy import FloatArray, IntArray

Score = Callable[[NDArray[np.float32], IntArray], FloatArray]
"""From vectors, shape (n, d), and the cluster of each, shape (n,), to a score, shape (n,)."""


def lowest_in_topics(score: Score) -> Sampler:
    """Return the sampler that buys from the lowest score up, clusters being the topics."""

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        vectors = required(candidates.embeddings, "embeddings")
        scores = score(vectors, required(candidates.topics, "topics").index)
        return buy_in_order(rising(scores), candidates, budget)

    return sampler


def lowest_in_kmeans(score: Score) -> Sampler:
    """Return the same with about sqrt(n) clusters of k-means, whose seed is drawn."""

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        vectors = required(candidates.embeddings, "embeddings")
        clusters = cluster_numbers(vectors, root_count(len(vectors)), seed=int(rng.integers(2**31)))
        return buy_in_order(rising(score(vectors, clusters)), candidates, budget)

    return sampler
