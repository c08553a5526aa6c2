"""Sampler that spreads over the whole space of embeddings: greedy k-center.

Source: Sener & Savarese 2018 (arXiv 1708.00489); what is theirs and what is our choice, and the
bound, are told in `databourse.coverage.farthest_first`. A document's cost has no part in its turn.
"""

from __future__ import annotations

import numpy as np

from databourse.coverage.farthest_first import farthest_first
from databourse.samplers.interface import Candidates, SamplerSpec, required
from databourse.selection.greedy import IntArray


def spread_out(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys, each document the farthest from those before it."""
    del rng
    vectors = required(candidates.embeddings, "embeddings")
    return farthest_first(vectors, costs=candidates.costs, budget=budget)


SAMPLERS = (
    SamplerSpec(
        name="k_center",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=spread_out,
        is_random=False,
        summary="each document the farthest from those bought before it",
    ),
)
