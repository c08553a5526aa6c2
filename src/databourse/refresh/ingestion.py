"""Ingestion: rows of the sources become arrivals, documents and texts, batch by batch.

A batch is committed in one transaction, so a killed run continues after its last batch; a file
that was read before, byte for byte and in the same way, is not read again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from databourse.digests import canonical_json, document_id
from databourse.errors import SourceError
from databourse.progress import ProgressReport
from databourse.queries import query
from databourse.sources import (
    RejectedRow,
    Source,
    SourcePart,
    SourceRow,
    empty_source_error,
)
from databourse.warehouse.store import Warehouse, append


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
    advance: ProgressReport,
) -> tuple[int, int]:
    """Read what is new in a source and write down which files the run stands on.

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
        row = read_part(warehouse, part, batch_documents=batch_documents, advance=advance)
        row |= {"run_id": run_id, "source": source.name, "source_rank": source_rank}
        with warehouse.transaction() as cursor:
            append(cursor, "sources", pa.Table.from_pylist([row]))
        rows, rejected = rows + int(row["rows"]), rejected + int(row["rejected_rows"])
    if rows == rejected:
        raise nothing_read_error(warehouse, source.name, parts, n_rows=rows)
    return rows, rejected


def read_part(
    warehouse: Warehouse, part: SourcePart, *, batch_documents: int, advance: ProgressReport
) -> dict[str, Any]:
    """Read what is new in a file; return what is known of it: uri, digests, size and rows."""
    _read_new_rows(warehouse, part, batch_documents=batch_documents, advance=advance)
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
    warehouse: Warehouse, part: SourcePart, *, batch_documents: int, advance: ProgressReport
) -> None:
    progress = _progress(warehouse, part)
    if progress.is_complete:
        advance(progress.read_rows)
        return
    read_rows = progress.read_rows
    for batch in _batches(part.rows(start_row=read_rows), batch_documents):
        read_rows = batch[-1].row_number + 1
        _commit_batch(warehouse, part, batch, read_rows=read_rows)
        advance(len(batch))
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


def _batches(
    rows: Iterable[SourceRow | RejectedRow], size: int
) -> Iterator[Sequence[SourceRow | RejectedRow]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _commit_batch(
    warehouse: Warehouse,
    part: SourcePart,
    batch: Sequence[SourceRow | RejectedRow],
    *,
    read_rows: int,
) -> None:
    good = [row for row in batch if isinstance(row, SourceRow)]
    bad = [row for row in batch if isinstance(row, RejectedRow)]
    keys = [document_id(row.text) for row in good]
    new = _new_texts(warehouse, dict(zip(keys, (row.text for row in good), strict=True)))
    shard = warehouse.texts.write(new) if new else None
    with warehouse.transaction() as cursor:
        if shard:
            append(cursor, "text_shards", pa.Table.from_pylist([shard]))
            append(cursor, "documents", _document_rows(new, str(shard["text_shard"])))
        append(cursor, "arrivals", _arrival_rows(part, keys, good))
        append(cursor, "quarantine", _quarantine_rows(part, bad))
        _set_progress(cursor, part, _Progress(read_rows, is_complete=False))


def _new_texts(warehouse: Warehouse, texts: dict[str, str]) -> dict[str, str]:
    cursor = warehouse.cursor()
    try:
        cursor.register("batch_documents", pa.table({"document_id": pa.array(texts, pa.string())}))
        found = cursor.execute(query("int_batch__new_documents")).fetchall()
    finally:
        cursor.close()
    return {key: texts[key] for (key,) in found}


def _document_rows(texts: dict[str, str], shard: str) -> pa.Table:
    return pa.table(
        {
            "document_id": list(texts),
            "characters": [len(text) for text in texts.values()],
            "text_shard": [shard] * len(texts),
        }
    )


def _places(part: SourcePart, rows: Sequence[SourceRow] | Sequence[RejectedRow]) -> pa.Table:
    """Return the columns that say where rows came from."""
    return pa.table(
        {
            "file_id": pa.array([part.file_id] * len(rows), pa.string()),
            "row_number": pa.array([row.row_number for row in rows], pa.int64()),
            "place": pa.array(
                [part.locator(row).removeprefix(part.uri) for row in rows], pa.string()
            ),
        }
    )


def _arrival_rows(part: SourcePart, keys: Sequence[str], rows: Sequence[SourceRow]) -> pa.Table:
    metadata = [canonical_json(row.metadata) if row.metadata else None for row in rows]
    columns = {
        "document_id": pa.array(keys, pa.string()),
        "label": pa.array([row.label for row in rows], pa.string()),
        "prompt_characters": pa.array([row.prompt_characters for row in rows], pa.int64()),
        "metadata": pa.array(metadata, pa.string()),
    }
    return _with_columns(_places(part, rows), columns)


def _quarantine_rows(part: SourcePart, rows: Sequence[RejectedRow]) -> pa.Table:
    columns = {
        "reason": pa.array([str(row.reason) for row in rows], pa.string()),
        "detail": pa.array([row.detail for row in rows], pa.string()),
        "excerpt": pa.array([row.excerpt for row in rows], pa.string()),
    }
    return _with_columns(_places(part, rows), columns)


def _with_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _rejections(warehouse: Warehouse, parts: Sequence[SourcePart]) -> list[tuple[str, int, str]]:
    """Return each reason for quarantine over some files, its rows, and the detail of the first."""
    file_ids = [part.file_id for part in parts]
    table = warehouse.rows("int_rejections_counted", {"file_ids": file_ids})
    return [(row["reason"], row["rejected_rows"], row["first_detail"]) for row in table.to_pylist()]
