"""Score the snapshot by one signal."""

from __future__ import annotations

import time

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.signal_scoring import score_signal as score
from tasks.stages import stage_task, timed_stage


@stage_task("score_signal-{signal}")
def score_signal(run: RunContext, ids: SnapshotIds, signal: str) -> StageReport:
    """Compute what is not stored yet; one row of `signals` per document, larger is more useful."""

    def work(advance: ProgressReport) -> StageReport:
        scored = score(run.open_warehouse(), run, ids, name=signal, advance=advance)
        return StageReport(
            f"signal {signal}",
            scored.n_documents,
            scored.n_documents,
            f"{scored.n_computed:,} new",
            values={"signal_id": scored.signal_id},
        )

    return timed_stage(f"signal {signal}", work, cpu_clock=time.thread_time)
