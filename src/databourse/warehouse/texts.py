"""Document texts: immutable Parquet shards beside the tables, known by their digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from databourse.digests import digest_of_lines
from databourse.warehouse.shards import ShardFolder

_ROW_GROUP_DOCUMENTS = 1_000

SCHEMA = pa.schema([("document_id", pa.string()), ("text", pa.string())])


class TextStore(ShardFolder):
    """The folder of text shards. A shard is named by the ids in it and never changes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, kind="text shard")

    def write(self, texts: Mapping[str, str]) -> dict[str, str | int]:
        """Write a shard and return its row of `text_shards`: name, sha256, documents, bytes.

        The same texts give the same file.
        """
        document_ids = sorted(texts)
        name = f"{digest_of_lines(document_ids)[:32]}.parquet"
        table = pa.table([document_ids, [texts[key] for key in document_ids]], schema=SCHEMA)
        digest, size = self.put(
            name, table, compression="zstd", row_group_size=_ROW_GROUP_DOCUMENTS
        )
        return {"text_shard": name, "sha256": digest, "documents": len(document_ids), "bytes": size}
