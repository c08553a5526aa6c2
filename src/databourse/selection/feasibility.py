"""Whether floors and caps of topics and sources can be met together, and by which documents.

Two questions. (1) Amounts: a cell holds the documents of one topic and one source, and a linear
programme over cells says whether any amounts y_c, 0 <= y_c <= supply_c, meet all floors and caps
within the budget; if not, which floors fall short by how much at best. For two ways to divide, its
matrix is totally unimodular (topics with the budget, and sources, are two laminar families): the
least shortfall is a whole number, so that comparing it with 1/2 decides exactly. (2) Whole
documents may still fail to add up to amounts that exist (a knapsack problem). A search by branch
and bound finds some, or proves that there are none, or runs out of time. What it had found by then
is not used: a slower machine may refuse limits, but never buys other documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from databourse.errors import DatabourseError, InputError
from databourse.selection.greedy import BoolArray, FloatArray, IntArray
from databourse.selection.limits import GroupLimits, eligible

_SEGMENTS = 8  # of each cell, from its dearest documents to its cheapest
_EXACT_DOCUMENTS = 2_000  # candidates of the search at most
_EXACT_SECONDS = 30.0
_EXACT_GAP = 0.01  # of the best sum of prices
_NAMED = 3  # groups in a message


@dataclass(frozen=True, eq=False)
class _Cells:
    """Amounts that can be spent: columns of the linear programme."""

    supply: FloatArray
    """Shape (n_cells,)."""
    groups: IntArray
    """Shape (kinds, n_cells), the group of each cell in each way to divide."""


def check_together(limits: Sequence[GroupLimits], *, costs: IntArray, budget: int) -> None:
    """Refuse limits of several kinds that no amounts spent can meet together.

    Args:
        limits: of each way to divide the documents; each feasible by itself.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0.

    Raises:
        InputError: names floors that fall short, and by how much in all at the very least.
    """
    if len(limits) < 2 or not any(each.floors.any() for each in limits):
        return
    fits = eligible(limits, costs=costs, budget=budget)
    cell, groups = _cells(limits, fits)
    supply = _sums(cell, costs[fits], groups.shape[1])
    short = _least_shortfalls(limits, _Cells(supply, groups), budget)
    total = sum(amount for _, _, amount in short)
    if total:
        named = ", ".join(
            f"{kind} {name!r} misses {amount:,} of its floor"
            for kind, name, amount in sorted(short, key=lambda each: -each[2])[:_NAMED]
        )
        more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
        raise InputError(
            f"the {' and '.join(each.kind for each in limits)} limits cannot be met together "
            f"within the budget of {budget:,}: at the very best {named}{more}; lower these floors, "
            "or raise the caps of groups that hold the same documents"
        )


def cell_quotas(
    limits: Sequence[GroupLimits], *, costs: IntArray, budget: int, ranking: IntArray
) -> tuple[IntArray, IntArray]:
    """Return what to spend on each cell (topic and source) so that all floors are met.

    Of the quotas that meet them, some that spend little, and on well ranked documents: a unit of
    cost counts 1 on the dearest documents and up to 2 on the cheapest.

    Args:
        limits: of each way to divide the documents; feasible, see `check_together`.
        costs: shape (n,), integers >= 1.
        budget: what may be spent.
        ranking: permutation of positions, the dearest per token first.

    Returns:
        The cell of each document, shape (n,), and the quota of each cell. Documents that are not
        eligible are in a last cell of their own, whose quota is 0.
    """
    fits = eligible(limits, costs=costs, budget=budget)
    cell, groups = _cells(limits, fits)
    n_cells = groups.shape[1]
    cell_of = np.full(costs.size, n_cells, dtype=np.int64)
    cell_of[fits] = cell
    if not n_cells:
        return cell_of, np.zeros(1, dtype=np.int64)
    in_order = ranking[fits[ranking]]
    place = np.argsort(cell_of[in_order], kind="stable")
    documents = in_order[place]
    cell, cost = cell_of[documents], costs[documents]
    supply = _sums(cell, cost, n_cells)
    depth = np.cumsum(cost) - 1 - np.concatenate([[0.0], np.cumsum(supply)])[cell]
    segment = cell * _SEGMENTS + (depth * _SEGMENTS / supply[cell]).astype(np.int64)
    n_segments = n_cells * _SEGMENTS
    n_in = np.maximum(np.bincount(segment, minlength=n_segments), 1)
    rank = np.bincount(segment, weights=place / max(place.size, 1), minlength=n_segments) / n_in
    columns = _Cells(_sums(segment, cost, n_segments), np.repeat(groups, _SEGMENTS, axis=1))
    spent = _solve(limits, columns, budget, weights=1.0 + rank, shortfall_weight=None)
    quotas = np.rint(spent.reshape(n_cells, _SEGMENTS).sum(axis=1)).astype(np.int64)
    return cell_of, np.concatenate([quotas, [0]])


def whole_documents(
    limits: Sequence[GroupLimits],
    *,
    costs: IntArray,
    budget: int,
    ranking: IntArray,
    log_price: FloatArray,
) -> BoolArray:
    """Return documents that meet all floors and caps within the budget, nearly the dearest.

    Args:
        limits: of each way to divide the documents.
        costs: shape (n,), integers >= 1.
        budget: what may be spent.
        ranking: permutation of positions, the dearest per token first.
        log_price: shape (n,), natural log; what is maximised is the sum of prices.

    Returns:
        Shape (n,), true for the documents to buy.

    Raises:
        InputError: there are none; or none were found within the limits of the search, and the
            message says that this proves nothing.
    """
    import scipy.optimize

    fits = eligible(limits, costs=costs, budget=budget)
    documents = _candidates(limits, fits, ranking)
    rows, lower, upper = _group_rows(
        limits, np.stack([each.group_index[documents] for each in limits]), budget
    )
    matrix = rows.multiply(costs[documents].astype(np.float64)).tocsr()
    prices = _relative_prices(log_price[documents])
    answer = scipy.optimize.milp(
        -prices,
        integrality=np.ones(documents.size),
        bounds=scipy.optimize.Bounds(0, 1),
        constraints=scipy.optimize.LinearConstraint(matrix, lower, upper),
        options={"time_limit": _EXACT_SECONDS, "mip_rel_gap": _EXACT_GAP},
    )
    if answer.status == 0:
        is_chosen = np.zeros(costs.size, dtype=np.bool_)
        is_chosen[documents[np.rint(answer.x) == 1]] = True
        if _meets(limits, is_chosen, costs=costs, budget=budget):
            return is_chosen
    kinds = " and ".join(each.kind for each in limits)
    if answer.status == 2 and documents.size == np.count_nonzero(fits):
        raise InputError(
            f"the {kinds} limits cannot be met by whole documents within the budget of "
            f"{budget:,}, though amounts would add up: a floor needs a last document that does not "
            "fit; lower the floors or raise the budget"
        )
    raise InputError(
        f"no whole documents were found that meet the {kinds} limits within the budget of "
        f"{budget:,}; the search ended after {documents.size:,} documents or {_EXACT_SECONDS:g} "
        "seconds, so there may be some. Lower the floors a little or raise the budget: a last "
        "document goes beyond a floor and needs room for that"
    )


def _cells(limits: Sequence[GroupLimits], fits: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the cell of each document that fits, and the groups of each cell, by kind."""
    sizes = tuple(len(each.names) for each in limits)
    index = np.ravel_multi_index(tuple(each.group_index[fits] for each in limits), sizes)
    present, cell = np.unique(index, return_inverse=True)
    groups = np.stack(np.unravel_index(present, sizes)).astype(np.int64)
    return cell.astype(np.int64), groups


