"""`databourse manifest mirror`: a pool's published versions copied to an object store."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer


def mirror(
    pool: Annotated[Path, typer.Argument(metavar="POOL", help="Folder of a pool, local.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Folder or fsspec URI, such as s3://bucket/m.")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Copy what is new of a pool's versions, signatures and withdrawals, latest.json last.

    A refresh does so by itself if its config has manifest.mirror; after a withdrawal, do it here.

    Example: databourse manifest mirror manifests/ag_news s3://bucket/manifests
    """
    from databourse.manifests import mirror_pool

    done = mirror_pool(pool, target)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(done), indent=2))
        return
    versions = ", ".join(map(str, done.versions)) or "none"
    typer.echo(
        f"{done.target}: new versions {versions}; {done.files:,} files, {done.bytes:,} bytes"
    )
