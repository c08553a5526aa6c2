"""Samplers side by side: every pick trained on alike and measured on the same examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import flow
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.runtime import flow_run

from databourse.comparison.summary import summarised
from databourse.config import load_config
from databourse.errors import InputError
from databourse.refresh.comparison import (
    Comparison,
    check_comparison,
    comparison_results,
    held_comparison,
    release_comparison,
    results_of,
)
from databourse.refresh.context import RunContext, StageReport
from databourse.reports.comparison import (
    BEST_COLUMNS,
    ComparisonResults,
    best_tables,
    comparison_markdown,
)
from databourse.reports.comparison_page import write_comparison
from databourse.warehouse import Warehouse
from flows.recorded_runs import run_on_refreshed_pool
from tasks.compare_sampler import compare_sampler
from tasks.prepare_comparison import prepare_comparison

FOLDER = "comparisons"


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        comparison_id: of all that decides its numbers.
        results: file of a row per cell, target and metric.
        page: the report, with plots and the summary as JSON and Markdown beside it.
        summary: rows of the table, as JSON types.
        left_out: samplers that cannot run on this pool, and why.
    """

    comparison_id: str
    results: str
    page: str
    summary: list[dict[str, Any]]
    left_out: dict[str, str]


def _flow_run_name() -> str:
    """Name a run by its pool and its start."""
    parameters = flow_run.parameters
    config = load_config(Path(parameters["config_path"]), parameters.get("overrides") or [])
    return f"{config.pool}-compare-{datetime.now(UTC):%Y%m%dT%H%M%S}"


@flow(name="compare_selectors", flow_run_name=_flow_run_name, persist_result=False)
def compare_selectors(config_path: str, overrides: list[str] | None = None) -> Compared:
    """Compare the samplers of a config on the last refresh of its pool.

    Args:
        config_path: the YAML config; its folder is where relative paths start.
        overrides: `key=value` pairs over the config.
    """
    path = Path(config_path).resolve()
    config = load_config(path, overrides or [])
    check_comparison(config)
    with run_on_refreshed_pool(config, path, flow="compare_selectors") as recorded:
        run, stages = recorded.run, recorded.stages
        try:
            stages.append(prepare_comparison(run))
            left_out = _compared(run, stages)
            result = _written(recorded.warehouse, held_comparison(run.run_id), left_out)
        finally:
            release_comparison(run.run_id)
        recorded.result = result.results
    return result


def _compared(run: RunContext, stages: list[StageReport]) -> dict[str, str]:
    """Compare sampler by sampler; return those that cannot run here, and why."""
    left_out: dict[str, str] = {}
    for sampler in run.config.compare.samplers:
        try:
            stages.append(compare_sampler(run, sampler))
        except InputError as error:
            left_out[sampler] = str(error)
    return left_out


def _written(warehouse: Warehouse, comparison: Comparison, left_out: dict[str, str]) -> Compared:
    table = results_of(warehouse, comparison)
    if not table.num_rows:
        reasons = "; ".join(left_out.values())
        raise InputError(f"no sampler of compare.samplers can run on this pool: {reasons}")
    folder = warehouse.root / FOLDER / comparison.comparison_id
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / "results.parquet.staging"
    pq.write_table(table, staged)
    staged.replace(folder / "results.parquet")
    rows = summarised(table.to_pylist(), seed=comparison.run.config.seed, costs=comparison.costs)
    results = comparison_results(comparison, rows, left_out)
    page = write_comparison(results, folder)
    _show(results, page)
    return Compared(
        comparison_id=comparison.comparison_id,
        results=str(folder / "results.parquet"),
        page=str(page),
        summary=[asdict(row) for row in rows],
        left_out=left_out,
    )


def _show(results: ComparisonResults, page: Path) -> None:
    """Publish the report where the run is watched: in short, as rows, and where it lies."""
    key = f"comparison-{results.pool}".replace("_", "-")
    create_markdown_artifact(comparison_markdown(results), key=key, description="Samplers")
    create_table_artifact(
        [
            {"test set": target, "metric": metric, **dict(zip(BEST_COLUMNS, row, strict=True))}
            for target, metric, rows in best_tables(results)
            for row in rows
        ],
        key=f"{key}-best",
        description="The best sampler at each budget",
    )
    create_link_artifact(page.as_uri(), link_text=str(page), key=f"{key}-report")
