"""Samplers that buy difficult documents, and of like ones few: D2 pruning.

    d2_pruning:             difficulty is EL2N, the distance of a probe's answer from the label
    d2_pruning_perplexity:  difficulty is the mean token loss, for pools without labels

Source: Maharana et al. 2023 (arXiv 2310.07931); what is theirs and what is our choice is told in
`databourse.coverage.d2_pruning`. They name EL2N among their difficulties. Five neighbours are those
of their example for images; gamma is that of their example for pairs of image and text, and our
choice here: both tune it for each data set and budget. The mean token loss is ours. Caveat:
messages of five neighbours outweigh a document's own difficulty.
"""

from __future__ import annotations

import numpy as np

from databourse.coverage.d2_pruning import buy_by_messages
from databourse.neighbours.search import nearest_neighbours
from databourse.samplers.interface import (
    Candidates,
    Sampler,
    SamplerSpec,
    buy_in_order,
    required,
)
from databourse.samplers.ranked import MEAN_TOKEN_LOSS
from databourse.selection.greedy import IntArray

EL2N = "el2n"
"""Name of the measure: Euclidean distance of class probabilities to the label, in [0, sqrt 2]."""
NEIGHBOURS = 5
"""Nearest documents that take and send messages."""
GAMMA = 1.0
"""How fast the message of a bought document falls with distance."""


def difficult_and_unlike(measure: str, *, neighbours: int, gamma: float) -> Sampler:
    """Return the sampler of D2 pruning with any measure of difficulty.

    Args:
        measure: its name; >= 0, larger is more difficult; a document without a value is never
            bought and has no part in the graph.
        neighbours: k, >= 1.
        gamma: finite, >= 0: 0 takes the whole value of a bought document from its neighbours.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        vectors = required(candidates.embeddings, "embeddings")
        values = candidates.measure(measure)
        positions = np.flatnonzero(~np.isnan(values)).astype(np.int64)
        if not positions.size:
            return buy_in_order(positions, candidates, budget)  # says so
        bought = buy_by_messages(
            values[positions],
            nearest_neighbours(vectors[positions], neighbours),
            costs=candidates.costs[positions],
            budget=budget,
            gamma=gamma,
        )
        return positions[bought]

    return sampler


SAMPLERS = (
    SamplerSpec(
        name="d2_pruning",
        measures=frozenset({EL2N}),
        inputs=frozenset({"embeddings"}),
        sampler=difficult_and_unlike(EL2N, neighbours=NEIGHBOURS, gamma=GAMMA),
        is_random=False,
        summary="documents far from their label in places where others are, few of like ones",
    ),
    SamplerSpec(
        name="d2_pruning_perplexity",
        measures=frozenset({MEAN_TOKEN_LOSS}),
        inputs=frozenset({"embeddings"}),
        sampler=difficult_and_unlike(MEAN_TOKEN_LOSS, neighbours=NEIGHBOURS, gamma=GAMMA),
        is_random=False,
        summary="documents of high perplexity in places where others are, few of like ones",
    ),
)
