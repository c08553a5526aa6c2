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

from databourse.coverage.redundancy import redundancies
from databourse.samplers.clustered import lowest_in_kmeans, lowest_in_topics
from databourse.samplers.interface import SamplerSpec

SAMPLERS = (
    SamplerSpec(
        name="semdedup",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "topics"}),
        sampler=lowest_in_topics(redundancies),
        is_random=False,
        summary="documents that least repeat another of their topic",
    ),
    SamplerSpec(
        name="semdedup_kmeans",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=lowest_in_kmeans(redundancies),
        is_random=True,
        summary="documents that least repeat another of their cluster of k-means",
    ),
)
