"""The record of runs: started, ended, what each stage cost."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa

from databourse import __version__
from databourse.config import config_digest, config_yaml
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.versions import register_versions
from databourse.warehouse.store import Warehouse, append


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by start time and never repeats."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def start_run(warehouse: Warehouse, run: RunContext, *, flow: str, now: datetime) -> None:
    """Write the run down as running; runs that a killed process left running become failed.

    What was published, withdrawn or reinstated since is written down too.

    Raises:
        OSError: the folder of the manifests cannot be read.
    """
    row = {
        "run_id": run.run_id,
        "pool": run.pool,
        "flow": flow,
        "config_digest": config_digest(run.config),
        "config_text": config_yaml(run.config),
        "code_version": __version__,
        "started_at": now.replace(tzinfo=None),
        "status": "running",
        "message": "",
        "stages": "[]",
    }
    with warehouse.transaction() as cursor:
        cursor.execute(
            "update runs set status = 'failed', message = 'killed' where status = 'running'"
        )
        append(cursor, "runs", pa.Table.from_pylist([row]))
    register_versions(warehouse, run.manifests_path / run.pool)


def end_run(
    warehouse: Warehouse,
    run: RunContext,
    *,
    status: str,
    message: str,
    stages: Sequence[StageReport],
    now: datetime,
) -> None:
    """Write down how the run ended and what its stages cost."""
    with warehouse.transaction() as cursor:
        cursor.execute(
            "update runs set status = $status, message = $message, stages = $stages, "
            "ended_at = $ended_at where run_id = $run_id",
            {
                "run_id": run.run_id,
                "status": status,
                "message": message,
                "stages": json.dumps([asdict(stage) for stage in stages]),
                "ended_at": now.replace(tzinfo=None),
            },
        )
