"""Write what was bought as a manifest that no reader sees yet."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.publication import stage_selection
from tasks.stages import stage_task, timed_stage


@stage_task("stage_manifest")
def stage_manifest(
    run: RunContext, ids: SnapshotIds, signal_ids: tuple[str, ...], market: str
) -> StageReport:
    """Write the manifest's files into a staging folder; one row per document bought."""

    def work(_: ProgressReport) -> StageReport:
        path, documents = stage_selection(
            run.open_warehouse(), run, ids, signal_ids=signal_ids, market=market
        )
        return StageReport("stage manifest", documents, documents, values={"path": path})

    return timed_stage("stage manifest", work)
