"""Hold a refresh against the last published version of its pool."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.drift import CONTRACT, enforce_drift, judge_drift
from databourse.refresh.enforcement import CONTRACT_STAGE
from tasks.stages import stage_task, timed_stage


@stage_task("check_drift")
def check_drift(run: RunContext, board_id: str) -> StageReport:
    """Compare distributions, one rule each; one that must stop the run does."""
    stage = f"{CONTRACT_STAGE}{CONTRACT}"

    def work(_: ProgressReport) -> StageReport:
        result = judge_drift(run.open_warehouse(), run, board_id)
        enforce_drift(result)
        failed = len(result.failed("warning"))
        note = f"{len(result.rules)} rules" + (f", {failed} warnings" if failed else "")
        return StageReport(
            stage, result.rows, result.rows, note, values={"result": result.to_json()}
        )

    return timed_stage(stage, work)
