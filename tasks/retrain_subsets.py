"""Retrain a proxy on random subsets of a refreshed pool."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.attribution import AttributionChoice, attribution_plan
from databourse.refresh.attribution import retrain_subsets as retrain
from databourse.refresh.context import RunContext, StageReport
from tasks.stages import stage_task, timed_stage


@stage_task("retrain_subsets")
def retrain_subsets(run: RunContext, choice: AttributionChoice) -> StageReport:
    """Train what the bank lacks; one row of `retrainings` per subset and seed."""
    warehouse = run.open_warehouse()
    plan = attribution_plan(warehouse, run, choice)

    def work(advance: ProgressReport) -> StageReport:
        n_trained = retrain(warehouse, run, plan, advance=advance)
        return StageReport(
            "retrain subsets",
            plan.n_trainings,
            plan.n_trainings,
            f"{n_trained:,} new, bank {plan.bank_id[:12]}",
            values={"bank_id": plan.bank_id},
        )

    return timed_stage("retrain subsets", work, total=plan.n_trainings)
