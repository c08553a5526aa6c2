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
    return embed_texts(
        warehouse,
        encoder,
        missing.combine_chunks(),
        batch_documents=batch_documents,
        advance=advance,
    )


def embed_texts(
    warehouse: Warehouse,
    encoder: Encoder,
    document_ids: pa.Array,
    *,
    batch_documents: int,
    advance: ProgressReport,
) -> int:
    """Embed documents that have no vector, whose texts are stored; return how many they were."""
    for batch in warehouse.texts_of(document_ids, batch_documents=batch_documents):
        vectors = encoder.encode(batch["text"].to_pylist(), progress=advance)
        rows = {
            "document_id": batch["document_id"],
            "encoder_id": pa.array([encoder.encoder_id] * batch.num_rows, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1]),
        }
        with warehouse.transaction() as cursor:
            append(cursor, "embeddings", pa.table(rows))
    return len(document_ids)


def snapshot_vectors(
    warehouse: Warehouse, *, snapshot_id: str, encoder_id: str
) -> NDArray[np.float32]:
    """Return the vectors of a snapshot in key order, shape (n_documents, dimension), unit norm."""
    wanted = {"snapshot_id": snapshot_id, "encoder_id": encoder_id}
    table = warehouse.rows("stg_snapshot__embeddings", wanted)
    vectors: NDArray[Any] = table["vector"].combine_chunks().flatten().to_numpy()
    return vectors.reshape(table.num_rows, -1)


def vectors_of(warehouse: Warehouse, document_ids: pa.Array, *, encoder_id: str) -> pa.Table:
    """Return document_id and vector of those documents that have one, in key order."""
    return warehouse.rows(
        "stg_wanted__embeddings",
        {"encoder_id": encoder_id},
        relations={"wanted_documents": pa.table({"document_id": document_ids})},
    )
