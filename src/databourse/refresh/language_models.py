"""The language models that score a run's documents: one for all, or one per fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databourse.config_models import REFERENCE, LanguageModelConfig
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.torch_backend import CONFIG_PATTERNS, check_model_folder
from databourse.errors import ConfigError, MissingExtraError
from databourse.language_models.loading import (
    language_model_id,
    load_language_model,
    load_trained_model,
)
from databourse.language_models.meaning import LABELS
from databourse.language_models.model import LanguageModel, Precision
from databourse.language_models.training import trained_model_id
from databourse.refresh.context import RunContext
from databourse.refresh.reference_model import model_folder
from databourse.refresh.settings import ModelWork
from databourse.tokenization import TOKENIZER_FILE


def check_language_model(
    config: LanguageModelConfig, work: ModelWork, *, device: str, root: Path
) -> str:
    """Return what reads the documents, after checking all that can be without its weights.

    Args:
        config: names the model and how it is run.
        work: what it must do: sizes are checked where they are used.
        device: "cpu" or "cuda".
        root: folder of the config.

    Raises:
        UnknownNameError: the name is neither of a folder nor a hub id.
        ConfigError: there is no such model, it is not causal, or cannot be used in this way.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    _check_precision(config.precision, device)
    if config.name == REFERENCE:
        reference = config.reference
        _check_sizes(config, work, reference.context_tokens, "reference")
        return f"reference: trained on the pool, {reference.folds} folds"
    folder, label = _place_of(config.name, kind="language model", root=root)
    if not (folder / TOKENIZER_FILE).is_file():
        raise ConfigError(
            f"{folder} has no {TOKENIZER_FILE}: only tokenizers of that form can be used"
        )
    settings, causal, _ = _read_settings(folder)
    if settings.model_type not in causal:
        raise ConfigError(
            f"{folder} is no causal language model but of type {settings.model_type!r}; expected "
            "one that reads left to right"
        )
    limit = getattr(settings, "max_position_embeddings", None)
    if isinstance(limit, int):
        _check_sizes(config, work, limit, label)
    return label


def check_entailment_model(name: str, *, root: Path) -> str:
    """Return what judges entailment, after checking all that can be without its weights.

    Raises:
        UnknownNameError, ConfigError, MissingExtraError, TransientError: as `check_language_model`.
    """
    folder, label = _place_of(name, kind="entailment model", root=root)
    settings, _, classifiers = _read_settings(folder)
    if settings.model_type not in classifiers:
        raise ConfigError(f"{folder} is no classifier but of type {settings.model_type!r}")
    names = [str(each).strip().lower() for each in settings.id2label.values()]
    if not set(LABELS) <= set(names):
        raise ConfigError(
            f"{folder} must name its labels {', '.join(LABELS)} in id2label of its config.json; "
            f"got {', '.join(map(repr, names))}"
        )
    return label


def trains_reference(run: RunContext) -> bool:
    """Tell whether the run trains the model that scores its documents."""
    return run.config.language_model.name == REFERENCE


def model_ids(run: RunContext, trained: Sequence[str]) -> list[str]:
    """Return what decides the numbers of each model, by fold, without loading any.

    Args:
        run: whose config names the model.
        trained: fingerprints of the reference models; empty if another model scores.

    Raises:
        UnknownNameError: the config names neither the reference, nor a folder, nor a hub id.
        ConfigError: the model cannot be used.
    """
    if trains_reference(run):
        return [trained_model_id(each) for each in trained]
    config = run.config
    return [
        language_model_id(
            config.language_model.name, device=config.compute.device, root=Path(run.root)
        )
    ]


def open_model(run: RunContext, trained: Sequence[str], fold: int) -> LanguageModel:
    """Return the model that scores the documents of a fold.

    Raises:
        ConfigError: it cannot be used on this machine.
        IntegrityError: its files are damaged.
        TransientError: the hub failed.
    """
    device = run.config.compute.device
    if trains_reference(run):
        folder = model_folder(run.warehouse_path, trained[fold])
        return load_trained_model(folder, device=device).model
    config = run.config.language_model
    return load_language_model(
        config.name, device=device, precision=config.precision, root=Path(run.root)
    )


