"""Samplers to beat: chance, length, one end of any measure, and z-scores added up by hand.

Notation: t_i = cost of document i, T = what the documents of its topic cost in all, z_ik = z-score
of measure k, (x - mean) / sd over all documents that have every measure of the sum, w_k = weight.

    random:                 a random order
    stratified_random:      in rising order of (t_1 + ... + t_(i-1) + t_i / 2) / T, where 1 .. i are
                            the documents of its topic up to i, in random order
    MEASURE:top             the highest value first; MEASURE:bottom the lowest;
    MEASURE:middle          from the median in percentile rank outwards
    z_score_sum:            the largest sum_k w_k z_ik / sum_k |w_k| first
    z_score_sum_per_token:  the largest of that minus ln t_i first

Source: none; controls (Sachdeva et al. 2024, arXiv 2402.09668, compare with uniform sampling). All
choices here are ours. Cut where the budget ends, the stratified order gives each topic its share of
the tokens up to half a document: where every cost is 1 it is the apportionment of Webster and
Sainte-Lague. The last line is the market's order of log price per token in one topic, at b = 1:
one standard deviation weighs as much as a factor e of length. Caveat: where the budget counts
documents, every t_i is 1, and shortest and longest say nothing (take `length:bottom`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from databourse.errors import ConfigError, InputError, UnknownNameError
from databourse.market.standardisation import standardise_within_topics
from databourse.samplers.bands import CENTRE, nearest_rank_first
from databourse.samplers.interface import (
    Candidates,
    Sampler,
    SamplerSpec,
    buy_in_order,
    required,
)
from databourse.samplers.ranked import highest_first, lowest_first, rising
from databourse.selection.greedy import FloatArray, IntArray

ENDS = ("bottom", "middle", "top")
"""What of a measure the name of a sampler may ask for, after its last colon."""
SUMS = ("z_score_sum", "z_score_sum_per_token")
"""Names of the samplers that add up measures, which are listed after a colon."""

_TERM = re.compile(
    r"\s*(?P<sign>[-+]?)\s*((?P<weight>[0-9.eE]+)\s*\*\s*)?(?P<measure>[^\s*+-][^\s*]*)\s*"
)


def at_random(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what a random order buys."""
    return buy_in_order(rng.permutation(len(candidates.costs)), candidates, budget)


