"""Hold what a stage wrote against its contract."""

from __future__ import annotations

from collections.abc import Mapping

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.enforcement import enforce_contract
from tasks.stages import stage_task, timed_stage


@stage_task("check_contract-{contract}")
def check_contract(run: RunContext, contract: str, parameters: Mapping[str, object]) -> StageReport:
    """Check one relation; a failed critical rule stops the run before anything is published."""

    def work(_: ProgressReport) -> StageReport:
        result_json, rules, warnings = enforce_contract(
            run.open_warehouse(), contract, run_id=run.run_id, parameters=parameters
        )
        note = f"{warnings} warnings" if warnings else ""
        return StageReport(
            f"contract {contract}", rules, rules - warnings, note, values={"result": result_json}
        )

    return timed_stage(f"contract {contract}", work)
