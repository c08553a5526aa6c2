"""Hold what a stage wrote against its contract."""

from __future__ import annotations

from collections.abc import Mapping

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.enforcement import CONTRACT_STAGE, enforce_contract
from tasks.artifacts import show_failed_contract
from tasks.stages import stage_task, timed_stage


@stage_task("check_contract-{contract}")
def check_contract(run: RunContext, contract: str, parameters: Mapping[str, object]) -> StageReport:
    """Check one relation; a failed critical rule stops the run before anything is published."""

    def work(_: ProgressReport) -> StageReport:
        result = enforce_contract(
            run.open_warehouse(),
            contract,
            {"run_id": run.run_id, **parameters},
            tell=lambda result, rows: show_failed_contract(run.pool, result, rows),
        )
        failed = len(result.failed("warning"))
        note = f"{len(result.rules)} rules" + (f", {failed} warnings" if failed else "")
        return StageReport(
            f"{CONTRACT_STAGE}{contract}",
            result.rows,
            result.rows,
            note,
            values={"result": result.to_json()},
        )

    return timed_stage(f"{CONTRACT_STAGE}{contract}", work)
