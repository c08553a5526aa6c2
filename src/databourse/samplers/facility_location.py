"""Samplers that buy documents which together stand for all others: facility location.

    facility_location:            what adds most to the coverage is next, whatever it costs
    facility_location_per_token:  what adds most to it per token is next
    facility_location_exact:      as the first, over all pairs, of at most 10,000 distinct vectors

The first two see the 64 nearest documents of each one, looked for in 16 of about sqrt(n) clusters.

Source: Schreiber et al. 2019 (arXiv 1906.03543, apricot); what is theirs and what is our choice,
the formula and the bounds are told in `databourse.coverage.facility_location`. Caveat: it stands
for the pool as it is, near copies and boilerplate with it.
"""

from __future__ import annotations

import numpy as np

from databourse.coverage.facility_location import exact_cover, greedy_cover, nearest_cover
from databourse.samplers.interface import Candidates, SamplerSpec, required
from databourse.selection.greedy import IntArray


def covering(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys, each document adding most to the sparse coverage."""
    del rng
    cover = nearest_cover(required(candidates.embeddings, "embeddings"))
    return greedy_cover(cover, costs=candidates.costs, budget=budget, length_bias=0.0)


def covering_per_token(
    candidates: Candidates, budget: int, *, rng: np.random.Generator
) -> IntArray:
    """Return what the budget buys, each document adding most to the sparse coverage per token."""
    del rng
    cover = nearest_cover(required(candidates.embeddings, "embeddings"))
    return greedy_cover(cover, costs=candidates.costs, budget=budget, length_bias=1.0)


def covering_exactly(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the budget buys, each document adding most to the coverage over all pairs."""
    del rng
    cover = exact_cover(required(candidates.embeddings, "embeddings"))
    return greedy_cover(cover, costs=candidates.costs, budget=budget, length_bias=0.0)


SAMPLERS = (
    SamplerSpec(
        name="facility_location",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=covering,
        is_random=False,
        summary="each document the one that adds most to what those bought stand for",
    ),
    SamplerSpec(
        name="facility_location_exact",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=covering_exactly,
        is_random=False,
        summary="the one that adds most to what those bought stand for, over all pairs",
    ),
    SamplerSpec(
        name="facility_location_per_token",
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=covering_per_token,
        is_random=False,
        summary="the one that adds most per token to what those bought stand for",
    ),
)
