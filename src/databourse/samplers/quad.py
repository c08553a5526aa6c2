"""Quad as a sampler: clusters are arms of a bandit, influence is measured on what is drawn alone.

    quad          whole blocks of clusters whose probes beat the median of first probes
    quad_kmeans   the same over clusters of its own, about sqrt(n) of them

Source: Quad (Zhang et al. 2025, arXiv 2409.16986); see `databourse.influence.quad` for the rules,
which of them are ours, and why. Caveat: what the stopping rules leave of a budget is not filled up;
nor does a walk go on past a block that is cut, so that a document that would fit may be left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from databourse.coverage.clusters import cluster_numbers, root_count
from databourse.influence.quad import QuadResult, QuadSettings, quad_select
from databourse.samplers.interface import Candidates, Sampler, SamplerSpec, required
from databourse.selection.greedy import IntArray

_SEEDS = 2**31


def select_by_quad(
    candidates: Candidates,
    budget: int,
    *,
    clusters: IntArray,
    settings: QuadSettings,
    rng: np.random.Generator,
) -> QuadResult:
    """Return what Quad buys of candidates, and what it took.

    Args:
        candidates: with a measure of influence.
        budget: in the unit of the costs, >= 0.
        clusters: of each candidate, shape (n,).
        settings: of the bandit.
        rng: clusters are shuffled by it.

    Raises:
        InputError: there is no measure of influence, or an argument is outside its domain.
    """
    return quad_select(
        clusters,
        candidates.costs,
        required(candidates.influence_of, "influence_of"),
        budget=budget,
        settings=settings,
        rng=rng,
    )


def _of_topics(candidates: Candidates, rng: np.random.Generator) -> IntArray:
    del rng
    return required(candidates.topics, "topics").index.astype(np.int64)


def _of_own(candidates: Candidates, rng: np.random.Generator) -> IntArray:
    vectors = required(candidates.embeddings, "embeddings")
    return cluster_numbers(vectors, root_count(len(vectors)), seed=int(rng.integers(_SEEDS)))


def _sampler(clusters_of: Callable[[Candidates, np.random.Generator], IntArray]) -> Sampler:
    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        return select_by_quad(
            candidates,
            budget,
            clusters=clusters_of(candidates, rng),
            settings=QuadSettings(),
            rng=rng,
        ).positions

    return sampler


SAMPLERS = (
    SamplerSpec(
        name="quad",
        measures=frozenset(),
        inputs=frozenset({"topics", "influence_of"}),
        sampler=_sampler(_of_topics),
        is_random=True,
        summary="blocks of the topics whose probed documents take most off target loss",
    ),
    SamplerSpec(
        name="quad_kmeans",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "influence_of"}),
        sampler=_sampler(_of_own),
        is_random=True,
        summary="the same over about sqrt(n) clusters of embeddings",
    ),
)
