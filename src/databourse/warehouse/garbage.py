"""What of a warehouse nothing needs any more: rows by their keys, and files.

Rows go in one transaction before the files that they name, so a collection that is killed leaves
files without rows, which the next one removes, and never a row without its file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from databourse.errors import IntegrityError
from databourse.queries import query_files
from databourse.warehouse.boards import FOLDER as BOARDS
from databourse.warehouse.lock import writer_lock

Kind = Literal[
    "run", "file", "snapshot", "topics", "neighbours", "encoder", "tokenizer", "signal", "losses",
    "generations",
]  # fmt: skip

_KEYED: tuple[tuple[str, str, Kind], ...] = (
    ("decisions", "run_id", "run"),
    ("pool_documents", "run_id", "run"),
    ("prices", "run_id", "run"),
    ("topic_markets", "run_id", "run"),
    ("topic_traders", "run_id", "run"),
    ("selections", "run_id", "run"),
    ("sources", "run_id", "run"),
    ("example_files", "run_id", "run"),
    ("arrivals", "file_id", "file"),
    ("quarantine", "file_id", "file"),
    ("source_files", "file_id", "file"),
    ("snapshots", "snapshot_id", "snapshot"),
    ("signals", "snapshot_id", "snapshot"),
    ("signals", "signal_id", "signal"),
    ("signal_details", "snapshot_id", "snapshot"),
    ("topics", "topics_id", "topics"),
    ("neighbours", "neighbours_id", "neighbours"),
    ("embeddings", "encoder_id", "encoder"),
    ("token_counts", "tokenizer_id", "tokenizer"),
    ("token_losses", "losses_id", "losses"),
    ("generations", "generations_id", "generations"),
)
_OF_DOCUMENTS = ("documents", "token_counts", "embeddings", "token_losses", "generations")
_ALL_DOCUMENTS = "-"  # in place of a snapshot: signals of documents alone
_MADE_BY_RUNS = ("language_models", "gradients", "curvatures", "data_docs")
_TEMPORARY = ("*.staging", "*.checkpoint-staging", "*.staging.wal")
_SPILL = "spill"
_DATABASE = "bourse.duckdb"
_LEAST_FREE_SHARE = 0.2  # below, copying the file takes longer than the room is worth
_LEAST_FREE_BYTES = 1 << 20


@dataclass(frozen=True)
class Needs:
    """What must stay.

    Attributes:
        kept: ids that are needed, by kind.
        dropped: ids that runs used which are not kept, by kind.
        is_unfinished: the last run of a pool did not complete; it may go on with what no finished
            run stands on, so only what is in `dropped` and not in `kept` may go.
        boards: ids of the boards of kept runs.
        used_since: models, features, sketches and boards stay that were of use at or after this
            time, in seconds since 1970.
    """

    kept: Mapping[Kind, frozenset[str]]
    dropped: Mapping[Kind, frozenset[str]]
    is_unfinished: bool
    boards: frozenset[str]
    used_since: float


@dataclass(frozen=True)
class Garbage:
    """What nothing needs.

    Attributes:
        keys: (table, column, ids) of rows that go.
        documents: ids of documents that go with all that is stored by document.
        text_shards: names of text shards that go, rows and files.
        sketch_shards: likewise of sketch shards.
        rows: rows that go, by table.
        files: files and folders that go, with their bytes, relative to the warehouse.
    """

    keys: tuple[tuple[str, str, tuple[str, ...]], ...]
    documents: tuple[str, ...]
    text_shards: tuple[str, ...]
    sketch_shards: tuple[str, ...]
    rows: Mapping[str, int]
    files: Mapping[str, int]


def find_garbage(connection: duckdb.DuckDBPyConnection, root: Path, needs: Needs) -> Garbage:
    """Return what of a warehouse may go; changes nothing.

    Args:
        connection: to its tables; temporary tables are made in it.
        root: its folder.
        needs: what must stay.
    """
    keys = tuple(_keys(connection, needs))
    with _dead_documents(connection, needs) as documents:
        rows = _count_rows(connection, keys)
        text_shards = _names(
            connection,
            "select text_shard from text_shards except select text_shard from documents "
            "where document_id not in (select document_id from dead_documents)",
        )
    sketch_shards = tuple(
        name
        for name in _names(connection, "select sketch_shard from sketch_shards")
        if _is_unused(root / "sketches" / name, needs.used_since)
    )
    registered = {
        "text": set(_names(connection, "select text_shard from text_shards")) - set(text_shards),
        "sketches": set(_names(connection, "select sketch_shard from sketch_shards"))
        - set(sketch_shards),
    }
    paths = [*temporary_paths(root), *_unused_paths(root, needs)]
    for folder, names in registered.items():
        paths += [
            each for each in sorted((root / folder).glob("*.parquet")) if each.name not in names
        ]
    sizes = {str(path.relative_to(root)): bytes_of(path) for path in dict.fromkeys(paths)}
    counts = {
        **rows,
        "text_shards": len(text_shards),
        "sketch_shards": len(sketch_shards),
    }
    return Garbage(
        keys,
        documents,
        text_shards,
        sketch_shards,
        {table: count for table, count in counts.items() if count},
        sizes,
    )


def remove_rows(connection: duckdb.DuckDBPyConnection, garbage: Garbage) -> None:
    """Remove the rows of garbage, all or none."""
    connection.begin()
    try:
        for table, column, ids in garbage.keys:
            _delete(connection, table, column, ids)
        for table in _OF_DOCUMENTS:
            _delete(connection, table, "document_id", garbage.documents)
        _delete(connection, "signals", "document_id", garbage.documents, snapshot_id=_ALL_DOCUMENTS)
        _delete(connection, "text_shards", "text_shard", garbage.text_shards)
        _delete(connection, "sketch_shards", "sketch_shard", garbage.sketch_shards)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    connection.execute("checkpoint")


def remove_paths(root: Path, names: Mapping[str, int]) -> None:
    """Remove files and folders, named relative to a folder; what is gone already is no error."""
    for name in names:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def temporary_paths(root: Path) -> list[Path]:
    """Return what killed writers left half-written below a warehouse, and what they had spilled."""
    found = {path for pattern in _TEMPORARY for path in root.rglob(pattern)}
    found |= set((root / _SPILL).glob("*"))
    return sorted(path for path in found if not found.intersection(path.parents))


def bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def compact(root: Path) -> int:
    """Give free blocks of the DuckDB file back to the disk; return the bytes by which it shrank.

    A checkpoint marks the blocks of removed rows as free but gives back only those at the end of
    the file. Where a fifth or more is free, all tables are copied into a new file, which is
    compared row count by row count, flushed and renamed over the old one. Killed anywhere, it
    leaves the old file or the new one.

    Raises:
        WarehouseLockedError: another process writes the warehouse.
        IntegrityError: the copy does not hold what the file holds; the file is untouched.
    """
    path, staging = root / _DATABASE, root / f"{_DATABASE}.staging"
    with writer_lock(root):
        staging.unlink(missing_ok=True)
        connection = duckdb.connect(str(path))
        try:
            before = path.stat().st_size
            if not _is_worth_copying(connection, path):
                return 0
            _copy(connection, staging)
        finally:
            connection.close()  # what was written is in the file then, and no log is left
        for each in (staging, root):
            descriptor = os.open(each, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        staging.replace(path)
        return before - path.stat().st_size


def _is_worth_copying(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Tell whether enough of the file is free, and the disk has room for a copy of the rest."""
    found = connection.execute(
        "select block_size, total_blocks, free_blocks from pragma_database_size()"
    ).fetchall()[0]
    block_size, total, free = (int(each) for each in found)
    if free * block_size < _LEAST_FREE_BYTES or free < _LEAST_FREE_SHARE * total:
        return False
    return shutil.disk_usage(path.parent).free > (total - free) * block_size + _LEAST_FREE_BYTES


