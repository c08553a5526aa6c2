"""Checkpoints of several trainings: the models whose gradients are read together.

A training is of one fold and one seed: on all documents of the other folds, to the end, as many
tokens as a reference model reads at most. Its checkpoints are stored with what Adam remembers, each
a folder of the warehouse beside the reference models, named by all that decides it. A training of
which one checkpoint is missing or damaged is repeated.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from databourse.config_influence import EnsembleConfig
from databourse.digests import digest_of
from databourse.errors import ConfigError, IntegrityError
from databourse.language_models.checkpoints import (
    read_moments,
    read_rate,
    save_checkpoint,
)
from databourse.language_models.loading import load_trained_model, read_training_record
from databourse.language_models.model import LanguageModel
from databourse.language_models.tokenizer import ModelTokenizer
from databourse.language_models.training import (
    AdamMoments,
    Checkpoint,
    most_training_tokens,
    train_to_the_end,
    training_fingerprint,
)
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.model_costs import Clock, clocked
from databourse.refresh.reference_model import (
    StoppedError,
    model_folder,
    pool_texts,
    pool_tokenizer,
    train_side_by_side,
    training_documents,
    training_settings,
)
from databourse.seeds import stage_seed
from databourse.signals.folds import document_folds
from databourse.warehouse.store import Warehouse
from databourse.warehouse.usage import mark_used

_STAGING_SUFFIX = ".checkpoint-staging"
_REVISION = 1
"""Raised when the same inputs give other checkpoints."""


@dataclass(frozen=True)
class Member:
    """One checkpoint of an ensemble.

    Attributes:
        fold: whose documents its training did not see.
        seed_number: of the training, from 0.
        number: of the checkpoint, from 1.
        of: checkpoints of the training.
        fingerprint: of all that decides its weights.
    """

    fold: int
    seed_number: int
    number: int
    of: int
    fingerprint: str


@dataclass(frozen=True)
class TrainedMembers:
    """The checkpoints of an ensemble, all stored.

    Attributes:
        members: by fold, then seed, then checkpoint.
        n_trained: trainings that were made now; the others were there.
        clock: what these took.
    """

    members: tuple[Member, ...]
    n_trained: int
    clock: Clock


@dataclass(frozen=True)
class _Training:
    fold: int
    seed_number: int
    document_ids: tuple[str, ...]
    members: tuple[Member, ...]


def n_members(config: EnsembleConfig, folds: int) -> int:
    """Return how many checkpoints an ensemble has."""
    return folds * config.seeds * config.checkpoints


def train_members(
    warehouse: Warehouse,
    run: RunContext,
    snapshot_id: str,
    *,
    ensemble: EnsembleConfig,
    advance: ProgressReport,
) -> TrainedMembers:
    """Train what is not stored of an ensemble on a snapshot, several trainings at a time.

    Args:
        warehouse: that holds the snapshot.
        run: whose config says what is trained.
        snapshot_id: of the documents.
        ensemble: how many seeds, and checkpoints of each.
        advance: told 1 for each training that is there.

    Raises:
        ConfigError: the snapshot is too small to train on, or for so many checkpoints.
    """
    device = run.config.compute.device
    document_ids = training_documents(warehouse, snapshot_id, run.config.language_model.reference)
    tokenizer = pool_tokenizer(warehouse, run, document_ids)
    trainings = _trainings(run, document_ids, tokenizer, ensemble)
    missing = [
        each for each in trainings if not all(_is_there(warehouse, own) for own in each.members)
    ]
    advance(len(trainings) - len(missing))
    members = tuple(own for each in trainings for own in each.members)
    with clocked() as clock:
        if missing:
            text_of = dict(zip(document_ids, pool_texts(warehouse, run, document_ids), strict=True))
            guard, stopped = threading.Lock(), threading.Event()

            def train(training: _Training) -> None:
                texts = [text_of[each] for each in training.document_ids]
                _train(warehouse, run, training, texts, tokenizer=tokenizer, stopped=stopped)
                with guard:
                    advance(1)

            at_a_time = run.config.compute.threads if device == "cpu" else 1
            train_side_by_side(train, missing, at_a_time=at_a_time, stopped=stopped)
    return TrainedMembers(members, len(missing), clock)


def open_member(run: RunContext, member: Member) -> LanguageModel:
    """Return the model of a checkpoint.

    Raises:
        ConfigError: the device is missing.
        IntegrityError: its files are damaged.
    """
    folder = model_folder(run.warehouse_path, member.fingerprint)
    return load_trained_model(folder, device=run.config.compute.device).model


def member_moments(run: RunContext, member: Member) -> AdamMoments:
    """Return what Adam remembered at a checkpoint.

    Raises:
        IntegrityError: its files are damaged.
    """
    return read_moments(model_folder(run.warehouse_path, member.fingerprint))


def member_rate(warehouse: Warehouse, fingerprint: str) -> float:
    """Return the mean learning rate of the steps before a checkpoint, since the one before it.

    Raises:
        IntegrityError: its files are damaged.
    """
    return read_rate(model_folder(warehouse.root, fingerprint))


def _trainings(
    run: RunContext,
    document_ids: Sequence[str],
    tokenizer: ModelTokenizer,
    ensemble: EnsembleConfig,
) -> list[_Training]:
    reference = run.config.language_model.reference
    fold_of = document_folds(document_ids, reference.folds)
    found = []
    for fold in range(reference.folds):
        others = tuple(each for each, own in zip(document_ids, fold_of, strict=True) if own != fold)
        for number in range(ensemble.seeds):
            base = training_fingerprint(
                others,
                tokenizer=tokenizer,
                settings=training_settings(reference),
                seed=_seed(run, fold, number),
                threads=1,
                device=run.config.compute.device,
            )
            members = tuple(
                Member(
                    fold,
                    number,
                    place,
                    ensemble.checkpoints,
                    digest_of([base, place, ensemble.checkpoints, _REVISION]),
                )
                for place in range(1, ensemble.checkpoints + 1)
            )
            found.append(_Training(fold, number, others, members))
    return found


def _seed(run: RunContext, fold: int, number: int) -> int:
    return stage_seed(run.config.seed, "ensemble", str(fold), str(number))


def _is_there(warehouse: Warehouse, member: Member) -> bool:
    """Tell whether a checkpoint is stored whole; what is damaged is removed."""
    folder = model_folder(warehouse.root, member.fingerprint)
    try:
        is_right = read_training_record(folder).fingerprint == member.fingerprint
    except (ConfigError, IntegrityError):
        is_right = False
    if is_right:
        mark_used(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return is_right


def _train(
    warehouse: Warehouse,
    run: RunContext,
    training: _Training,
    texts: Sequence[str],
    *,
    tokenizer: ModelTokenizer,
    stopped: threading.Event,
) -> None:
    """Train to the end, on one thread, and store every checkpoint on the way."""
    settings = training_settings(run.config.language_model.reference)

    def keep(checkpoint: Checkpoint) -> None:
        member = training.members[checkpoint.number - 1]
        folder = model_folder(warehouse.root, member.fingerprint)
        staging = folder.with_name(folder.name + _STAGING_SUFFIX)
        shutil.rmtree(staging, ignore_errors=True)
        save_checkpoint(
            checkpoint,
            staging,
            fingerprint=member.fingerprint,
            settings=settings,
            n_documents=len(texts),
        )
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)

    def alive(done: int) -> None:
        del done
        if stopped.is_set():
            raise StoppedError

    n_tokens = sum(len(each) + 1 for each in tokenizer.encode(texts))
    train_to_the_end(
        texts,
        tokenizer=tokenizer,
        settings=settings,
        tokens=most_training_tokens(n_tokens, settings),
        seed=_seed(run, training.fold, training.seed_number),
        threads=1,  # another number sums in another order
        device=run.config.compute.device,
        progress=alive,
        checkpoints=training.members[0].of,
        keep=keep,
    )
