"""`databourse gc`: free the disk of what no kept run needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from databourse.refresh.retention import Collection

_SHOWN_FILES = 20


def gc(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    *,
    apply: Annotated[
        bool, typer.Option("--yes", "--apply", help="Remove it; else only show what would go.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. retention.runs=3."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Remove what killed runs left, and what only refreshes before the last ones used.

    retention.runs says how many finished refreshes of each pool stay explained. Published versions
    and settlements, answers and other things that were dear always stay. Without --yes nothing is
    changed.
    """
    from databourse.config import load_config
    from databourse.refresh.retention import collect, plan_collection

    settings = load_config(config, overrides or [])
    work = collect if apply else plan_collection
    found = work(settings, config.resolve().parent)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: Collection) -> list[str]:
    """Return what is to tell a person."""
    lines = [f"{size:>15,} bytes  {name}" for name, size in _largest(found)]
    if len(found.files) > _SHOWN_FILES:
        lines.append(f"                ... and {len(found.files) - _SHOWN_FILES:,} more")
    lines += [f"{count:>15,} rows   {table}" for table, count in sorted(found.rows.items())]
    verb = "removed" if found.applied else "would remove"
    lines.append(
        f"{verb} {len(found.files):,} files and folders of {found.file_bytes:,} bytes, and "
        f"{sum(found.rows.values()):,} rows; kept what {found.kept_runs} finished refreshes use"
    )
    if found.applied:
        lines.append(f"the DuckDB file shrank by {found.database_bytes:,} bytes")
    if found.is_unfinished:
        lines.append("the last run of a pool did not finish: what it may go on with was kept")
    if not found.applied:
        lines.append("nothing was changed; add --yes to remove it")
    return lines


def _largest(found: Collection) -> list[tuple[str, int]]:
    return sorted(found.files.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_FILES]
