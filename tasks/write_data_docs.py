"""Write the Data Docs of a run's contracts."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.artifacts import create_link_artifact

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.data_docs import data_docs_path
from databourse.refresh.data_docs import write_data_docs as write
from tasks.stages import stage_task, timed_stage


@stage_task("write_data_docs")
def write_data_docs(run: RunContext, stages: tuple[StageReport, ...]) -> StageReport:
    """Write one page per contract, and leave a link to their index with the flow run."""

    def work(_: ProgressReport) -> StageReport:
        contracts = write(run, stages, now=datetime.now(UTC))
        path = data_docs_path(run.warehouse_path, run.run_id)
        create_link_artifact(
            path.as_uri(), link_text=str(path), key=f"data-docs-{run.pool}".replace("_", "-")
        )
        return StageReport("write data docs", contracts, contracts)

    return timed_stage("write data docs", work)
