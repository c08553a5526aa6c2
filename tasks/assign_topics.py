"""Divide the snapshot into topics."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.topic_assignment import assign_topics as assign
from tasks.stages import stage_task, timed_stage


@stage_task("assign_topics")
def assign_topics(run: RunContext, snapshot_id: str, encoder_id: str) -> StageReport:
    """Cluster the vectors or take the labels; one row of `topics` per document."""

    def work(_: ProgressReport) -> StageReport:
        topics_id, documents, topics = assign(
            run.open_warehouse(),
            run.config.topics,
            run_id=run.run_id,
            snapshot_id=snapshot_id,
            encoder_id=encoder_id,
            root_seed=run.config.seed,
        )
        return StageReport(
            "assign topics",
            documents,
            documents,
            f"{topics} topics",
            values={"topics_id": topics_id},
        )

    return timed_stage("assign topics", work)
