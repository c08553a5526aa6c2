"""Find the nearest documents of each document."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.neighbour_search import find_neighbours as find
from databourse.refresh.settings import neighbours_needed
from tasks.stages import stage_task, timed_stage


@stage_task("find_neighbours")
def find_neighbours(run: RunContext, snapshot_id: str, encoder_id: str) -> StageReport:
    """Search the snapshot by cosine; one row of `neighbours` per document."""

    def work(advance: ProgressReport) -> StageReport:
        k = neighbours_needed(run.config)
        neighbours_id, documents = find(
            run.open_warehouse(),
            snapshot_id=snapshot_id,
            encoder_id=encoder_id,
            k=k,
            threads=run.config.compute.threads,
            advance=advance,
        )
        return StageReport(
            "find neighbours",
            documents,
            documents,
            f"{k} each",
            values={"neighbours_id": neighbours_id},
        )

    return timed_stage("find neighbours", work)
