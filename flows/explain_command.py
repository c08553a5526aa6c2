"""`databourse explain`: the story of one document; needs the base install only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def explain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config of the pool.")],
    document: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A document_id, its first digits (6 or more), or a row's place: file#number.",
        ),
    ],
    *,
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            min=1,
            help="Speak of the run that published this version.",
            show_default="the latest completed run that priced it",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. warehouse=/data/w."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Tell the whole story of a document: rows, duplicates, price, what would change it."""
    from databourse.config import load_config
    from databourse.explanations import described, explain_document, record

    settings = load_config(config, overrides or [])
    root = config.resolve().parent
    story = explain_document(
        settings,
        (root / settings.warehouse).resolve(),
        document,
        version=version,
        manifests_path=root / settings.manifests,
    )
    if as_json:
        typer.echo(json.dumps(record(story), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(described(story))
