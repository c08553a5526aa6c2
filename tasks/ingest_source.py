"""Ingest one source: rows in, arrivals and documents out."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.ingestion import ingest_source as ingest
from databourse.refresh.settings import source_named
from tasks.stages import stage_task, timed_stage


@stage_task("ingest_source-{source_name}")
def ingest_source(run: RunContext, source_name: str) -> StageReport:
    """Read what is new in a source; one row of `arrivals` or `quarantine` per row that came in."""

    def work(advance: ProgressReport) -> StageReport:
        rank, source = source_named(run, source_name)
        rows, rejected = ingest(
            run.open_warehouse(),
            source,
            run_id=run.run_id,
            source_rank=rank,
            batch_documents=run.config.compute.batch_documents,
            workers=run.config.compute.threads,
            advance=advance,
        )
        note = f"{rejected:,} rows in quarantine" if rejected else ""
        return StageReport(f"ingest {source_name}", rows, rows - rejected, note)

    return timed_stage(f"ingest {source_name}", work)
