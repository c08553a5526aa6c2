"""Sampled generations of the snapshot and what of them means the same, committed batch by batch.

The prompt of a pair is its prompt, that of any other document its whole text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse.config_models import GenerationsConfig, MeaningByEntailment
from databourse.digests import digest_of
from databourse.errors import IntegrityError
from databourse.language_models.entailment import entailment_judge_id, load_entailment_judge
from databourse.language_models.generation import (
    GenerationSettings,
    generations_id,
)
from databourse.language_models.generation import sample_generations as sample
from databourse.language_models.meaning import EmbeddingJudge, MeaningJudge
from databourse.language_models.model import LanguageModel
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.document_parts import of_fold
from databourse.refresh.language_models import model_ids, open_model
from databourse.refresh.model_costs import NO_PART, append_cost, clocked
from databourse.refresh.settings import encoder_of
from databourse.refresh.snapshot import snapshot_documents
from databourse.seeds import stage_seed
from databourse.signals.inputs import GenerationGroups
from databourse.warehouse.store import Warehouse, append

_WHOLE_TEXT = 0
"""In place of where the prompt ends: the whole text is the prompt."""


@dataclass(frozen=True)
class SampledGenerations:
    """Where generations are stored, and how many documents are new.

    Attributes:
        generations_ids: by fold.
        n_sampled: documents sampled now.
    """

    generations_ids: tuple[str, ...]
    n_sampled: int


def sample_generations(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    trained: Sequence[str],
    *,
    advance: ProgressReport,
) -> SampledGenerations:
    """Sample the documents that have no generations yet, and group these by meaning.

    Args:
        warehouse: with the snapshot.
        run: whose config says what is sampled and what means the same.
        snapshot_id: of the documents.
        trained: fingerprints of the reference models; empty if another model writes.
        advance: told of documents, those that are there already included.

    Raises:
        ConfigError: a model cannot be used.
        IntegrityError: a model gave a number that is not finite, or a file is damaged.
    """
    documents = snapshot_documents(warehouse, run_id=run.run_id, snapshot_id=snapshot_id)
    wanted = _wanted(documents)
    judge = _Judge(run)
    settings = _settings(run.config.language_model.generations)
    seed = stage_seed(run.config.seed, "generations")
    ids = [
        f"{generations_id(each, settings=settings, seed=seed)}/{digest_of(judge.judge_id)[:16]}"
        for each in model_ids(run, trained)
    ]
    n_sampled = 0
    for fold, own_id in enumerate(ids):
        own = of_fold(wanted, fold, len(ids))
        missing = warehouse.rows(
            "stg_snapshot__ungenerated_documents",
            {"generations_id": own_id},
            relations={"wanted_parts": own},
        )
        n_sampled += missing.num_rows
        advance(own.num_rows - missing.num_rows)
        if not missing.num_rows:
            continue
        model = open_model(run, trained, fold)
        for batch in _batches(warehouse, run, missing):
            _sample_batch(
                warehouse,
                run,
                model,
                judge.opened,
                batch,
                own_id=own_id,
                settings=settings,
                seed=seed,
                advance=advance,
            )
    return SampledGenerations(tuple(ids), n_sampled)


def stored_generations(
    warehouse: Warehouse, documents: pa.Table, generations_ids: Sequence[str]
) -> GenerationGroups:
    """Return the generations of documents, in their order, which is that of document_id.

    Raises:
        IntegrityError: a document has none, or not as many as the others.
    """
    wanted = _wanted(documents)
    tables = [
        warehouse.rows(
            "stg_snapshot__generations",
            {"generations_id": each},
            relations={"wanted_parts": of_fold(wanted, fold, len(generations_ids))},
        )
        for fold, each in enumerate(generations_ids)
    ]
    found = pa.concat_tables(tables).sort_by("document_id")
    meanings = found["meanings"].combine_chunks().flatten().to_numpy()
    likelihoods = found["log_likelihoods"].combine_chunks().flatten().to_numpy()
    n_documents = documents.num_rows
    if found.num_rows != n_documents or len(meanings) % n_documents:
        raise IntegrityError(
            f"{warehouse.root} holds generations of {found.num_rows:,} of {n_documents:,} "
            "documents; move the warehouse away and run again"
        )
    return GenerationGroups(
        groups=meanings.reshape(n_documents, -1),
        log_likelihoods=likelihoods.reshape(n_documents, -1),
    )


def _wanted(documents: pa.Table) -> pa.Table:
    cuts = pa.compute.fill_null(documents["prompt_characters"], _WHOLE_TEXT)
    return pa.table({"document_id": documents["document_id"], "prompt_characters": cuts})


def _settings(config: GenerationsConfig) -> GenerationSettings:
    return GenerationSettings(**config.model_dump(exclude={"meaning"}))


class _Judge:
    """The judge of a run: its id is known before a model of entailment is loaded."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._meaning = run.config.language_model.generations.meaning

    @cached_property
    def judge_id(self) -> str:
        """Return what decides the groups."""
        if not isinstance(self._meaning, MeaningByEntailment):
            return str(self.opened.judge_id)
        return entailment_judge_id(
            self._meaning.model,
            rule=self._meaning.rule,
            device=self._run.config.compute.device,
            root=Path(self._run.root),
        )

    @cached_property
    def opened(self) -> MeaningJudge:
        """Return the judge, ready to be asked."""
        if not isinstance(self._meaning, MeaningByEntailment):
            return EmbeddingJudge(encoder_of(self._run), self._meaning.threshold)
        return load_entailment_judge(
            self._meaning.model,
            rule=self._meaning.rule,
            threads=self._run.config.compute.threads,
            device=self._run.config.compute.device,
            root=Path(self._run.root),
        )


