"""`databourse manifest diff`: what changed between two manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.tables import print_section

if TYPE_CHECKING:
    import pyarrow as pa

    from databourse.manifests import ManifestDiff

SHOWN_DOCUMENTS = 10


def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="The manifest before: a version, or a pool's latest.")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="The manifest after.")],
    *,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page here too; it must not exist.")
    ] = None,
    allow_withdrawn: Annotated[
        bool, typer.Option("--allow-withdrawn", help="Compare withdrawn versions too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, every document listed.")
    ] = False,
) -> None:
    """Print what entered, what left, whose price or topic changed, and which settings did it.

    Example: databourse manifest diff manifests/ag_news/v000001 manifests/ag_news
    """
    from databourse.manifests import diff_manifests, diff_record, open_manifest
    from databourse.manifests.difference_page import write_difference_page

    found = diff_manifests(
        open_manifest(before, allow_withdrawn=allow_withdrawn),
        open_manifest(after, allow_withdrawn=allow_withdrawn),
    )
    if html is not None:
        write_difference_page(found, html)
        typer.echo(f"wrote {html}", err=True)
    if as_json:
        record = diff_record(found)
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
        return
    _print_diff(found)


def _print_diff(found: ManifestDiff) -> None:
    from databourse.manifests.difference_wording import (
        headlines,
        setting_rows,
        shift_rows,
        signal_rows,
    )

    for name, text in headlines(found):
        typer.echo(f"{name:<16}{text}")
    for title, kind, shifts in (
        ("Tokens by topic", "topic", found.topics),
        ("Tokens by source", "source", found.sources),
    ):
        columns = [kind, "documents", "after", "tokens", "after", "change"]
        print_section(title, columns, shift_rows(shifts))
    for title, table in (("Entered", found.entered), ("Left", found.left)):
        print_section(
            _title(title, table),
            ["document", "source", "topic", "tokens", "log price"],
            _documents(table),
        )
    print_section(
        _title("Prices that changed most", found.changed("log_price")),
        ["document", "log price", "after", "change"],
        _price_changes(found),
    )
    print_section("Settings", ["setting", "before", "after"], setting_rows(found.settings))
    print_section(
        "Signals", ["signal", "what", "property", "before", "after"], signal_rows(found.signals)
    )


def _title(title: str, table: pa.Table) -> str:
    shown = min(SHOWN_DOCUMENTS, table.num_rows)
    return title if shown == table.num_rows else f"{title}: {shown} of {table.num_rows:,}"


def _documents(table: pa.Table) -> list[list[str]]:
    from databourse.manifests.difference_wording import document_rows

    return document_rows(table, n_documents=SHOWN_DOCUMENTS)


def _price_changes(found: ManifestDiff) -> list[list[str]]:
    from databourse.manifests.difference_wording import price_rows

    return price_rows(found, n_documents=SHOWN_DOCUMENTS)
