"""Take gradients of documents and targets, as far as a signal asks for them."""

from __future__ import annotations

import json

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.gradient_features import gradients_progress_total
from databourse.refresh.gradient_features import measure_gradients as measure
from tasks.stages import stage_task, timed_stage


@stage_task("measure_gradients")
def measure_gradients(
    run: RunContext, snapshot_id: str, n_documents: int, trained: tuple[str, ...]
) -> StageReport:
    """Take what is not stored; a row of features per document and checkpoint, on disk."""

    def work(advance: ProgressReport) -> StageReport:
        measured = measure(run.open_warehouse(), run, snapshot_id, trained, advance=advance)
        return StageReport(
            "measure gradients",
            n_documents,
            n_documents * len(measured.stores),
            f"{measured.n_measured:,} new, {measured.n_features:,} features each",
            values={"gradients": json.dumps(measured.stores)},
        )

    total = gradients_progress_total(run, trained, n_documents)
    return timed_stage("measure gradients", work, total=total)
