"""Train the reference language models."""

from __future__ import annotations

import json

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.reference_model import train_reference_models, training_progress_total
from tasks.stages import stage_task, timed_stage


@stage_task("train_language_model")
def train_language_model(run: RunContext, snapshot_id: str) -> StageReport:
    """Train a model per fold where an input changed; one row of `language_models` each."""
    reference = run.config.language_model.reference

    def work(advance: ProgressReport) -> StageReport:
        models = train_reference_models(run.open_warehouse(), run, snapshot_id, advance=advance)
        return StageReport(
            "train language model",
            models.n_documents,
            len(models.fingerprints),
            f"{models.n_trained} of {reference.folds} folds trained",
            values={"trained": json.dumps(models.fingerprints)},
        )

    return timed_stage("train language model", work, total=training_progress_total(reference))