def stratified(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what an order buys that is random within topics and proportional among them."""
    topic_index = required(candidates.topics, "topics").index
    shuffled = rng.permutation(len(candidates.costs))
    by_topic = shuffled[np.argsort(topic_index[shuffled], kind="stable")]
    topics, costs = topic_index[by_topic], candidates.costs[by_topic]
    spent = np.cumsum(costs)
    is_first = np.concatenate([[True], topics[1:] != topics[:-1]])
    run = np.cumsum(is_first) - 1
    before = (spent - costs)[is_first][run]
    totals = np.bincount(run, weights=costs)[run]
    # doubled, so that halves are whole numbers and one division alone is rounded
    shares = (2 * (spent - before) - costs) / (2 * totals)
    return buy_in_order(by_topic[np.lexsort((by_topic, shares))], candidates, budget)


def shortest(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the order of rising cost buys."""
    del rng
    return buy_in_order(np.argsort(candidates.costs, kind="stable"), candidates, budget)


def longest(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
    """Return what the order of falling cost buys."""
    del rng
    return buy_in_order(np.argsort(-candidates.costs, kind="stable"), candidates, budget)


def sampler_of_measures(name: str) -> SamplerSpec:
    """Return the sampler that a name with a colon asks for: MEASURE:END or SUM:TERMS.

    Raises:
        ConfigError: the name cannot be read; `UnknownNameError` where its end is none of `ENDS`.
    """
    form, _, terms = name.partition(":")
    if form in SUMS:
        return sum_sampler(form, terms)
    measure, _, end = name.rpartition(":")
    if not measure:
        raise ConfigError(
            f"sampler {name!r} names no measure; write MEASURE:bottom, MEASURE:middle or "
            "MEASURE:top, for example rarity:top"
        )
    return measure_sampler(measure, end)


def measure_sampler(measure: str, end: str) -> SamplerSpec:
    """Return the sampler MEASURE:END, which buys from one end of any measure, or from its middle.

    Args:
        measure: name of the plain measure; a document without a value is never bought.
        end: one of `ENDS`.

    Raises:
        UnknownNameError: there is no such end.
    """
    samplers = {
        "bottom": (lowest_first(measure), f"the lowest {measure}"),
        "middle": (
            nearest_rank_first(measure, centre=CENTRE),
            f"the {measure} nearest in rank to the median of the pool",
        ),
        "top": (highest_first(measure), f"the highest {measure}"),
    }
    if end not in samplers:
        raise UnknownNameError("end", end, ENDS, f"sampler '{measure}:{end}'")
    sampler, summary = samplers[end]
    return SamplerSpec(
        name=f"{measure}:{end}",
        measures=frozenset({measure}),
        sampler=sampler,
        is_random=False,
        summary=summary,
    )


def sum_sampler(form: str, terms: str) -> SamplerSpec:
    """Return the sampler that adds up z-scores, such as z_score_sum:rarity,-2*mean_token_loss.

    Args:
        form: one of `SUMS`.
        terms: measures with commas between; a minus sign where smaller is more useful, and a
            weight with an asterisk where it is not 1.

    Raises:
        ConfigError: the terms cannot be read, or a measure comes twice.
        UnknownNameError: there is no such form.
    """
    unit: Literal["document", "token"]
    if form == "z_score_sum":
        unit = "document"
    elif form == "z_score_sum_per_token":
        unit = "token"
    else:
        raise UnknownNameError("sum", form, SUMS)
    weights = _weights(form, terms)
    return SamplerSpec(
        name=f"{form}:{terms}",
        measures=frozenset(weights),
        sampler=z_score_sum(weights, per=unit),
        is_random=False,
        summary=f"the largest mean z-score over {', '.join(weights)}, per {unit}",
    )


def z_score_sum(weights: Mapping[str, float], *, per: Literal["document", "token"]) -> Sampler:
    """Return the sampler that adds up z-scores of measures over the whole pool, without topics.

    Args:
        weights: by name of the measure, finite, not 0, negative where smaller is more useful; at
            least one. A document that lacks one of the measures is never bought and has no part in
            mean and spread.
        per: of what the sum is: a document, or a token.

    Raises:
        InputError: there is no weight, or one is outside its domain.
    """
    if not weights or not all(np.isfinite(each) and each for each in weights.values()):
        raise InputError(f"weights must be finite and not 0, at least one, got {dict(weights)!r}")

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        columns = np.stack([candidates.measure(name) for name in weights], axis=1)
        scores = np.full(len(columns), np.nan)
        positions = np.flatnonzero(~np.isnan(columns).any(axis=1))
        if positions.size:
            scores[positions] = _mean_z(columns[positions], list(weights.values()))
        if per == "token":
            scores -= np.log(candidates.costs)
        return buy_in_order(rising(-scores), candidates, budget)

    return sampler


def _mean_z(columns: FloatArray, weights: list[float]) -> FloatArray:
    one_topic = np.zeros(len(columns), dtype=np.int64)
    z = standardise_within_topics(columns, one_topic).scores
    total = np.zeros(len(columns))
    for place, weight in enumerate(weights):  # column by column: the same for any number of rows
        total += weight * z[:, place]
    mean: FloatArray = total / sum(abs(weight) for weight in weights)
    return mean


def _weights(form: str, terms: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for term in terms.split(","):
        found = _TERM.fullmatch(term)
        if found is None:
            raise ConfigError(
                f"sampler '{form}:{terms}': a term must be MEASURE, -MEASURE or WEIGHT*MEASURE, "
                f"got {term!r}; for example {form}:rarity,-2*mean_token_loss"
            )
        try:
            weight = float(found["weight"] or 1.0)
        except ValueError:
            weight = np.nan
        if not 0 < weight < np.inf:
            raise ConfigError(
                f"sampler '{form}:{terms}': a weight must be a number > 0, got {term.strip()!r}; a "
                "minus sign before it turns the measure round"
            )
        if found["measure"] in weights:
            raise ConfigError(f"sampler '{form}:{terms}': {found['measure']!r} comes twice")
        weights[found["measure"]] = -weight if found["sign"] == "-" else weight
    return weights


SAMPLERS = (
    SamplerSpec(
        name="random",
        measures=frozenset(),
        sampler=at_random,
        is_random=True,
        summary="documents at random",
    ),
    SamplerSpec(
        name="stratified_random",
        measures=frozenset(),
        inputs=frozenset({"topics"}),
        sampler=stratified,
        is_random=True,
        summary="documents at random, of each topic its share of the tokens",
    ),
    SamplerSpec(
        name="shortest_first",
        measures=frozenset(),
        sampler=shortest,
        is_random=False,
        summary="the shortest documents",
    ),
    SamplerSpec(
        name="longest_first",
        measures=frozenset(),
        sampler=longest,
        is_random=False,
        summary="the longest documents",
    ),
)
