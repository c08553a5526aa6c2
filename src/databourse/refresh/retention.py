"""`databourse gc`: what kept runs of a warehouse stand on stays, the rest may go."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import duckdb

from databourse.config import RefreshConfig
from databourse.manifests.pool_changes import remove_staging, staging_paths
from databourse.warehouse.garbage import (
    Garbage,
    Kind,
    Needs,
    bytes_of,
    compact,
    find_garbage,
    remove_paths,
    remove_rows,
    temporary_paths,
)
from databourse.warehouse.reading import open_for_reading
from databourse.warehouse.store import hold_warehouse

_IDS: dict[str, Kind] = {  # what stages report, and of what kind it is
    "snapshot_id": "snapshot",
    "topics_id": "topics",
    "neighbours_id": "neighbours",
    "encoder_id": "encoder",
    "tokenizer_id": "tokenizer",
    "signal_id": "signal",
}
_LISTS: dict[str, Kind] = {"losses": "losses", "generations": "generations"}
_REFRESH = "refresh_pool"


@dataclass(frozen=True)
class _Run:
    run_id: str
    pool: str
    flow: str
    started_at: datetime
    is_completed: bool
    stages: str


@dataclass(frozen=True)
class Collection:
    """What a garbage collection removed, or would remove.

    Attributes:
        applied: whether it was removed.
        kept_runs: finished refreshes that stay explained, over all pools of the warehouse.
        is_unfinished: the last run of a pool did not complete, so what it may go on with stayed.
        rows: removed rows by table.
        files: removed files and folders with their bytes: those of the warehouse relative to it,
            those of manifests by their whole path.
        file_bytes: of all these together.
        database_bytes: by which the DuckDB file shrank; 0 before it is applied.
    """

    applied: bool
    kept_runs: int
    is_unfinished: bool
    rows: dict[str, int]
    files: dict[str, int]
    file_bytes: int
    database_bytes: int


def plan_collection(config: RefreshConfig, root: Path) -> Collection:
    """Return what a garbage collection would remove; changes nothing.

    Args:
        config: of a pool; its warehouse and its retention.
        root: folder of the config.

    Raises:
        ConfigError: there is no warehouse.
        WarehouseLockedError: a refresh writes it.
    """
    warehouse = (root / config.warehouse).resolve()
    compute = config.compute
    with open_for_reading(
        warehouse, threads=compute.threads, memory_limit=compute.memory_limit
    ) as reader:
        needs, kept = needs_of(reader.connection, runs=config.retention.runs)
        garbage = find_garbage(reader.connection, warehouse, needs)
    return _collection(config, root, garbage, needs, kept_runs=kept)


def collect(config: RefreshConfig, root: Path) -> Collection:
    """Remove what nothing needs; return what that was.

    Args:
        config: of a pool; its warehouse and its retention.
        root: folder of the config.

    Raises:
        ConfigError: there is no warehouse.
        WarehouseLockedError: another process writes or reads it.
    """
    warehouse = (root / config.warehouse).resolve()
    planned = plan_collection(config, root)  # opening the warehouse for writing sweeps some of it
    compute = config.compute
    with hold_warehouse(
        warehouse, threads=compute.threads, memory_limit=compute.memory_limit
    ) as held:
        cursor = held.cursor()
        try:
            needs, kept = needs_of(cursor, runs=config.retention.runs)
            garbage = find_garbage(cursor, warehouse, needs)
            remove_rows(cursor, garbage)
        finally:
            cursor.close()
        remove_paths(warehouse, garbage.files)
        remove_paths(warehouse, {str(each): 0 for each in temporary_paths(warehouse)})
        remove_staging(_manifests(config, root))
    found = _collection(config, root, garbage, needs, kept_runs=kept)
    files = {**planned.files, **found.files}
    return Collection(
        applied=True,
        kept_runs=kept,
        is_unfinished=needs.is_unfinished,
        rows=found.rows,
        files=files,
        file_bytes=sum(files.values()),
        database_bytes=compact(warehouse),
    )


def needs_of(connection: duckdb.DuckDBPyConnection, *, runs: int) -> tuple[Needs, int]:
    """Return what must stay for the last runs of each pool, and how many finished ones these are.

    Kept are the last finished refreshes of each pool, the one whose selection is published, and
    whatever ran since the oldest of the last ones. Rows of runs that ended otherwise stay until a
    refresh of their pool has finished.

    Args:
        connection: to the tables of a warehouse.
        runs: how many finished refreshes of each pool stay, >= 1.
    """
    by_pool: dict[str, list[_Run]] = defaultdict(list)
    for row in connection.execute(
        "select run_id, pool, flow, started_at, status = 'completed', coalesce(stages, '[]') "
        "from runs order by started_at, run_id"
    ).fetchall():
        by_pool[row[1]].append(_Run(*row))
    published = {
        row[0]
        for row in connection.execute(
            "select arg_max(run_id, version) from manifests where status = 'published' "
            "group by pool"
        ).fetchall()
    }
    kept: list[_Run] = []
    explained: set[str] = set(published)
    since: list[datetime] = []
    finished = 0
    for own in by_pool.values():
        refreshes = [run for run in own if run.flow == _REFRESH and run.is_completed]
        oldest = (refreshes[-runs:] or own)[0]
        finished += len(refreshes[-runs:])
        recent = [run for run in own if run.started_at >= oldest.started_at]
        last = refreshes[-1].started_at if refreshes else oldest.started_at
        kept += recent
        explained |= {run.run_id for run in recent if run.is_completed or run.started_at > last}
        since.append(oldest.started_at)
    every = [run for own in by_pool.values() for run in own]
    kept += [run for run in every if run.run_id in published]
    kept_ids = {run.run_id for run in kept}
    dropped = [run for run in every if run.run_id not in kept_ids]
    return (
        Needs(
            kept=_ids(connection, kept, explained),
            dropped=_ids(connection, dropped, {run.run_id for run in every} - explained),
            is_unfinished=any(not own[-1].is_completed for own in by_pool.values()),
            boards=frozenset(_strings(connection, "selections", "board_id", explained)),
            used_since=min((each.replace(tzinfo=UTC).timestamp() for each in since), default=0.0),
        ),
        finished,
    )


def _ids(
    connection: duckdb.DuckDBPyConnection, runs: Iterable[_Run], explained: set[str]
) -> dict[Kind, frozenset[str]]:
    """Return what runs say that they used, and the files of those whose rows are spoken of."""
    found: dict[Kind, set[str]] = {kind: set() for kind in get_args(Kind)}
    for run in runs:
        for stage in json.loads(run.stages):
            for key, value in stage.get("values", {}).items():
                if key in _IDS:
                    found[_IDS[key]].add(value)
                elif key in _LISTS:
                    found[_LISTS[key]].update(json.loads(value))
    found["run"] |= explained
    for table in ("sources", "example_files"):
        found["file"].update(_strings(connection, table, "file_id", explained))
    return {kind: frozenset(ids) for kind, ids in found.items()}


def _strings(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, run_ids: set[str]
) -> list[str]:
    rows = connection.execute(
        f"select distinct {column} from {table} where run_id in (select unnest($run_ids))",  # noqa: S608 - names of our own
        {"run_ids": sorted(run_ids)},
    ).fetchall()
    return [row[0] for row in rows]


def _manifests(config: RefreshConfig, root: Path) -> Path:
    return (root / config.manifests).resolve() / config.pool


def _collection(
    config: RefreshConfig, root: Path, garbage: Garbage, needs: Needs, *, kept_runs: int
) -> Collection:
    files = dict(garbage.files)
    staged = staging_paths(_manifests(config, root))
    files |= {str(path): bytes_of(path) for path in staged}
    return Collection(
        applied=False,
        kept_runs=kept_runs,
        is_unfinished=needs.is_unfinished,
        rows=dict(garbage.rows),
        files=files,
        file_bytes=sum(files.values()),
        database_bytes=0,
    )
