"""Features of gradients of the snapshot and of the targets, by checkpoint: on disk, batch by batch.

A store is a folder of the warehouse, named by what decides its numbers; a killed run goes on after
its last batch.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from databourse.config_influence import InfluenceConfig
from databourse.digests import digest_of
from databourse.errors import IntegrityError
from databourse.influence.feature_manifest import (
    FeatureManifest,
    check_comparable,
    feature_manifest,
)
from databourse.influence.feature_store import (
    FeatureStore,
    feature_writer,
    fill_features,
    read_feature_manifest,
    read_features,
)
from databourse.influence.layers import tracked_layers
from databourse.influence.pool_gradients import CheckpointGradients
from databourse.influence.projections import Projection
from databourse.influence.trak import RowBlock
from databourse.influence.weighted_documents import (
    WeightedDocument,
    completions,
    whole_documents,
)
from databourse.language_models.model import LanguageModel
from databourse.progress import ProgressReport, silent
from databourse.refresh.context import RunContext
from databourse.refresh.examples import target_sets
from databourse.refresh.language_models import model_ids, open_model
from databourse.refresh.model_costs import NO_PART, append_cost, clocked
from databourse.seeds import stage_seed
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse

FOLDER = "gradients"
_BLOCK_DOCUMENTS = 1_024
_SPARSE = 4  # outputs per coordinate of an SJLT


@dataclass(frozen=True)
class MeasuredGradients:
    """Where features are, and how much of it is new.

    Attributes:
        stores: folders of the documents' features, by checkpoint.
        n_features: of each document.
        n_measured: documents whose gradients were taken now, checkpoints added up.
    """

    stores: tuple[str, ...]
    n_features: int
    n_measured: int


def gradients_progress_total(run: RunContext, trained: Sequence[str], n_documents: int) -> int:
    """Return what the progress of measuring adds up to."""
    return len(model_ids(run, trained)) * n_documents


def measure_gradients(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    trained: Sequence[str],
    *,
    advance: ProgressReport,
) -> MeasuredGradients:
    """Take the gradients that are not stored yet, of documents and of targets.

    Raises:
        ConfigError: a model cannot be used on this machine.
        IntegrityError: a gradient is not finite, or a file is damaged.
    """
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    document_ids: list[str] = members["document_id"].to_pylist()
    targets = target_sets(warehouse, run, encoder_id=None)
    stores: list[str] = []
    n_measured = n_features = 0
    for fold in range(len(model_ids(run, trained))):
        model = open_model(run, trained, fold)
        manifest = _manifest_of_pool(run, model, document_ids, fold)
        new, folder = _filled(
            warehouse,
            run,
            model,
            manifest,
            document_ids=document_ids,
            documents_of=_documents_of(warehouse, run, model),
            advance=advance,
        )
        for target in targets:
            own = _manifest_of_target(run, model, target, fold)
            check_comparable(manifest, own)
            _filled(
                warehouse,
                run,
                model,
                own,
                document_ids=_example_ids(target),
                documents_of=_examples_of(run, model, target),
                advance=silent,
            )
        stores.append(folder)
        n_measured += new
        n_features = manifest.k
    return MeasuredGradients(tuple(stores), n_features, n_measured)


def stored_gradients(
    warehouse: Warehouse, run: RunContext, trained: Sequence[str], stores: Sequence[str]
) -> tuple[CheckpointGradients, ...]:
    """Return the features that `measure_gradients` took, to be read in blocks.

    Raises:
        IntegrityError: a store is damaged or not complete.
    """
    targets = target_sets(warehouse, run, encoder_id=None)
    checkpoints = []
    for fold, name in enumerate(stores):
        model = open_model(run, trained, fold)
        manifest = read_feature_manifest(warehouse.root / FOLDER / name)
        store = read_features(warehouse.root / FOLDER / name, expected=manifest)
        of_targets = {}
        for target in targets:
            own = _manifest_of_target(run, model, target, fold)
            found = read_features(warehouse.root / FOLDER / own.manifest_id[:32], expected=own)
            blocks = [block.features for block in found.blocks(_BLOCK_DOCUMENTS)]
            of_targets[target.name] = np.concatenate(blocks)
        checkpoints.append(
            CheckpointGradients(name, manifest.output, _blocks_of(store), of_targets)
        )
    return tuple(checkpoints)


def _blocks_of(store: FeatureStore) -> Callable[[], Iterator[RowBlock]]:
    def blocks() -> Iterator[RowBlock]:
        first = 0
        for block in store.blocks(_BLOCK_DOCUMENTS):
            rows = np.arange(first, first + len(block.document_ids))
            first += len(rows)
            weights = block.out_to_loss if store.manifest.output == "margin" else None
            yield RowBlock(rows, block.features, weights)

    return blocks


def _filled(
    warehouse: Warehouse,
    run: RunContext,
    model: LanguageModel,
    manifest: FeatureManifest,
    *,
    document_ids: Sequence[str],
    documents_of: Callable[[Sequence[str]], Sequence[WeightedDocument]],
    advance: ProgressReport,
) -> tuple[int, str]:
    """Fill a store, anew if it is damaged; return how many rows were missing, and its folder."""
    name = manifest.manifest_id[:32]
    folder = warehouse.root / FOLDER / name
    folder.parent.mkdir(exist_ok=True)
    try:
        writer = feature_writer(folder, manifest, document_ids)
    except IntegrityError:
        shutil.rmtree(folder)
        writer = feature_writer(folder, manifest, document_ids)
    missing = sum(len(writer.ids_of(batch)) for batch in writer.unfinished())
    with clocked() as clock:
        fill_features(
            writer,
            model,
            documents_of,
            batch_tokens=run.config.influence.batch_tokens,
            threads=run.config.compute.threads,
            progress=advance,
        )
    if missing:
        with warehouse.transaction() as cursor:
            append_cost(
                cursor,
                measured_id=name,
                part=NO_PART,
                run_id=run.run_id,
                n_documents=missing,
                clock=clock,
                model_calls=missing,
            )
    return missing, name


def _manifest_of_pool(
    run: RunContext, model: LanguageModel, document_ids: Sequence[str], fold: int
) -> FeatureManifest:
    return _manifest(run, model, document_ids, fold, pool=run.pool, weighting="whole documents")


def _manifest_of_target(
    run: RunContext, model: LanguageModel, target: TargetSet, fold: int
) -> FeatureManifest:
    content = digest_of([list(target.texts), target.prompt_characters.tolist()])
    return _manifest(
        run,
        model,
        _example_ids(target),
        fold,
        pool=f"target {target.name} {content}",
        weighting="completions, mean",
    )


def _manifest(
    run: RunContext,
    model: LanguageModel,
    ids: Sequence[str],
    fold: int,
    *,
    pool: str,
    weighting: str,
) -> FeatureManifest:
    config = run.config.influence
    chosen = config.gradients
    layers = tracked_layers(model, chosen.layers)
    limit = "" if config.most_tokens is None else f", at most {config.most_tokens} tokens"
    return feature_manifest(
        model,
        ids,
        pool=pool,
        weighting=weighting + limit,
        layers=layers,
        projection=_projection(
            config, len(layers), stage_seed(run.config.seed, "gradients", str(fold))
        ),
        output=chosen.output,
        precision=chosen.precision,
        batch_documents=run.config.compute.batch_documents,
    )


def _projection(config: InfluenceConfig, n_layers: int, seed: int) -> Projection:
    """Return a projection to about as many features as the config says."""
    chosen = config.gradients
    if chosen.projection == "two_sided":
        side = max(1, math.isqrt(chosen.features // n_layers))
        return Projection(kind="two_sided", seed=seed, size=side)
    if chosen.projection == "sjlt":
        size = -(-chosen.features // _SPARSE) * _SPARSE
        return Projection(kind="sjlt", seed=seed, size=size, nonzeros=_SPARSE)
    return Projection(kind="rademacher", seed=seed, size=chosen.features)


def _documents_of(
    warehouse: Warehouse, run: RunContext, model: LanguageModel
) -> Callable[[Sequence[str]], Sequence[WeightedDocument]]:
    def documents(ids: Sequence[str]) -> Sequence[WeightedDocument]:
        batches = warehouse.texts_of(pa.array(ids, pa.string()), batch_documents=len(ids))
        texts = [text for batch in batches for text in batch["text"].to_pylist()]
        return whole_documents(model, texts, most_tokens=run.config.influence.most_tokens)

    return documents


def _examples_of(
    run: RunContext, model: LanguageModel, target: TargetSet
) -> Callable[[Sequence[str]], Sequence[WeightedDocument]]:
    place_of = {each: place for place, each in enumerate(_example_ids(target))}

    def documents(ids: Sequence[str]) -> Sequence[WeightedDocument]:
        places = [place_of[each] for each in ids]
        return completions(
            model,
            [target.texts[place] for place in places],
            target.prompt_characters[places],
            loss="mean",
            most_tokens=run.config.influence.most_tokens,
        )

    return documents


def _example_ids(target: TargetSet) -> list[str]:
    """Return names for the examples of a target that ascend in their order."""
    return [f"{place:08d}" for place in range(len(target.texts))]
