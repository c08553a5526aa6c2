"""Ingestion: rows of the sources become arrivals, documents and texts, batch by batch.

Batches are committed ten at a time, or up to 64 MB, in one transaction: a killed run continues
after the last of them. A file that was read before, byte for byte and in the same way, is not read
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from databourse.errors import SourceError
from databourse.progress import ProgressReport
from databourse.sources import Source, SourcePart, empty_source_error
from databourse.sources.row_tables import joined, rebatched
from databourse.warehouse.store import Warehouse, append

BATCHES_OF_A_COMMIT = 10
"""Batches read before they are committed: reading is so quick that commits would take longer."""
_BYTES_OF_A_COMMIT = 64_000_000

_ARRIVAL_COLUMNS = [
    "file_id",
    "row_number",
    "place",
    "document_id",
    "label",
    "prompt_characters",
    "metadata",
]
_QUARANTINE_COLUMNS = ["file_id", "row_number", "place", "reason", "detail", "excerpt"]


@dataclass(frozen=True)
class _Progress:
    """How far a file was read by this run or an earlier one."""

    read_rows: int
    is_complete: bool


def ingest_source(
    warehouse: Warehouse,
    source: Source,
    *,
    run_id: str,
    source_rank: int,
    batch_documents: int,
    workers: int,
    advance: ProgressReport,
) -> tuple[int, int]:
    """Read what is new in a source and write down which files the run stands on.

    Args:
        warehouse: the open warehouse.
        source: what is read.
        run_id: of the run.
        source_rank: place of the source in the config.
        batch_documents: rows read at a time; ten batches are committed together, fewer large ones.
        workers: processes that parse large files; they change nothing that is written.
        advance: told of the rows of each batch.

    Returns:
        Rows read in all, and rows in quarantine, over the source's files.

    Raises:
        SourceError: the source cannot be read, or not one of its rows is a document.
    """
    rows = rejected = 0
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from sources where run_id = $run_id and source = $source",
            {"run_id": run_id, "source": source.name},
        )
    parts = source.parts()
    for part in parts:
        row = read_part(
            warehouse, part, batch_documents=batch_documents, workers=workers, advance=advance
        )
        row |= {"run_id": run_id, "source": source.name, "source_rank": source_rank}
        with warehouse.transaction() as cursor:
            append(cursor, "sources", pa.Table.from_pylist([row]))
        rows, rejected = rows + int(row["rows"]), rejected + int(row["rejected_rows"])
    if rows == rejected:
        raise nothing_read_error(warehouse, source.name, parts, n_rows=rows)
    return rows, rejected


def read_part(
    warehouse: Warehouse,
    part: SourcePart,
    *,
    batch_documents: int,
    workers: int,
    advance: ProgressReport,
) -> dict[str, Any]:
    """Read what is new in a file; return what is known of it: uri, digests, size and rows."""
    _read_new_rows(
        warehouse, part, batch_documents=batch_documents, workers=workers, advance=advance
    )
    cursor = warehouse.cursor()
    counts = [
        cursor.execute(
            f"select count(*) from {table} where file_id = $file_id",  # noqa: S608
            {"file_id": part.file_id},
        ).fetchall()[0][0]
        for table in ("arrivals", "quarantine")
    ]
    cursor.close()
    return {
        "uri": part.uri,
        "file_id": part.file_id,
        "sha256": part.sha256,
        "bytes": part.bytes,
        "rows": sum(counts),
        "rejected_rows": counts[1],
    }


def nothing_read_error(
    warehouse: Warehouse, name: str, parts: Sequence[SourcePart], *, n_rows: int
) -> SourceError:
    """Return the error of files of which not one row became a document, with the reasons."""
    uris = [part.uri for part in parts]
    return empty_source_error(name, uris, n_rows=n_rows, rejected=_rejections(warehouse, parts))


def _read_new_rows(
    warehouse: Warehouse,
    part: SourcePart,
    *,
    batch_documents: int,
    workers: int,
    advance: ProgressReport,
) -> None:
    progress = _progress(warehouse, part)
    if progress.is_complete:
        advance(progress.read_rows)
        return
    read_rows = progress.read_rows
    tables = part.tables(read_rows, at_most=batch_documents, workers=workers)
    batches = rebatched(tables, batch_documents)
    for batch in joined(batches, most=BATCHES_OF_A_COMMIT, most_bytes=_BYTES_OF_A_COMMIT):
        read_rows = batch["row_number"][-1].as_py() + 1  # a part of a file leaves numbers out
        _commit_batch(warehouse, part, batch, read_rows=read_rows)
        advance(batch.num_rows)
    with warehouse.transaction() as cursor:
        _set_progress(cursor, part, _Progress(read_rows, is_complete=True))


def _progress(warehouse: Warehouse, part: SourcePart) -> _Progress:
    cursor = warehouse.cursor()
    found = cursor.execute(
        "select read_rows, is_complete from source_files where file_id = $file_id",
        {"file_id": part.file_id},
    ).fetchall()
    return _Progress(*found[0]) if found else _Progress(0, is_complete=False)


def _set_progress(cursor: duckdb.DuckDBPyConnection, part: SourcePart, progress: _Progress) -> None:
    cursor.execute(
        "insert or replace into source_files values "
        "($file_id, $sha256, $bytes, $read_rows, $is_complete)",
        {
            "file_id": part.file_id,
            "sha256": part.sha256,
            "bytes": part.bytes,
            "read_rows": progress.read_rows,
            "is_complete": progress.is_complete,
        },
    )


def _commit_batch(
    warehouse: Warehouse, part: SourcePart, batch: pa.Table, *, read_rows: int
) -> None:
    is_good = pc.is_null(batch["reason"])
    good, bad = batch.filter(is_good), batch.filter(pc.invert(is_good))
    new = _new_texts(warehouse, good)
    shard = warehouse.texts.write_table(new) if new.num_rows else None
    with warehouse.transaction() as cursor:
        if shard:
            append(cursor, "text_shards", pa.Table.from_pylist([shard]))
            append(cursor, "documents", _document_rows(new, str(shard["text_shard"])))
        append(cursor, "arrivals", _placed(part, good).select(_ARRIVAL_COLUMNS))
        append(cursor, "quarantine", _placed(part, bad).select(_QUARANTINE_COLUMNS))
        _set_progress(cursor, part, _Progress(read_rows, is_complete=False))


def _new_texts(warehouse: Warehouse, good: pa.Table) -> pa.Table:
    """Return document_id, ascending, and text of what the warehouse has never seen, each once."""
    document_ids = good["document_id"]
    relations = {"batch_documents": pa.table({"document_id": pc.unique(document_ids)})}
    new = warehouse.rows("int_batch__new_documents", relations=relations)["document_id"]
    first = pc.index_in(new, value_set=document_ids)
    return good.select(["document_id", "text"]).take(first)


def _document_rows(texts: pa.Table, shard: str) -> pa.Table:
    return pa.table(
        {
            "document_id": texts["document_id"],
            "characters": pc.utf8_length(texts["text"]).cast(pa.int64()),
            "text_shard": pa.repeat(shard, texts.num_rows),
        }
    )


def _placed(part: SourcePart, rows: pa.Table) -> pa.Table:
    """Add the file to rows: with their numbers and places it says where they came from."""
    return rows.append_column("file_id", pa.repeat(part.file_id, rows.num_rows))


def _rejections(warehouse: Warehouse, parts: Sequence[SourcePart]) -> list[tuple[str, int, str]]:
    """Return each reason for quarantine over some files, its rows, and the detail of the first."""
    file_ids = [part.file_id for part in parts]
    table = warehouse.rows("int_rejections_counted", {"file_ids": file_ids})
    return [(row["reason"], row["rejected_rows"], row["first_detail"]) for row in table.to_pylist()]
