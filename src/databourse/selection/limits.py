"""Floors and caps: how much of a budget goes to each topic and each source.

A floor is met when documents of the group cost at least that much together; whole documents are
bought, so the last one may go beyond. A cap is never exceeded. Of all ways to divide documents at
once (topics and sources) the limits can contradict each other; see `feasibility`.

The even split behind a floor given as a number is step 6A of the selection of Jha et al. 2025
(arXiv 2510.02456: "balanced top-K with per-topic floors"). The form of the floor, that it is of
costs rather than of documents, caps, and floors of sources are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from databourse.errors import InputError, UnknownNameError
from databourse.selection.greedy import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class GroupLimits:
    """Floors and caps of one way to divide the documents, such as topics or sources."""

    kind: str
    """What a group is called in errors and reasons: "topic" or "source"."""
    names: tuple[str, ...]
    """Of the groups."""
    group_index: IntArray
    """Shape (n,), group of each document, 0 .. n_groups - 1."""
    floors: IntArray
    """Shape (n_groups,), the least to spend there, >= 0, in the unit of the budget."""
    caps: IntArray
    """Shape (n_groups,), the most to spend there, >= 0; the budget where there is no cap."""


def group_limits(
    *,
    kind: str,
    names: Sequence[str],
    group_index: IntArray,
    costs: IntArray,
    budget: int,
    floor: float | Mapping[str, float] = 0.0,
    cap: float | Mapping[str, float] | None = None,
) -> GroupLimits:
    """Return floors and caps in the unit of the budget, from the words of a config.

    Shares and multiples are taken as the decimals that are written, and rounded down.

    Args:
        kind: what a group is called: "topic" or "source".
        names: of the groups; distinct, one for each value of `group_index` or more.
        group_index: shape (n,), group of each document.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0.
        floor: a number phi in [0, 1], of an even split: phi * budget / n_groups for each group, cut
            at what its documents cost; or shares of the budget, each in (0, 1], by name.
        cap: a number >= 1, a multiple of an even split; or shares of the budget by name; or None.

    Raises:
        UnknownNameError: a floor or cap of a group that does not exist.
        InputError: a number outside its domain, or a floor by name beyond what the group holds.
    """
    n_groups = len(names)
    caps = _caps(cap, kind=kind, names=names, budget=budget)
    supply = _supply(group_index, n_groups, costs, caps)
    if not isinstance(floor, Mapping):
        if not 0 <= floor <= 1:
            raise InputError(
                f"the {kind} floor must be a number in [0, 1], a part of an even split, or shares "
                f"of the budget by name; got {floor!r}"
            )
        even = _rounded_down(floor, budget) // max(n_groups, 1)
        return GroupLimits(kind, tuple(names), group_index, np.minimum(supply, even), caps)
    floors = _shares(floor, what=f"{kind} floor", kind=kind, names=names, budget=budget, other=0)
    held = _supply(group_index, n_groups, costs)
    short = np.flatnonzero(floors > held)
    if short.size:
        group = int(short[0])
        raise InputError(
            f"the floor of {kind} {names[group]!r} is {floors[group]:,} (a share of "
            f"{floor[names[group]]!r} of {budget:,}), but its documents cost only "
            f"{held[group]:,} in all; lower the floor"
        )
    return GroupLimits(kind, tuple(names), group_index, floors, caps)


def eligible(limits: Sequence[GroupLimits], *, costs: IntArray, budget: int) -> BoolArray:
    """Return which documents fit the budget and the caps of their groups when bought alone.

    Args:
        limits: of each way to divide the documents.
        costs: shape (n,).
        budget: what may be spent.
    """
    fits = costs <= budget
    for each in limits:
        fits &= costs <= each.caps[each.group_index]
    return fits


def check_each_kind(limits: Sequence[GroupLimits], *, costs: IntArray, budget: int) -> None:
    """Refuse limits of one kind that contradict themselves, the budget or the documents.

    Args:
        limits: of each way to divide the documents.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0.

    Raises:
        InputError: shapes do not match; a limit is negative; a floor lies above its cap, or above
            what those documents of its group cost that fit budget and cap; or the floors of one
            kind add up to more than the budget.
    """
    kinds = [each.kind for each in limits]
    if len(set(kinds)) != len(kinds):
        raise InputError(f"the limits must be of distinct kinds, got {', '.join(kinds)}")
    for each in limits:
        _check_shapes(each, costs.size)
        _check_floors(each, costs, budget)


def _check_shapes(limits: GroupLimits, n_documents: int) -> None:
    n_groups = len(limits.names)
    for name, array, shape in (
        ("group_index", limits.group_index, (n_documents,)),
        ("floors", limits.floors, (n_groups,)),
        ("caps", limits.caps, (n_groups,)),
    ):
        if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"{name} of the {limits.kind} limits must be integers of shape {shape}, got shape "
                f"{array.shape} of {array.dtype}"
            )
    if n_documents and not 0 <= limits.group_index.min() <= limits.group_index.max() < n_groups:
        raise InputError(
            f"group_index of the {limits.kind} limits must be in 0 .. {n_groups - 1}, got "
            f"{limits.group_index.min()} .. {limits.group_index.max()}"
        )
    if n_groups and min(limits.floors.min(), limits.caps.min()) < 0:
        raise InputError(f"floors and caps of the {limits.kind} limits must be >= 0")


def _check_floors(limits: GroupLimits, costs: IntArray, budget: int) -> None:
    above = np.flatnonzero(limits.floors > limits.caps)
    if above.size:
        group = int(above[0])
        raise InputError(
            f"the floor of {limits.kind} {limits.names[group]!r} is {limits.floors[group]:,}, "
            f"above its cap of {limits.caps[group]:,}; lower the floor or raise the cap"
        )
    total = int(limits.floors.sum())
    if total > budget:
        raise InputError(
            f"the {limits.kind} floors add up to {total:,}, more than the budget of {budget:,}; "
            "lower them or raise the budget"
        )
    within = np.minimum(limits.caps, budget)
    supply = _supply(limits.group_index, len(limits.names), costs, within)
    short = np.flatnonzero(limits.floors > supply)
    if short.size:
        group = int(short[0])
        raise InputError(
            f"the floor of {limits.kind} {limits.names[group]!r} is {limits.floors[group]:,}, but "
            f"those of its documents that fit its cap of {within[group]:,} cost only "
            f"{supply[group]:,} in all; lower the floor"
        )


def _caps(
    cap: float | Mapping[str, float] | None, *, kind: str, names: Sequence[str], budget: int
) -> IntArray:
    if cap is None:
        return np.full(len(names), budget, dtype=np.int64)
    if isinstance(cap, Mapping):
        what = f"{kind} cap"
        return _shares(cap, what=what, kind=kind, names=names, budget=budget, other=budget)
    if not 1 <= cap < np.inf:
        raise InputError(
            f"the {kind} cap must be a number >= 1, a multiple of an even split, or shares of the "
            f"budget by name; got {cap!r}"
        )
    even = min(_rounded_down(cap, budget) // max(len(names), 1), budget)
    return np.full(len(names), even, dtype=np.int64)


def _shares(
    shares: Mapping[str, float],
    *,
    what: str,
    kind: str,
    names: Sequence[str],
    budget: int,
    other: int,
) -> IntArray:
    place = {name: index for index, name in enumerate(names)}
    amounts = np.full(len(names), other, dtype=np.int64)
    for name, share in shares.items():
        if name not in place:
            raise UnknownNameError(kind, name, tuple(names), f"the {what}s")
        if not 0 < share <= 1:
            raise InputError(
                f"the {what} of {name!r} must be a share of the budget in (0, 1], got {share!r}"
            )
        amounts[place[name]] = _rounded_down(share, budget)
    return amounts


def _supply(
    group_index: IntArray, n_groups: int, costs: IntArray, longest: IntArray | None = None
) -> IntArray:
    """Return what the documents of each group cost in all, of those that cost at most `longest`."""
    fits = slice(None) if longest is None else costs <= longest[group_index]
    supply = np.zeros(n_groups, dtype=np.int64)
    np.add.at(supply, group_index[fits], costs[fits])
    return supply


def _rounded_down(number: float, budget: int) -> int:
    """Return number * budget in whole units, of the number as it is written: 0.29 of 100 is 29."""
    return int(Fraction(repr(float(number))) * budget)
