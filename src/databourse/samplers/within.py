"""Samplers that keep an interval of entropies and draw uniformly from what they keep: EUDS.

With the intervals of `databourse.selection.intervals`:

    one entropy:              keep x where it lies between its quantiles 0.3 and 0.7
    IGSE, intersection:       keep x where that holds for each of the three
    IGSE, mean rank:          keep x where the mean of its three percentile ranks is in [0.3, 0.7]

Then documents are drawn from the kept ones in random order, without replacement, until the budget
is spent.

Source: EUDS, Li, Liu & Huang 2025 (IEEE Access 13:153713, arXiv 2602.17465) keeps the documents
whose entropy lies in a best interval, and calls using information, generative and semantic entropy
together IGSE. All else is a reconstruction and our choice: the entropies themselves, the central
40 % without tuning, both ways to combine, and the draw: no order within the interval is known to
us, so none is made. Caveat: what is kept may cost less than the budget, which then stays unspent;
where the budget ends the draw, shorter documents are likelier, for they still fit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from databourse.samplers.interface import Candidates, Sampler, SamplerSpec, buy_in_order
from databourse.selection.greedy import BoolArray, FloatArray, IntArray
from databourse.selection.intervals import (
    HIGH_SHARE,
    LOW_SHARE,
    keep_within,
    keep_within_all,
    mean_percentile_ranks,
    quantile_interval,
)

INFORMATION = "information_entropy"
"""Name of the measure: entropy of a document's own words."""
GENERATIVE = "generative_entropy"
"""Name of the measure: mean entropy of a language model's next token, nats."""
SEMANTIC = "semantic_entropy"
"""Name of the measure: entropy over the meanings of what a model writes, nats."""


def drawn_within(
    measures: tuple[str, ...], kept: Callable[[tuple[FloatArray, ...]], BoolArray]
) -> Sampler:
    """Return the sampler that draws uniformly among the documents that a rule keeps.

    Args:
        measures: names; a document that lacks one of them is neither kept nor part of the rule.
        kept: given one array per measure, of the documents that have all, which to keep.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        columns = [candidates.measure(name) for name in measures]
        positions = np.flatnonzero(~np.isnan(columns).any(axis=0))
        if positions.size:
            positions = positions[kept(tuple(values[positions] for values in columns))]
        return buy_in_order(rng.permutation(positions), candidates, budget)

    return sampler


def central(columns: tuple[FloatArray, ...]) -> BoolArray:
    """Return which documents lie in the central interval of every measure.

    Args:
        columns: one array of shape (n,) per measure, finite; at least one.

    Raises:
        InputError: a value is not finite, or no document lies between the quantiles.
    """
    return keep_within_all(columns, [quantile_interval(values) for values in columns])


def central_on_average(columns: tuple[FloatArray, ...]) -> BoolArray:
    """Return which documents have a central percentile rank, on average over the measures.

    Args:
        columns: one array of shape (n,) per measure, finite; at least one.

    Raises:
        InputError: a value is not finite.
    """
    return keep_within(mean_percentile_ranks(columns), low=LOW_SHARE, high=HIGH_SHARE)


def _euds(
    name: str,
    measures: tuple[str, ...],
    kept: Callable[[tuple[FloatArray, ...]], BoolArray],
    summary: str,
) -> SamplerSpec:
    return SamplerSpec(
        name=name,
        measures=frozenset(measures),
        sampler=drawn_within(measures, kept),
        is_random=True,
        summary=summary,
    )


SAMPLERS = (
    _euds(
        "euds_information",
        (INFORMATION,),
        central,
        "drawn from the central 40 % of the entropy of a document's own words",
    ),
    _euds(
        "euds_generative",
        (GENERATIVE,),
        central,
        "drawn from the central 40 % of a language model's next-token entropy",
    ),
    _euds(
        "euds_semantic",
        (SEMANTIC,),
        central,
        "drawn from the central 40 % of the entropy over meanings of what a model writes",
    ),
    _euds(
        "euds_igse",
        (INFORMATION, GENERATIVE, SEMANTIC),
        central,
        "drawn from what is central by all three entropies",
    ),
    _euds(
        "euds_igse_rank_mean",
        (INFORMATION, GENERATIVE, SEMANTIC),
        central_on_average,
        "drawn from what is central by the mean rank of the three entropies",
    ),
)
