"""Buying documents within a budget: floors first, then by price, within caps.

Steps 6A, 6B and 7 of the selection of Jha et al. 2025 (arXiv 2510.02456: a token budget spent
greedily on price per token, balanced top-K with floors for topics, a diversity head). What they
leave open is our choice: the two rules at a document that does not fit, floors and caps in the unit
of the budget and for sources too, the best single document, the form of the diversity head.

1. Floors. Documents that serve a floor not yet met are taken in order, as long as what is left can
   still pay for all other floors. If that does not meet all floors, amounts for each topic and
   source are planned first and then spent in order; if whole documents do not add up to those
   either, an exact search decides. With costs of 1 this is balanced top-K.
2. The rest of the budget goes by order alone, within the caps.

The order is that of price per token, or of price and novelty (see `diversity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.selection.diversity import NoveltyOrder, RankOrder, Vectors
from databourse.selection.feasibility import cell_quotas, check_together, whole_documents
from databourse.selection.greedy import (
    BoolArray,
    FloatArray,
    IntArray,
    Rule,
    buy_within_budget,
    check_costs,
    check_log_prices,
)
from databourse.selection.limits import GroupLimits, check_each_kind

Guard = Literal["none", "best_single"]

_NAMES = ("bought", "best_single", "longer_than_budget", "did_not_fit", "after_the_stop")
_REOPENED = 8  # documents of a floor that are chosen again where it was missed
_CANDIDATES = 256  # documents that they are chosen among
_SUM_BITS = 2**30  # of all sums kept at once: 128 MiB
_NO_CAP = 2**62  # where the cap is the budget, so that only the budget ends a walk
_BOUGHT, _BEST_SINGLE, _LONGER, _DID_NOT_FIT, _AFTER_THE_STOP = range(len(_NAMES))


@dataclass(frozen=True, eq=False)
class Purchase:
    """What was bought, in which order, and why the rest was left."""

    is_bought: BoolArray
    """Shape (n,), in the order of the documents given."""
    reason_codes: NDArray[np.int8]
    """Shape (n,), places in `reason_names`."""
    reason_names: tuple[str, ...]
    """bought (by its price), best_single, longer_than_budget, did_not_fit, after_the_stop; and for
    each kind of limits KIND_floor (bought to fill a floor) and KIND_cap (a cap left no room)."""
    order: IntArray
    """Positions of the documents bought, in order of purchase."""
    marginal_log_price_per_token: float | None
    """Of the last document bought by its price, outside any floor: what another must beat."""

    def reasons(self) -> list[str]:
        """Return the reason of each document in words."""
        return [self.reason_names[code] for code in self.reason_codes.tolist()]


def buy(
    *,
    log_price: FloatArray,
    log_price_per_token: FloatArray,
    costs: IntArray,
    budget: int,
    ranking: IntArray,
    limits: Sequence[GroupLimits] = (),
    rule: Rule = "skip",
    guard: Guard = "none",
    diversity: float = 0.0,
    vectors: Vectors | None = None,
) -> Purchase:
    """Return what the budget buys, the dearest per token first.

    The budget is never exceeded. Under the skip rule no document that was left would fit what is
    left of the budget and of the caps. The stop rule ends at the first document that does not fit
    the budget; one longer than the whole budget, or one that a cap keeps out, does not end it; what
    it buys is part of what skip buys (without a guard). With diversity, "first" is by score.

    Args:
        log_price: shape (n,), natural log; -inf is a price that underflowed.
        log_price_per_token: shape (n,), natural log, as ranked.
        costs: shape (n,), integers >= 1, in the unit of the budget.
        budget: what may be spent, >= 0.
        ranking: permutation of positions, the dearest per token first; see `rank_documents`.
        limits: floors and caps, one item for each way to divide the documents.
        rule: what to do at a document that does not fit: "skip" it, or "stop".
        guard: "best_single" buys the dearest document that fits (by price, not per token) first if
            it alone is worth more than everything bought without it. At length bias 1 the value is
            then at least half of the best possible. Only without limits and diversity.
        diversity: log price that a document unlike all bought ones gains, >= 0; 0 is by price.
        vectors: unit rows of documents by position; needed with diversity, not read without.

    Raises:
        InputError: an argument is outside its domain, or the limits cannot be met; says why.
    """
    _check(log_price, log_price_per_token, costs, budget, ranking)
    if rule not in {"skip", "stop"}:
        raise InputError(f"the rule must be skip or stop, got {rule!r}")
    if not 0 <= diversity < np.inf:
        raise InputError(f"diversity must be a finite number >= 0, got {diversity!r}")
    if guard == "best_single":
        if limits or diversity:
            raise InputError(
                "the guard best_single is a guarantee of the plain greedy rule; use it without "
                "limits and diversity"
            )
        return _buy_guarded(
            log_price, log_price_per_token, costs, budget=budget, ranking=ranking, rule=rule
        )
    if guard != "none":
        raise InputError(f"the guard must be none or best_single, got {guard!r}")
    if diversity and vectors is None:
        raise InputError("diversity needs the vectors of documents")
    if not limits and not diversity:
        return _buy_plainly(log_price_per_token, costs, budget, ranking=ranking, rule=rule)
    check_each_kind(limits, costs=costs, budget=budget)
    check_together(limits, costs=costs, budget=budget)

    def order() -> RankOrder | NoveltyOrder:
        if diversity and vectors is not None:
            return NoveltyOrder(
                log_price_per_token=log_price_per_token,
                ranking=ranking,
                weight=diversity,
                vectors=vectors,
            )
        return RankOrder(ranking)

    books, documents = _fill_floors(
        limits, order, costs, budget=budget, ranking=ranking, log_price=log_price
    )
    stopper = _spend_the_rest(books, documents, rule, ranking)
    return _purchase(books, stopper, rule, log_price_per_token)


class _Books:
    """What was bought and what is left: of the budget, of each cap, of each floor."""

    def __init__(self, limits: Sequence[GroupLimits], costs: IntArray, budget: int) -> None:
        self.limits, self.costs, self.budget = limits, costs, budget
        self.cost_of: list[int] = costs.tolist()
        self.groups: list[list[int]] = [each.group_index.tolist() for each in limits]
        self.left = budget
        self.caps_left: list[list[int]] = [
            np.where(each.caps < budget, each.caps, _NO_CAP).tolist() for each in limits
        ]
        self.unmet: list[list[int]] = [each.floors.tolist() for each in limits]
        self._n_unmet = sum(need > 0 for needs in self.unmet for need in needs)
        self.order: list[int] = []
        self.codes: list[int] = []

    def buy(self, position: int) -> None:
        cost, code = self.cost_of[position], _BOUGHT
        self.left -= cost
        for kind in reversed(range(len(self.limits))):
            group = self.groups[kind][position]
            self.caps_left[kind][group] -= cost
            if self.unmet[kind][group] > 0:
                self.unmet[kind][group] -= cost
                self._n_unmet -= self.unmet[kind][group] <= 0
                code = _floor_code(kind)
        self.order.append(position)
        self.codes.append(code)

    @property
    def has_met_floors(self) -> bool:
        return self._n_unmet == 0


class _Rest:
    """Room for any document: within what is left of the budget (for skip) and of the caps."""

    def __init__(self, books: _Books, rule: Rule) -> None:
        self._books, self._rule = books, rule

    def mask(self, positions: IntArray) -> BoolArray:
        books = self._books
        costs = books.costs[positions]
        fits: BoolArray = costs <= (books.left if self._rule == "skip" else books.budget)
        for each, caps_left in zip(books.limits, books.caps_left, strict=True):
            fits &= costs <= np.array(caps_left)[each.group_index[positions]]
        return fits

    def has(self, position: int) -> bool:
        books = self._books
        cost = books.cost_of[position]
        if cost > (books.left if self._rule == "skip" else books.budget):
            return False
        return all(
            cost <= caps_left[groups[position]]
            for groups, caps_left in zip(books.groups, books.caps_left, strict=True)
        )


@dataclass(frozen=True, eq=False)
class _Plan:
    """Amounts to spend: on groups of one or several kinds, each a way to divide documents."""

    groups: tuple[IntArray, ...]
    quotas: tuple[IntArray, ...]
    reserved: tuple[IntArray, ...] | None
    """Of each cap, what the quotas will use; None where quotas are the floors themselves."""


class _Floors:
    """Room for documents that serve an amount planned, if all other amounts can still be paid."""

    def __init__(self, books: _Books, plan: _Plan) -> None:
        self._books = books
        self._index = plan.groups
        self._groups: list[list[int]] = [each.tolist() for each in plan.groups]
        self._needs: list[list[int]] = [each.tolist() for each in plan.quotas]
        self._slack = [books.left - sum(needs) for needs in self._needs]
        self._reserved: list[list[int]] = (
            [[0] * len(each.names) for each in books.limits]
            if plan.reserved is None
            else [each.tolist() for each in plan.reserved]
        )
        self._is_reserved = plan.reserved is not None

    def mask(self, positions: IntArray) -> BoolArray:
        books = self._books
        costs = books.costs[positions]
        serves = np.zeros(positions.size, dtype=np.bool_)
        fits = np.zeros(positions.size, dtype=np.bool_)
        for each, unmet in zip(books.limits, books.unmet, strict=True):
            fits |= np.array(unmet)[each.group_index[positions]] > 0
        served = np.zeros_like(costs)
        for index, needs, slack in zip(self._index, self._needs, self._slack, strict=True):
            need = np.array(needs)[index[positions]]
            served = np.minimum(costs, need)
            fits &= costs - served <= slack
            serves |= need > 0
        if not self._is_reserved:
            served = np.zeros_like(served)
        for each, caps_left, reserved in zip(
            books.limits, books.caps_left, self._reserved, strict=True
        ):
            free = np.array(caps_left) - np.array(reserved)
            fits &= costs - served <= free[each.group_index[positions]]
        return fits & serves

    def has(self, position: int) -> bool:
        books, serves = self._books, False
        cost, served = books.cost_of[position], 0
        if not any(
            unmet[groups[position]] > 0
            for groups, unmet in zip(books.groups, books.unmet, strict=True)
        ):
            return False
        for groups, needs, slack in zip(self._groups, self._needs, self._slack, strict=True):
            need = needs[groups[position]]
            served = min(cost, need)
            if cost - served > slack:
                return False
            serves = serves or need > 0
        if not self._is_reserved:
            served = 0
        for groups, caps_left, reserved in zip(
            books.groups, books.caps_left, self._reserved, strict=True
        ):
            group = groups[position]
            if cost - served > caps_left[group] - reserved[group]:
                return False
        return serves

    def spend(self, position: int) -> None:
        """Count a document that was bought towards the amounts planned."""
        cost, served = self._books.cost_of[position], 0
        for plan, groups in enumerate(self._groups):
            group = groups[position]
            served = min(cost, self._needs[plan][group])
            self._needs[plan][group] -= served
            self._slack[plan] -= cost - served
        if self._is_reserved:
            for reserved, groups in zip(self._reserved, self._books.groups, strict=True):
                reserved[groups[position]] -= served


def _fill_floors(
    limits: Sequence[GroupLimits],
    order: Callable[[], RankOrder | NoveltyOrder],
    costs: IntArray,
    *,
    budget: int,
    ranking: IntArray,
    log_price: FloatArray,
) -> tuple[_Books, RankOrder | NoveltyOrder]:
    """Return the books with all floors met, and the order without what that bought."""
    books, documents = _Books(limits, costs, budget), order()
    if books.has_met_floors:
        return books, documents
    for plan in _plans(limits, costs, budget, ranking):
        books, documents = _Books(limits, costs, budget), order()
        room = _Floors(books, plan)
        while not books.has_met_floors and (position := documents.next(room)) is not None:
            books.buy(position)
            room.spend(position)
            documents.buy(position)
        if books.has_met_floors:
            return books, documents
        is_chosen = _close_quotas(books, plan, ranking)
        if is_chosen is not None:
            break
    else:
        is_chosen = whole_documents(
            limits, costs=costs, budget=budget, ranking=ranking, log_price=log_price
        )
    books, documents = _Books(limits, costs, budget), order()
    for position in ranking[is_chosen[ranking]].tolist():
        books.buy(position)
        documents.buy(position)
    return books, documents


def _plans(
    limits: Sequence[GroupLimits], costs: IntArray, budget: int, ranking: IntArray
) -> Iterator[_Plan]:
    """Yield amounts to try: the floors themselves, then quotas for each topic and source."""
    floored = [each for each in limits if each.floors.any()]
    yield _Plan(
        tuple(each.group_index for each in floored), tuple(each.floors for each in floored), None
    )
    if len(limits) < 2:
        return
    cell_of, quotas = cell_quotas(limits, costs=costs, budget=budget, ranking=ranking)
    reserved = []
    for each in limits:
        group_of_cell = np.zeros(quotas.size, dtype=np.int64)
        group_of_cell[cell_of] = each.group_index
        amounts = np.zeros(len(each.names), dtype=np.int64)
        np.add.at(amounts, group_of_cell, quotas)
        reserved.append(amounts)
    yield _Plan((cell_of,), (quotas,), tuple(reserved))


def _close_quotas(books: _Books, plan: _Plan, ranking: IntArray) -> BoolArray | None:
    """Return documents that meet the amounts planned where the walk ended just below some.

    Where an amount is missed, the last documents bought for it are chosen again among those and
    the next ones in rank order, so that their costs add up to what is missing or as little more as
    possible. Only for a plan whose groups each lie within one group of every kind.

    Returns:
        Shape (n,), true for the documents chosen; None if some amount cannot be met like that.
    """
    if len(plan.groups) > 1 or (plan.reserved is None and len(books.limits) > 1):
        return None
    index, quotas = plan.groups[0], plan.quotas[0]
    is_chosen = _is_in(np.array(books.order, dtype=np.int64), books.costs.size)
    spent = np.zeros(quotas.size, dtype=np.int64)
    np.add.at(spent, index[is_chosen], books.costs[is_chosen])
    free = books.budget - int(np.maximum(spent, quotas).sum())
    free_of = [
        each.caps - _sums_within(each, index, np.maximum(spent, quotas)) for each in books.limits
    ]
    for group in np.flatnonzero(spent < quotas).tolist():
        mine = ranking[index[ranking] == group]
        reopened = mine[is_chosen[mine]][-_REOPENED:]
        is_chosen[reopened] = False
        groups = [int(each.group_index[mine[0]]) for each in books.limits]
        room = min(free, *(int(each[g]) for each, g in zip(free_of, groups, strict=True)))
        missing = int(quotas[group] - books.costs[mine[is_chosen[mine]]].sum())
        others = mine[~is_chosen[mine]]
        candidates = others[books.costs[others] <= missing + room][:_CANDIDATES]
        picked = _least_sum(books.costs[candidates].tolist(), missing, missing + room)
        if picked is None:
            return None
        is_chosen[candidates[picked]] = True
        beyond = int(books.costs[candidates[picked]].sum()) - missing
        free -= beyond
        for each, g in zip(free_of, groups, strict=True):
            each[g] -= beyond
    return is_chosen


def _sums_within(limits: GroupLimits, index: IntArray, amounts: IntArray) -> IntArray:
    """Return the sums by group of amounts that are given for parts of groups."""
    group_of = np.zeros(amounts.size, dtype=np.int64)
    group_of[index] = limits.group_index
    sums = np.zeros(len(limits.names), dtype=np.int64)
    np.add.at(sums, group_of, amounts)
    return sums


def _least_sum(costs: list[int], least: int, most: int) -> list[int] | None:
    """Return places of costs that add up to the least reachable number in least .. most.

    Of several ways, one that leaves out the last costs. Sums are bits of a whole number: bit s of
    `reachable[k]` is set if some of the first k costs add up to s.
    """
    most = min(most, least + max(costs, default=0))
    if most * len(costs) > _SUM_BITS:
        return None
    within = (1 << (most + 1)) - 1
    reachable = [1]
    for cost in costs:
        reachable.append(reachable[-1] | (reachable[-1] << cost) & within)
    found = reachable[-1] >> least
    if not found:
        return None
    total = least + (found & -found).bit_length() - 1
    places = []
    for place in reversed(range(len(costs))):
        if not (reachable[place] >> total) & 1:
            places.append(place)
            total -= costs[place]
    return places


def _spend_the_rest(
    books: _Books, documents: RankOrder | NoveltyOrder, rule: Rule, ranking: IntArray
) -> int | None:
    """Buy in order what fits; return the document that ended the walk under the stop rule."""
    has_caps = any((each.caps < books.budget).any() for each in books.limits)
    if isinstance(documents, RankOrder) and not has_caps:
        is_left = np.ones(ranking.size, dtype=np.bool_)
        is_left[books.order] = False
        rest = ranking[is_left[ranking]]
        is_bought, stopper = _walk(books.costs[rest], books.budget, books.budget - books.left, rule)
        for position in rest[is_bought].tolist():
            books.buy(position)
        return None if stopper is None else int(rest[stopper])
    documents.reopen()
    room = _Rest(books, rule)
    while (position := documents.next(room)) is not None:
        if books.cost_of[position] > books.left:
            return position
        books.buy(position)
        documents.buy(position)
    return None


def _walk(costs: IntArray, budget: int, spent: int, rule: Rule) -> tuple[BoolArray, int | None]:
    """Return what is bought of documents in rank order, and the place where stop stopped."""
    is_bought = buy_within_budget(costs=costs, budget=budget, rule=rule, already_spent=spent)
    if rule == "skip":
        return is_bought, None
    left = np.flatnonzero(~is_bought & (costs <= budget))
    return is_bought, int(left[0]) if left.size else None


def _buy_plainly(
    log_price_per_token: FloatArray,
    costs: IntArray,
    budget: int,
    *,
    ranking: IntArray,
    rule: Rule,
    first: int | None = None,
) -> Purchase:
    """Buy in rank order without limits, after one document that is bought before all."""
    rest = ranking if first is None else ranking[ranking != first]
    spent = 0 if first is None else int(costs[first])
    is_bought, stopper = _walk(costs[rest], budget, spent, rule)
    codes = np.full(costs.size, _DID_NOT_FIT if rule == "skip" else _AFTER_THE_STOP, dtype=np.int8)
    if stopper is not None:
        codes[rest[stopper]] = _DID_NOT_FIT
    codes[costs > budget] = _LONGER
    order = rest[is_bought]
    codes[order] = _BOUGHT
    if first is not None:
        codes[first] = _BEST_SINGLE
        order = np.concatenate([[first], order])
    marginal = float(log_price_per_token[order[-1]]) if order.size else None
    return Purchase(_is_in(order, costs.size), codes, _NAMES, order, marginal)


def _buy_guarded(
    log_price: FloatArray,
    log_price_per_token: FloatArray,
    costs: IntArray,
    *,
    budget: int,
    ranking: IntArray,
    rule: Rule,
) -> Purchase:
    purchase = _buy_plainly(log_price_per_token, costs, budget, ranking=ranking, rule=rule)
    fits = ranking[costs[ranking] <= budget]
    if not fits.size:
        return purchase
    best = int(fits[np.argmax(log_price[fits])])  # of equal ones the best ranked
    if log_price[best] == -np.inf:
        return purchase
    # Worth of all that was bought, in units of the best single one: no price underflows to 0 / 0.
    worth = float(np.exp(log_price[purchase.is_bought] - log_price[best]).sum())
    if worth >= 1:
        return purchase
    return _buy_plainly(log_price_per_token, costs, budget, ranking=ranking, rule=rule, first=best)


def _purchase(
    books: _Books, stopper: int | None, rule: Rule, log_price_per_token: FloatArray
) -> Purchase:
    order = np.array(books.order, dtype=np.int64)
    codes = _reasons_left(books, order, stopper, rule)
    codes[order] = np.array(books.codes, dtype=np.int8)
    by_price = order[codes[order] == _BOUGHT]
    return Purchase(
        is_bought=_is_in(order, books.costs.size),
        reason_codes=codes,
        reason_names=(
            *_NAMES,
            *(f"{each.kind}_{limit}" for each in books.limits for limit in ("floor", "cap")),
        ),
        order=order,
        marginal_log_price_per_token=(
            float(log_price_per_token[by_price[-1]]) if by_price.size else None
        ),
    )


def _reasons_left(
    books: _Books, order: IntArray, stopper: int | None, rule: Rule
) -> NDArray[np.int8]:
    """Return why each document would be left: the limit that first had no room for it.

    A cap and the budget may lack room at the same purchase; then the cap is named. Under the stop
    rule a document that a cap has no room for at the end is left because of that cap.
    """
    costs = books.costs
    never = order.size + 1
    closed_at = np.full(costs.size, never, dtype=np.int64)
    codes = np.full(costs.size, _AFTER_THE_STOP, dtype=np.int8)
    if rule == "skip":
        codes[:] = _DID_NOT_FIT
        closed_at = _first_without_room(costs[order], books.budget, costs)
    elif stopper is not None:
        codes[stopper] = _DID_NOT_FIT
    for kind, each in reversed(list(enumerate(books.limits))):
        at = np.full(costs.size, never, dtype=np.int64)
        steps = np.arange(1, order.size + 1)
        group_of_step = each.group_index[order]
        for group in np.flatnonzero(each.caps < books.budget).tolist():
            members = np.flatnonzero(each.group_index == group)
            mine = group_of_step == group
            step = np.concatenate([[0], steps[mine], [never]])
            nth = _first_without_room(costs[order[mine]], int(each.caps[group]), costs[members])
            at[members] = step[nth]
        is_first = (at <= closed_at) & (at < never)
        codes[is_first] = _cap_code(kind)
        closed_at = np.minimum(closed_at, at)
    codes[costs > books.budget] = _LONGER
    return codes


def _first_without_room(spent: IntArray, limit: int, costs: IntArray) -> IntArray:
    """Return after how many of the purchases `spent` each cost no longer fits the limit.

    One more than there are purchases where it fits to the end.
    """
    total = np.concatenate([[0], np.cumsum(spent)])
    return np.searchsorted(total, limit - costs, side="right").astype(np.int64)


def _is_in(positions: IntArray, n_documents: int) -> BoolArray:
    is_in = np.zeros(n_documents, dtype=np.bool_)
    is_in[positions] = True
    return is_in


def _floor_code(kind: int) -> int:
    return len(_NAMES) + 2 * kind


def _cap_code(kind: int) -> int:
    return len(_NAMES) + 2 * kind + 1


def _check(
    log_price: FloatArray,
    log_price_per_token: FloatArray,
    costs: IntArray,
    budget: int,
    ranking: IntArray,
) -> None:
    check_costs(costs)
    if budget < 0:
        raise InputError(f"the budget must be >= 0, got {budget}")
    shapes = [each.shape for each in (log_price, log_price_per_token, ranking)]
    if any(shape != costs.shape for shape in shapes):
        raise InputError(
            f"prices, costs and the ranking must be of one length, got shapes "
            f"{', '.join(str(shape) for shape in [*shapes, costs.shape])}"
        )
    check_log_prices(log_price, "price")
    check_log_prices(log_price_per_token)
    is_there = np.zeros(costs.size, dtype=np.bool_)
    is_valid = bool(((ranking >= 0) & (ranking < costs.size)).all())
    if is_valid:
        is_there[ranking] = True
    if not (is_valid and is_there.all()):
        raise InputError(
            f"the ranking must hold each position 0 .. {costs.size - 1} once; see rank_documents"
        )
    ranked = log_price_per_token[ranking]
    if (ranked[1:] > ranked[:-1]).any():
        raise InputError("the ranking must go from the dearest per token to the cheapest")
