"""What the warehouse knows of the documents of a snapshot, as signals and samplers take it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.errors import IntegrityError
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds
from databourse.refresh.datamodel_retraining import stored_retrainings
from databourse.refresh.document_parts import PARTS
from databourse.refresh.embedding import snapshot_vectors
from databourse.refresh.examples import target_sets
from databourse.refresh.generation_sampling import stored_generations
from databourse.refresh.gradient_features import stored_gradients
from databourse.refresh.influence_measuring import PoolInfluence
from databourse.refresh.neighbour_search import stored_neighbours
from databourse.refresh.quality_questions import stored_answers
from databourse.refresh.step_features import stored_steps
from databourse.refresh.token_scoring import stored_losses
from databourse.signals.inputs import SignalInputs
from databourse.signals.specification import Need
from databourse.topics import Topics, topics_from_names
from databourse.warehouse.store import Warehouse


def snapshot_inputs(
    warehouse: Warehouse,
    run: RunContext,
    ids: SnapshotIds,
    documents: pa.Table,
    *,
    needs: frozenset[Need],
    advance: ProgressReport,
) -> SignalInputs:
    """Return what is needed of documents of a snapshot, and nothing else of what is large.

    Args:
        warehouse: that holds it.
        run: that took the snapshot.
        ids: of what the run found out about it.
        documents: from `snapshot_documents`; all of them, or some where no other input is needed
            than one that is given by document.
        needs: the fields to fill beside ids, tokens, labels and texts.
        advance: told the number of documents done.

    Raises:
        IntegrityError: the warehouse lacks a part of it.
    """
    vectors = None
    if needs & {"embeddings", "topics"}:
        vectors = snapshot_vectors(
            warehouse, snapshot_id=ids.snapshot_id, encoder_id=ids.encoder_id
        )
    losses = {
        need: stored_losses(warehouse, documents, part, ids.models.losses)
        for need, part in PARTS.items()
        if need in needs
    }
    return SignalInputs(
        document_ids=documents["document_id"].to_pylist(),
        seed=run.config.seed,
        tokens=documents["tokens"].to_numpy(),
        labels=np.array(documents["label"].to_pylist(), dtype=np.object_),
        embeddings=vectors,
        topics=_stored_topics(warehouse, ids, vectors) if "topics" in needs else None,
        neighbours=(
            stored_neighbours(warehouse, ids.neighbours_id)
            if "neighbours" in needs and ids.neighbours_id
            else None
        ),
        texts=lambda: _texts(warehouse, documents, run.config.compute.batch_documents),
        text_losses=losses.get("text_losses"),
        completion_losses=losses.get("completion_losses"),
        conditioned_losses=losses.get("conditioned_losses"),
        generations=(
            stored_generations(warehouse, documents, ids.models.generations)
            if "generations" in needs
            else None
        ),
        answers=(
            stored_answers(
                warehouse, documents, snapshot_id=ids.snapshot_id, scorer_id=ids.models.scorer
            )
            if "answers" in needs
            else None
        ),
        targets=(
            target_sets(
                warehouse, run, encoder_id=ids.encoder_id if "embeddings" in needs else None
            )
            if "targets" in needs
            else None
        ),
        influence_of=(
            PoolInfluence(warehouse, run, ids, documents["document_id"].to_pylist())
            if "influence_of" in needs
            else None
        ),
        gradients=(
            stored_gradients(warehouse, run, ids.models.gradients) if "gradients" in needs else None
        ),
        steps=(
            stored_steps(warehouse, run, ids.models.steps, ids.models.rates)
            if "steps" in needs
            else None
        ),
        retrainings=stored_retrainings(warehouse, run, ids) if "retrainings" in needs else None,
        progress=advance,
    )


def _stored_topics(
    warehouse: Warehouse, ids: SnapshotIds, vectors: NDArray[np.float32] | None
) -> Topics:
    table = warehouse.rows("stg_snapshot__topics", {"topics_id": ids.topics_id})
    if vectors is not None and table.num_rows != len(vectors):
        raise IntegrityError(
            f"{warehouse.root} holds topics of {table.num_rows:,} of {len(vectors):,} documents; "
            "move the warehouse away and run again"
        )
    return topics_from_names(table["topic"].to_pylist(), vectors)


def _texts(
    warehouse: Warehouse, documents: pa.Table, batch_documents: int
) -> Iterator[Sequence[str]]:
    wanted = documents["document_id"].combine_chunks()
    for batch in warehouse.texts_of(wanted, batch_documents=batch_documents):
        yield batch["text"].to_pylist()
