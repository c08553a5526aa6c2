"""Publish a staged manifest, and tell the people who watch."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.publication import Outcome, outcome_of, publish_selection
from databourse.refresh.settings import configured_signing_key
from tasks.artifacts import artifact_key
from tasks.stages import stage_task, timed_stage


@stage_task("publish_manifest")
def publish_manifest(
    run: RunContext, path: str, *, candidates: int, summary: str, stages: tuple[StageReport, ...]
) -> StageReport:
    """Make the staged manifest the latest version, or find that nothing changed."""

    def work(_: ProgressReport) -> StageReport:
        warehouse = run.open_warehouse()
        publication = publish_selection(
            warehouse,
            path,
            stages=stages,
            signing_key=configured_signing_key(run.config, Path(run.root)),
            now=datetime.now(UTC),
        )
        outcome = outcome_of(warehouse, run, publication, candidates=candidates)
        _show(outcome, summary)
        note = publication.outcome + (f"; {publication.note}" if publication.note else "")
        return StageReport(
            "publish manifest",
            outcome.documents,
            outcome.documents if outcome.published else 0,
            note,
            values={"outcome": json.dumps(asdict(outcome))},
        )

    return timed_stage("publish manifest", work)


def _show(outcome: Outcome, summary: str) -> None:
    """Leave a summary and two links with the flow run."""
    state = "published" if outcome.published else "nothing new"
    create_markdown_artifact(
        summary,
        key=artifact_key("refresh", outcome.pool),
        description=f"{state}: version {outcome.version}",
    )
    for name, target in (("manifest", outcome.path), ("report", outcome.report)):
        key = artifact_key(name, outcome.pool)
        create_link_artifact(Path(target).as_uri(), link_text=target, key=key)
