"""Neighbours within the snapshot, stored once and read by every signal that looks around."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from databourse.digests import digest_of
from databourse.neighbours import Neighbours, nearest_neighbours
from databourse.progress import ProgressReport
from databourse.refresh.embedding import snapshot_vectors
from databourse.warehouse.store import Warehouse, append

_REVISION = 1
"""Raised when the same vectors begin to give other neighbours."""


def find_neighbours(
    warehouse: Warehouse,
    *,
    snapshot_id: str,
    encoder_id: str,
    k: int,
    threads: int,
    advance: ProgressReport,
) -> tuple[str, int]:
    """Find the k nearest documents of each, unless that was done before.

    Returns:
        The neighbours' id, and the number of documents.
    """
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    document_ids = members["document_id"]
    neighbours_id = digest_of([_REVISION, snapshot_id, encoder_id, k])[:32]
    stored = warehouse.rows("stg_snapshot__neighbours", {"neighbours_id": neighbours_id})
    if stored.num_rows != len(document_ids):
        vectors = snapshot_vectors(warehouse, snapshot_id=snapshot_id, encoder_id=encoder_id)
        found = nearest_neighbours(vectors, k, workers=threads, progress=advance)
        offsets = np.arange(len(document_ids) + 1, dtype=np.int32) * found.positions.shape[1]
        rows = {
            "neighbours_id": pa.array([neighbours_id] * len(document_ids), pa.string()),
            "document_id": document_ids,
            "positions": pa.ListArray.from_arrays(offsets, found.positions.ravel()),
            "similarities": pa.ListArray.from_arrays(offsets, found.similarities.ravel()),
        }
        with warehouse.transaction() as cursor:
            append(cursor, "neighbours", pa.table(rows))
    return neighbours_id, len(document_ids)


def stored_neighbours(warehouse: Warehouse, neighbours_id: str) -> Neighbours:
    """Return stored neighbours in key order."""
    table = warehouse.rows("stg_snapshot__neighbours", {"neighbours_id": neighbours_id})
    flat = table["positions"].combine_chunks().flatten().to_numpy()
    shape = (table.num_rows, len(flat) // max(table.num_rows, 1))  # no neighbours if alone
    positions = flat.reshape(shape)
    similarities = table["similarities"].combine_chunks().flatten().to_numpy().reshape(shape)
    return Neighbours(
        positions.astype(np.int32), similarities.astype(np.float32), positions.shape[1]
    )
