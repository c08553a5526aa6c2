"""A comparison in a table: each sampler at each budget, and how far it is from random."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from databourse.comparison.differences import Interval, mean_interval, paired_difference
from databourse.comparison.proxies import LARGER_IS_BETTER
from databourse.seeds import stage_rng

BASELINE = "random"
"""What every sampler is compared with, where it is among them."""


@dataclass(frozen=True)
class SummaryRow:
    """One sampler at one budget, by one metric of one test set.

    Attributes:
        target: the test set.
        metric: its name.
        budget_tokens: in the unit of the costs.
        sampler: its name.
        value: mean over seeds, with its bootstrap interval.
        over_random: value minus that of random, paired by seed; None where random is missing, or
            the sampler is random itself.
        documents: mean number bought.
        tokens: mean spent.
        select_cpu_seconds: mean, of choosing.
    """

    target: str
    metric: str
    budget_tokens: int
    sampler: str
    value: Interval
    over_random: Interval | None
    documents: float
    tokens: float
    select_cpu_seconds: float


def summarised(rows: Sequence[Mapping[str, object]], *, seed: int) -> list[SummaryRow]:
    """Return the summary of results: by test set, metric and budget, the best sampler first.

    Args:
        rows: as they are stored: sampler, budget_tokens, seed, target, metric, value, documents,
            tokens, select_cpu_seconds.
        seed: of the bootstrap.
    """
    groups: dict[tuple[str, str, int, str], dict[int, Mapping[str, object]]] = defaultdict(dict)
    for row in rows:
        key = (
            str(row["target"]),
            str(row["metric"]),
            _int(row["budget_tokens"]),
            str(row["sampler"]),
        )
        groups[key][_int(row["seed"])] = row
    found = [_row(key, cells, groups, seed) for key, cells in groups.items()]
    return sorted(found, key=_place)


def _row(
    key: tuple[str, str, int, str],
    cells: Mapping[int, Mapping[str, object]],
    groups: Mapping[tuple[str, str, int, str], Mapping[int, Mapping[str, object]]],
    seed: int,
) -> SummaryRow:
    target, metric, budget, sampler = key
    rng = stage_rng(seed, "bootstrap", *map(str, key))
    seeds = sorted(cells)
    others = groups.get((target, metric, budget, BASELINE), {})
    shared = [each for each in seeds if each in others]
    over_random = None
    if shared and sampler != BASELINE:
        over_random = paired_difference(
            _column(cells, shared, "value"), _column(others, shared, "value"), rng=rng
        )
    return SummaryRow(
        target=target,
        metric=metric,
        budget_tokens=budget,
        sampler=sampler,
        value=mean_interval(_column(cells, seeds, "value"), rng=rng),
        over_random=over_random,
        documents=float(_column(cells, seeds, "documents").mean()),
        tokens=float(_column(cells, seeds, "tokens").mean()),
        select_cpu_seconds=float(_column(cells, seeds, "select_cpu_seconds").mean()),
    )


def _place(row: SummaryRow) -> tuple[str, str, int, float, str]:
    sign = -1.0 if LARGER_IS_BETTER.get(row.metric, True) else 1.0
    return row.target, row.metric, row.budget_tokens, sign * row.value.mean, row.sampler


def _column(
    cells: Mapping[int, Mapping[str, object]], seeds: Sequence[int], name: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(str(cells[each][name])) for each in seeds], dtype=np.float64)


def _int(value: object) -> int:
    return int(str(value))
