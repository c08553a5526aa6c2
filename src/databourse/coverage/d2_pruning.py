"""Difficult documents that are unlike each other: messages over a graph of neighbours, D2 pruning.

Notation: s_i = difficulty of document i, N(i) = its k nearest ones, d_ij = |x_i - x_j| of unit
vectors, in [0, 2], g = gamma;

    forward, once:                  v_i = s_i + sum over j in N(i) of exp(-d_ij) s_j
    next:                           the largest v among the documents left
    reverse, after i is bought:     v_j <- v_j - exp(-g d_ij) v_i,   for every j in N(i)

The larger g, the less is taken from the neighbours of what is bought; g = 0 takes all of v_i.

Source: Maharana et al. 2023 (arXiv 2310.07931) and the authors' code, its modes "sum" and
"weighted" (g = 0 is its mode "absolute"). As in the code, g is in the reverse message alone, and a
document bought with v_i < 0 lifts its neighbours. The code makes the graph symmetric where it holds
all distances, and leaves it directed, as here, where neighbours were searched for beforehand. Our
choices: unit vectors; a budget of tokens under the skip rule, where a document that is passed over
sends no message; ties by position; messages weighted in whole millionths, so that no processor
changes an order. Left out: the strata, and the share of the hardest documents that their examples
drop beforehand as mislabelled. Caveat: what is mislabelled or garbage is difficult too.
"""

from __future__ import annotations

import heapq

import numpy as np

from databourse.coverage.spending import check_spending
from databourse.errors import InputError
from databourse.neighbours.search import Neighbours
from databourse.neighbours.vectors import rounded
from databourse.selection.greedy import FloatArray, IntArray

MOST_DIFFICULT = 1e290
"""The largest difficulty: sums over 10 million documents stay finite."""

_DECIMALS = 6


def forward_values(difficulties: FloatArray, neighbours: Neighbours) -> FloatArray:
    """Return v of every document before anything is bought, shape (n,).

    Args:
        difficulties: s, shape (n,), in [0, MOST_DIFFICULT].
        neighbours: of the n documents.

    Raises:
        InputError: a difficulty is outside its domain, or there is one for another number of
            documents.
    """
    n_documents = len(neighbours.positions)
    if difficulties.shape != (n_documents,):
        raise InputError(
            f"difficulties must cover {n_documents:,} documents, got shape {difficulties.shape}"
        )
    is_bad = ~((difficulties >= 0) & (difficulties <= MOST_DIFFICULT))  # NaN is bad too
    if is_bad.any():
        position = int(np.argmax(is_bad))
        raise InputError(
            f"difficulties must be in [0, {MOST_DIFFICULT:g}], got {difficulties[position]} at "
            f"position {position}; turn the measure round or shift it"
        )
    weights = _weights(neighbours, gamma=1.0)
    values = difficulties.astype(np.float64)
    for place in range(neighbours.k):  # one at a time: the sum does not depend on the processor
        values += weights[:, place] * difficulties[neighbours.positions[:, place]]
    return values


def buy_by_messages(
    difficulties: FloatArray,
    neighbours: Neighbours,
    *,
    costs: IntArray,
    budget: int,
    gamma: float,
) -> IntArray:
    """Return the positions that the budget buys, what is like a bought document later.

    Time and memory grow with n * k, up to the logarithm of a heap.

    Args:
        difficulties: s, shape (n,), in [0, MOST_DIFFICULT].
        neighbours: of the n documents.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0; a document that does not fit when it is its turn is passed
            over for good.
        gamma: g, finite, >= 0.

    Returns:
        Shape (m,), int64, in the order of buying; what is left of the budget buys no other.

    Raises:
        InputError: an argument is outside its domain.
    """
    if not 0 <= gamma < np.inf:
        raise InputError(f"gamma must be finite and >= 0, got {gamma!r}")
    value_of = forward_values(difficulties, neighbours).tolist()
    check_spending(costs, budget=budget, n_documents=len(value_of))
    weights_of = _weights(neighbours, gamma=gamma).tolist()
    neighbours_of = neighbours.positions.tolist()
    cost_of = costs.tolist()
    heap = [(-value, position) for position, value in enumerate(value_of)]
    heapq.heapify(heap)
    is_open = [True] * len(value_of)
    bought: list[int] = []
    left = budget
    while heap:
        turned, position = heapq.heappop(heap)
        if not is_open[position] or -turned != value_of[position]:
            continue  # it has had its turn, or has a newer entry
        is_open[position] = False
        if cost_of[position] > left:
            continue
        left -= cost_of[position]
        bought.append(position)
        for other, weight in zip(neighbours_of[position], weights_of[position], strict=True):
            if is_open[other]:
                value_of[other] -= weight * -turned
                heapq.heappush(heap, (-value_of[other], other))
    return np.array(bought, dtype=np.int64)


def _weights(neighbours: Neighbours, *, gamma: float) -> FloatArray:
    """Return exp(-gamma * distance) per neighbour, shape (n, k), rounded to 6 decimals."""
    cosines = rounded(neighbours.similarities.astype(np.float64))  # as they were before float32
    distances: FloatArray = np.sqrt(2.0 - 2.0 * cosines)
    weights: FloatArray = np.exp(-gamma * distances)
    return weights.round(_DECIMALS)
