"""Write the report of a staged manifest."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.reporting import write_report as write
from tasks.stages import stage_task, timed_stage


@stage_task("write_report")
def write_report(
    run: RunContext,
    ids: SnapshotIds,
    signal_ids: tuple[str, ...],
    market: str,
    path: str,
    stages: tuple[StageReport, ...],
) -> StageReport:
    """Write report.html and summary.md into the staging folder; one page per manifest."""

    def work(_: ProgressReport) -> StageReport:
        documents = write(
            run.open_warehouse(),
            run,
            ids,
            signal_ids=signal_ids,
            market=market,
            path=path,
            stages=stages,
        )
        return StageReport("write report", documents, 1)

    return timed_stage("write report", work)