def _copy(connection: duckdb.DuckDBPyConnection, staging: Path) -> None:
    own = connection.execute("select current_database()").fetchall()[0][0]
    connection.execute(f"attach '{str(staging).replace(chr(39), chr(39) * 2)}' as compacted")
    connection.execute(f'copy from database "{own}" to compacted')
    tables = [name for name, file in query_files().items() if file.parent.name == "tables"]
    for table in tables:
        counts = [
            connection.execute(f'select count(*) from "{place}".{table}').fetchall()[0][0]  # noqa: S608 - names of our own
            for place in (own, "compacted")
        ]
        if counts[0] != counts[1]:
            raise IntegrityError(
                f"a copy of {own}.{table} holds {counts[1]:,} of {counts[0]:,} rows; the warehouse "
                "was left as it is"
            )
    connection.execute("detach compacted")


def _keys(
    connection: duckdb.DuckDBPyConnection, needs: Needs
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the ids of each keyed table that may go."""
    for table, column, kind in _KEYED:
        stored = set(_names(connection, f"select distinct {column} from {table}"))  # noqa: S608 - names of our own
        gone = stored - needs.kept[kind] - {_ALL_DOCUMENTS}
        if needs.is_unfinished:
            gone &= needs.dropped[kind]
        if gone:
            yield table, column, tuple(sorted(gone))


@contextlib.contextmanager
def _dead_documents(
    connection: duckdb.DuckDBPyConnection, needs: Needs
) -> Iterator[tuple[str, ...]]:
    """Give documents that no kept file, run or snapshot holds, also as a temporary table."""
    dead: tuple[str, ...] = ()
    if not needs.is_unfinished:
        for kind, ids in (("file", needs.kept["file"]), ("snapshot", needs.kept["snapshot"])):
            connection.register(
                f"kept_{kind}", pa.table({"id": pa.array(sorted(ids), pa.string())})
            )
        dead = _names(
            connection,
            "select document_id from documents "
            "except select document_id from arrivals where file_id in (select id from kept_file) "
            "except select document_id from snapshots "
            "where snapshot_id in (select id from kept_snapshot)",
        )
        connection.unregister("kept_file")
        connection.unregister("kept_snapshot")
    connection.register("dead_documents", pa.table({"document_id": pa.array(dead, pa.string())}))
    try:
        yield dead
    finally:
        connection.unregister("dead_documents")


def _count_rows(
    connection: duckdb.DuckDBPyConnection,
    keys: tuple[tuple[str, str, tuple[str, ...]], ...],
) -> dict[str, int]:
    """Return how many rows of each table go, each counted once."""
    conditions: dict[str, list[str]] = {table: [] for table, _, _ in _KEYED}
    for number, (table, column, ids) in enumerate(keys):
        connection.register(f"gone_{number}", pa.table({"id": pa.array(ids, pa.string())}))
        conditions[table].append(f"{column} in (select id from gone_{number})")  # noqa: S608
    of_dead = "document_id in (select document_id from dead_documents)"
    for table in _OF_DOCUMENTS:
        conditions.setdefault(table, []).append(of_dead)
    conditions["signals"].append(f"(snapshot_id = '{_ALL_DOCUMENTS}' and {of_dead})")
    counts = {
        table: connection.execute(
            f"select count(*) from {table} where {' or '.join(each)}"  # noqa: S608 - names of our own
        ).fetchall()[0][0]
        for table, each in conditions.items()
        if each
    }
    for number in range(len(keys)):
        connection.unregister(f"gone_{number}")
    return counts


def _delete(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    column: str,
    ids: tuple[str, ...],
    *,
    snapshot_id: str | None = None,
) -> None:
    """Delete the rows of a table whose key is one of the ids; only those of a snapshot if given."""
    if not ids:
        return
    connection.register("gone", pa.table({"id": pa.array(ids, pa.string())}))
    more = "" if snapshot_id is None else " and snapshot_id = $snapshot_id"
    statement = f"delete from {table} where {column} in (select id from gone){more}"  # noqa: S608 - names of our own
    connection.execute(statement, {} if snapshot_id is None else {"snapshot_id": snapshot_id})
    connection.unregister("gone")


def _unused_paths(root: Path, needs: Needs) -> list[Path]:
    """Return models, features and boards that no run since the oldest kept one has used."""
    found = [path for folder in _MADE_BY_RUNS for path in sorted((root / folder).glob("*"))]
    found += [
        path for path in sorted((root / BOARDS).glob("*.parquet")) if path.stem not in needs.boards
    ]
    return [path for path in found if _is_unused(path, needs.used_since)]


def _is_unused(path: Path, used_since: float) -> bool:
    return path.exists() and path.stat().st_mtime < used_since


def _names(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, ...]:
    return tuple(sorted(row[0] for row in connection.execute(text).fetchall()))
