"""Fix the set of documents that the market will trade."""

from __future__ import annotations

from pathlib import Path

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import take_snapshot as take
from databourse.refresh.signal_scoring import check_signals
from databourse.refresh.validation import check_models
from tasks.stages import stage_task, timed_stage


@stage_task("take_snapshot")
def take_snapshot(run: RunContext) -> StageReport:
    """Name the surviving documents by their digest; check that signals and models can be used."""

    def work(_: ProgressReport) -> StageReport:
        warehouse = run.open_warehouse()
        snapshot_id, documents = take(warehouse, run_id=run.run_id)
        check_signals(warehouse, run, snapshot_id)
        check_models(run.config, Path(run.root))
        return StageReport(
            "take snapshot",
            documents,
            documents,
            f"snapshot {snapshot_id[:12]}",
            values={"snapshot_id": snapshot_id},
        )

    return timed_stage("take snapshot", work)
