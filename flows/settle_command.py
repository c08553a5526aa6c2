"""`databourse settle`: an oracle speaks on a sample, and traders earn or lose wealth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.tables import print_table
from flows.terminal import flow_on_the_terminal


def settle(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    *,
    contracts: Annotated[
        int | None,
        typer.Option(min=10, help="Documents to settle.", show_default="settlement.contracts"),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="auto, linear, leave_one_out, subsets, language_model, trak or ask_llm.",
            show_default="settlement.oracle",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Let an oracle settle a sample of the last refresh, and show old and new wealth.

    Traders whose signals foresaw what the oracle says earn, the others lose; the next refresh
    trades with that wealth where market.weights is settled. What an oracle said is stored: a killed
    settlement goes on.
    """
    from databourse.config import load_config

    settings = list(overrides or [])
    settings += [] if contracts is None else [f"settlement.contracts={contracts}"]
    settings += [] if oracle is None else [f"settlement.oracle={oracle}"]
    load_config(config, settings)  # a mistake shows now, not after Prefect has started
    with flow_on_the_terminal():
        from flows.settle_market import settle_market

        record = settle_market(config_path=str(config.resolve()), overrides=settings)
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
        return
    from databourse.reports.settlement import (
        COLUMN_HELP,
        COLUMNS,
        settlement_lines,
        settlement_rows,
    )

    typer.echo()
    print_table(COLUMNS, settlement_rows(record))
    typer.echo(f"\n{COLUMN_HELP}\n")
    for line in settlement_lines(record):
        typer.echo(line)
