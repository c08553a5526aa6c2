"""A sweep over budgets: what the same rule of selection would buy with less and with more.

Notation: S = what one budget buys, P_i = global price of document i, all prices adding up to 1.

    utility = sum of P_i over S,   effective sample size = (sum P_i)^2 / sum P_i^2 over S,
    coverage = topics with a document in S / T,   balance = H(topic shares of S) / ln T.

Names of the metrics follow Jha et al. 2025 (arXiv 2510.02456); their form is our choice, and so is
that a topic's share is its share of what was spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from databourse.errors import InputError
from databourse.selection.greedy import BoolArray, FloatArray, IntArray

Buy: TypeAlias = Callable[[int], tuple[BoolArray, float | None]]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What one budget buys.

    Attributes:
        budget: what may be spent, in tokens or documents.
        documents: how many are bought.
        spent: what they cost, at most the budget.
        spent_share: of what all candidates cost, in [0, 1].
        utility: their share of all prices, in [0, 1].
        price_effective_sample_size: of their prices, in [0, documents]; 0 of none.
        topics_bought: topics with at least one document bought.
        n_topics: T.
        topic_balance: in [0, 1], 1 where each topic gets as much; None if T is 1 or none is bought.
        marginal_log_price_per_token: of the last document bought; None where none was.
    """

    budget: int
    documents: int
    spent: int
    spent_share: float
    utility: float
    price_effective_sample_size: float
    topics_bought: int
    n_topics: int
    topic_balance: float | None
    marginal_log_price_per_token: float | None

    @property
    def topic_coverage(self) -> float:
        """Return the share of topics with at least one document bought, in [0, 1]."""
        return self.topics_bought / self.n_topics


