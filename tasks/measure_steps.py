"""Take Adam's steps on documents at checkpoints, as far as a signal asks for them."""

from __future__ import annotations

import json

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.step_features import measure_steps as measure
from databourse.refresh.step_features import steps_progress_total
from tasks.stages import stage_task, timed_stage


@stage_task("measure_steps")
def measure_steps(run: RunContext, snapshot_id: str, n_documents: int) -> StageReport:
    """Train and take what is not stored; a row of features per document and checkpoint, on disk."""

    def work(advance: ProgressReport) -> StageReport:
        measured = measure(run.open_warehouse(), run, snapshot_id, advance=advance)
        return StageReport(
            "measure steps",
            n_documents,
            n_documents * len(measured.stores),
            f"{measured.n_measured:,} new, {measured.n_features:,} features each",
            values={"steps": json.dumps(measured.stores), "rates": json.dumps(measured.rates)},
        )

    return timed_stage("measure steps", work, total=steps_progress_total(run, n_documents))
