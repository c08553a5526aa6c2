"""Token losses of the snapshot: what is stored is not read again, what is new batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse.config_engine import threads_there
from databourse.engines import Elsewhere, Job, Work
from databourse.errors import IntegrityError
from databourse.language_models.losses import TokenLosses
from databourse.language_models.model import LanguageModel, Precision
from databourse.language_models.scoring import score_documents, scoring_id
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.document_parts import (
    PARTS,
    Part,
    PartTexts,
    of_fold,
    read_parts,
    wanted_parts,
)
from databourse.refresh.language_models import (
    CarriedModel,
    carried_model,
    model_folders,
    model_ids,
    open_carried_model,
    open_model,
)
from databourse.refresh.model_costs import Clock, append_cost, clocked
from databourse.refresh.settings import all_needs
from databourse.refresh.snapshot import snapshot_documents
from databourse.warehouse.store import Warehouse, append


@dataclass(frozen=True)
class ScoredLosses:
    """Where token losses are stored, and how much of it is new.

    Attributes:
        losses_ids: by fold.
        n_parts: parts of documents that the signals need.
        n_scored: of which these were scored now.
    """

    losses_ids: tuple[str, ...]
    n_parts: int
    n_scored: int


@dataclass(frozen=True)
class _Scoring:
    window_tokens: int
    overlap_tokens: int
    precision: Precision


ScoredBatch = tuple[TokenLosses, Clock]
ScoringJob = Job[PartTexts, ScoredBatch]


def parts_needed(run: RunContext) -> list[Part]:
    """Return which parts of documents the signals of a run need scored."""
    needs = all_needs(run.config)
    return [part for need, part in PARTS.items() if need in needs]


def score_losses(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    trained: Sequence[str],
    *,
    advance: ProgressReport,
) -> ScoredLosses:
    """Score the parts that have no losses yet.

    Args:
        warehouse: with the snapshot.
        run: whose signals say which parts.
        snapshot_id: of the documents.
        trained: fingerprints of the reference models; empty if another model scores.
        advance: told of parts, those that are there already included.

    Raises:
        ConfigError: the model cannot be used, or not in this way.
        IntegrityError: a loss is not finite, or a file is damaged.
    """
    documents = snapshot_documents(warehouse, run_id=run.run_id, snapshot_id=snapshot_id)
    losses_ids = _losses_ids(run, trained)
    n_parts = n_scored = 0
    for fold, losses_id in enumerate(losses_ids):
        job: ScoringJob | None = None  # its model is loaded if a document lacks losses
        for part in parts_needed(run):
            wanted = of_fold(wanted_parts(documents, part), fold, len(losses_ids))
            missing = warehouse.rows(
                "stg_snapshot__unread_documents",
                {"losses_id": losses_id, "part": part},
                relations={"wanted_parts": wanted},
            )
            n_parts += wanted.num_rows
            n_scored += missing.num_rows
            advance(wanted.num_rows - missing.num_rows)
            if not missing.num_rows:
                continue
            job = job or scoring_job(run, trained, fold)
            batches = read_parts(
                warehouse, missing, part, batch_documents=run.config.compute.batch_documents
            )
            for batch, scored in run.engine().map_batches(job, batches, advance=advance):
                _keep_batch(warehouse, run, batch, scored, losses_id=losses_id, part=part)
    return ScoredLosses(tuple(losses_ids), n_parts, n_scored)


def stored_losses(
    warehouse: Warehouse, documents: pa.Table, part: Part, losses_ids: Sequence[str]
) -> TokenLosses:
    """Return the losses of documents in their order, which is that of document_id.

    Args:
        warehouse: with the losses.
        documents: document_id and prompt_characters.
        part: of each; documents without it have no tokens.
        losses_ids: by fold.

    Raises:
        IntegrityError: a document that has the part has no losses.
    """
    counts = np.zeros(documents.num_rows, dtype=np.int64)
    losses, entropies = np.zeros(documents.num_rows), np.zeros(documents.num_rows)
    ids = documents["document_id"].combine_chunks()
    wanted = wanted_parts(documents, part)
    n_found = 0
    for fold, losses_id in enumerate(losses_ids):
        found = warehouse.rows(
            "stg_snapshot__token_losses",
            {"losses_id": losses_id, "part": part},
            relations={"wanted_parts": of_fold(wanted, fold, len(losses_ids))},
        )
        n_found += found.num_rows
        rows = pa.compute.index_in(found["document_id"], value_set=ids).to_numpy()
        counts[rows] = found["tokens"].to_numpy()
        losses[rows] = found["loss_sum"].to_numpy()
        entropies[rows] = found["entropy_sum"].to_numpy()
    if n_found != wanted.num_rows:
        raise IntegrityError(
            f"{warehouse.root} holds token losses of {n_found:,} of {wanted.num_rows:,} documents; "
            "move the warehouse away and run again"
        )
    return TokenLosses(token_counts=counts, loss_sums=losses, entropy_sums=entropies)


def _losses_ids(run: RunContext, trained: Sequence[str]) -> list[str]:
    config = run.config.language_model
    return [
        scoring_id(
            model_id,
            window_tokens=config.window_tokens,
            overlap_tokens=config.overlap_tokens,
            precision=config.precision,
        )
        for model_id in model_ids(run, trained)
    ]


def scoring_job(run: RunContext, trained: Sequence[str], fold: int) -> ScoringJob:
    """Return how batches of a fold are scored.

    Args:
        run: whose config names the model.
        trained: fingerprints of the reference models; empty if another model scores.
        fold: whose model reads.
    """
    config = run.config.language_model
    settings = _Scoring(config.window_tokens, config.overlap_tokens, config.precision)

    @functools.cache
    def here() -> Work[PartTexts, ScoredBatch]:
        model = open_model(run, trained, fold)
        return partial(_scored, settings, model, run.config.compute.threads)

    def there() -> Elsewhere[PartTexts, ScoredBatch]:
        model, threads = carried_model(run, trained, fold), threads_there(run.config.engine)
        folders = model_folders(run, trained, fold)
        return Elsewhere(partial(_scoring_there, settings, threads, model), folders)

    return Job(here=here, there=there, size=lambda batch: len(batch.texts))


def _scoring_there(
    settings: _Scoring, threads: int, model: CarriedModel, folders: Sequence[Path]
) -> Work[PartTexts, ScoredBatch]:
    return partial(_scored, settings, open_carried_model(model, folders), threads)


def _scored(
    settings: _Scoring,
    model: LanguageModel,
    threads: int,
    batch: PartTexts,
    progress: ProgressReport,
) -> ScoredBatch:
    with clocked() as clock:
        scores = score_documents(
            model,
            batch.texts,
            window_tokens=settings.window_tokens,
            overlap_tokens=settings.overlap_tokens,
            threads=threads,
            prompts=batch.prompts,
            precision=settings.precision,
            progress=progress,
        )
    return scores, clock


def _keep_batch(
    warehouse: Warehouse,
    run: RunContext,
    batch: PartTexts,
    scored: ScoredBatch,
    *,
    losses_id: str,
    part: Part,
) -> None:
    scores, clock = scored
    n_documents = batch.rows.num_rows
    rows = {
        "losses_id": pa.array([losses_id] * n_documents, pa.string()),
        "part": pa.array([part] * n_documents, pa.string()),
        "document_id": batch.rows["document_id"],
        "prompt_characters": batch.rows["prompt_characters"],
        "tokens": pa.array(scores.token_counts),
        "loss_sum": pa.array(scores.loss_sums),
        "entropy_sum": pa.array(scores.entropy_sums),
    }
    with warehouse.transaction() as cursor:
        append(cursor, "token_losses", pa.table(rows))
        append_cost(
            cursor,
            measured_id=losses_id,
            part=part,
            run_id=run.run_id,
            n_documents=n_documents,
            clock=clock,
            model_calls=n_documents,
        )
