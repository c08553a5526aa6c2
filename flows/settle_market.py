"""The settlement: an oracle speaks on a sample, traders earn or lose, the next refresh follows."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from databourse.config import load_config
from databourse.reports.settlement import settlement_markdown
from flows.recorded_runs import run_on_refreshed_pool
from tasks.check_contract import check_contract
from tasks.register_settlement import register_settlement
from tasks.settle_contracts import settle_contracts


def _flow_run_name() -> str:
    """Name a run by its pool and its start."""
    parameters = flow_run.parameters
    config = load_config(Path(parameters["config_path"]), parameters.get("overrides") or [])
    return f"{config.pool}-settle-{datetime.now(UTC):%Y%m%dT%H%M%S}"


@flow(name="settle_market", flow_run_name=_flow_run_name, persist_result=False)
def settle_market(config_path: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Settle the market of the last refresh; its traders' wealth is what the next one uses.

    Args:
        config_path: the YAML config; its folder is where relative paths start.
        overrides: `key=value` pairs over the config.

    Returns:
        The record of the settlement, as JSON types.
    """
    path = Path(config_path).resolve()
    config = load_config(path, overrides or [])
    with run_on_refreshed_pool(config, path, flow="settle_market") as recorded:
        run, stages = recorded.run, recorded.stages
        stages.append(settle_contracts(run))
        values = stages[-1].values
        for contract in ("settled_contracts", "wealth"):
            where = {"settlement_id": values["settlement_id"]}
            stages.append(check_contract(run, contract, where))
        stages.append(register_settlement(run, values["settled"]))
        recorded.result = values["settlement_id"]
    record: dict[str, Any] = json.loads(values["settled"])
    create_markdown_artifact(
        settlement_markdown(record),
        key=f"settlement-{config.pool}".replace("_", "-"),
        description="Wealth of the traders",
    )
    return record


if __name__ == "__main__":
    settle_market(sys.argv[1], sys.argv[2:])
