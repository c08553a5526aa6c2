"""Immutable Parquet files beside the tables, known by their digests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from databourse.digests import file_sha256
from databourse.errors import IntegrityError

_STAGING_SUFFIX = ".staging"


class ShardFolder:
    """A folder of shards. A shard is complete under its name or absent, and never changes.

    Args:
        folder: where they are.
        kind: what they are called in errors, such as "text shard".
    """

    def __init__(self, folder: Path, *, kind: str) -> None:
        self.folder = folder
        self._kind = kind
        self._verified: set[str] = set()

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

    def put(
        self,
        name: str,
        table: pa.Table,
        *,
        compression: str,
        row_group_size: int,
        dictionaries: Sequence[str] | None = None,
        statistics: Sequence[str] | None = None,
    ) -> tuple[str, int]:
        """Write a shard under a name; return its sha256 and its bytes.

        It is written elsewhere, flushed to disk and renamed. Columns have dictionaries and
        statistics where these are named; all of them by default.
        """
        staging = self.folder / (name + _STAGING_SUFFIX)
        pq.write_table(
            table,
            staging,
            compression=compression,
            row_group_size=row_group_size,
            use_dictionary=True if dictionaries is None else list(dictionaries),
            write_statistics=True if statistics is None else list(statistics),
        )
        with staging.open("rb") as stream:
            os.fsync(stream.fileno())
        digest, size = file_sha256(staging), staging.stat().st_size
        staging.replace(self.folder / name)
        return digest, size

    def _verify(self, path: Path, sha256: str) -> None:
        if path.name in self._verified:
            return
        remedy = "restore it from a backup, or move the warehouse away and run again"
        if not path.is_file():
            raise IntegrityError(f"{self._kind} {path} is missing; {remedy}")
        found = file_sha256(path)
        if found != sha256:
            raise IntegrityError(
                f"{self._kind} {path} was truncated or edited: its sha256 is {found[:16]}..., "
                f"recorded was {sha256[:16]}...; {remedy}"
            )
        self._verified.add(path.name)
