"""The check of costs and budget that everything bought step by step begins with."""

from __future__ import annotations

from databourse.errors import InputError
from databourse.selection.greedy import IntArray, check_costs


def check_spending(costs: IntArray, *, budget: int, n_documents: int) -> None:
    """Refuse costs and a budget that nothing can be bought with.

    Args:
        costs: must be integers >= 1, one per document.
        budget: must be >= 0.
        n_documents: how many there are.

    Raises:
        InputError: one of them is outside its domain.
    """
    check_costs(costs)
    if len(costs) != n_documents:
        raise InputError(f"costs must cover {n_documents:,} documents, got {len(costs):,}")
    if budget < 0:
        raise InputError(f"the budget must be >= 0, got {budget}")
