"""Score attributions on retrained models, and write the report."""

from __future__ import annotations

import json
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from databourse.attribution.page import summary_markdown
from databourse.attribution.results import AttributionResults, record
from databourse.progress import ProgressReport
from databourse.refresh.attribution import AttributionChoice, attribution_plan
from databourse.refresh.attribution_reporting import (
    attribution_results,
    report_progress_total,
    write_report,
)
from databourse.refresh.context import RunContext, StageReport
from tasks.stages import stage_task, timed_stage


@stage_task("report_attribution")
def report_attribution(run: RunContext, choice: AttributionChoice) -> StageReport:
    """Write the LDS of every attribution that can be had; one page and one JSON file per bank."""
    warehouse = run.open_warehouse()
    plan = attribution_plan(warehouse, run, choice)

    def work(advance: ProgressReport) -> StageReport:
        results = attribution_results(warehouse, plan, advance=advance)
        written = write_report(warehouse, results)
        _show(results, written.page)
        values = {
            "record": json.dumps(record(results)),
            "page": str(written.page),
            "results": str(written.results),
        }
        return StageReport(
            "score attributions", len(plan.texts), len(results.scored), values=values
        )

    return timed_stage("score attributions", work, total=report_progress_total(plan) or None)


def _show(results: AttributionResults, page: Path) -> None:
    """Leave a table and a link with the flow run."""
    key = f"{results.pool}-{results.proxy}".replace("_", "-")
    create_markdown_artifact(summary_markdown(results), key=f"attribution-{key}")
    create_link_artifact(page.as_uri(), link_text=str(page), key=f"attribution-report-{key}")
