"""Document texts: immutable Parquet shards beside the tables, known by their digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from databourse.digests import digest_of_lines
from databourse.warehouse.shards import ShardFolder

_ROW_GROUP_DOCUMENTS = 1_000

SCHEMA = pa.schema([("document_id", pa.string()), ("text", pa.large_string())])


class TextStore(ShardFolder):
    """The folder of text shards. A shard is named by the ids in it and never changes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, kind="text shard")

    def write(self, texts: Mapping[str, str]) -> dict[str, str | int]:
        """Write a shard and return its row of `text_shards`: name, sha256, documents, bytes.

        The same texts give the same file.
        """
        document_ids = sorted(texts)
        rows = [document_ids, [texts[key] for key in document_ids]]
        return self.write_table(pa.table(rows, schema=SCHEMA))

    def write_table(self, table: pa.Table) -> dict[str, str | int]:
        """Write a shard as `write` does, from document_id, ascending, and text."""
        document_ids = table["document_id"].to_pylist()
        name = f"{digest_of_lines(document_ids)[:32]}.parquet"
        digest, size = self.put(
            name,
            table,
            compression="zstd",
            row_group_size=_ROW_GROUP_DOCUMENTS,
            dictionaries=[],  # every id and nearly every text is there once
            statistics=["document_id"],
        )
        return {"text_shard": name, "sha256": digest, "documents": len(document_ids), "bytes": size}
