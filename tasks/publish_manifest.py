"""Publish a staged manifest, and tell the people who watch."""

from __future__ import annotations

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.publication import publish_selection
from tasks.stages import stage_task, timed_stage


@stage_task("publish_manifest")
def publish_manifest(run: RunContext, path: str, stages: tuple[StageReport, ...]) -> StageReport:
    """Make the staged manifest the latest version, unless nothing changed; one row of `manifests`."""

    def work(_: ProgressReport) -> StageReport:
        done = publish_selection(run.open_warehouse(), run, path=path, stages=stages)
        key = run.pool.replace("_", "-")
        create_markdown_artifact(done.summary, key=f"refresh-{key}", description=done.headline)
        for name, target in (("manifest", done.manifest_uri), ("report", done.report_uri)):
            create_link_artifact(target, link_text=name, key=f"{name}-{key}")
        return StageReport(
            "publish manifest",
            done.documents,
            done.documents if done.published else 0,
            done.headline,
            values={"result": done.result_json},
        )

    return timed_stage("publish manifest", work)
