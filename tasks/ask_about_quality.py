"""Ask a model whether documents are worth training on."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.quality_questions import Asked
from databourse.refresh.quality_questions import ask_about_quality as ask
from tasks.stages import stage_task, timed_stage


def _note(asked: Asked) -> str:
    failed = f", {asked.n_failed:,} without an answer" if asked.n_failed else ""
    return f"{asked.n_asked:,} asked now, {asked.scorer_id}{failed}"


@stage_task("ask_about_quality")
def ask_about_quality(run: RunContext, snapshot_id: str) -> StageReport:
    """Ask about documents without an answer; one row of `answers` per document asked about."""

    def work(advance: ProgressReport) -> StageReport:
        asked = ask(run.open_warehouse(), run, snapshot_id, advance=advance)
        return StageReport(
            "ask about quality",
            asked.n_wanted,
            asked.n_wanted - asked.n_failed,
            _note(asked),
            values={"scorer": asked.scorer_id, "unanswered": asked.unanswered},
        )

    return timed_stage("ask about quality", work)
