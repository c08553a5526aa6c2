"""Write the report of a staged manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from databourse.manifests import load_staged
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.pricing import MarketReport
from databourse.refresh.reporting import (
    published_versions,
    report_inputs,
    write_page,
    write_summary,
)
from databourse.reports.watching import run_tables
from tasks.artifacts import show
from tasks.stages import stage_task, timed_stage


@stage_task("write_report")
def write_report(
    run: RunContext,
    ids: SnapshotIds,
    signal_ids: tuple[str, ...],
    *,
    market: str,
    path: str,
    stages: tuple[StageReport, ...],
) -> StageReport:
    """Write report.html into the staging folder; one page per manifest, and its summary."""

    def work(_: ProgressReport) -> StageReport:
        staged = load_staged(Path(path))
        inputs = report_inputs(
            run.open_warehouse(),
            run,
            staged,
            MarketReport.from_json(market),
            signal_ids=signal_ids,
            snapshot_id=ids.snapshot_id,
            trained=ids.models.trained,
            stages=stages,
            created_at=datetime.now(UTC),
        )
        write_page(staged, inputs)
        show(run.pool, run_tables(inputs, published_versions(run)))
        values = {"summary": write_summary(inputs)}
        return StageReport("write report", inputs.spent_documents, 1, values=values)

    return timed_stage("write report", work)