def _least_shortfalls(
    limits: Sequence[GroupLimits], cells: _Cells, budget: int
) -> list[tuple[str, str, int]]:
    """Return (kind, name, amount) of the floors that are not met where they are met best."""
    solution = _solve(
        limits, cells, budget, weights=np.zeros(cells.supply.size), shortfall_weight=1.0
    )
    amounts = np.rint(solution[cells.supply.size :]).astype(np.int64).tolist()
    names = [(each.kind, name) for each in limits for name in each.names]
    return [
        (kind, name, amount) for (kind, name), amount in zip(names, amounts, strict=True) if amount
    ]


def _solve(
    limits: Sequence[GroupLimits],
    cells: _Cells,
    budget: int,
    *,
    weights: FloatArray,
    shortfall_weight: float | None,
) -> FloatArray:
    """Return amounts by cell that minimise the weighted sum; then, if allowed, the shortfalls.

    A shortfall is a further column for each group, that counts towards its floor alone.
    """
    import scipy.optimize
    import scipy.sparse

    rows, lower, upper = _group_rows(limits, cells.groups, budget)
    floors, caps = lower[:-1], upper
    floor_rows, cap_rows = rows[:-1], rows
    bounds = np.stack([np.zeros(cells.supply.size), cells.supply], axis=1)
    if shortfall_weight is not None:
        n_groups = floors.size
        floor_rows = scipy.sparse.hstack([floor_rows, scipy.sparse.identity(n_groups)])
        cap_rows = scipy.sparse.hstack(
            [cap_rows, scipy.sparse.csr_matrix((n_groups + 1, n_groups))]
        )
        weights = np.concatenate([weights, np.full(n_groups, shortfall_weight)])
        bounds = np.concatenate([bounds, np.stack([np.zeros(n_groups), floors], axis=1)])
    answer = scipy.optimize.linprog(
        weights,
        A_ub=scipy.sparse.vstack([cap_rows, -floor_rows]),
        b_ub=np.concatenate([caps, -floors]),
        bounds=bounds,
        method="highs-ds",  # the simplex method ends in a vertex: whole numbers
    )
    if answer.status != 0:
        raise DatabourseError(f"the amounts to spend on topics and sources: {answer.message}")
    amounts: FloatArray = answer.x
    return amounts


