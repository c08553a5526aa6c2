"""Where a refresh's time went: its stages, its contracts, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

from databourse.refresh.context import StageReport
from databourse.refresh.enforcement import CONTRACT_STAGE
from databourse.reports.data import StageTiming


def stage_timings(stages: Sequence[StageReport]) -> tuple[StageTiming, ...]:
    """Return the time of every stage, of all contracts together, and between stages.

    Args:
        stages: that are done, in the order in which they ended.
    """
    timings = [
        StageTiming(each.stage, each.rows_in, each.rows_out, each.seconds, each.cpu_seconds)
        for each in stages
        if not each.stage.startswith(CONTRACT_STAGE)
    ]
    contracts = [each for each in stages if each.stage.startswith(CONTRACT_STAGE)]
    if contracts:
        seconds = sum(each.seconds for each in contracts)
        cpu_seconds = sum(each.cpu_seconds for each in contracts)
        name = f"contracts ({len(contracts)})"
        timings.append(StageTiming(name, None, None, seconds, cpu_seconds))
    wall, between = time_between(stages)
    if wall > 0:
        name = f"between stages ({between / wall:.0%} of {wall:,.0f} s)"
        timings.append(StageTiming(name, None, None, between, None))
    return tuple(timings)


def time_between(stages: Sequence[StageReport]) -> tuple[float, float]:
    """Return the seconds from the first stage's start to the last one's end, and those in no stage.

    What is in no stage is orchestration: Prefect's own work, and records of what was done.
    """
    spans = sorted(
        (each.started_seconds, each.started_seconds + each.seconds)
        for each in stages
        if each.started_seconds > 0
    )
    if not spans:
        return 0.0, 0.0
    between, reached = 0.0, spans[0][0]
    for start, end in spans:
        between += max(0.0, start - reached)
        reached = max(reached, end)
    return reached - spans[0][0], between
