"""Ways to read a file of JSON lines: the product's ingestion, and readers that keep no ledger.

Each imports what it needs when it is called, so that no one pays for the imports of another.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

BATCH_DOCUMENTS = 10_000  # of a commit, as by default


def ingest(file: Path, folder: Path, threads: int) -> int:
    """Ingest the file into a new warehouse: ids, texts, arrivals, quarantine, digest."""
    from databourse.progress import silent
    from databourse.refresh.ingestion import BATCHES_OF_A_COMMIT, ingest_source
    from databourse.sources import open_source
    from databourse.warehouse.store import hold_warehouse

    source = open_source(
        name="rows", root=file.parent, data_roots=["."], path=file.name, text="{text}"
    )
    with hold_warehouse(folder / "warehouse", threads=threads, memory_limit="4GB") as warehouse:
        rows, _ = ingest_source(
            warehouse,
            source,
            run_id="run",
            source_rank=0,
            batch_documents=BATCH_DOCUMENTS // BATCHES_OF_A_COMMIT,
            workers=threads,
            advance=silent,
        )
    return rows


def read_by_duckdb(file: Path, folder: Path, threads: int) -> int:
    """Read the file into a table on disk, by DuckDB's own reader of JSON lines."""
    import duckdb

    with duckdb.connect(str(folder / "read.duckdb"), config={"threads": threads}) as connection:
        connection.execute(
            "create table rows as select * from read_json($file, format = 'newline_delimited')",
            {"file": str(file)},
        )
        return int(connection.execute("select count(*) from rows").fetchall()[0][0])


def read_by_pandas(file: Path, _folder: Path, _threads: int) -> int:
    """Read the file into memory, by pandas."""
    import pandas as pd

    return len(pd.read_json(file, lines=True))


YARDSTICK = "DuckDB's read_json into a table"
CANDIDATES: dict[str, Callable[[Path, Path, int], int]] = {
    YARDSTICK: read_by_duckdb,
    "ingestion": ingest,
    "pandas.read_json": read_by_pandas,
}
