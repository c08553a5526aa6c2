"""A warehouse and sources of a few rows, for the stages one by one."""

import json

import pytest

from databourse.progress import silent
from databourse.refresh.ingestion import ingest_source
from databourse.sources import open_source
from databourse.warehouse import hold_warehouse


@pytest.fixture
def warehouse(tmp_path):
    with hold_warehouse(tmp_path / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        yield warehouse


@pytest.fixture
def ingest(warehouse, tmp_path):
    """Return a function that writes rows to a file and ingests it as a source of a run."""

    def ingest(rows, *, run_id="run", source="rows", rank=0, file="rows.jsonl", batch=3):
        empty = {"label": None, "note": None}
        lines = [row if isinstance(row, str) else json.dumps(empty | row) for row in rows]
        (tmp_path / file).write_text("\n".join(lines) + "\n")
        opened = open_source(
            name=source,
            root=tmp_path,
            data_roots=["."],
            path=file,
            text="{text}",
            label="label",
            metadata=["note"],
        )
        return ingest_source(
            warehouse,
            opened,
            run_id=run_id,
            source_rank=rank,
            batch_documents=batch,
            advance=silent,
        )

    return ingest


@pytest.fixture
def query(warehouse):
    """Return a function that runs SQL on the warehouse and gives the rows."""

    def query(sql, *parameters):
        cursor = warehouse.cursor()
        try:
            return cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()

    return query
