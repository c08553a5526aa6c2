"""A comparison in a table: each sampler at each budget, and how far it is from the baselines.

Baselines are `random` and, of those that read one signal alone, the best at the same budget by the
same metric: it is chosen on the seeds that it is compared on, so it looks a little better than it
is. Training on everything is compared with at whatever budget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from databourse.comparison.differences import (
    DeviationChange,
    Interval,
    deviation_change,
    mean_interval,
    paired_difference,
)
from databourse.comparison.grid import ALL
from databourse.comparison.proxies import LARGER_IS_BETTER
from databourse.comparison.signal_costs import NOTHING, SignalCost
from databourse.seeds import stage_rng

BASELINE = "random"
"""What every sampler is compared with, where it is among them."""


_FEWEST_SEEDS = 3  # of which deviations are compared

Cells = Mapping[int, Mapping[str, object]]
"""Stored rows by seed."""


@dataclass(frozen=True)
class SummaryRow:
    """One sampler at one budget, by one metric of one test set.

    Differences are of means, paired by seed; None where the other is missing or the sampler itself.

    Attributes:
        target: the test set.
        metric: its name.
        budget_tokens: in the unit of the costs.
        sampler: its name.
        value: mean over seeds, with its bootstrap interval.
        over_random: value minus that of random.
        over_all: value minus that of training on everything.
        over_best_single: value minus that of `best_single`.
        best_single: the best sampler that reads one signal alone, of this metric and budget.
        deviation_over_random: how much more or less it varies over seeds than random does.
        documents: mean number bought.
        tokens: mean spent.
        select_seconds: mean, of choosing.
        select_cpu_seconds: mean, of choosing.
        signals: that it reads.
        signal_seconds: of computing these for the whole pool.
        signal_cpu_seconds: likewise.
    """

    target: str
    metric: str
    budget_tokens: int
    sampler: str
    value: Interval
    over_random: Interval | None
    over_all: Interval | None
    over_best_single: Interval | None
    best_single: str | None
    deviation_over_random: DeviationChange | None
    documents: float
    tokens: float
    select_seconds: float
    select_cpu_seconds: float
    signals: tuple[str, ...]
    signal_seconds: float
    signal_cpu_seconds: float

    @property
    def total_cpu_seconds(self) -> float:
        """Return what it took to select: the signals and choosing."""
        return self.signal_cpu_seconds + self.select_cpu_seconds


def summarised(
    rows: Sequence[Mapping[str, object]],
    *,
    seed: int,
    costs: Mapping[str, SignalCost] | None = None,
) -> list[SummaryRow]:
    """Return the summary of results: by test set, metric and budget, the best sampler first.

    Args:
        rows: as they are stored: sampler, budget_tokens, seed, target, metric, value, documents,
            tokens, select_seconds, select_cpu_seconds.
        seed: of the bootstrap.
        costs: what each sampler reads; those that are not named read nothing.
    """
    groups: dict[tuple[str, str, int], dict[str, dict[int, Mapping[str, object]]]] = {}
    for row in rows:
        key = (str(row["target"]), str(row["metric"]), _int(row["budget_tokens"]))
        group = groups.setdefault(key, defaultdict(dict))
        group[str(row["sampler"])][_int(row["seed"])] = row
    everything = {
        key[:2]: group[ALL] for key, group in groups.items() if ALL in group
    }  # it has a budget of its own
    read = costs or {}
    found = []
    for key, group in groups.items():
        baselines = {BASELINE: group.get(BASELINE, {}), ALL: everything.get(key[:2], {})}
        single = _best_single(key[1], group, read)
        for sampler, cells in group.items():
            rng = stage_rng(seed, "bootstrap", *map(str, (*key, sampler)))
            found.append(
                _row(
                    (*key, sampler),
                    cells,
                    baselines={
                        **{name: own for name, own in baselines.items() if name != sampler},
                        "single": group[single] if single not in {None, sampler} else {},
                    },
                    best_single=single,
                    cost=read.get(sampler, NOTHING),
                    rng=rng,
                )
            )
    return sorted(found, key=_place)


def best_of(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Return the best sampler of each test set, metric and budget, in the order of the rows.

    Args:
        rows: as `summarised` gives them; those of metrics without a better end are left out.
    """
    best: dict[tuple[str, str, int], SummaryRow] = {}
    for row in rows:
        if row.metric in LARGER_IS_BETTER and row.sampler != ALL:
            best.setdefault((row.target, row.metric, row.budget_tokens), row)
    return list(best.values())


def _best_single(
    metric: str, group: Mapping[str, Cells], costs: Mapping[str, SignalCost]
) -> str | None:
    singles = [name for name in group if len(costs.get(name, NOTHING).signals) == 1]
    if not singles or metric not in LARGER_IS_BETTER:
        return None
    sign = -1.0 if LARGER_IS_BETTER[metric] else 1.0
    return min(
        singles,
        key=lambda name: (sign * float(_column(group[name], sorted(group[name])).mean()), name),
    )


def _row(
    key: tuple[str, str, int, str],
    cells: Cells,
    *,
    baselines: Mapping[str, Cells],
    best_single: str | None,
    cost: SignalCost,
    rng: np.random.Generator,
) -> SummaryRow:
    target, metric, budget, sampler = key
    seeds = sorted(cells)

    def over(name: str) -> Interval | None:
        others = baselines.get(name, {})
        shared = [each for each in seeds if each in others]
        if not shared:
            return None
        return paired_difference(_column(cells, shared), _column(others, shared), rng=rng)

    over_random = over(BASELINE)
    value = mean_interval(_column(cells, seeds), rng=rng)
    others = baselines.get(BASELINE, {})
    shared = [each for each in seeds if each in others]
    return SummaryRow(
        target=target,
        metric=metric,
        budget_tokens=budget,
        sampler=sampler,
        value=value,
        over_random=over_random,
        over_all=over(ALL),
        over_best_single=over("single"),
        best_single=best_single,
        deviation_over_random=(
            deviation_change(_column(cells, shared), _column(others, shared), rng=rng)
            if len(shared) >= _FEWEST_SEEDS
            else None
        ),
        documents=float(_column(cells, seeds, "documents").mean()),
        tokens=float(_column(cells, seeds, "tokens").mean()),
        select_seconds=float(_column(cells, seeds, "select_seconds").mean()),
        select_cpu_seconds=float(_column(cells, seeds, "select_cpu_seconds").mean()),
        signals=cost.signals,
        signal_seconds=cost.seconds,
        signal_cpu_seconds=cost.cpu_seconds,
    )


def _place(row: SummaryRow) -> tuple[str, str, int, float, str]:
    sign = -1.0 if LARGER_IS_BETTER.get(row.metric, True) else 1.0
    return row.target, row.metric, row.budget_tokens, sign * row.value.mean, row.sampler


def _column(
    cells: Cells, seeds: Sequence[int], name: str = "value"
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(str(cells[each][name])) for each in seeds], dtype=np.float64)


def _int(value: object) -> int:
    return int(str(value))
