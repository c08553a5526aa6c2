"""Features of gradients of the snapshot and of the targets, by checkpoint: on disk, batch by batch.

A store is a folder of the warehouse, named by what decides its numbers; a killed run goes on after
its last batch.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse.config_engine import threads_there
from databourse.config_influence import InfluenceConfig
from databourse.digests import digest_of, digest_of_lines
from databourse.engines import Elsewhere, Job, Work
from databourse.engines.elsewhere import cpu_seconds
from databourse.errors import IntegrityError
from databourse.influence.adam_features import AdamSteps
from databourse.influence.feature_manifest import FeatureManifest, feature_manifest
from databourse.influence.feature_store import (
    BatchFeatures,
    FeatureComputation,
    FeatureStore,
    feature_writer,
    read_feature_manifest,
    read_features,
    write_features,
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
from databourse.refresh.ensembles import (
    Member,
    TrainedMembers,
    n_members,
    open_member,
    train_members,
)
from databourse.refresh.examples import target_sets
from databourse.refresh.language_models import (
    CarriedModel,
    carried_checkpoint,
    carried_model,
    model_folders,
    model_ids,
    open_carried_model,
    open_model,
)
from databourse.refresh.model_costs import NO_PART, Clock, append_cost, clocked
from databourse.refresh.reference_model import model_folder
from databourse.seeds import stage_seed
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse
from databourse.warehouse.usage import mark_used

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


Documents = Sequence[WeightedDocument]
FeatureJob = Job[Documents, BatchFeatures]


@dataclass(frozen=True)
class CarriedCheckpoint:
    """A checkpoint as another process opens it, from folders that are carried there."""

    model: CarriedModel
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class _Proxy:
    """A model whose gradients are taken, with a projection of its own.

    Attributes:
        open: loads it.
        carried: says how another process does; asked only if one is to.
        projection_seed: of its P: another one for every model of an ensemble.
    """

    open: Callable[[], LanguageModel]
    carried: Callable[[], CarriedCheckpoint]
    projection_seed: int


def gradients_progress_total(run: RunContext, trained: Sequence[str], n_documents: int) -> int:
    """Return what the progress of measuring adds up to: documents, and trainings of an ensemble."""
    ensemble = run.config.influence.gradients.ensemble
    if ensemble.is_single:
        return len(model_ids(run, trained)) * n_documents
    return n_members(ensemble, len(trained)) * n_documents + len(trained) * ensemble.seeds


def measure_gradients(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    trained: Sequence[str],
    *,
    advance: ProgressReport,
) -> MeasuredGradients:
    """Take the gradients that are not stored yet, of documents and of targets.

    The models of an ensemble of several are trained first, where they are not stored.

    Raises:
        ConfigError: a model cannot be used on this machine.
        IntegrityError: a gradient is not finite, or a file is damaged.
    """
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    document_ids: list[str] = members["document_id"].to_pylist()
    targets = target_sets(warehouse, run, encoder_id=None)
    proxies, training = _proxies(warehouse, run, snapshot_id, trained, advance=advance)
    stores: list[str] = []
    n_measured = n_features = 0
    for proxy in proxies:
        model = proxy.open()
        manifest = _manifest_of_pool(run, model, document_ids, proxy)
        new, folder = fill_store(
            warehouse,
            run,
            model,
            manifest,
            document_ids=document_ids,
            documents_of=_documents_of(warehouse, run, model),
            carried=proxy.carried,
            advance=advance,
        )
        for target in targets:
            fill_store(
                warehouse,
                run,
                model,
                manifest_of_target(run, manifest, target),
                document_ids=example_ids(target),
                documents_of=examples_of(run, model, target),
                carried=proxy.carried,
                advance=silent,
            )
        stores.append(folder)
        n_measured += new
        n_features = manifest.k
    if training is not None and training.n_trained:
        append_training_cost(warehouse, run, stores[0], training.clock)
    return MeasuredGradients(tuple(stores), n_features, n_measured)


def stored_gradients(
    warehouse: Warehouse, run: RunContext, stores: Sequence[str]
) -> tuple[CheckpointGradients, ...]:
    """Return the features that `measure_gradients` took, to be read in blocks.

    Raises:
        IntegrityError: a store is damaged or not complete.
    """
    targets = target_sets(warehouse, run, encoder_id=None)
    checkpoints = []
    for name in stores:
        manifest = read_feature_manifest(warehouse.root / FOLDER / name)
        store = read_features(warehouse.root / FOLDER / name, expected=manifest)
        of_targets = {}
        for target in targets:
            own = manifest_of_target(run, manifest, target)
            found = read_features(store_folder(warehouse, own), expected=own)
            blocks = [block.features for block in found.blocks(_BLOCK_DOCUMENTS)]
            of_targets[target.name] = np.concatenate(blocks)
        checkpoints.append(
            CheckpointGradients(
                name, manifest.output, _blocks_of(store), of_targets, _parts(manifest)
            )
        )
    return tuple(checkpoints)


def _proxies(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    trained: Sequence[str],
    *,
    advance: ProgressReport,
) -> tuple[list[_Proxy], TrainedMembers | None]:
    """Return the models of the ensemble, and what it took to train them, if they were trained."""
    ensemble = run.config.influence.gradients.ensemble
    if ensemble.is_single:
        return [
            _Proxy(
                partial(open_model, run, trained, fold),
                partial(_carried_fold, run, trained, fold),
                stage_seed(run.config.seed, "gradients", str(fold)),
            )
            for fold in range(len(model_ids(run, trained)))
        ], None
    found = train_members(warehouse, run, snapshot_id, ensemble=ensemble, advance=advance)
    return [
        _Proxy(
            partial(open_member, run, each),
            partial(carried_member, run, each),
            stage_seed(run.config.seed, "gradients", each.fingerprint),
        )
        for each in found.members
    ], found


def carried_member(run: RunContext, member: Member) -> CarriedCheckpoint:
    """Return a checkpoint of a training as another process opens it."""
    folder = model_folder(run.warehouse_path, member.fingerprint)
    return CarriedCheckpoint(carried_checkpoint(run, member.fingerprint), (folder,))


def _carried_fold(run: RunContext, trained: Sequence[str], fold: int) -> CarriedCheckpoint:
    return CarriedCheckpoint(carried_model(run, trained, fold), model_folders(run, trained, fold))


def _parts(manifest: FeatureManifest) -> tuple[int, ...]:
    """Return the features of each layer; () where a projection sums those of layers."""
    if not manifest.projection.is_two_sided:
        return ()
    return tuple(manifest.projection.blocks(manifest.shapes).values())


def _blocks_of(store: FeatureStore) -> Callable[[], Iterator[RowBlock]]:
    def blocks() -> Iterator[RowBlock]:
        first = 0
        for block in store.blocks(_BLOCK_DOCUMENTS):
            rows = np.arange(first, first + len(block.document_ids))
            first += len(rows)
            weights = block.out_to_loss if store.manifest.output == "margin" else None
            yield RowBlock(rows, block.features, weights)

    return blocks


def fill_store(
    warehouse: Warehouse,
    run: RunContext,
    model: LanguageModel,
    manifest: FeatureManifest,
    *,
    document_ids: Sequence[str],
    documents_of: Callable[[Sequence[str]], Sequence[WeightedDocument]],
    carried: Callable[[], CarriedCheckpoint],
    advance: ProgressReport,
    steps: AdamSteps | None = None,
) -> tuple[int, str]:
    """Fill a store, anew if it is damaged; return how many rows were missing, and its folder.

    Args:
        warehouse: that holds the store.
        run: whose costs they are.
        model: the checkpoint of the manifest.
        manifest: what features are to be there.
        document_ids: of its rows.
        documents_of: ids to documents, in the same order.
        carried: gives the checkpoint as another process opens it.
        advance: told of finished documents.
        steps: what Adam remembered, where features are of its steps; None for gradients.
    """
    folder = store_folder(warehouse, manifest)
    folder.parent.mkdir(exist_ok=True)
    try:
        writer = feature_writer(folder, manifest, document_ids)
    except IntegrityError:
        shutil.rmtree(folder)
        writer = feature_writer(folder, manifest, document_ids)
    mark_used(folder)
    missing = sum(len(writer.ids_of(batch)) for batch in writer.unfinished())
    job = feature_job(
        run,
        model,
        carried,
        FeatureComputation(manifest, run.config.influence.batch_tokens, steps),
    )
    with clocked(cpu_seconds) as clock:
        write_features(
            writer,
            documents_of,
            lambda batches: run.engine().map_batches(job, batches),
            progress=advance,
        )
    if missing:
        with warehouse.transaction() as cursor:
            append_cost(
                cursor,
                measured_id=folder.name,
                part=NO_PART,
                run_id=run.run_id,
                n_documents=missing,
                clock=clock,
                model_calls=missing,
            )
    return missing, folder.name


def feature_job(
    run: RunContext,
    model: LanguageModel,
    carried: Callable[[], CarriedCheckpoint],
    computation: FeatureComputation,
) -> FeatureJob:
    """Return how batches of documents become features.

    Raises:
        InputError: the model is not that of the computation, found once a batch is there.
    """

    def here() -> Work[Documents, BatchFeatures]:
        computation.check(model)
        return partial(_features_of, computation, model, run.config.compute.threads)

    def there() -> Elsewhere[Documents, BatchFeatures]:
        own, threads = carried(), threads_there(run.config.engine)
        return Elsewhere(partial(_features_there, computation, threads, own.model), own.folders)

    return Job(here=here, there=there, size=len)


def _features_there(
    computation: FeatureComputation, threads: int, model: CarriedModel, folders: Sequence[Path]
) -> Work[Documents, BatchFeatures]:
    opened = open_carried_model(model, folders)
    computation.check(opened)
    return partial(_features_of, computation, opened, threads)


def _features_of(
    computation: FeatureComputation,
    model: LanguageModel,
    threads: int,
    documents: Documents,
    progress: ProgressReport,
) -> BatchFeatures:
    found = computation.of_batch(model, documents, threads=threads)
    progress(len(documents))
    return found


def store_folder(warehouse: Warehouse, manifest: FeatureManifest) -> Path:
    """Return where the features of a manifest are, computed or not."""
    return warehouse.root / FOLDER / manifest.manifest_id[:32]


def append_training_cost(warehouse: Warehouse, run: RunContext, store: str, clock: Clock) -> None:
    """Write down what trainings took that were made for stores alone, under one of these."""
    with warehouse.transaction() as cursor:
        append_cost(
            cursor,
            measured_id=store,
            part=NO_PART,
            run_id=run.run_id,
            n_documents=0,
            clock=clock,
            model_calls=0,
        )


def _manifest_of_pool(
    run: RunContext, model: LanguageModel, document_ids: Sequence[str], proxy: _Proxy
) -> FeatureManifest:
    config = run.config.influence
    chosen = config.gradients
    layers = tracked_layers(model, chosen.layers)
    return feature_manifest(
        model,
        document_ids,
        pool=run.pool,
        weighting="whole documents" + _limit(config),
        layers=layers,
        projection=_projection(config, len(layers), proxy.projection_seed),
        output=chosen.output,
        precision=chosen.precision,
        batch_documents=run.config.compute.batch_documents,
    )


def manifest_of_target(
    run: RunContext, of_pool: FeatureManifest, target: TargetSet
) -> FeatureManifest:
    """Return what features of a target are that compare with those of a pool.

    They are of the same checkpoint, layers, projection and output: nothing else is the target's own
    than its examples, and that they weigh the mean loss of their completions.
    """
    ids = example_ids(target)
    content = digest_of([list(target.texts), target.prompt_characters.tolist()])
    return dataclasses.replace(
        of_pool,
        pool=f"target {target.name} {content}",
        weighting="completions, mean" + _limit(run.config.influence),
        documents=digest_of_lines(ids),
        n=len(ids),
    )


def _limit(config: InfluenceConfig) -> str:
    return "" if config.most_tokens is None else f", at most {config.most_tokens} tokens"


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


def examples_of(
    run: RunContext, model: LanguageModel, target: TargetSet
) -> Callable[[Sequence[str]], Sequence[WeightedDocument]]:
    """Return a function of names to examples of a target, weighing the mean of a completion."""
    place_of = {each: place for place, each in enumerate(example_ids(target))}

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


def example_ids(target: TargetSet) -> list[str]:
    """Return names for the examples of a target that ascend in their order."""
    return [f"{place:08d}" for place in range(len(target.texts))]