def _batches(
    warehouse: Warehouse, run: RunContext, rows: pa.Table
) -> Iterator[tuple[pa.Table, list[str]]]:
    """Yield rows and the prompts of their documents, in key order."""
    done = 0
    ids = rows["document_id"].combine_chunks()
    for batch in warehouse.texts_of(ids, batch_documents=run.config.compute.batch_documents):
        own = rows.slice(done, batch.num_rows)
        done += batch.num_rows
        cuts = own["prompt_characters"].to_pylist()
        yield (
            own,
            [
                text[:cut] if cut else text
                for text, cut in zip(batch["text"].to_pylist(), cuts, strict=True)
            ],
        )


def _sample_batch(
    warehouse: Warehouse,
    run: RunContext,
    model: LanguageModel,
    judge: MeaningJudge,
    batch: tuple[pa.Table, list[str]],
    *,
    own_id: str,
    settings: GenerationSettings,
    seed: int,
    advance: ProgressReport,
) -> None:
    rows, prompts = batch
    with clocked() as clock:
        drawn = sample(
            model,
            rows["document_id"].to_pylist(),
            prompts,
            settings=settings,
            seed=seed,
            threads=run.config.compute.threads,
            progress=advance,
        )
        meanings = judge.groups(drawn.texts, prompts)
    n_documents = rows.num_rows
    offsets = np.arange(n_documents + 1, dtype=np.int32) * settings.samples
    table = {
        "generations_id": pa.array([own_id] * n_documents, pa.string()),
        "document_id": rows["document_id"],
        "prompt_characters": rows["prompt_characters"],
        "texts": pa.array([list(each) for each in drawn.texts], pa.list_(pa.string())),
        "log_likelihoods": pa.ListArray.from_arrays(offsets, drawn.log_likelihoods.ravel()),
        "meanings": pa.ListArray.from_arrays(offsets, meanings.ravel()),
    }
    with warehouse.transaction() as cursor:
        append(cursor, "generations", pa.table(table))
        append_cost(
            cursor,
            measured_id=own_id,
            part=NO_PART,
            run_id=run.run_id,
            n_documents=n_documents,
            clock=clock,
            model_calls=n_documents * settings.samples,
        )
