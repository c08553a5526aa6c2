"""Document texts: immutable Parquet shards beside the tables, known by their digests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from databourse.digests import digest_of_lines, file_sha256
from databourse.errors import IntegrityError

_STAGING_SUFFIX = ".staging"
_ROW_GROUP_DOCUMENTS = 1_000

SCHEMA = pa.schema([("document_id", pa.string()), ("text", pa.large_string())])


class TextStore:
    """The folder of text shards. A shard is named by the ids in it and never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified: set[str] = set()

    def write(self, texts: Mapping[str, str]) -> dict[str, str | int]:
        """Write a shard and return its row of `text_shards`: name, sha256, documents, bytes.

        The file is complete under its name or absent: it is written elsewhere, flushed to disk and
        renamed. The same texts give the same file.
        """
        document_ids = sorted(texts)
        rows = [document_ids, [texts[key] for key in document_ids]]
        return self.write_table(pa.table(rows, schema=SCHEMA))

    def write_table(self, table: pa.Table) -> dict[str, str | int]:
        """Write a shard as `write` does, from document_id, ascending, and text."""
        document_ids = table["document_id"].to_pylist()
        name = f"{digest_of_lines(document_ids)[:32]}.parquet"
        staging = self.folder / (name + _STAGING_SUFFIX)
        pq.write_table(
            table,
            staging,
            compression="zstd",
            row_group_size=_ROW_GROUP_DOCUMENTS,
            use_dictionary=False,  # every id and nearly every text is there once
            write_statistics=["document_id"],
        )
        with staging.open("rb") as stream:
            os.fsync(stream.fileno())
        digest, size = file_sha256(staging), staging.stat().st_size
        staging.replace(self.folder / name)
        return {"text_shard": name, "sha256": digest, "documents": len(document_ids), "bytes": size}

    def verified_paths(self, shards: Mapping[str, str]) -> list[str]:
        """Return the paths of shards, each checked against its sha256 once per process.

        Args:
            shards: shard name to the sha256 it must have.

        Raises:
            IntegrityError: a shard is missing, truncated or edited; names it.
        """
        for name, sha256 in shards.items():
            self._verify(self.folder / name, sha256)
        return [str(self.folder / name) for name in shards]

    def sweep(self) -> None:
        """Remove what a killed writer left half-written."""
        for path in self.folder.glob(f"*{_STAGING_SUFFIX}"):
            path.unlink()

    def _verify(self, path: Path, sha256: str) -> None:
        if path.name in self._verified:
            return
        remedy = "restore it from a backup, or move the warehouse away and run again"
        if not path.is_file():
            raise IntegrityError(f"text shard {path} is missing; {remedy}")
        found = file_sha256(path)
        if found != sha256:
            raise IntegrityError(
                f"text shard {path} was truncated or edited: its sha256 is {found[:16]}..., "
                f"recorded was {sha256[:16]}...; {remedy}"
            )
        self._verified.add(path.name)
