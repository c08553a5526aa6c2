"""Near dedup of a warehouse, as a refresh does it: texts in shards, sketches kept on disk.

Documents go in beforehand, in another process. The second day adds what the first did not see.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from databourse.config import NearDuplicates
from databourse.progress import silent
from databourse.refresh.near_duplicates import find_near_duplicates
from databourse.warehouse import Warehouse, hold_warehouse
from databourse.warehouse.store import append

_SHARD_DOCUMENTS = 10_000
MEMORY_LIMIT = "4GB"


def fill(root: Path, documents: Path) -> None:
    """Put documents into a warehouse, without those that repeat another word for word."""
    seen: set[str] = set()
    with hold_warehouse(root, threads=1, memory_limit=MEMORY_LIMIT) as warehouse:
        for batch in pq.ParquetFile(documents).iter_batches(_SHARD_DOCUMENTS):
            texts = dict(
                zip(*(batch[name].to_pylist() for name in batch.schema.names), strict=True)
            )
            new = {}
            for key, text in texts.items():
                if text not in seen:
                    seen.add(text)
                    new[key] = text
            _store(warehouse, new)


def decide(root: Path, *, threads: int, share: float) -> list[tuple[str, str]]:
    """Return (dropped, kept) ids among the first documents, or all for a share of 1."""
    with hold_warehouse(root, threads=threads, memory_limit=MEMORY_LIMIT) as warehouse:
        cursor = warehouse.cursor()
        stored = cursor.sql("select document_id from documents order by document_id")
        ids = stored.to_arrow_table()["document_id"].combine_chunks()
        cursor.close()
        found = find_near_duplicates(
            warehouse,
            NearDuplicates(),
            document_ids=ids[: round(len(ids) * share)],
            root_seed=17,
            threads=threads,
            advance=silent,
        ).duplicates
    columns = (found["document_id"].to_pylist(), found["representative_id"].to_pylist())
    return list(zip(*columns, strict=True))


def _store(warehouse: Warehouse, texts: dict[str, str]) -> None:
    row = warehouse.texts.write(texts)
    documents = pa.table(
        {
            "document_id": list(texts),
            "characters": [len(text) for text in texts.values()],
            "text_shard": [row["text_shard"]] * len(texts),
        }
    )
    with warehouse.transaction() as cursor:
        append(cursor, "text_shards", pa.Table.from_pylist([row]))
        append(cursor, "documents", documents)
