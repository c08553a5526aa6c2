"""Give each document of the snapshot its vector."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.embedding import embed_documents as embed
from databourse.refresh.settings import encoder_of
from tasks.stages import stage_task, timed_stage


@stage_task("embed_documents")
def embed_documents(run: RunContext, snapshot_id: str, n_documents: int) -> StageReport:
    """Embed what has no vector yet; one row of `embeddings` per document."""

    def work(advance: ProgressReport) -> StageReport:
        encoder = encoder_of(run)
        new = embed(
            run.open_warehouse(),
            run,
            encoder,
            snapshot_id=snapshot_id,
            n_documents=n_documents,
            advance=advance,
        )
        note = f"{new:,} new, {encoder.encoder_id}"
        values = {"encoder_id": encoder.encoder_id}
        return StageReport("embed documents", n_documents, n_documents, note, values=values)

    return timed_stage("embed documents", work, total=n_documents)
