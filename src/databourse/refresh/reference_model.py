"""The reference language models of a snapshot: trained when an input changed, else found again.

A model is a folder of the warehouse, named by the fingerprint of all that decides its weights. It
is complete under that name or absent, and a damaged one is trained again.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from databourse.config_models import ReferenceModelConfig
from databourse.digests import canonical_json, digest_of, file_sha256
from databourse.errors import ConfigError, IntegrityError
from databourse.language_models.loading import (
    TrainingRecord,
    curve_as_json,
    read_training_record,
    save_trained_model,
)
from databourse.language_models.tokenizer import ModelTokenizer, read_tokenizer, train_tokenizer
from databourse.language_models.training import (
    TrainedModel,
    TrainingSettings,
    fold_fingerprint,
    most_training_tokens,
    train_fold,
)
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.seeds import stage_seed
from databourse.tokenization import TOKENIZER_FILE
from databourse.warehouse.store import Warehouse, append
from databourse.warehouse.usage import mark_used

T = TypeVar("T")

FOLDER = "language_models"
_STAGING_SUFFIX = ".staging"
_SEAL_FILE = "sealed.sha256"
"""The digest of the file that a folder stands or falls with: a changed one would go unseen."""
_LEAST_DOCUMENTS = 20
_STEPS_OF_A_FOLD = 1_000  # of the progress bar


@dataclass(frozen=True)
class ReferenceModels:
    """The models of a snapshot.

    Attributes:
        fingerprints: by fold.
        n_documents: that they were trained on, all folds together.
        n_trained: models that were trained now; the others were there.
    """

    fingerprints: tuple[str, ...]
    n_documents: int
    n_trained: int


def model_folder(warehouse_root: Path, fingerprint: str) -> Path:
    """Return where the reference model of a fingerprint is, trained or not."""
    return warehouse_root / FOLDER / fingerprint


def training_progress_total(config: ReferenceModelConfig) -> int:
    """Return what the progress of training adds up to."""
    return config.folds * _STEPS_OF_A_FOLD


def train_reference_models(
    warehouse: Warehouse, run: RunContext, snapshot_id: str, *, advance: ProgressReport
) -> ReferenceModels:
    """Train one model per fold of the snapshot, on the documents of the other folds.

    Each is stored as it is done: a killed run trains the others only.

    Raises:
        ConfigError: the snapshot is too small to train on.
    """
    config = run.config.language_model.reference
    _sweep(warehouse.root)
    document_ids = training_documents(warehouse, snapshot_id, config)
    tokenizer = pool_tokenizer(warehouse, run, document_ids)
    settings = training_settings(config)
    seed = stage_seed(run.config.seed, "reference model")
    device = run.config.compute.device
    fingerprints = tuple(
        fold_fingerprint(
            document_ids,
            fold=fold,
            folds=config.folds,
            tokenizer=tokenizer,
            settings=settings,
            seed=seed,
            device=device,
        )
        for fold in range(config.folds)
    )
    missing = [
        fold for fold, each in enumerate(fingerprints) if not _is_there(warehouse, run, each, fold)
    ]
    advance((config.folds - len(missing)) * _STEPS_OF_A_FOLD)
    if missing:
        texts = pool_texts(warehouse, run, document_ids)
        guard, stopped = threading.Lock(), threading.Event()
        n_tokens = sum(len(each) + 1 for each in tokenizer.encode(texts))
        most_tokens = most_training_tokens(n_tokens * (config.folds - 1) // config.folds, settings)

        def train(fold: int) -> None:
            started, cpu_started = time.perf_counter(), time.thread_time()
            trained = train_fold(
                document_ids,
                texts,
                fold=fold,
                folds=config.folds,
                tokenizer=tokenizer,
                settings=settings,
                seed=seed,
                device=device,
                progress=_scaled(advance, guard, stopped, most_tokens),
            )
            seconds = (time.perf_counter() - started, time.thread_time() - cpu_started)
            with guard:
                _store(warehouse, run, trained, fold, seconds=seconds)

        at_a_time = run.config.compute.threads if device == "cpu" else 1
        train_side_by_side(train, missing, at_a_time=at_a_time, stopped=stopped)
    return ReferenceModels(fingerprints, len(document_ids), len(missing))


class StoppedError(Exception):
    """Training ends because that of another model failed, or somebody interrupts the run."""


def train_side_by_side(
    train: Callable[[T], None], trainings: Sequence[T], *, at_a_time: int, stopped: threading.Event
) -> None:
    """Train models, several at a time; an error of one, or an interrupt, ends the others too.

    Args:
        train: told of one of the trainings; it raises `StoppedError` soon after the event is set.
        trainings: what to train.
        at_a_time: how many, >= 1.
        stopped: set once training is to end.
    """
    with ThreadPoolExecutor(at_a_time) as pool:
        futures = [pool.submit(train, each) for each in trainings]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    for error in [each.exception() for each in futures if not each.cancelled()]:
        if error is not None and not isinstance(error, StoppedError):
            raise error


def training_settings(config: ReferenceModelConfig) -> TrainingSettings:
    """Return what the config says of training."""
    names = {field.name for field in dataclasses.fields(TrainingSettings)}
    chosen = {key: value for key, value in config.model_dump().items() if key in names}
    return TrainingSettings(**chosen)


def training_documents(
    warehouse: Warehouse, snapshot_id: str, config: ReferenceModelConfig
) -> list[str]:
    """Return ids in key order, of the smallest ids if there are too many: they are digests."""
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    if members.num_rows < _LEAST_DOCUMENTS:
        raise ConfigError(
            f"the reference language model needs at least {_LEAST_DOCUMENTS} documents to train "
            f"on, the pool has {members.num_rows}; set language_model.name to a local folder or "
            "hub id, or leave out the signals that need a language model"
        )
    found: list[str] = members["document_id"].slice(0, config.most_documents).to_pylist()
    return found


def pool_texts(warehouse: Warehouse, run: RunContext, document_ids: Sequence[str]) -> list[str]:
    """Return the texts of documents whose ids ascend."""
    batches = warehouse.texts_of(
        pa.array(document_ids), batch_documents=run.config.compute.batch_documents
    )
    return [text for batch in batches for text in batch["text"].to_pylist()]


def pool_tokenizer(
    warehouse: Warehouse, run: RunContext, document_ids: Sequence[str]
) -> ModelTokenizer:
    """Return the tokenizer of these documents: the stored one, or one that is trained now."""
    vocabulary = run.config.language_model.reference.vocabulary
    version = importlib.metadata.version("tokenizers")
    name = digest_of([list(document_ids), vocabulary, version])
    folder = warehouse.root / FOLDER / f"tokenizer-{name}"
    if _is_sealed(folder / TOKENIZER_FILE):
        mark_used(folder)
        return read_tokenizer(folder)
    shutil.rmtree(folder, ignore_errors=True)  # absent or damaged
    tokenizer = train_tokenizer(
        pool_texts(warehouse, run, document_ids), vocabulary_size=vocabulary
    )
    staging = folder.with_name(folder.name + _STAGING_SUFFIX)
    staging.mkdir(parents=True)
    (staging / TOKENIZER_FILE).write_text(tokenizer.to_json(), encoding="utf-8")
    _seal(staging / TOKENIZER_FILE)
    staging.rename(folder)
    return read_tokenizer(folder)


def _is_there(warehouse: Warehouse, run: RunContext, fingerprint: str, fold: int) -> bool:
    """Tell whether a model is stored whole; what a kill left out of the table is put there."""
    folder = model_folder(warehouse.root, fingerprint)
    try:
        record = read_training_record(folder)
    except (ConfigError, IntegrityError):
        shutil.rmtree(folder, ignore_errors=True)
        return False
    if record.fingerprint != fingerprint:
        shutil.rmtree(folder)
        return False
    mark_used(folder)
    known = warehouse.rows("stg_models__curves", {"fingerprints": [fingerprint]}).num_rows
    if not known:
        _record(warehouse, run, record, fold, seconds=(0.0, 0.0))
    return True


def _store(
    warehouse: Warehouse,
    run: RunContext,
    trained: TrainedModel,
    fold: int,
    *,
    seconds: tuple[float, float],
) -> None:
    folder = model_folder(warehouse.root, trained.fingerprint)
    staging = folder.with_name(folder.name + _STAGING_SUFFIX)
    save_trained_model(trained, staging)
    staging.rename(folder)
    _record(warehouse, run, trained, fold, seconds=seconds)


def _record(
    warehouse: Warehouse,
    run: RunContext,
    trained: TrainedModel | TrainingRecord,
    fold: int,
    *,
    seconds: tuple[float, float],
) -> None:
    row = {
        "model_fingerprint": trained.fingerprint,
        "pool": run.pool,
        "run_id": run.run_id,
        "fold": fold,
        "folds": run.config.language_model.reference.folds,
        "documents": trained.n_documents,
        "settings": canonical_json(dataclasses.asdict(trained.settings)),
        "curve": canonical_json(curve_as_json(trained.curve)),
        "seconds": seconds[0],
        "cpu_seconds": seconds[1],
    }
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from language_models where model_fingerprint = $model_fingerprint",
            {"model_fingerprint": trained.fingerprint},
        )
        append(cursor, "language_models", pa.Table.from_pylist([row]))


def _seal(file: Path) -> None:
    """Write the digest of a file beside it."""
    file.with_name(_SEAL_FILE).write_text(file_sha256(file) + "\n", encoding="ascii")


def _is_sealed(file: Path) -> bool:
    """Tell whether a file is there as it was sealed."""
    seal = file.with_name(_SEAL_FILE)
    if not (file.is_file() and seal.is_file()):
        return False
    return seal.read_bytes() == (file_sha256(file) + "\n").encode("ascii")


def _scaled(
    advance: ProgressReport, guard: threading.Lock, stopped: threading.Event, most_tokens: int
) -> ProgressReport:
    """Return a progress report in tokens that advances a bar of `_STEPS_OF_A_FOLD`.

    It raises `StoppedError` once training is to end.
    """
    seen = shown = 0

    def report(done: int) -> None:
        nonlocal seen, shown
        if stopped.is_set():
            raise StoppedError
        seen += done
        now = min(_STEPS_OF_A_FOLD, seen * _STEPS_OF_A_FOLD // most_tokens)
        with guard:
            advance(now - shown)
        shown = now

    return report


def _sweep(warehouse_root: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in (warehouse_root / FOLDER).glob(f"*{_STAGING_SUFFIX}"):
        shutil.rmtree(path)
