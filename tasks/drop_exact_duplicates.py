"""Keep one arrival of each document."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import drop_exact_duplicates as drop
from tasks.stages import stage_task, timed_stage


@stage_task("drop_exact_duplicates")
def drop_exact_duplicates(run: RunContext, tokenizer_id: str) -> StageReport:
    """Choose who speaks for each document; one row of `pool_documents` per document."""

    def work(_: ProgressReport) -> StageReport:
        arrived, kept = drop(run.open_warehouse(), run_id=run.run_id, tokenizer_id=tokenizer_id)
        return StageReport("drop exact duplicates", arrived, kept)

    return timed_stage("drop exact duplicates", work)
