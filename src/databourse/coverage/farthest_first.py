"""Documents spread over the whole space of embeddings: greedy k-center.

Notation: d(i, S) = 1 - max over j in S of cos(x_i, x_j). Starting from one document, the one with
the largest d(i, S) is added again and again. The radius max_i d(i, S) never rises.

Source: Sener & Savarese 2018 (arXiv 1708.00489), algorithm 1, k-Center-Greedy; Gonzalez 1985 (from
general knowledge) proves that after k steps the largest Euclidean distance to S is at most twice
the least possible, whatever the start. Unit vectors have Euclidean distance sqrt(2 d), so the order
is the same; the bound holds where every document costs the same, and up to the rounding of cosines
to 6 decimals. Our choices: the start, the document nearest to the mean of all that fit (theirs is a
set that is labelled already; public code draws one); a budget of tokens under the skip rule; ties
by position. Caveat: what is far from everything else is often noise, and it is bought first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.coverage.clusters import centroid_cosines
from databourse.coverage.spending import check_spending
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import unit_rows
from databourse.selection.diversity import NoveltyOrder
from databourse.selection.greedy import BoolArray, IntArray


def farthest_first(vectors: NDArray[Any], *, costs: IntArray, budget: int) -> IntArray:
    """Return the positions that the budget buys, each the farthest from those before it.

    Time grows with n * k * d for k documents bought, at the speed of products of whole blocks,
    where lazy bounds do not save them. Memory: a copy of the vectors.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0; a document that does not fit when it is its turn is passed
            over for good.

    Returns:
        Shape (k,), int64, in the order of buying; what is left of the budget buys no other.

    Raises:
        InputError: vectors are not finite or not of length 1, or another argument is outside its
            domain.
    """
    rows = unit_rows(vectors)
    check_spending(costs, budget=budget, n_documents=len(rows))
    left = _Left(costs, budget)
    fitting = np.flatnonzero(costs <= budget)
    if not fitting.size:
        return fitting
    central = centroid_cosines(rows[fitting], np.zeros(fitting.size, dtype=np.int64))
    start = fitting[np.argmax(central)]
    others = np.arange(len(rows))
    ranking = np.concatenate([[start], others[others != start]])
    order = NoveltyOrder(
        log_price_per_token=np.zeros(len(rows)),  # so that novelty alone decides
        ranking=ranking,
        weight=1.0,
        vectors=lambda positions: rows[positions],
    )
    bought: list[int] = []
    with single_threaded_blas():
        while (position := order.next(left)) is not None:
            order.buy(position)
            left.pay(position)
            bought.append(position)
    return np.array(bought, dtype=np.int64)


class _Left:
    """What is left of the budget, and what still fits into it."""

    def __init__(self, costs: IntArray, budget: int) -> None:
        self._costs = costs
        self._budget = budget

    def pay(self, position: int) -> None:
        """Take the cost of a document out of the budget."""
        self._budget -= int(self._costs[position])

    def mask(self, positions: IntArray) -> BoolArray:
        """Return which of the documents fit."""
        fits: BoolArray = self._costs[positions] <= self._budget
        return fits

    def has(self, position: int) -> bool:
        """Return whether this document fits."""
        return bool(self._costs[position] <= self._budget)
