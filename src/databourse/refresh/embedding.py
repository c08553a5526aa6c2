"""Vectors of the snapshot: computed once per document and encoder, committed batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.encoders import Encoder
from databourse.progress import ProgressReport
from databourse.warehouse.store import Warehouse, append


def embed_documents(
    warehouse: Warehouse,
    encoder: Encoder,
    *,
    snapshot_id: str,
    n_documents: int,
    batch_documents: int,
    advance: ProgressReport,
) -> int:
    """Embed the documents of a snapshot that have no vector yet; return how many they were."""
    wanted = {"snapshot_id": snapshot_id, "encoder_id": encoder.encoder_id}
    missing = warehouse.rows("stg_snapshot__unembedded_documents", wanted)["document_id"]
    advance(n_documents - len(missing))
    for batch in warehouse.texts_of(missing.combine_chunks(), batch_documents=batch_documents):
        vectors = encoder.encode(batch["text"].to_pylist(), progress=advance)
        rows = {
            "document_id": batch["document_id"],
            "encoder_id": pa.array([encoder.encoder_id] * batch.num_rows, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1]),
        }
        with warehouse.transaction() as cursor:
            append(cursor, "embeddings", pa.table(rows))
    return len(missing)


def snapshot_vectors(
    warehouse: Warehouse, *, snapshot_id: str, encoder_id: str
) -> NDArray[np.float32]:
    """Return the vectors of a snapshot in key order, shape (n_documents, dimension), unit norm."""
    wanted = {"snapshot_id": snapshot_id, "encoder_id": encoder_id}
    table = warehouse.rows("stg_snapshot__embeddings", wanted)
    vectors: NDArray[Any] = table["vector"].combine_chunks().flatten().to_numpy()
    return vectors.reshape(table.num_rows, -1)
