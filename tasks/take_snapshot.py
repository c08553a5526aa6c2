"""Fix the set of documents that the market will trade."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import take_snapshot as take
from databourse.refresh.signal_scoring import check_signals
from tasks.stages import stage_task, timed_stage


@stage_task("take_snapshot")
def take_snapshot(run: RunContext) -> StageReport:
    """Name the surviving documents by their digest, and check that signals can score them."""

    def work(_: ProgressReport) -> StageReport:
        warehouse = run.open_warehouse()
        snapshot_id, documents = take(warehouse, run_id=run.run_id)
        check_signals(warehouse, run, snapshot_id)
        return StageReport(
            "take snapshot",
            documents,
            documents,
            f"snapshot {snapshot_id[:12]}",
            values={"snapshot_id": snapshot_id},
        )

    return timed_stage("take snapshot", work)
