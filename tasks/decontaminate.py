"""Drop documents that repeat text of evaluation sets and targets."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.decontamination import decontaminate as drop
from databourse.refresh.decontamination import protected_examples
from tasks.stages import stage_task, timed_stage


@stage_task("decontaminate")
def decontaminate(run: RunContext) -> StageReport:
    """Find what a model is judged by, one row of `decisions` each; refuse to gut a source."""

    def work(advance: ProgressReport) -> StageReport:
        warehouse, batch_documents = run.open_warehouse(), run.config.compute.batch_documents
        done = drop(
            warehouse,
            protected_examples(warehouse, run.run_id, batch_documents=batch_documents),
            run.config.decontaminate,
            run_id=run.run_id,
            root_seed=run.config.seed,
            batch_documents=batch_documents,
            advance=advance,
        )
        return StageReport(
            "decontaminate",
            done.n_documents,
            done.n_kept,
            f"against {done.n_examples:,} examples",
            values={"decontamination": done.proof_json()},
        )

    return timed_stage("decontaminate", work)