def budget_grid(
    budget: int, *, total: int, n_budgets: int = 12, smallest_share: float = 0.01
) -> tuple[int, ...]:
    """Return budgets from a small share of the pool up to all of it, around the actual one.

    They grow by one ratio up to the actual budget, and by another, as near to it as whole steps
    allow, from there to the whole pool.

    Args:
        budget: the actual one, >= 1.
        total: what all candidates cost, >= 1.
        n_budgets: how many there are where whole numbers allow, >= 3.
        smallest_share: of the total, in (0, 1); a quarter of the budget where that is less.

    Returns:
        Distinct whole numbers in ascending order, with `budget` and `total` among them.

    Raises:
        InputError: an argument is outside its domain.
    """
    if budget < 1 or total < 1:
        raise InputError(f"budget and total must be at least 1, got {budget} and {total}")
    if n_budgets < 3 or not 0 < smallest_share < 1:
        raise InputError(
            "a grid needs at least 3 budgets and a smallest share in (0, 1), got "
            f"{n_budgets} and {smallest_share!r}"
        )
    smallest = max(1, min(int(smallest_share * total), budget // 4))
    if budget >= total:
        n_steps = n_budgets - (1 if budget == total else 2)
        return tuple(sorted({*_even_ratios(smallest, total, n_steps), budget}))
    n_below = round((n_budgets - 1) * math.log(budget / smallest) / math.log(total / smallest))
    n_below = min(max(n_below, 1), n_budgets - 2)
    below = _even_ratios(smallest, budget, n_below)
    above = _even_ratios(budget, total, n_budgets - 1 - n_below)
    return tuple(sorted({*below, *above}))


def sweep_budgets(
    budgets: Sequence[int],
    *,
    buy: Buy,
    log_price: FloatArray,
    log_price_per_token: FloatArray,
    costs: IntArray,
    ranking: IntArray,
    topic_index: IntArray,
    n_topics: int,
) -> list[SweepRow]:
    """Return what a rule of selection buys with each budget.

    Args:
        budgets: whole numbers >= 0, in the unit of the costs.
        buy: gives, for a budget, which documents are bought, shape (n,) in the order of the arrays
            below, and the log price per token of the last one; where it gives None for that, the
            last one in the ranking is taken.
        log_price: natural log of the global price, shape (n,), not NaN; -inf is one that
            underflowed. The utility is a share of the sum over all.
        log_price_per_token: shape (n,), not NaN.
        costs: shape (n,), integers >= 1.
        ranking: positions of all documents, the dearest per token first; a permutation.
        topic_index: topic of each document, shape (n,), in 0 .. n_topics - 1.
        n_topics: T, >= 1; topics without a document count.

    Returns:
        One row per budget, in the order given.

    Raises:
        InputError: an argument is outside its domain, or `buy` gives another shape or overspends.
    """
    _check_vectors(log_price, log_price_per_token, costs, ranking, topic_index)
    _check_prices(log_price, log_price_per_token)
    if costs.min() < 1:
        raise InputError(f"every document must cost at least 1, got {int(costs.min())}")
    if not np.array_equal(np.sort(ranking), np.arange(ranking.size)):
        raise InputError(f"the ranking must hold every position below {ranking.size:,} once")
    if n_topics < 1 or topic_index.min() < 0 or topic_index.max() >= n_topics:
        raise InputError(
            f"topics must be numbered from 0 to below n_topics = {n_topics}, got "
            f"{int(topic_index.min())} to {int(topic_index.max())}"
        )
    # The shift by the largest log price cancels in the shares; it stops underflow.
    price = np.exp(log_price - log_price.max())
    all_prices, all_costs = float(price.sum()), int(costs.sum())
    rows = []
    for budget in budgets:
        is_bought, marginal = buy(budget)
        _check_bought(is_bought, costs, budget=budget)
        bought = np.flatnonzero(is_bought)
        spent = int(costs[bought].sum())
        by_topic = _spent_by_topic(topic_index[bought], costs[bought], n_topics=n_topics)
        if marginal is None and bought.size:
            in_order = ranking[is_bought[ranking]]
            marginal = float(log_price_per_token[in_order[-1]])
        rows.append(
            SweepRow(
                budget=int(budget),
                documents=int(bought.size),
                spent=spent,
                spent_share=spent / all_costs,
                utility=min(1.0, float(price[bought].sum()) / all_prices),
                price_effective_sample_size=_effective_sample_size(log_price[bought]),
                topics_bought=int(np.count_nonzero(by_topic)),
                n_topics=n_topics,
                topic_balance=_balance(by_topic),
                marginal_log_price_per_token=marginal,
            )
        )
    return rows


def _even_ratios(first: int, last: int, n_steps: int) -> list[int]:
    ratio = last / first
    inner = [round(first * ratio ** (step / n_steps)) for step in range(1, n_steps)]
    return [first, *inner, last]


def _spent_by_topic(topic_index: IntArray, costs: IntArray, *, n_topics: int) -> FloatArray:
    spent = np.bincount(topic_index, weights=costs, minlength=n_topics)
    return spent.astype(np.float64)  # bincount gives integers where nothing is bought


def _effective_sample_size(log_price: FloatArray) -> float:
    if not log_price.size or log_price.max() == -np.inf:
        return 0.0
    price = np.exp(log_price - log_price.max())  # the shift cancels; it stops underflow
    return float(price.sum() ** 2 / (price * price).sum())


def _balance(by_topic: FloatArray) -> float | None:
    if by_topic.size < 2 or not by_topic.any():
        return None
    share = by_topic[by_topic > 0] / by_topic.sum()
    entropy = -float((share * np.log(share)).sum())
    return min(1.0, max(0.0, entropy / math.log(by_topic.size)))


def _check_vectors(*arrays: FloatArray | IntArray) -> None:
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or arrays[0].size == 0 or len(set(shapes)) != 1:
        raise InputError(
            "prices, prices per token, costs, ranking and topics must be vectors of one length, "
            f"at least 1; got shapes {shapes}"
        )


def _check_prices(log_price: FloatArray, log_price_per_token: FloatArray) -> None:
    for name, values in (("log_price", log_price), ("log_price_per_token", log_price_per_token)):
        is_bad = ~(values < np.inf)  # written this way round so that NaN fails too
        if is_bad.any():
            raise InputError(
                f"{name} must be finite or -inf, got {int(is_bad.sum()):,} other values, the first "
                f"at position {int(np.argmax(is_bad))}; price the pool again"
            )
    if log_price.max() == -np.inf:
        raise InputError("every price is 0, so that no utility can be bought; price the pool again")


def _check_bought(is_bought: BoolArray, costs: IntArray, *, budget: int) -> None:
    if is_bought.shape != costs.shape or is_bought.dtype != np.bool_:
        raise InputError(
            f"buy must give one truth value for each of {costs.size:,} documents, got shape "
            f"{is_bought.shape} of {is_bought.dtype}"
        )
    spent = int(costs[is_bought].sum())
    if spent > budget:
        raise InputError(f"buy spent {spent:,} of a budget of {budget:,}; it must keep within it")
