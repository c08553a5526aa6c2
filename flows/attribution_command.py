"""`databourse attribution`: which attributions foretell models retrained on random subsets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.tables import print_table
from flows.terminal import flow_on_the_terminal

if TYPE_CHECKING:
    from flows.check_attribution import CheckedAttribution

_COLUMNS = ("attribution", "LDS", "95 % interval", "over tf-idf", "95 % interval", "setting")


def attribution(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    *,
    proxy: Annotated[
        Literal["linear", "causal_lm"],
        typer.Option(help="What is retrained: linear (labelled pools) or causal_lm."),
    ] = "causal_lm",
    subsets: Annotated[int, typer.Option(min=4, help="Random subsets of the pool.")] = 50,
    share: Annotated[float, typer.Option(help="Of the documents in each, in (0, 1).")] = 0.5,
    seeds: Annotated[
        int, typer.Option(min=1, help="Models per subset; linear draws nothing and takes one.")
    ] = 2,
    targets_per_set: Annotated[
        int,
        typer.Option(
            min=2, help="Most examples of each target; settings are chosen on half of them."
        ),
    ] = 60,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. compute.threads=4."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Retrain a small model on random subsets and report the LDS of every attribution.

    Works on the last finished refresh. Every retraining is stored: a killed run goes on, and more
    subsets or seeds train only what is new.
    """
    from databourse.config import load_config
    from databourse.refresh.attribution import AttributionChoice

    load_config(config, overrides or [])  # a mistake shows now, not after Prefect has started
    AttributionChoice(
        proxy=proxy,
        subsets=subsets,
        share=share,
        seeds=seeds,
        targets_per_set=targets_per_set,
    )
    with flow_on_the_terminal():
        from flows.check_attribution import check_attribution

        checked = check_attribution(
            config_path=str(config.resolve()),
            proxy=proxy,
            overrides=overrides,
            subsets=subsets,
            share=share,
            seeds=seeds,
            targets_per_set=targets_per_set,
        )
    if as_json:
        found = asdict(checked)
        typer.echo(json.dumps({**found.pop("record"), **found}, allow_nan=False))
    else:
        _print(checked)


def _print(checked: CheckedAttribution) -> None:
    found = checked.record
    typer.echo(
        f"\nLDS on {found['pool']}: {found['proxy']} retrained on {found['subsets']:,} subsets of "
        f"{found['subset_share']:.0%} of {found['documents']:,} documents, "
        f"{found['examples_reported']:,} examples reported.\n"
    )
    print_table(_COLUMNS, [_row(each) for each in found["attributions"]])
    typer.echo(f"\nNoise ceiling: {_ceiling(found)}")
    typer.echo(f"Chance: {found['random_sd_by_example']:.3f} at one example (standard deviation).")
    for name, reason in found["left_out"].items():
        typer.echo(f"Left out: {name}: {reason}")
    typer.echo(f"  report   {checked.page}\n  results  {checked.results}")


def _row(each: dict[str, Any]) -> list[str]:
    more = each["over_baseline"]
    return [
        each["name"],
        f"{each['lds']:.3f}",
        f"{each['low']:.3f} to {each['high']:.3f}",
        "" if more is None else f"{more['difference']:+.3f}",
        "" if more is None else f"{more['low']:.3f} to {more['high']:.3f}",
        f"{each['setting']} (edge)" if each["setting_at_edge"] else each["setting"],
    ]


def _ceiling(found: dict[str, Any]) -> str:
    ceiling = found["ceiling"]
    if ceiling is not None:
        return (
            f"two seeds agree to {ceiling['seed_agreement']:.3f} ({ceiling['low']:.3f} to "
            f"{ceiling['high']:.3f}); attainable is about {ceiling['attainable']:.3f}"
        )
    return "unknown with one seed" if found["training_draws"] else "1, as training draws nothing"
