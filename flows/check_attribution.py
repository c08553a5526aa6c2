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
from databourse.refresh.attribution import AttributionChoice
from flows.recorded_runs import run_on_refreshed_pool
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
    with run_on_refreshed_pool(config, path, flow="check_attribution") as recorded:
        recorded.stages.append(retrain_subsets(recorded.run, choice))
        recorded.stages.append(report_attribution(recorded.run, choice))
        values = recorded.stages[-1].values
        recorded.result = values["page"]
    return CheckedAttribution(json.loads(values["record"]), values["page"], values["results"])
