"""`databourse compare`: what each sampler's pick teaches a model, at equal tokens."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.tables import print_section
from flows.terminal import flow_on_the_terminal

if TYPE_CHECKING:
    from flows.compare_selectors import Compared

_COLUMNS = (
    "sampler",
    "mean",
    "sd",
    "against random",
    "against all",
    "documents",
    "CPU s",
)
_SHOWN = ("accuracy", "bits_per_token")


def compare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    *,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. compare.seeds=3."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Train a small model on the pick of every sampler and measure it on the test sets.

    Works on the last finished refresh. Every training is stored: a killed run goes on, and more
    samplers, budgets or seeds train only what is new. No sampler sees a test set.
    """
    from databourse.config import load_config
    from databourse.refresh.comparison import check_comparison

    check_comparison(load_config(config, overrides or []))  # before Prefect has started
    with flow_on_the_terminal():
        from flows.compare_selectors import compare_selectors

        compared = compare_selectors(config_path=str(config.resolve()), overrides=overrides)
    if as_json:
        typer.echo(json.dumps(asdict(compared), allow_nan=False))
    else:
        _print(compared)


def _print(compared: Compared) -> None:
    shown = [row for row in compared.summary if row["metric"] in _SHOWN]
    for (target, metric, budget), rows in itertools.groupby(
        shown, key=lambda row: (row["target"], row["metric"], row["budget_tokens"])
    ):
        title = f"{metric} on {target}, budget {budget:,}"
        print_section(title, _COLUMNS, [_row(row) for row in rows])
    for name, reason in compared.left_out.items():
        typer.echo(f"left out  {name}: {reason}")
    typer.echo(
        "\nsd: over seeds; [ ]: 95 %; CPU s: of the signals that a sampler reads and of choosing"
    )
    typer.echo(f"\n  report   {compared.page}\n  results  {compared.results}")


def _row(row: dict[str, Any]) -> list[str]:
    value, over, over_all = row["value"], row["over_random"], row["over_all"]
    against = ""
    if over is not None:
        against = f"{over['mean']:+.4f} [{over['low']:+.4f}, {over['high']:+.4f}]"
    return [
        row["sampler"],
        f"{value['mean']:.4f}",
        f"{value['deviation']:.4f}",
        against,
        "" if over_all is None else f"{over_all['mean']:+.4f}",
        f"{row['documents']:,.0f}",
        f"{row['select_cpu_seconds'] + row['signal_cpu_seconds']:.2f}",
    ]
