"""Copy the pool's published manifests to where the config wants a copy."""

from __future__ import annotations

from databourse.manifests import mirror_pool
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from tasks.stages import stage_task, timed_stage


@stage_task("mirror_manifests")
def mirror_manifests(run: RunContext, target: str) -> StageReport:
    """Copy versions and records that are not there yet, the pointer to the latest last."""

    def work(_: ProgressReport) -> StageReport:
        done = mirror_pool(run.manifests_path / run.pool, target)
        note = f"{done.files:,} files, {done.bytes:,} bytes to {done.target}"
        return StageReport("mirror manifests", done.files, done.files, note)

    return timed_stage("mirror manifests", work)