@dataclass(frozen=True)
class CarriedModel:
    """A model of a run as another process finds it.

    Attributes:
        model_id: what it must turn out to be.
        name: of the config, where it is of a hub; else None, and it is in a folder that is carried.
        is_trained: whether that folder is of a model trained on the pool.
        device: where it computes.
        precision: as the config has it.
    """

    model_id: str
    name: str | None
    is_trained: bool
    device: str
    precision: Precision


def carried_model(run: RunContext, trained: Sequence[str], fold: int) -> CarriedModel:
    """Return what another process must know to open the model of a fold."""
    config, is_trained = run.config.language_model, trains_reference(run)
    is_folder = is_trained or bool(model_folders(run, trained, fold))
    return CarriedModel(
        model_ids(run, trained)[fold],
        None if is_folder else config.name,
        is_trained,
        run.config.compute.device,
        config.precision,
    )


def carried_checkpoint(run: RunContext, fingerprint: str) -> CarriedModel:
    """Return likewise for any checkpoint of a training on the pool."""
    device = run.config.compute.device
    return CarriedModel(trained_model_id(fingerprint), None, True, device, "float32")


def model_folders(run: RunContext, trained: Sequence[str], fold: int) -> tuple[Path, ...]:
    """Return the folder of the model of a fold; none if it is of a hub."""
    if trains_reference(run):
        return (model_folder(run.warehouse_path, trained[fold]),)
    name, root = run.config.language_model.name, Path(run.root)
    place = locate(name, kind="language model", known=[], root=root)
    return () if isinstance(place, HubId) else (place.resolve(),)


def open_carried_model(model: CarriedModel, folders: Sequence[Path]) -> LanguageModel:
    """Return a model in another process than the run's.

    Args:
        model: which one.
        folders: local copies of `model_folders`.

    Raises:
        ConfigError: it is another model there, or cannot be used.
        IntegrityError: its files are damaged.
        TransientError: the hub failed.
    """
    if model.is_trained:
        found = load_trained_model(folders[0], device=model.device).model
    else:
        name = str(folders[0]) if model.name is None else model.name
        found = load_language_model(name, device=model.device, precision=model.precision)
    if found.model_id != model.model_id:
        raise ConfigError(
            f"a worker has language model {found.model_id}, this run {model.model_id}: their "
            "numbers differ; use machines of one kind, with the same packages"
        )
    return found


def _place_of(name: str, *, kind: str, root: Path) -> tuple[Path, str]:
    """Return a folder with a model's config at least, and what to call the model."""
    place = locate(name, kind=kind, known=[REFERENCE], root=root)
    if not isinstance(place, HubId):
        check_model_folder(place)
        return place, str(place)
    folder = fetch(place, CONFIG_PATTERNS)
    check_model_folder(folder, needs_weights=False)
    return folder, f"{place} of the hub"


def _check_precision(precision: str, device: str) -> None:
    if precision == "bfloat16" and device == "cpu":
        raise ConfigError(
            "language_model.precision 'bfloat16' needs a GPU, got compute.device 'cpu'; use "
            "'float32', or 'int8'"
        )
    if precision == "int8" and device != "cpu":
        raise ConfigError(
            f"language_model.precision 'int8' needs a CPU, got compute.device {device!r}; use "
            "'bfloat16', or 'float32'"
        )


def _check_sizes(
    config: LanguageModelConfig, work: ModelWork, context_tokens: int, label: str
) -> None:
    for is_used, name, size in (
        (work.scores, "window_tokens", config.window_tokens),
        (work.generates, "generations.new_tokens", config.generations.new_tokens),
    ):
        if is_used and size > context_tokens:
            raise ConfigError(
                f"language_model.{name} must be at most {context_tokens}, the context of {label}; "
                f"got {size}"
            )


def _read_settings(folder: Path) -> tuple[Any, frozenset[str], frozenset[str]]:
    """Return the config of a model, the types that are causal, and those that can classify."""
    try:
        import transformers
        from transformers.models.auto import modeling_auto
    except ImportError as error:
        raise MissingExtraError("transformers", "pipeline", "language models") from error
    try:
        settings = transformers.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{folder} has no config of a model in it: {reason}") from error
    causal = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    classifiers = frozenset(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    return settings, causal, classifiers