def _group_rows(
    limits: Sequence[GroupLimits], groups: IntArray, budget: int
) -> tuple[Any, FloatArray, FloatArray]:
    """Return the 0-1 matrix (groups of all kinds, then the budget) x columns, and its bounds."""
    import scipy.sparse

    n_columns = groups.shape[1]
    sizes = [len(each.names) for each in limits]
    first = np.concatenate([[0], np.cumsum(sizes)])
    row = np.concatenate([groups + first[:-1, None], np.full((1, n_columns), first[-1])])
    column = np.broadcast_to(np.arange(n_columns), row.shape)
    matrix = scipy.sparse.csr_matrix(
        (np.ones(row.size), (row.ravel(), column.ravel())), shape=(int(first[-1]) + 1, n_columns)
    )
    lower = np.concatenate([*[each.floors for each in limits], [0]]).astype(np.float64)
    upper = np.concatenate([*[each.caps for each in limits], [budget]]).astype(np.float64)
    return matrix, lower, upper


def _sums(index: IntArray, amounts: IntArray, size: int) -> FloatArray:
    """Return the sum of the amounts at each index; exact below 2**53."""
    return np.bincount(index, weights=amounts, minlength=size).astype(np.float64)


def _candidates(limits: Sequence[GroupLimits], fits: BoolArray, ranking: IntArray) -> IntArray:
    """Return what is searched: every document that fits, or as many of the best of each cell."""
    in_order = ranking[fits[ranking]]
    if in_order.size <= _EXACT_DOCUMENTS:
        return in_order
    cell, _ = _cells(limits, fits)
    cell_of = np.empty(fits.size, dtype=np.int64)
    cell_of[fits] = cell
    by_cell = np.argsort(cell_of[in_order], kind="stable")
    n_in = np.bincount(cell)
    depth = np.arange(by_cell.size) - np.repeat(np.cumsum(n_in) - n_in, n_in)
    return in_order[by_cell[np.argsort(depth, kind="stable")[:_EXACT_DOCUMENTS]]]


def _relative_prices(log_price: FloatArray) -> FloatArray:
    """Return prices divided by the highest one: a factor that changes no comparison of sums."""
    finite = np.isfinite(log_price)
    top = log_price[finite].max(initial=-np.inf)
    return np.exp(np.where(finite, log_price - top, -np.inf)) if finite.any() else finite * 1.0


def _meets(
    limits: Sequence[GroupLimits], is_chosen: BoolArray, *, costs: IntArray, budget: int
) -> bool:
    """Return whether documents meet all limits, in whole numbers and not as the solver rounds."""
    chosen = np.flatnonzero(is_chosen)
    if int(costs[chosen].sum()) > budget:
        return False
    for each in limits:
        spent = np.zeros(len(each.names), dtype=np.int64)
        np.add.at(spent, each.group_index[chosen], costs[chosen])
        if not ((each.floors <= spent) & (spent <= each.caps)).all():
            return False
    return True
