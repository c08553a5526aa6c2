"""Write what was bought as a manifest that no reader sees yet."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.pricing import MarketReport
from databourse.refresh.publication import contract_parameters, stage_selection
from tasks.stages import stage_task, timed_stage


@stage_task("stage_manifest")
def stage_manifest(
    run: RunContext, ids: SnapshotIds, signal_ids: tuple[str, ...], market: str
) -> StageReport:
    """Write the manifest's files into a staging folder; one row per document bought."""

    def work(_: ProgressReport) -> StageReport:
        staged = stage_selection(
            run.open_warehouse(),
            run,
            ids,
            MarketReport.from_json(market),
            signal_ids=signal_ids,
            now=datetime.now(UTC),
        )
        documents = staged.draft.spent.documents
        values = {
            "path": str(staged.path),
            "contract": json.dumps(contract_parameters(run, staged)),
        }
        return StageReport("stage manifest", documents, documents, values=values)

    return timed_stage("stage manifest", work)
