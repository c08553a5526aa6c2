"""Sample what a language model writes after each document's prompt."""

from __future__ import annotations

import json

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.generation_sampling import sample_generations as sample
from tasks.stages import stage_task, timed_stage


@stage_task("sample_generations")
def sample_generations(
    run: RunContext, snapshot_id: str, n_documents: int, trained: tuple[str, ...]
) -> StageReport:
    """Sample and group by meaning what is not there yet; one row of `generations` per document."""

    def work(advance: ProgressReport) -> StageReport:
        sampled = sample(run.open_warehouse(), run, snapshot_id, trained, advance=advance)
        return StageReport(
            "sample generations",
            n_documents,
            n_documents,
            f"{sampled.n_sampled:,} new, {run.config.language_model.generations.samples} each",
            values={"generations": json.dumps(sampled.generations_ids)},
        )

    return timed_stage("sample generations", work, total=n_documents)
