"""Data Docs of a run's contracts, as files of the warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from databourse.contracts.data_docs import INDEX, data_docs_pages
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.enforcement import contract_results

FOLDER = "data_docs"


def data_docs_path(warehouse_root: Path, run_id: str) -> Path:
    """Return where the index of a run's Data Docs is, written or not."""
    return warehouse_root / FOLDER / run_id / INDEX


def write_data_docs(run: RunContext, stages: Sequence[StageReport], *, now: datetime) -> int:
    """Write a page per contract that a run has judged, and an index; return how many contracts."""
    results = contract_results(stages)
    folder = data_docs_path(run.warehouse_path, run.run_id).parent
    folder.mkdir(parents=True, exist_ok=True)
    pages = data_docs_pages(results, run_id=run.run_id, judged_at=now)
    for name in sorted(pages, key=lambda each: each == INDEX):  # the index when the rest is there
        (folder / name).write_text(pages[name], encoding="utf-8")
    return len(results)
