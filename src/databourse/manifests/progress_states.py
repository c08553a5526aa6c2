"""How far an epoch has been read: intervals of places that remain, by rank and worker.

A state is made of JSON types, so that it lies beside any checkpoint. That of one rank is loaded by
the same rank of as many; `merge_states` makes of the states of all ranks one that any number of
ranks can load. Whatever is loaded, each place that remained is read exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from databourse.errors import InputError
from databourse.manifests.epochs import share

Interval = tuple[int, int]
"""Places of an epoch, from the first number to before the second."""


class DatasetState(TypedDict):
    """What a data set has still to read of an epoch."""

    manifest_id: str
    seed: int
    window_rows: int
    weighting: str
    epoch: int
    rank: int | None
    ranks: int | None
    worker: int | None
    workers: int | None
    remaining: list[list[list[int]]]


def cut(intervals: Iterable[Interval], consumer: int, n_consumers: int) -> list[Interval]:
    """Return a consumer's share of intervals laid end to end; shares differ by at most one place.

    Raises:
        InputError: there is no such consumer.
    """
    listed = list(intervals)
    start, end = share(sum(last - first for first, last in listed), consumer, n_consumers)
    found, place = [], 0
    for first, last in listed:
        lower, upper = max(start - place, 0), min(end - place, last - first)
        if lower < upper:
            found.append((first + lower, first + upper))
        place += last - first
    return found


def without_first(intervals: Sequence[Interval], n_places: int) -> list[Interval]:
    """Return what remains of intervals after as many places were read."""
    found = []
    for first, last in intervals:
        read = min(n_places, last - first)
        n_places -= read
        if first + read < last:
            found.append((first + read, last))
    return found


def first_of(intervals: Sequence[Interval], n_places: int) -> list[Interval]:
    """Return the first so many places of intervals."""
    found = []
    for first, last in intervals:
        taken = min(n_places, last - first)
        n_places -= taken
        if taken:
            found.append((first, first + taken))
    return found


def merge_states(states: Sequence[DatasetState]) -> DatasetState:
    """Return the state that the states of all ranks of a training come to.

    Every rank of a later training, of however many, loads it and takes its share of what remains.

    Args:
        states: one per rank, in any order, saved at the same step.

    Raises:
        InputError: a rank is missing or there twice, or the states are of different epochs or data.
    """
    ranks = sorted(state["rank"] if state["rank"] is not None else -1 for state in states)
    if not states or ranks != list(range(states[0]["ranks"] or 0)):
        raise InputError(
            f"the states of all ranks are needed, each once; got those of ranks {ranks} of "
            f"{states[0]['ranks'] if states else 'none'}"
        )
    for key in ("manifest_id", "seed", "window_rows", "weighting", "epoch", "ranks"):
        values = sorted({str(state[key]) for state in states})
        if len(values) > 1:
            raise InputError(f"states of one step agree on {key}; got {', '.join(values)}")
    in_order = sorted(states, key=lambda state: state["rank"] or 0)
    return {
        **states[0],
        "rank": None,
        "ranks": None,
        "worker": None,
        "workers": None,
        "remaining": [part for state in in_order for part in state["remaining"]],
    }
