"""Give each example of the targets its vector."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.examples import embed_examples, stored_examples
from tasks.stages import stage_task, timed_stage


@stage_task("embed_targets")
def embed_targets(run: RunContext) -> StageReport:
    """Embed what has no vector yet; one row of `embeddings` per example."""

    def work(advance: ProgressReport) -> StageReport:
        warehouse = run.open_warehouse()
        examples = stored_examples(warehouse, run.run_id, "target").num_rows
        new = embed_examples(warehouse, run, kind="target", advance=advance)
        return StageReport("embed targets", examples, examples, f"{new:,} new")

    return timed_stage("embed targets", work)
