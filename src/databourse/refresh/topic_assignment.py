"""Topics of the snapshot, stored under the digest of all that they depend on."""

from __future__ import annotations

import pyarrow as pa

from databourse.config import TopicsConfig
from databourse.digests import digest_of
from databourse.refresh.embedding import snapshot_vectors
from databourse.refresh.snapshot import labels_digest, snapshot_documents
from databourse.seeds import stage_seed
from databourse.topics import Topics, cluster_topics, default_topic_count, label_topics
from databourse.warehouse.store import Warehouse, append

_REVISION = 1
"""Raised when the same settings begin to give other topics."""


def assign_topics(
    warehouse: Warehouse,
    settings: TopicsConfig,
    *,
    run_id: str,
    snapshot_id: str,
    encoder_id: str,
    root_seed: int,
) -> tuple[str, int, int]:
    """Assign each document of a snapshot to a topic, unless that was done before.

    Returns:
        The topics' id, the number of documents, the number of topics.
    """
    documents = snapshot_documents(warehouse, run_id=run_id, snapshot_id=snapshot_id)
    labels = documents["label"].to_pylist()
    identity = {
        "revision": _REVISION,
        "snapshot": snapshot_id,
        "encoder": encoder_id,
        "settings": settings.model_dump(mode="json"),
        "seed": root_seed if settings.by == "kmeans" else None,
        "labels": labels_digest(labels) if settings.by == "label" else None,
    }
    topics_id = digest_of(identity)[:32]
    stored = warehouse.rows("stg_snapshot__topics", {"topics_id": topics_id})
    if stored.num_rows != documents.num_rows:
        vectors = snapshot_vectors(warehouse, snapshot_id=snapshot_id, encoder_id=encoder_id)
        if settings.by == "label":
            topics = label_topics(labels, vectors, smallest=settings.smallest)
        else:
            topics = cluster_topics(
                vectors,
                count=settings.count or default_topic_count(documents.num_rows),
                smallest=settings.smallest,
                seed=stage_seed(root_seed, "topics"),
            )
        _store(warehouse, topics, documents["document_id"], topics_id, snapshot_id)
        stored = warehouse.rows("stg_snapshot__topics", {"topics_id": topics_id})
    return topics_id, documents.num_rows, len(set(stored["topic"].to_pylist()))


def _store(
    warehouse: Warehouse,
    topics: Topics,
    document_ids: pa.ChunkedArray,
    topics_id: str,
    snapshot_id: str,
) -> None:
    rows = {
        "topics_id": pa.array([topics_id] * len(document_ids), pa.string()),
        "snapshot_id": pa.array([snapshot_id] * len(document_ids), pa.string()),
        "document_id": document_ids,
        "topic": pa.array(list(topics.names), pa.string()),
        "similarity": pa.array(topics.similarities, pa.float32()),
    }
    with warehouse.transaction() as cursor:
        append(cursor, "topics", pa.table(rows))
