"""The warehouse's tables: one DuckDB file, one writing process, a cursor for each task.

The flow holds the warehouse (`hold_warehouse`); tasks, which run in threads of the same process,
pass its path around and ask for it (`held_warehouse`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from databourse.errors import (
    IntegrityError,
    StorageError,
    UnknownNameError,
    WarehouseLockedError,
)
from databourse.queries import query, query_files, query_rows, used_parameters
from databourse.warehouse.boards import sweep_boards
from databourse.warehouse.lock import writer_lock
from databourse.warehouse.sketches import SketchStore
from databourse.warehouse.storage import (
    DAMAGED_DATABASE,
    named_storage_errors,
    storage_error,
)
from databourse.warehouse.texts import TextStore

SCHEMA_VERSION = 2
"""Raised with every change of sql/tables/ that an old warehouse cannot take."""

_held: dict[Path, Warehouse] = {}
_held_guard = threading.Lock()


class Warehouse:
    """A warehouse that this process writes."""

    def __init__(self, root: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.root = root
        self.texts = TextStore(root / "text")
        self.sketches = SketchStore(root / "sketches")
        self._connection = connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the tables: one for each task, never shared."""
        return self._connection.cursor()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor whose changes are kept together, or not at all."""
        cursor = self.cursor()
        try:
            cursor.begin()
            try:
                yield cursor
            except BaseException:
                cursor.rollback()
                raise
            cursor.commit()
        finally:
            cursor.close()

    def rows(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        relations: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """Return what a named query selects, as Arrow.

        Args:
            name: of the query.
            parameters: its values; those that it does not name are left out.
            relations: tables that it reads under these names, beside those of the warehouse.
        """
        cursor = self.cursor()
        try:
            for relation, table in (relations or {}).items():
                cursor.register(relation, table)
            return query_rows(cursor, name, parameters)
        finally:
            cursor.close()

    def value(self, name: str, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        """Return the only value of a named query's only row."""
        return self.rows(name, parameters)[0][0].as_py()

    def texts_of(self, document_ids: pa.Array, *, batch_documents: int) -> Iterator[pa.Table]:
        """Yield document_id and text of documents in key order, in batches.

        Raises:
            IntegrityError: a text shard is damaged, or a document has no text.
        """
        cursor = self.cursor()
        try:
            cursor.register("wanted_documents", pa.table({"document_id": document_ids}))
            shards = cursor.execute(query("stg_texts__shards")).fetchall()
            paths = self.texts.verified_paths(dict(shards))
            found = 0
            if paths:
                texts = cursor.sql(query("stg_texts__documents"), params={"paths": paths})
                for batch in texts.to_arrow_reader(batch_documents):
                    found += batch.num_rows
                    yield pa.Table.from_batches([batch])
            self._check_found(found, len(document_ids))
        finally:
            cursor.close()

    def texts_by_shard(self, document_ids: pa.Array) -> Iterator[pa.Table]:
        """Yield document_id and text of documents, a text shard at a time, in no order to rely on.

        Cheaper than `texts_of`, which sorts the texts.

        Raises:
            IntegrityError: a text shard is damaged, or a document has no text.
        """
        wanted = pa.table({"document_id": document_ids})
        found = self.rows("stg_texts__places", relations={"wanted_documents": wanted})
        self._check_found(found.num_rows, len(document_ids))
        shards = found["text_shard"].combine_chunks().dictionary_encode()
        codes = shards.indices.to_numpy()
        by_shard = np.split(
            np.argsort(codes, kind="stable"),
            np.cumsum(np.bincount(codes, minlength=len(shards.dictionary)))[:-1],
        )
        for name, rows in zip(shards.dictionary.to_pylist(), by_shard, strict=True):
            sha256 = found["sha256"][int(rows[0])].as_py()
            texts = pq.read_table(*self.texts.verified_paths({name: sha256}), use_threads=False)
            if texts.num_rows != len(rows):
                own = found["document_id"].take(pa.array(rows)).combine_chunks()
                texts = texts.filter(pc.is_in(texts["document_id"], value_set=own))
            yield texts

    def _check_found(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise IntegrityError(
                f"{self.root} holds the texts of {found:,} of {wanted:,} wanted "
                "documents; move the warehouse away and run again"
            )


def append(cursor: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> int:
    """Append Arrow rows to a table, columns matched by name; return how many.

    Raises:
        UnknownNameError: there is no such table in sql/tables/.
    """
    _check_table(table)
    if rows.num_rows:
        columns = cursor.table(table).columns
        missing = [column for column in columns if column not in rows.column_names]
        for column in missing:
            rows = rows.append_column(column, pa.nulls(rows.num_rows))
        cursor.from_arrow(rows.select(columns)).insert_into(table)
    n_rows: int = rows.num_rows
    return n_rows


def insert_query(
    cursor: duckdb.DuckDBPyConnection,
    table: str,
    name: str,
    parameters: Mapping[str, Any],
    *,
    n_traders: int | None = None,
) -> int:
    """Insert what a named query selects into a table, columns matched by name; return how many."""
    _check_table(table)
    statement = f"insert into {table} by name {query(name, n_traders=n_traders)}"
    count: int = cursor.execute(statement, used_parameters(name, parameters)).fetchall()[0][0]
    return count


def upsert_query(cursor: duckdb.DuckDBPyConnection, table: str, name: str) -> None:
    """Insert what a named query selects, by name; a row of the same key gives way to it."""
    _check_table(table)
    cursor.execute(f"insert or replace into {table} by name {query(name)}")


@contextlib.contextmanager
def hold_warehouse(
    root: Path, *, threads: int, memory_limit: str, wait_seconds: float = 0.0
) -> Iterator[Warehouse]:
    """Open a warehouse for writing, creating what is missing, until the block ends.

    Args:
        root: folder of the warehouse.
        threads: threads of DuckDB.
        memory_limit: of DuckDB, such as "4GB"; larger work spills to `root`/spill.
        wait_seconds: how long to wait for another process that writes it.

    Raises:
        WarehouseLockedError: this or another process holds it already, and does not end in time.
        IntegrityError: the DuckDB file is damaged or of another layout.
        StorageError: the disk is full, or the folder may not be written; in the block, too.
    """
    root = root.resolve()
    with contextlib.ExitStack() as held:
        held.enter_context(named_storage_errors(root))
        for folder in ("text", "sketches"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        held.enter_context(writer_lock(root, wait_seconds=wait_seconds))
        connection = _connect(root, threads=threads, memory_limit=memory_limit)
        warehouse = Warehouse(root, connection)
        with _held_guard:
            _held[root] = warehouse
        try:
            warehouse.texts.sweep()
            warehouse.sketches.sweep()
            sweep_boards(root)
            yield warehouse
        finally:
            with _held_guard:
                del _held[root]
            connection.close()


def held_warehouse(root: Path | str) -> Warehouse:
    """Return the warehouse that this process holds at a path.

    Raises:
        WarehouseLockedError: this process does not hold it.
    """
    with _held_guard:
        warehouse = _held.get(Path(root).resolve())
    if warehouse is None:
        raise WarehouseLockedError(
            f"warehouse {root} is not open in this process; tasks run inside a flow that holds it"
        )
    return warehouse


def _connect(root: Path, *, threads: int, memory_limit: str) -> duckdb.DuckDBPyConnection:
    path = root / "bourse.duckdb"
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "temp_directory": str(root / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(str(path), config=settings)
        _create_tables(connection, path)
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        storage = storage_error(error, root)
        if isinstance(storage, StorageError):
            raise storage from None
        if "Could not set lock" in first_line:  # the writer lock is ours, so somebody reads
            raise WarehouseLockedError(
                f"warehouse {root} is being read by another process, such as databourse explain; "
                "run again when it has ended"
            ) from None
        raise IntegrityError(f"{path} cannot be opened: {first_line}. {DAMAGED_DATABASE}") from None
    return connection


def _create_tables(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    tables = [name for name, file in query_files().items() if file.parent.name == "tables"]
    for name in tables:
        connection.execute(query(name))
    versions = connection.execute("select max(schema_version) from schema_versions").fetchall()
    found = versions[0][0]
    if found is None:
        connection.execute(
            "insert into schema_versions values ($version)", {"version": SCHEMA_VERSION}
        )
    elif found != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path} has table layout {found}, this databourse writes layout {SCHEMA_VERSION}; use "
            "the databourse that made it, or move the file away and run again"
        )


def _check_table(table: str) -> None:
    file = query_files().get(table)
    if file is None or file.parent.name != "tables":
        known = [name for name, each in query_files().items() if each.parent.name == "tables"]
        raise UnknownNameError("table", table, known, where="sql/tables")
