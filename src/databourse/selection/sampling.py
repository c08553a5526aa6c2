"""Sampling in proportion to price under a strict budget, with exact inclusion probabilities.

Notation: s_i = size of document i, c_i = its cost, B = budget, pi_i = its inclusion probability,

    pi_i = min(1, alpha * s_i),   P_i = pi_1 + ... + pi_i,   documents in ascending order of cost.

Systematic sampling with unequal probabilities (Madow 1949, Annals of Mathematical Statistics
20:333) takes one start u, uniform on [0, 1), and draws i where some whole k has
P_(i-1) <= u + k < P_i. So i is drawn with probability pi_i, and sum x_i / pi_i over the drawn
estimates any total of x without bias (Horvitz & Thompson 1952, Journal of the American Statistical
Association 47:663).

The order by cost and the rule for alpha are our choice. In this order the documents that one start
draws lie between those that another one draws, in cost: what a sample costs is largest for u just
below P_n mod 1 and least for u = P_n mod 1, and these two differ by at most the largest cost.

    largest: the documents just below P_n, P_n - 1, P_n - 2, ...    least: those at P_n - 1, ...

Raising any pi_i leaves each of these points, counted from the end, on the same document or on a
dearer one, and may add a point. So the largest cost never falls as alpha grows, and bisection finds
the alpha at which no start overspends, but one quantum more for one document would let one. That
quantum moves no point just below P_n - k, k >= 1, beyond the document at P_n - k: so B is less than
the cost of the least sample and the dearest document together. Hence every sample leaves less than
the largest cost unspent; where every document costs 1, exactly B are drawn.

Probabilities are whole multiples of 2^-53, so that no sum above is rounded. Some pairs of documents
are never drawn together; so no unbiased estimate of the variance can be had from one sample.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.selection.greedy import BoolArray, FloatArray, IntArray

QUANTA = 2**53
"""Parts of a probability of 1: as many as a double holds exactly."""

# Closer than this no two factors in [1, 3] differ; the search then goes on quantum by quantum.
_ALPHA_TOLERANCE = 2.0**-51
# A size below e^-1,000,000 of the largest counts as that: beyond, doubles no longer tell alphas
# apart.
_LEAST_LOG_SIZE = -1e6

Quanta: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample without replacement, and what it takes to estimate totals from it.

    Attributes:
        is_drawn: shape (n,).
        inclusion_probability: shape (n,), in [0, 1], exact: 0 where a document cannot be drawn.
        weight: shape (n,), 1 / inclusion probability of the drawn, else 0.
        effective_sample_size: (sum w)^2 / sum w^2 over the weights of the drawn; 0 of none.
    """

    is_drawn: BoolArray
    inclusion_probability: FloatArray
    weight: FloatArray
    effective_sample_size: float


def draw_within_budget(
    *, log_size: FloatArray, costs: IntArray, budget: int, rng: np.random.Generator
) -> Drawn:
    """Return a random sample that costs at most the budget, larger sizes being likelier.

    Args:
        log_size: as for `inclusion_probabilities`.
        costs: as for `inclusion_probabilities`.
        budget: as for `inclusion_probabilities`.
        rng: orders documents of equal cost and gives the start; probabilities are free of it.

    Returns:
        The sample. What it leaves unspent is less than the largest cost of a document that can be
        drawn, unless all that can be drawn are.

    Raises:
        InputError: as for `inclusion_probabilities`.
    """
    probability = inclusion_probabilities(log_size=log_size, costs=costs, budget=budget)
    shuffled = rng.permutation(costs.size)
    sequence = shuffled[np.argsort(costs[shuffled], kind="stable")]
    is_drawn = np.zeros(costs.size, dtype=np.bool_)
    start = int(rng.integers(QUANTA))
    is_drawn[sequence] = systematic_sample(probability[sequence], start=start)
    weight = np.zeros(costs.size)
    weight[is_drawn] = 1.0 / probability[is_drawn]
    return Drawn(is_drawn, probability, weight, _effective_sample_size(weight[is_drawn]))


