"""Features of the Adam step on each document, by checkpoint: what LESS reads; on disk, resumed.

The checkpoints of one training per fold are read together, each weighted by the mean learning rate
of the steps that led to it. Target gradients are plain, through the same projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from databourse.config_influence import EnsembleConfig
from databourse.influence.adam_features import adam_steps_of
from databourse.influence.feature_manifest import feature_manifest
from databourse.influence.layers import tracked_layers
from databourse.influence.pool_gradients import StepCheckpoint
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import WeightedDocument, whole_documents
from databourse.language_models.model import LanguageModel
from databourse.progress import ProgressReport, silent
from databourse.refresh.context import RunContext
from databourse.refresh.ensembles import (
    member_moments,
    member_rate,
    n_members,
    open_member,
    train_members,
)
from databourse.refresh.examples import target_sets
from databourse.refresh.gradient_features import (
    append_training_cost,
    carried_member,
    example_ids,
    examples_of,
    fill_store,
    manifest_of_target,
    stored_gradients,
)
from databourse.seeds import stage_seed
from databourse.warehouse.store import Warehouse

_SPARSE = 4  # outputs per coordinate of the SJLT


@dataclass(frozen=True)
class MeasuredSteps:
    """Where features of steps are, and how much of it is new.

    Attributes:
        stores: folders of the documents' features, by checkpoint.
        rates: learning rate of each checkpoint.
        n_features: of each document.
        n_measured: documents whose steps were taken now, checkpoints added up.
    """

    stores: tuple[str, ...]
    rates: tuple[float, ...]
    n_features: int
    n_measured: int


def steps_progress_total(run: RunContext, n_documents: int) -> int:
    """Return what the progress of measuring adds up to: documents, and trainings."""
    folds = run.config.language_model.reference.folds
    return n_members(_ensemble(run), folds) * n_documents + folds


def measure_steps(
    warehouse: Warehouse, run: RunContext, snapshot_id: str, *, advance: ProgressReport
) -> MeasuredSteps:
    """Train what checkpoints are missing, and take the steps that are not stored yet.

    Raises:
        ConfigError: the pool is too small for a training, or a model cannot be used here.
        IntegrityError: a gradient is not finite, or a file is damaged.
    """
    chosen = run.config.influence.steps
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    document_ids: list[str] = members["document_id"].to_pylist()
    targets = target_sets(warehouse, run, encoder_id=None)
    trained = train_members(warehouse, run, snapshot_id, ensemble=_ensemble(run), advance=advance)
    stores: list[str] = []
    n_measured = n_features = 0
    for member in trained.members:
        model = open_member(run, member)
        carried = partial(carried_member, run, member)
        layers = tracked_layers(model, chosen.layers)
        steps = adam_steps_of(
            model, layers, member_moments(run, member), include_momentum=chosen.momentum
        )
        manifest = feature_manifest(
            model,
            document_ids,
            pool=run.pool,
            weighting=f"Adam steps of whole documents, mean{_limit(run)}, {steps.steps_id}",
            layers=layers,
            projection=Projection(
                kind="sjlt",
                seed=stage_seed(run.config.seed, "steps", member.fingerprint),
                size=-(-chosen.features // _SPARSE) * _SPARSE,
                nonzeros=_SPARSE,
            ),
            output="loss",
            precision="float32",
            batch_documents=run.config.compute.batch_documents,
        )
        new, store = fill_store(
            warehouse,
            run,
            model,
            manifest,
            document_ids=document_ids,
            documents_of=_documents_of(warehouse, run, model),
            carried=carried,
            advance=advance,
            steps=steps,
        )
        for target in targets:
            fill_store(
                warehouse,
                run,
                model,
                manifest_of_target(run, manifest, target),
                document_ids=example_ids(target),
                documents_of=examples_of(run, model, target),
                carried=carried,
                advance=silent,
            )
        stores.append(store)
        n_measured += new
        n_features = manifest.k
    if trained.n_trained:
        append_training_cost(warehouse, run, stores[0], trained.clock)
    rates = tuple(member_rate(warehouse, each.fingerprint) for each in trained.members)
    return MeasuredSteps(tuple(stores), rates, n_features, n_measured)


def stored_steps(
    warehouse: Warehouse, run: RunContext, stores: Sequence[str], rates: Sequence[float]
) -> tuple[StepCheckpoint, ...]:
    """Return the features that `measure_steps` took, to be read in blocks.

    Raises:
        IntegrityError: a store is damaged or not complete.
    """
    found = stored_gradients(warehouse, run, stores)
    return tuple(
        StepCheckpoint(each.blocks, each.targets, rate)
        for each, rate in zip(found, rates, strict=True)
    )


def _ensemble(run: RunContext) -> EnsembleConfig:
    return EnsembleConfig(checkpoints=run.config.influence.steps.checkpoints)


def _limit(run: RunContext) -> str:
    most = run.config.influence.most_tokens
    return "" if most is None else f", at most {most} tokens"


def _documents_of(
    warehouse: Warehouse, run: RunContext, model: LanguageModel
) -> Callable[[Sequence[str]], Sequence[WeightedDocument]]:
    def documents(ids: Sequence[str]) -> Sequence[WeightedDocument]:
        batches = warehouse.texts_of(pa.array(ids, pa.string()), batch_documents=len(ids))
        texts = [text for batch in batches for text in batch["text"].to_pylist()]
        limit = run.config.influence.most_tokens
        return whole_documents(model, texts, most_tokens=limit, loss="mean")

    return documents
