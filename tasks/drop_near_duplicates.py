"""Drop documents that another one nearly repeats."""

from __future__ import annotations

from databourse.config_engine import threads_there
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.deduplication import drop_near_duplicates as drop
from tasks.stages import stage_task, timed_stage


@stage_task("drop_near_duplicates")
def drop_near_duplicates(run: RunContext) -> StageReport:
    """Find near duplicates, one row of `decisions` each; refuse to gut a source."""

    def work(advance: ProgressReport) -> StageReport:
        documents, kept, limited = drop(
            run.open_warehouse(),
            run.config.deduplicate,
            run_id=run.run_id,
            root_seed=run.config.seed,
            threads=run.config.compute.threads,
            advance=advance,
            engine=run.engine(),
            threads_elsewhere=threads_there(run.config.engine),
        )
        note = f"{limited:,} documents not compared with all alike" if limited else ""
        return StageReport("drop near duplicates", documents, kept, note)

    return timed_stage("drop near duplicates", work)
