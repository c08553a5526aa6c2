"""Count the tokens of new documents under the configured tokenizer."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import count_tokens as count
from databourse.refresh.settings import tokenizer_of
from tasks.stages import stage_task, timed_stage


@stage_task("count_tokens")
def count_tokens(run: RunContext) -> StageReport:
    """Count what was not counted before; one row of `token_counts` per document."""

    def work(advance: ProgressReport) -> StageReport:
        tokenizer = tokenizer_of(run)
        arrived, counted = count(
            run.open_warehouse(),
            tokenizer,
            run_id=run.run_id,
            batch_documents=run.config.compute.batch_documents,
            advance=advance,
        )
        note = "" if counted == arrived else f"{counted:,} new"
        values = {"tokenizer_id": tokenizer.tokenizer_id}
        return StageReport("count tokens", arrived, arrived, note, values=values)

    return timed_stage("count tokens", work)
