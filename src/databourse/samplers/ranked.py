"""Samplers that buy from one end of a measure: the highest first, or the lowest.

Source: Ask-LLM, Sachdeva et al. 2024 (arXiv 2402.09668, algorithm 1), keeps the k texts to which a
model gives the highest P("yes"); of its rival, perplexity, the same paper keeps the lowest. A
budget of tokens in place of k and the order of ties by document_id are our choice. Caveat: both
ends of perplexity are biased, boilerplate to the low one, noise to the high one.
"""

from __future__ import annotations

import numpy as np

from databourse.samplers.interface import Candidates, Sampler, SamplerSpec, buy_in_order
from databourse.selection.greedy import FloatArray, IntArray

MEAN_TOKEN_LOSS = "mean_token_loss"  # noqa: S105 - a measure, no password
"""Name of the measure: mean -ln p per token of a language model, nats."""
P_YES = "p_yes"
"""Name of the measure: P("yes") of Ask-LLM, in [0, 1]."""


def highest_first(measure: str) -> Sampler:
    """Return the sampler that buys documents from the highest value of a measure down.

    Args:
        measure: its name; a document without a value is never bought.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        return buy_in_order(rising(-candidates.measure(measure)), candidates, budget)

    return sampler


def lowest_first(measure: str) -> Sampler:
    """Return the sampler that buys documents from the lowest value of a measure up.

    Args:
        measure: its name; a document without a value is never bought.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        return buy_in_order(rising(candidates.measure(measure)), candidates, budget)

    return sampler


def rising(values: FloatArray) -> IntArray:
    """Return the positions of the values that are not NaN, from the lowest up, ties in order.

    Args:
        values: shape (n,); the infinite ones are the ends.
    """
    positions = np.flatnonzero(~np.isnan(values))
    return positions[np.argsort(values[positions], kind="stable")].astype(np.int64)


SAMPLERS = (
    SamplerSpec(
        name="ask_llm_top",
        measures=frozenset({P_YES}),
        sampler=highest_first(P_YES),
        is_random=False,
        summary="the highest P(yes) of a model asked whether a text is worth training on",
    ),
    SamplerSpec(
        name="perplexity_high",
        measures=frozenset({MEAN_TOKEN_LOSS}),
        sampler=highest_first(MEAN_TOKEN_LOSS),
        is_random=False,
        summary="the highest perplexity under a language model",
    ),
    SamplerSpec(
        name="perplexity_low",
        measures=frozenset({MEAN_TOKEN_LOSS}),
        sampler=lowest_first(MEAN_TOKEN_LOSS),
        is_random=False,
        summary="the lowest perplexity under a language model",
    ),
)
