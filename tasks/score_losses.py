"""Score the snapshot's tokens under a language model."""

from __future__ import annotations

import json

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.token_scoring import parts_needed
from databourse.refresh.token_scoring import score_losses as score
from tasks.stages import stage_task, timed_stage


@stage_task("score_losses")
def score_losses(
    run: RunContext, snapshot_id: str, n_documents: int, trained: tuple[str, ...]
) -> StageReport:
    """Score what has no losses yet; one row of `token_losses` per document and part."""

    parts = parts_needed(run)

    def work(advance: ProgressReport) -> StageReport:
        scored = score(run.open_warehouse(), run, snapshot_id, trained, advance=advance)
        return StageReport(
            "score tokens",
            n_documents,
            scored.n_parts,
            f"{scored.n_scored:,} new, {', '.join(parts)}",
            values={"losses": json.dumps(scored.losses_ids), "parts": json.dumps(parts)},
        )

    return timed_stage("score tokens", work, total=n_documents * len(parts))
