"""Vectors of the snapshot: computed once per document and encoder, committed batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.config_engine import threads_there
from databourse.encoders import ENCODER_NAMES, Encoder, load_encoder
from databourse.encoders.locations import HubId, locate
from databourse.engines import Elsewhere, Job, Work
from databourse.errors import ConfigError
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.warehouse.store import Warehouse, append

Vectors = NDArray[np.float32]


def embed_documents(
    warehouse: Warehouse,
    run: RunContext,
    encoder: Encoder,
    *,
    snapshot_id: str,
    n_documents: int,
    advance: ProgressReport,
) -> int:
    """Embed the documents of a snapshot that have no vector yet; return how many they were."""
    wanted = {"snapshot_id": snapshot_id, "encoder_id": encoder.encoder_id}
    missing = warehouse.rows("stg_snapshot__unembedded_documents", wanted)["document_id"]
    advance(n_documents - len(missing))
    return embed_texts(warehouse, run, encoder, missing.combine_chunks(), advance=advance)


def embed_texts(
    warehouse: Warehouse,
    run: RunContext,
    encoder: Encoder,
    document_ids: pa.Array,
    *,
    advance: ProgressReport,
) -> int:
    """Embed documents that have no vector, whose texts are stored; return how many they were."""
    batches = warehouse.texts_of(document_ids, batch_documents=run.config.compute.batch_documents)
    job = embedding_job(run, encoder)
    for batch, vectors in run.engine().map_batches(job, batches, advance=advance):
        rows = {
            "document_id": batch["document_id"],
            "encoder_id": pa.array([encoder.encoder_id] * batch.num_rows, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1]),
        }
        with warehouse.transaction() as cursor:
            append(cursor, "embeddings", pa.table(rows))
    return len(document_ids)


def embedding_job(run: RunContext, encoder: Encoder) -> Job[pa.Table, Vectors]:
    """Return how tables with a column text become vectors, one per row.

    Args:
        run: whose config names the encoder.
        encoder: that, loaded.
    """
    name = run.config.encoder

    def there() -> Elsewhere[pa.Table, Vectors]:
        folders = [run.warehouse_path / "models"]
        if name not in ENCODER_NAMES:
            place = locate(name, kind="encoder", known=ENCODER_NAMES, root=Path(run.root))
            folders += [] if isinstance(place, HubId) else [place.resolve()]
        opened = partial(
            _embedding_there,
            name,
            encoder_id=encoder.encoder_id,
            threads=threads_there(run.config.engine),
            device=run.config.compute.device,
        )
        return Elsewhere(opened, tuple(folders))

    return Job(here=lambda: partial(_vectors_of, encoder), there=there, size=len)


def _embedding_there(
    name: str, folders: Sequence[Path], *, encoder_id: str, threads: int, device: str
) -> Work[pa.Table, Vectors]:
    """Return what embeds in another process: folders are of converted models, and the encoder's."""
    cache_dir, *own = folders
    encoder = load_encoder(
        str(own[0]) if own else name, cache_dir=cache_dir, threads=threads, device=device
    )
    if encoder.encoder_id != encoder_id:
        raise ConfigError(
            f"a worker has encoder {encoder.encoder_id}, this run {encoder_id}: their vectors "
            "differ; use machines of one kind, with the same packages"
        )
    return partial(_vectors_of, encoder)


def _vectors_of(encoder: Encoder, batch: pa.Table, progress: ProgressReport) -> Vectors:
    return encoder.encode(batch["text"].to_pylist(), progress=progress)


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
