"""Greedy spending of a budget on documents in order of price per token.

Documents are walked dearest per token first. Under the skip rule a document that does not fit is
passed over and the walk goes on; under the stop rule the walk ends there, so that the documents
bought are always among those of the skip rule. A document longer than the whole budget is not
eligible and never ends the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Rule = Literal["skip", "stop"]
BudgetKind = Literal["tokens", "documents", "share"]

_ROUNDS = 8  # of whole-array steps before a walk one by one, so that time stays linear


def order_by_price_per_token(
    log_price_per_token: FloatArray, tokens: IntArray, document_ids: Sequence[str]
) -> IntArray:
    """Return the positions of documents in the order in which a budget buys.

    Args:
        log_price_per_token: shape (n,), natural log, not NaN; -inf is a price that underflowed.
        tokens: lengths, shape (n,); the shorter of equally priced documents comes first.
        document_ids: n distinct ids; of what is still equal the smallest id comes first.

    Returns:
        A permutation of 0 .. n - 1; the order of the input does not matter.

    Raises:
        InputError: lengths differ, a price is NaN, or an id is repeated.
    """
    n_documents = len(document_ids)
    if log_price_per_token.shape != (n_documents,) or tokens.shape != (n_documents,):
        raise InputError(
            f"prices, tokens and ids must be of one length, got shapes "
            f"{log_price_per_token.shape}, {tokens.shape} and ({n_documents},)"
        )
    if np.isnan(log_price_per_token).any():
        position = int(np.flatnonzero(np.isnan(log_price_per_token))[0])
        raise InputError(f"the price of document {document_ids[position]} is NaN; price it again")
    if len(set(document_ids)) != n_documents:
        raise InputError("document ids must be distinct, or equal prices have no order")
    by_id = sorted(range(n_documents), key=document_ids.__getitem__)
    id_rank = np.empty(n_documents, dtype=np.int64)
    id_rank[by_id] = np.arange(n_documents)
    return np.lexsort((id_rank, tokens, -log_price_per_token)).astype(np.int64)


def rank_documents(log_price_per_token: FloatArray, tokens: IntArray) -> IntArray:
    """Return positions in the order in which a budget buys, of documents given in order of id.

    The same as `order_by_price_per_token` for documents whose position is the order of their ids,
    at a tenth of the time: one sort by price, then a second one of equally priced documents alone.

    Args:
        log_price_per_token: shape (n,), natural log, below +inf, not NaN; -inf underflowed.
        tokens: lengths, shape (n,), integers; the shorter of equally priced documents comes first,
            and of what is still equal the one that was given first.

    Returns:
        A permutation of 0 .. n - 1, the dearest per token first.

    Raises:
        InputError: lengths differ, or a price is NaN or +inf.
    """
    if log_price_per_token.ndim != 1 or tokens.shape != log_price_per_token.shape:
        raise InputError(
            f"prices and tokens must be of one length, got shapes {log_price_per_token.shape} and "
            f"{tokens.shape}"
        )
    check_log_prices(log_price_per_token)
    falling = -log_price_per_token
    order = np.argsort(falling).astype(np.int64)  # not stable: ties are put in order below
    ordered = falling[order]
    is_as_before = ordered[1:] == ordered[:-1]
    if not is_as_before.any():
        return order
    is_tied = np.concatenate([is_as_before, [False]]) | np.concatenate([[False], is_as_before])
    places = np.flatnonzero(is_tied)
    run = np.cumsum(np.concatenate([[True], ~is_as_before]))[places]
    run_of = np.zeros(order.size, dtype=np.int64)
    run_of[order[places]] = run
    documents = np.flatnonzero(run_of)  # tied ones, as they were given; runs count from 1
    order[places] = documents[_by_run_and_length(run_of[documents], tokens[documents])]
    return order


def check_log_prices(log_prices: FloatArray, name: str = "price per token") -> None:
    """Refuse a log price that is NaN or +inf; -inf is a price that underflowed.

    Args:
        log_prices: shape (n,).
        name: what they are called in the message.

    Raises:
        InputError: names the first position.
    """
    bad = np.flatnonzero(~(log_prices < np.inf))
    if bad.size:
        raise InputError(
            f"the log {name} of the document at position {int(bad[0])} is "
            f"{float(log_prices[bad[0]])}; price it again"
        )


def check_costs(costs: IntArray) -> None:
    """Refuse costs that are not a vector of integers >= 1.

    Raises:
        InputError: says what came, and where.
    """
    if costs.ndim != 1 or not np.issubdtype(costs.dtype, np.integer):
        raise InputError(
            f"costs must be a vector of integers, got shape {costs.shape} of {costs.dtype}"
        )
    if costs.size and costs.min() < 1:
        position = int(np.argmin(costs))
        raise InputError(
            f"every document must cost at least 1, got {int(costs[position])} at position "
            f"{position}; drop empty documents before pricing"
        )


def costs_within(tokens: IntArray, kind: BudgetKind, amount: float) -> tuple[IntArray, int]:
    """Return what each document costs and what may be spent, for any kind of budget.

    Args:
        tokens: lengths, shape (n,), integers >= 1.
        kind: "tokens", "documents" (each costs 1) or "share" (of all tokens given).
        amount: tokens or documents, a whole number >= 1; or the share, in (0, 1].

    Returns:
        Costs, shape (n,), and the budget in the same unit. A share is taken as the decimal that is
        written (0.29 of 100 tokens is 29) and rounded down.

    Raises:
        InputError: an argument is outside its domain, or the share is less than one token.
    """
    check_costs(tokens)
    if kind == "share":
        return tokens, _tokens_of_share(tokens, amount)
    if not (amount >= 1 and float(amount).is_integer()):
        raise InputError(f"a budget of {kind} must be a whole number >= 1, got {amount!r}")
    if kind == "documents":
        return np.ones_like(tokens), int(amount)
    if kind == "tokens":
        return tokens, int(amount)
    raise InputError(f"a budget counts tokens, documents or share, got {kind!r}")


def buy_within_budget(
    *, costs: IntArray, budget: int, rule: Rule = "skip", already_spent: int = 0
) -> BoolArray:
    """Return which documents the budget buys.

    Args:
        costs: what each document costs, shape (n,), integers >= 1, in rank order.
        budget: what may be spent, >= 0, in the same unit.
        rule: what to do at a document that does not fit: "skip" it, or "stop".
        already_spent: of the budget, on documents that are not among these; 0 .. budget.

    Returns:
        Shape (n,), true where bought; costs of these add up to at most what is left of `budget`,
        and under the skip rule no other document would fit into the rest.

    Raises:
        InputError: an argument is outside its domain.
    """
    check_costs(costs)
    if budget < 0:
        raise InputError(f"the budget must be >= 0, got {budget}")
    if not 0 <= already_spent <= budget:
        raise InputError(f"already_spent must be in 0 .. {budget}, got {already_spent}")
    if rule == "skip":
        return _buy_skipping(costs, budget - already_spent)
    if rule == "stop":
        return _buy_until_misfit(costs, budget, budget - already_spent)
    raise InputError(f"the rule must be skip or stop, got {rule!r}")


def marginal_price_by_group(
    log_price_per_token: FloatArray,
    *,
    is_bought: BoolArray,
    ranking: IntArray,
    group_index: IntArray,
    n_groups: int,
) -> list[float | None]:
    """Return the log price per token of the last document bought in each group, in rank order.

    Args:
        log_price_per_token: shape (n,).
        is_bought: shape (n,).
        ranking: permutation of positions, the dearest per token first.
        group_index: shape (n,), in 0 .. n_groups - 1: topic or source of each document.
        n_groups: how many there are.

    Returns:
        n_groups prices; None where nothing was bought.
    """
    bought = ranking[is_bought[ranking]]
    last = np.full(n_groups, -1, dtype=np.int64)
    np.maximum.at(last, group_index[bought], np.arange(bought.size))
    return [
        float(log_price_per_token[bought[place]]) if place >= 0 else None for place in last.tolist()
    ]


def _buy_skipping(costs: IntArray, left: int) -> BoolArray:
    """Buy as much of the top as fits at a time; then one by one what may still fit."""
    is_bought = np.zeros(costs.size, dtype=np.bool_)
    candidates = np.flatnonzero(costs <= left)
    for _ in range(_ROUNDS):
        if not candidates.size:
            return is_bought
        spent = np.cumsum(costs[candidates])
        n_taken = int(np.searchsorted(spent, left, side="right"))  # >= 1: each fits alone
        is_bought[candidates[:n_taken]] = True
        left -= int(spent[n_taken - 1])
        candidates = candidates[n_taken:]
        candidates = candidates[costs[candidates] <= left]
    smallest = int(costs[candidates].min(initial=left + 1))
    for position, cost in zip(candidates.tolist(), costs[candidates].tolist(), strict=True):
        if cost <= left:
            is_bought[position] = True
            left -= cost
            if left < smallest:
                break
    return is_bought


def _buy_until_misfit(costs: IntArray, budget: int, left: int) -> BoolArray:
    is_bought = np.zeros(costs.size, dtype=np.bool_)
    eligible = np.flatnonzero(costs <= budget)
    n_taken = int(np.searchsorted(np.cumsum(costs[eligible]), left, side="right"))
    is_bought[eligible[:n_taken]] = True
    return is_bought


def _by_run_and_length(run: IntArray, tokens: IntArray) -> IntArray:
    """Return the stable order by (run, tokens): by one distinct key each where 63 bits hold it."""
    length = tokens - tokens.min()
    n_lengths = int(length.max()) + 1
    if (int(run.max()) + 1) * n_lengths * run.size < 2**63:
        key = (run * n_lengths + length) * run.size + np.arange(run.size)
        return np.argsort(key).astype(np.int64)
    return np.lexsort((length, run)).astype(np.int64)


def _tokens_of_share(tokens: IntArray, share: float) -> int:
    if not 0 < share <= 1:
        raise InputError(f"a share of the pool must be in (0, 1], got {share!r}")
    total = sum(tokens.tolist())
    budget = int(Decimal(repr(float(share))) * total)
    if budget < 1:
        raise InputError(f"a share of {share!r} of {total} tokens is less than one token")
    return budget
