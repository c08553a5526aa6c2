"""Gather the documents of the last refresh, the test sets and the proxy of a comparison."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.comparison import prepare_comparison as prepare
from databourse.refresh.context import RunContext, StageReport
from tasks.stages import stage_task, timed_stage


@stage_task("prepare_comparison")
def prepare_comparison(run: RunContext) -> StageReport:
    """Read and embed test sets, and load what samplers may ask for; this process keeps it."""

    def work(advance: ProgressReport) -> StageReport:
        comparison = prepare(run.open_warehouse(), run, advance=advance)
        documents = len(comparison.candidates.document_ids)
        note = f"{len(comparison.cells):,} trainings, {comparison.comparison_id[:12]}"
        return StageReport("prepare comparison", documents, documents, note)

    return timed_stage("prepare comparison", work)
