"""Samplers that draw documents where few others are: inverse propensity sampling by density.

Notation: m(y) = estimated mean kernel of document y over the pool, itself included
(`databourse.density`).

    inclusion probability of y = min(1, alpha / m(y)), alpha the largest that keeps the budget

Source: Sachdeva et al. 2024 (arXiv 2402.09668), whose text and theorem draw with probability in
proportion to 1 / score; the last line of the printed algorithm has the score itself, which would
draw duplicates, and is not followed. Our choice: a budget of tokens in place of a number of
documents; a systematic sample (`databourse.selection.sampling`), which has exactly these
probabilities, where successive draws without replacement have not; the preset `sharp`. Caveat: with
the preset `paper` a draw is close to uniform, see `DensityDraw.spread`; outliers and garbage are
where few others are; with a small budget less than the longest document stays unspent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.density.presets import PAPER, SHARP, DensityPreset, pool_density
from databourse.density.spread import WeightSpread, weight_spread
from databourse.samplers.interface import Candidates, Sampler, SamplerSpec, required
from databourse.selection.greedy import FloatArray, IntArray
from databourse.selection.sampling import draw_within_budget


@dataclass(frozen=True, eq=False, slots=True)
class DensityDraw:
    """A sample drawn by density, and how far from a uniform one it is.

    Attributes:
        positions: of the drawn, ascending, int64.
        inclusion_probability: shape (n,), exact given the estimated density; 0 for what costs more
            than the budget.
        weight: shape (n,), 1 / inclusion probability of the drawn, else 0.
        effective_sample_size: (sum w)^2 / sum w^2 over the weights of the drawn; 0 of none.
        mean_kernels: shape (n,), in [1 / n, 1].
        bandwidth: of the kernel; None for a family without.
        spread: of 1 / mean kernel over all documents.
    """

    positions: IntArray
    inclusion_probability: FloatArray
    weight: FloatArray
    effective_sample_size: float
    mean_kernels: FloatArray
    bandwidth: float | None
    spread: WeightSpread


def draw_by_density(
    candidates: Candidates, budget: int, *, preset: DensityPreset, rng: np.random.Generator
) -> DensityDraw:
    """Return a sample without replacement in which crowded places count less.

    Args:
        candidates: with embeddings.
        budget: in the unit of the costs, >= 0.
        preset: how density is estimated.
        rng: hash functions and then the sample are drawn from it.

    Raises:
        InputError: there are no embeddings, they are not of length 1, or the budget is negative.
    """
    density = pool_density(required(candidates.embeddings, "embeddings"), preset, rng=rng)
    log_size = -np.log(density.mean_kernels)
    drawn = draw_within_budget(log_size=log_size, costs=candidates.costs, budget=budget, rng=rng)
    return DensityDraw(
        positions=np.flatnonzero(drawn.is_drawn).astype(np.int64),
        inclusion_probability=drawn.inclusion_probability,
        weight=drawn.weight,
        effective_sample_size=drawn.effective_sample_size,
        mean_kernels=density.mean_kernels,
        bandwidth=density.bandwidth,
        spread=weight_spread(log_size),
    )


def by_density(preset: DensityPreset) -> Sampler:
    """Return the sampler that draws by the inverse of an estimated density.

    Args:
        preset: how density is estimated.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        return draw_by_density(candidates, budget, preset=preset, rng=rng).positions

    return sampler


def _spec(name: str, preset: DensityPreset, which: str) -> SamplerSpec:
    return SamplerSpec(
        name=name,
        measures=frozenset(),
        inputs=frozenset({"embeddings"}),
        sampler=by_density(preset),
        is_random=True,
        summary=f"drawn with probability in proportion to 1 / density, {which}",
    )


SAMPLERS = (
    _spec("density_paper", PAPER, "one hash in a row as published: close to uniform"),
    _spec("density_sharp", SHARP, "four hashes in a row and a bandwidth from the data"),
)
