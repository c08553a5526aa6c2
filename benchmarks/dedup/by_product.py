"""Exact and near dedup by the product's functions, all in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from databourse.dedup.near import find_near_duplicates

_BATCH_DOCUMENTS = 10_000


def duplicates(documents: Path) -> list[tuple[str, str]]:
    """Return (dropped, kept) document ids."""
    first: dict[bytes, str] = {}
    exact: list[tuple[str, str]] = []

    def distinct() -> Iterator[tuple[list[str], pa.StringArray]]:
        file = pq.ParquetFile(documents)
        for batch in file.iter_batches(_BATCH_DOCUMENTS, use_threads=False):
            ids = batch["document_id"].to_pylist()
            content = batch["text"].cast(pa.binary()).to_pylist()
            kept = []
            for place, own in enumerate(content):
                stands = first.setdefault(hashlib.blake2b(own, digest_size=16).digest(), ids[place])
                if stands == ids[place]:
                    kept.append(place)
                else:
                    exact.append((ids[place], stands))
            yield [ids[place] for place in kept], batch["text"].take(pa.array(kept))

    found = find_near_duplicates(distinct(), threshold=0.8, rng=np.random.default_rng(0)).duplicates
    near = dict(
        zip(found["document_id"].to_pylist(), found["representative_id"].to_pylist(), strict=True)
    )
    return [*near.items(), *((own, near.get(stands, stands)) for own, stands in exact)]