def inclusion_probabilities(*, log_size: FloatArray, costs: IntArray, budget: int) -> FloatArray:
    """Return the largest probabilities in proportion to size with which no sample overspends.

    Args:
        log_size: natural log of the size, shape (n,), such as the log price per token; finite, or
            -inf for a document that must not be drawn. Only differences count.
        costs: what each document costs, shape (n,), integers >= 1.
        budget: what may be spent, >= 0, in the same unit.

    Returns:
        Shape (n,): min(1, alpha * size), rounded to a multiple of 2^-53; the rounding of large logs
        counts in full. It is 0 for a document that costs more than the budget or has no size, and
        at least 2^-53 for every other one. Equal sizes may differ by a few quanta, by position.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check(log_size, costs, budget)
    positions = np.flatnonzero((costs <= budget) & (log_size > -np.inf))
    probability = np.zeros(costs.size)
    if positions.size:
        positions = positions[np.argsort(costs[positions], kind="stable")]
        probability[positions] = _largest_quanta(log_size[positions], costs[positions], budget)
    return probability / QUANTA


def systematic_sample(probability: FloatArray, *, start: int) -> BoolArray:
    """Return which documents of a sequence the points start, start + 1, start + 2, ... fall on.

    Args:
        probability: shape (n,), in the order of the sequence; multiples of 2^-53 in [0, 1].
        start: u in quanta, 0 <= start < QUANTA.

    Returns:
        Shape (n,), true where drawn; over all starts, document i is in a share of exactly pi_i.

    Raises:
        InputError: an argument is outside its domain.
    """
    quanta = probability * QUANTA  # exact: a power of two
    # written this way round so that NaN fails too
    if not ((quanta >= 0) & (quanta <= QUANTA) & (quanta == np.floor(quanta))).all():
        raise InputError(
            "probabilities must be multiples of 2^-53 in [0, 1]; take them from "
            "inclusion_probabilities"
        )
    if not 0 <= start < QUANTA:
        raise InputError(f"the start must be at least 0 and below 2^53, got {start!r}")
    parts = quanta.astype(np.uint64)
    return _is_met(parts, np.cumsum(parts), start)


def _is_met(quanta: Quanta, ends: Quanta, start: int) -> BoolArray:
    """Return which documents a point falls on; `ends` are the cumulated quanta.

    Sums wrap at 2^64, which is a multiple of QUANTA: modulo QUANTA they are exact for any n.
    """
    is_met: BoolArray = ((np.uint64(start) - ends + quanta) & np.uint64(QUANTA - 1)) < quanta
    return is_met


def _largest_cost(quanta: Quanta, costs: IntArray) -> int:
    """Return what the sample costs for the start at which it costs most; costs ascend."""
    ends = np.cumsum(quanta)
    return int(np.dot(_is_met(quanta, ends, (int(ends[-1]) - 1) % QUANTA), costs))


def _largest_quanta(log_size: FloatArray, costs: IntArray, budget: int) -> Quanta:
    """Return the probabilities of documents that all can be drawn, in ascending order of cost."""
    if int(costs.sum()) <= budget:
        return np.full(costs.size, QUANTA, dtype=np.uint64)
    low, high = _bracket(log_size, costs, budget)
    n_raised = bisect_left(
        range(1, costs.size + 1),
        True,
        key=lambda count: _largest_cost(_raised(low, high, count), costs) > budget,
    )
    quanta = _raised(low, high, n_raised)
    least = int(quanta[n_raised])

    def is_too_much(more: int) -> bool:
        quanta[n_raised] = least + more
        return _largest_cost(quanta, costs) > budget

    room = int(high[n_raised]) - least
    quanta[n_raised] = least + bisect_left(range(1, room + 1), True, key=is_too_much)
    return quanta


def _raised(low: Quanta, high: Quanta, n_raised: int) -> Quanta:
    return np.concatenate([high[:n_raised], low[n_raised:]])


def _bracket(log_size: FloatArray, costs: IntArray, budget: int) -> tuple[Quanta, Quanta]:
    """Return quanta that keep within the budget, and slightly larger ones that do not."""
    with np.errstate(over="ignore"):  # what overflows is below the least
        relative = np.maximum(log_size - log_size.max(), _LEAST_LOG_SIZE)

    def is_too_much(share: FloatArray) -> bool:
        return _largest_cost(_quanta(share), costs) > budget

    # At the lower end all are at one quantum, so that at most one is drawn, and each fits alone.
    # At the upper end all are at 1, so that all are drawn.
    log_low, _ = _halved(
        (-math.log(QUANTA) - 1, -float(relative.min())),
        width=1.0,
        is_too_much=lambda log_alpha: is_too_much(_share(relative + log_alpha)),
    )
    share = _share(relative + log_low)
    low, high = _halved(
        (1.0, 3.0),  # 3 > e, so that rounding cannot hide what was too much
        width=_ALPHA_TOLERANCE,
        is_too_much=lambda factor: is_too_much(share * factor),
    )
    return _quanta(share * low), _quanta(share * high)


def _halved(
    ends: tuple[float, float], *, width: float, is_too_much: Callable[[float], bool]
) -> tuple[float, float]:
    low, high = ends
    while high - low > width:
        middle = (low + high) / 2
        if is_too_much(middle):
            high = middle
        else:
            low = middle
    return low, high


def _share(log_share: FloatArray) -> FloatArray:
    share: FloatArray = np.exp(np.minimum(log_share, 0.0))  # what exceeds 1 is 1 in the end
    return share


def _quanta(share: FloatArray) -> Quanta:
    return np.clip(share * QUANTA, 1, QUANTA).astype(np.uint64)


def _effective_sample_size(weights: FloatArray) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.size else 0.0


def _check(log_size: FloatArray, costs: IntArray, budget: int) -> None:
    if costs.ndim != 1 or not np.issubdtype(costs.dtype, np.integer):
        raise InputError(
            f"costs must be a vector of integers, got shape {costs.shape} of {costs.dtype}"
        )
    if log_size.shape != costs.shape:
        raise InputError(
            f"sizes and costs must be of one length, got shapes {log_size.shape} and {costs.shape}"
        )
    if costs.size and costs.min() < 1:
        position = int(np.argmin(costs))
        raise InputError(
            f"every document must cost at least 1, got {int(costs[position])} at position "
            f"{position}; drop empty documents before pricing"
        )
    if costs.sum(dtype=np.float64) >= 2.0**62:
        raise InputError("all costs together must stay below 2^62; count in a larger unit")
    is_bad = ~(log_size < np.inf)  # written this way round so that NaN fails too
    if is_bad.any():
        position = int(np.flatnonzero(is_bad)[0])
        raise InputError(
            f"log sizes must be finite or -inf, got {float(log_size[position])} at position "
            f"{position}; price that document again"
        )
    if budget < 0:
        raise InputError(f"the budget must be >= 0, got {budget}")
