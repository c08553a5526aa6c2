"""Exporting a manifest: the same documents in the format that a trainer reads.

An export is written beside its place and renamed into it when all of it is on the disk, so that
nothing half-written is ever read as good. It says in `export.json`, which carries its own digest,
what it was made from, and has `SHA256SUMS` for `sha256sum -c`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from databourse.digests import file_sha256
from databourse.errors import InputError, ManifestError
from databourse.manifests.export_formats import NEED_TEXT, WRITERS, Format
from databourse.manifests.folders import MANIFEST_FILE, SUMS_FILE
from databourse.manifests.reader import Manifest
from databourse.manifests.seals import seal
from databourse.manifests.staging import sync, write_durably
from databourse.manifests.verification import sums_text

EXPORT_FILE = "export.json"
FILE_BYTES = 1 << 26
_STAGING_PREFIX = ".export-"
_LEAST_FILE_BYTES = 1 << 12


@dataclass(frozen=True)
class Export:
    """What was written."""

    path: Path
    format: Format
    files: tuple[str, ...]
    documents: int
    tokens: int
    has_text: bool


def export_manifest(
    manifest: Manifest,
    to: Path,
    *,
    format: Format,  # noqa: A002 - the command's word
    columns: Sequence[str] | None = None,
    file_bytes: int = FILE_BYTES,
) -> Export:
    """Write the documents of a manifest in another format; the manifest is verified first.

    Args:
        manifest: opened, with the texts that are to be written.
        to: the folder; it must not exist.
        format: jsonl, parquet, webdataset or mds.
        columns: which, document_id among them; all of them by default.
        file_bytes: most bytes of a file before a next one is begun, >= 4,096.

    Raises:
        ManifestError: `to` exists, or the format needs texts and there are none.
        InputError: `file_bytes` is too small, or columns lack document_id.
        UnknownNameError: there is no such column.
        IntegrityError: the manifest is damaged.
    """
    if file_bytes < _LEAST_FILE_BYTES:
        raise InputError(f"file_bytes must be >= {_LEAST_FILE_BYTES:,}, got {file_bytes!r}")
    chosen = list(manifest.column_names if columns is None else columns)
    if "document_id" not in chosen:
        raise InputError(f"an export needs the column document_id, got {', '.join(chosen)}")
    if format in NEED_TEXT and "text" not in chosen:
        raise ManifestError(
            f"format {format} needs texts, and {manifest.location} holds none; read them from the "
            "sources: with_source_texts(root, to=FOLDER), or --sources DIR --texts FOLDER"
        )
    _refuse_existing(to)
    manifest.verify()
    tables = manifest.read_row_groups(chosen)
    to.parent.mkdir(parents=True, exist_ok=True)
    staging = to.parent / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
    staging.mkdir()
    try:
        WRITERS[format](tables, staging, file_bytes=file_bytes)
        files = sorted(path.name for path in staging.iterdir())
        _finish(manifest, staging, files, format=format, columns=chosen)
        _refuse_existing(to)  # a rename would take the place of an empty folder
        staging.rename(to)
        sync(to.parent)
    except BaseException:
        shutil.rmtree(staging)
        raise
    spent = manifest.info.spent
    return Export(to, format, tuple(files), spent.documents, spent.tokens, "text" in chosen)


def _finish(
    manifest: Manifest,
    staging: Path,
    files: list[str],
    *,
    format: Format,  # noqa: A002 - the command's word
    columns: list[str],
) -> None:
    info = manifest.info
    digests = {name: file_sha256(staging / name) for name in files}
    record = {
        "format": format,
        "pool": info.pool,
        "version": info.version,
        "manifest_id": info.manifest_id,
        "manifest_sha256": manifest.folder.sha256(MANIFEST_FILE),
        "tokenizer": info.tokenizer.model_dump(mode="json"),
        "documents": info.spent.documents,
        "tokens": info.spent.tokens,
        "columns": columns,
        "withdrawn": manifest.withdrawal.reason if manifest.withdrawal else None,
        "files": digests,
    }
    write_durably(staging / EXPORT_FILE, seal(record))
    digests[EXPORT_FILE] = file_sha256(staging / EXPORT_FILE)
    write_durably(staging / SUMS_FILE, sums_text(digests))
    for path in (*(staging / name for name in files), staging):
        sync(path)


def _refuse_existing(to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise ManifestError(f"{to} exists already; nothing was overwritten. Name another folder")
