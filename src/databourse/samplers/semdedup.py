"""Samplers that drop documents which repeat others of their cluster: SemDeDup.

Bought in rising order of `databourse.coverage.redundancy`, ties by document_id: the most redundant
are dropped until the rest fits the budget, then what still fits is added.

Source: SemDeDup, Abbas et al. 2023 (arXiv 2303.09540), with epsilon set by the budget; a document
that is dropped still eliminates others, as in their code. Sachdeva et al. 2024 (arXiv 2402.09668)
score by the largest cosine to any other document of the cluster instead, so that both of a pair
score alike. `semdedup` takes the pool's topics for clusters; `semdedup_kmeans` makes about sqrt(n)
clusters of its own. Caveat: the first documents bought are those that nothing resembles, garbage
among them.
"""

from __future__ import annotations

import numpy as np

from databourse.coverage.clusters import cluster_numbers, root_count
from databourse.coverage.redundancy import redundancies
from databourse.samplers.interface import (
    Candidates,
    SamplerSpec,
    buy_in_order,
    required,
)
from databourse.samplers.ranked import rising
from databourse.selection.greedy import IntArray


def least_redundant(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys of the documents that repeat least of their topic."""
    del rng
    vectors = required(candidates.embeddings, "embeddings")
    scores = redundancies(vectors, required(candidates.topics, "topics").index)
    return buy_in_order(rising(scores), candidates, budget)


def least_redundant_by_kmeans(
    candidates: Candidates, budget: int, *, rng: np.random.Generator
) -> IntArray:
    """Return what the budget buys of the documents that repeat least of a cluster of k-means."""
    vectors = required(candidates.embeddings, "embeddings")
    clusters = cluster_numbers(vectors, root_count(len(vectors)), seed=int(rng.integers(2**31)))
    return buy_in_order(rising(redundancies(vectors, clusters)), candidates, budget)


SAMPLERS = (
    SamplerSpec(
        name="semdedup",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=least_redundant,
        is_random=False,
        summary="documents that least repeat another of their topic",
    ),
    SamplerSpec(
        name="semdedup_kmeans",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=least_redundant_by_kmeans,
        is_random=True,
        summary="documents that least repeat another of their cluster of k-means",
    ),
)
