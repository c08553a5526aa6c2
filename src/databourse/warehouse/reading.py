"""A warehouse opened for reading: no lock is taken, several readers may work at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from databourse.errors import ConfigError, IntegrityError, WarehouseLockedError
from databourse.queries import query_files, query_rows
from databourse.warehouse.lock import holder_of
from databourse.warehouse.storage import DAMAGED_DATABASE, named_storage_errors
from databourse.warehouse.store import SCHEMA_VERSION
from databourse.warehouse.texts import TextStore


class WarehouseReader:
    """A warehouse that this process reads."""

    def __init__(self, root: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.root = root
        self._connection = connection

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return the connection; it can write temporary tables only."""
        return self._connection

    def rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        """Return what a named query selects, a dict for each row."""
        rows: list[dict[str, Any]] = self.table(name, parameters).to_pylist()
        return rows

    def table(self, name: str, parameters: Mapping[str, Any]) -> pa.Table:
        """Return what a named query selects, as Arrow."""
        return query_rows(self._connection, name, parameters)

    def text(self, document_id: str) -> str:
        """Return the text of a document.

        Raises:
            IntegrityError: its shard is missing or damaged, or does not hold it.
        """
        wanted = pa.table({"document_id": pa.array([document_id], pa.string())})
        self._connection.register("wanted_documents", wanted)
        try:
            shards = {row["text_shard"]: row["sha256"] for row in self.rows("stg_texts__shards")}
            paths = TextStore(self.root / "text").verified_paths(shards)
            found = self.rows("stg_texts__documents", paths=paths) if paths else []
        finally:
            self._connection.unregister("wanted_documents")
        if not found:
            raise IntegrityError(
                f"{self.root} holds no text of document {document_id}; restore it from a backup, "
                "or move the warehouse away and run again"
            )
        text: str = found[0]["text"]
        return text


@contextlib.contextmanager
def open_for_reading(root: Path, *, threads: int, memory_limit: str) -> Iterator[WarehouseReader]:
    """Open a warehouse for reading until the block ends.

    Args:
        root: folder of the warehouse.
        threads: threads of DuckDB.
        memory_limit: of DuckDB, such as "4GB".

    Raises:
        ConfigError: there is no warehouse.
        WarehouseLockedError: a refresh is writing it.
        IntegrityError: the DuckDB file is damaged or of another layout.
    """
    path = root / "bourse.duckdb"
    if not path.is_file():
        raise ConfigError(
            f"there is no warehouse at {root}: refresh the pool first, with databourse run CONFIG"
        )
    connection = _connect(root, path, threads=threads, memory_limit=memory_limit)
    try:
        with named_storage_errors(root):
            _check_layout(connection, path)
            yield WarehouseReader(root, connection)
    finally:
        connection.close()


def _connect(
    root: Path, path: Path, *, threads: int, memory_limit: str
) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "temp_directory": str(root / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        return duckdb.connect(str(path), read_only=True, config=settings)
    except duckdb.ConnectionException:  # this process writes it
        raise WarehouseLockedError(_locked(root)) from None
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        if "Could not set lock" in first_line:
            raise WarehouseLockedError(_locked(root)) from None
        raise IntegrityError(f"{path} cannot be opened: {first_line}. {DAMAGED_DATABASE}") from None


def _locked(root: Path) -> str:
    return f"warehouse {root} is being written by {holder_of(root)}; try again when it has ended"


def _check_layout(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    needed = {name for name, file in query_files().items() if file.parent.name == "tables"}
    found = {
        name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()
    }
    layout = None
    if "schema_versions" in found:
        text = "select max(schema_version) from schema_versions"
        layout = connection.execute(text).fetchall()[0][0]
    if layout != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path} has table layout {layout}, this databourse reads layout {SCHEMA_VERSION}; use "
            "the databourse that made it, or move the file away and run again"
        )
    missing = sorted(needed - found)
    if missing:
        raise IntegrityError(
            f"{path} lacks the tables {', '.join(missing)}: an older databourse made it; run a "
            "refresh with this one, and ask again"
        )
