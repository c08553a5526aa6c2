"""`databourse manifest export`: the documents of a manifest in the format that a trainer reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

_MEGABYTE = 1 << 20


def export(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Folder of a pool or of one version; path or URI.")
    ],
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder to write; it must not exist.")],
    file_format: Annotated[
        Literal["jsonl", "parquet", "webdataset", "mds"],
        typer.Option("--format", help="What to write."),
    ],
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Which version of the pool.", show_default="latest"),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="A column to write; may be repeated; all by default."),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--sources", help="Folder where the sources' paths start, if texts must be read there."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Folder that keeps the texts of --sources.")
    ] = None,
    file_megabytes: Annotated[
        int, typer.Option("--file-megabytes", min=1, help="Size at which a next file is begun.")
    ] = 64,
    allow_withdrawn: Annotated[
        bool, typer.Option("--allow-withdrawn", help="Accept a version that was withdrawn.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Write a manifest's documents, weights and prices as jsonl, parquet, webdataset or mds.

    The manifest is verified first; the export appears all at once, or not at all.

    Example: databourse manifest export manifests/ag_news --format mds --to exports/ag_news
    """
    from databourse.errors import ConfigError
    from databourse.manifests import export_manifest, open_manifest

    if (sources is None) != (texts is None):
        raise ConfigError("--sources and --texts belong together: where from, and where to keep")
    manifest = open_manifest(
        path, "latest" if version is None else version, allow_withdrawn=allow_withdrawn
    )
    if sources is not None and texts is not None:
        manifest = manifest.with_source_texts(sources, to=texts)
    done = export_manifest(
        manifest, to, format=file_format, columns=columns, file_bytes=file_megabytes * _MEGABYTE
    )
    if as_json:
        record = {
            "path": str(done.path),
            "format": done.format,
            "manifest_id": manifest.info.manifest_id,
            "files": list(done.files),
            "documents": done.documents,
            "tokens": done.tokens,
            "has_text": done.has_text,
        }
        typer.echo(json.dumps(record, indent=2))
        return
    text = "with texts" if done.has_text else "without texts"
    typer.echo(
        f"wrote {done.documents:,} documents, {done.tokens:,} tokens, {text}, in "
        f"{len(done.files):,} files of {done.format} to {done.path}"
    )
