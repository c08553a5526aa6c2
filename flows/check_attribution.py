"""The check of attributions: from a finished refresh to the LDS report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from databourse.attribution.results import ProxyKind
from databourse.config import load_config
from databourse.errors import ConfigError
from databourse.refresh.attribution import AttributionChoice
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.runs import end_run, new_run_id, start_run
from databourse.warehouse import hold_warehouse
from tasks.report_attribution import report_attribution
from tasks.retrain_subsets import retrain_subsets


@dataclass(frozen=True)
class CheckedAttribution:
    """What a check found, and where it is written.

    Attributes:
        record: the results as JSON types.
        page: the report.
        results: the same record as a file.
    """

    record: dict[str, Any]
    page: str
    results: str


def _flow_run_name() -> str:
    """Name a run by its pool, what is retrained, and its start."""
    parameters = flow_run.parameters
    config = load_config(Path(parameters["config_path"]), parameters.get("overrides") or [])
    return f"{config.pool}-{parameters['proxy']}-{datetime.now(UTC):%Y%m%dT%H%M%S}"


@flow(name="check_attribution", flow_run_name=_flow_run_name, persist_result=False)
def check_attribution(
    config_path: str,
    proxy: ProxyKind,
    *,
    overrides: list[str] | None = None,
    subsets: int = 50,
    share: float = 0.5,
    seeds: int = 2,
    targets_per_set: int = 60,
) -> CheckedAttribution:
    """Retrain a proxy on random subsets of the last refresh; one report of what foretells it.

    Args:
        config_path: the YAML config; its folder is where relative paths start.
        proxy: what is retrained.
        overrides: `key=value` pairs over the config.
        subsets: how many.
        share: of the documents in each.
        seeds: models per subset, where training draws anything.
        targets_per_set: most examples of each target.
    """
    path = Path(config_path).resolve()
    config = load_config(path, overrides or [])
    choice = AttributionChoice(
        proxy=proxy, subsets=subsets, share=share, seeds=seeds, targets_per_set=targets_per_set
    )
    now = datetime.now(UTC)
    run = RunContext(new_run_id(now), config.pool, str(path.parent), config)
    if not (run.warehouse_path / "bourse.duckdb").is_file():
        raise ConfigError(
            f"there is no warehouse at {run.warehouse_path}; refresh the pool first: databourse "
            "run CONFIG"
        )
    compute = config.compute
    with hold_warehouse(
        run.warehouse_path, threads=compute.threads, memory_limit=compute.memory_limit
    ) as warehouse:
        start_run(warehouse, run, flow="check_attribution", now=now)
        stages: list[StageReport] = []
        status, message = "failed", "interrupted"
        try:
            stages.append(retrain_subsets(run, choice))
            stages.append(report_attribution(run, choice))
            values = stages[-1].values
            status, message = "completed", values["page"]
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            end_run(
                warehouse, run, status=status, message=message, stages=stages, now=datetime.now(UTC)
            )
    return CheckedAttribution(json.loads(values["record"]), values["page"], values["results"])
