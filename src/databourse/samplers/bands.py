"""Samplers that buy a band of perplexity: the middle of the pool, or one of CCNet's buckets.

Notation: u(x) = percentile rank of the mean token loss of document x among the documents that have
one: the share below plus half the share of those with the same loss, itself among them.

    middle:                    the smallest |u(x) - 1/2| first
    head, middle, tail:        u < 0.3,   0.3 <= u < 0.6,   u >= 0.6,   drawn uniformly within

Source: the middle is usually the best slice in Marion et al. 2023 (arXiv 2309.04564), and one of
three that Ankner et al. 2024 (arXiv 2405.20541) compare: low, middle, high, with another winner on
another corpus. The buckets are those of CCNet (Wenzek et al. 2019, arXiv 1911.00359; 30 and 60 are
the defaults of its code), there of the perplexity under a 5-gram model of Wikipedia and for each
language. Our choice: any model's loss, one pool whatever the languages, ranks that count documents
and not their tokens, growing the middle outwards until the budget is spent, ties by document_id,
and the uniform draw within a bucket: CCNet only sorts into buckets.
"""

from __future__ import annotations

import numpy as np

from databourse.samplers.interface import Candidates, Sampler, SamplerSpec, buy_in_order
from databourse.samplers.ranked import MEAN_TOKEN_LOSS, rising
from databourse.samplers.within import drawn_within
from databourse.selection.greedy import BoolArray, FloatArray, IntArray
from databourse.selection.intervals import mean_percentile_ranks
from databourse.signals.preference import rank_distances

CENTRE = 0.5
"""Percentile rank of the first document bought by `perplexity_middle`: the median."""
HEAD_END, MIDDLE_END = 0.30, 0.60
"""Percentile ranks at which CCNet's code ends its head and its middle."""


def nearest_rank_first(measure: str, *, centre: float) -> Sampler:
    """Return the sampler that buys from a percentile rank of a measure outwards, to both sides.

    Args:
        measure: its name; finite, or NaN for a document that is never bought.
        centre: percentile rank in [0, 1].
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        values = candidates.measure(measure)
        distances = np.full(values.shape, np.nan)
        is_measured = ~np.isnan(values)
        distances[is_measured] = rank_distances(values[is_measured], centre=centre)
        return buy_in_order(rising(distances), candidates, budget)

    return sampler


def bucket(measure: str, *, first: float, end: float) -> Sampler:
    """Return the sampler that draws uniformly among the documents of a band of percentile ranks.

    Args:
        measure: its name; finite, or NaN for a document that is never bought.
        first: the least percentile rank, in [0, 1].
        end: ranks are below it; above 1 for no end.
    """

    def kept(columns: tuple[FloatArray, ...]) -> BoolArray:
        ranks = mean_percentile_ranks(columns)
        return (ranks >= first) & (ranks < end)

    return drawn_within((measure,), kept)


def _perplexity_bucket(name: str, first: float, end: float, which: str) -> SamplerSpec:
    return SamplerSpec(
        name=name,
        measures=frozenset({MEAN_TOKEN_LOSS}),
        sampler=bucket(MEAN_TOKEN_LOSS, first=first, end=end),
        is_random=True,
        summary=f"drawn from the {which} of the documents by perplexity",
    )


SAMPLERS = (
    SamplerSpec(
        name="perplexity_middle",
        measures=frozenset({MEAN_TOKEN_LOSS}),
        sampler=nearest_rank_first(MEAN_TOKEN_LOSS, centre=CENTRE),
        is_random=False,
        summary="the perplexity nearest in rank to the median of the pool",
    ),
    _perplexity_bucket("ccnet_head", 0.0, HEAD_END, "lowest 30 %"),
    _perplexity_bucket("ccnet_middle", HEAD_END, MIDDLE_END, "30 % above the lowest 30 %"),
    _perplexity_bucket("ccnet_tail", MIDDLE_END, np.inf, "highest 40 %"),
)
