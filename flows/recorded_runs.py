"""A run over a finished refresh: its warehouse held, its stages and its end written down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from databourse.config import RefreshConfig
from databourse.engines import hold_engine
from databourse.errors import ConfigError
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.lineage import run_lineage
from databourse.refresh.runs import end_run, new_run_id, start_run
from databourse.warehouse import Warehouse, hold_warehouse


@dataclass
class RecordedRun:
    """A run that is under way.

    Attributes:
        run: as its stages take it.
        warehouse: held until the run ends.
        stages: what was done so far; the run adds to it.
        result: what the record says of a run that completes: a path or an id.
    """

    run: RunContext
    warehouse: Warehouse
    stages: list[StageReport] = field(default_factory=list)
    result: str = ""


@contextlib.contextmanager
def run_on_refreshed_pool(config: RefreshConfig, path: Path, *, flow: str) -> Iterator[RecordedRun]:
    """Hold the warehouse of a refreshed pool while the block works, and record how it ended.

    Args:
        config: of the pool.
        path: of its file, absolute; its folder is where relative paths start.
        flow: name of the flow.

    Raises:
        ConfigError: there is no warehouse yet.
    """
    now = datetime.now(UTC)
    run = RunContext(new_run_id(now), config.pool, str(path.parent), config)
    if not (run.warehouse_path / "bourse.duckdb").is_file():
        raise ConfigError(
            f"there is no warehouse at {run.warehouse_path}; refresh the pool first: databourse "
            "run CONFIG"
        )
    compute = config.compute
    with (
        hold_engine(config.engine),
        hold_warehouse(
            run.warehouse_path,
            threads=compute.threads,
            memory_limit=compute.memory_limit,
            wait_seconds=60 * compute.wait_minutes,
        ) as warehouse,
    ):
        start_run(warehouse, run, flow=flow, now=now)
        recorded = RecordedRun(run, warehouse)
        status, message = "failed", "interrupted"
        try:
            with run_lineage(run, flow):
                yield recorded
            status, message = "completed", recorded.result
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            end_run(
                warehouse,
                run,
                status=status,
                message=message,
                stages=recorded.stages,
                now=datetime.now(UTC),
            )
