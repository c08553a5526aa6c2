"""Drop documents that say what another one says in other words."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import drop_semantic_duplicates as drop
from tasks.stages import stage_task, timed_stage


@stage_task("drop_semantic_duplicates")
def drop_semantic_duplicates(run: RunContext, snapshot_id: str, encoder_id: str) -> StageReport:
    """Compare embeddings, one row of `decisions` per duplicate; refuse to gut a source."""

    def work(advance: ProgressReport) -> StageReport:
        documents, kept = drop(
            run.open_warehouse(),
            run.config.deduplicate,
            run_id=run.run_id,
            snapshot_id=snapshot_id,
            encoder_id=encoder_id,
            threads=run.config.compute.threads,
            advance=advance,
        )
        return StageReport("drop semantic duplicates", documents, kept)

    return timed_stage("drop semantic duplicates", work)
