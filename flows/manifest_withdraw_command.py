"""`databourse manifest withdraw`: a version that must not be trained on any more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def withdraw(
    pool: Annotated[Path, typer.Argument(metavar="POOL", help="Folder of the pool, local.")],
    *,
    version: Annotated[int, typer.Option("--version", min=1, help="Which version.")],
    reason: Annotated[str, typer.Option("--reason", help="Shown to everybody who opens it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Withdraw a version: readers refuse it, and `latest` goes back to the last good one before it.

    The version stays as it is; the reason lies beside it. To reinstate it, delete that file.

    Example: databourse manifest withdraw manifests/ag_news --version 3 --reason "wrong licence"
    """
    from databourse.manifests import withdraw as withdraw_version

    outcome = withdraw_version(pool, version, reason=reason, withdrawn_at=datetime.now(UTC))
    if as_json:
        record = {
            **outcome.record.model_dump(mode="json"),
            "record": str(outcome.record_path),
            "is_new": outcome.is_new,
            "latest": outcome.latest,
            "passed_over": list(outcome.passed_over),
        }
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return
    state = "withdrawn" if outcome.is_new else "was withdrawn already, and keeps its reason"
    typer.echo(f"version {version} {state}: {outcome.record.reason} ({outcome.record_path})")
    for damaged in outcome.passed_over:
        typer.echo(f"version {damaged} is damaged, so latest does not name it", err=True)
    latest = "no version" if outcome.latest is None else f"version {outcome.latest}"
    typer.echo(f"latest names {latest}")
