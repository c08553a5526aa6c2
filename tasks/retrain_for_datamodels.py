"""Retrain a proxy on random subsets, as far as a signal asks for it."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.datamodel_retraining import retrain_for_datamodels as retrain
from databourse.refresh.datamodel_retraining import retrainings_progress_total
from tasks.stages import stage_task, timed_stage


@stage_task("retrain_for_datamodels")
def retrain_for_datamodels(run: RunContext, ids: SnapshotIds) -> StageReport:
    """Train what the bank lacks; one row of `retrainings` per subset and seed."""

    def work(advance: ProgressReport) -> StageReport:
        found = retrain(run.open_warehouse(), run, ids, advance=advance)
        return StageReport(
            "retrain subsets",
            found.n_trainings,
            found.n_trainings,
            f"{found.n_trained:,} new, bank {found.bank_id[:12]}",
            values={"bank_id": found.bank_id},
        )

    return timed_stage("retrain subsets", work, total=retrainings_progress_total(run))
