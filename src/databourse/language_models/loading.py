"""Language models on disk: any causal transformers folder, and the reference models we save.

Only safetensors weights are read, no code that comes with a model is run, and a folder is never
completed from the network.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databourse.digests import canonical_json, digest_of
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.model_files import files_digest, on_device
from databourse.encoders.silence import one_quiet_load
from databourse.encoders.torch_backend import MODEL_PATTERNS, check_model_folder
from databourse.errors import ConfigError, IntegrityError, MissingExtraError, first_line
from databourse.language_models.int8 import in_int8
from databourse.language_models.model import (
    LanguageModel,
    Precision,
    check_precision,
    import_torch,
    prepared_model,
)
from databourse.language_models.tokenizer import ModelTokenizer, read_tokenizer
from databourse.language_models.training import (
    CurvePoint,
    TrainedModel,
    TrainingSettings,
    trained_model_id,
)
from databourse.tokenization import TOKENIZER_FILE

TRAINING_FILE = "training.json"
"""What a saved reference model carries beside its weights: how it came about, and digests."""

_REVISION = 1  # of scoring: raise it when scores change
_LONGEST_CONTEXT = 1 << 31  # a config without a limit may say 10^30


@dataclass(frozen=True)
class TrainingRecord:
    """How a saved reference model came about; see `TrainedModel`.

    Attributes:
        fingerprint: of all that decides its weights.
        start_token_id: what stands before every text.
        settings: how it was trained.
        curve: evaluations in order.
        n_documents: documents trained on.
    """

    fingerprint: str
    start_token_id: int
    settings: TrainingSettings
    curve: tuple[CurvePoint, ...]
    n_documents: int


def load_language_model(
    name: str,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    root: Path = Path(),
) -> LanguageModel:
    """Return the causal language model of a name.

    Args:
        name: a model folder (relative ones start at `root`), or a hub id `owner/name` or
            `owner/name@revision`.
        device: "cpu", or a torch device such as "cuda" or "cuda:1".
        precision: what it will be scored with. "int8" rounds the weights of its linear layers and
            lets go of the others; else they stay in float32.
        root: folder of the config.

    Raises:
        InputError: the device does not know the precision.
        UnknownNameError: the name is of neither form.
        ConfigError: the model or the device cannot be used.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    folder, name = _place_of(name, root)
    model = load_model_folder(folder, name=name, device=device)
    check_precision(model, precision)
    return in_int8(model) if precision == "int8" else model


def language_model_id(name: str, *, device: str = "cpu", root: Path = Path()) -> str:
    """Return the model_id of `load_language_model` for the same arguments, without loading it.

    Raises:
        UnknownNameError: the name is of neither form.
        ConfigError: there is no such model.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    folder, name = _place_of(name, root)
    check_model_folder(folder)
    return _model_id(folder, name, device)


def load_model_folder(folder: Path, *, name: str, device: str) -> LanguageModel:
    """Return the model of a transformers folder with a tokenizer.json.

    Args:
        folder: with config.json, safetensors weights and tokenizer.json.
        name: what the model_id begins with; the digest of the folder's files follows.
        device: a torch device.

    Raises:
        ConfigError: the folder is not such a model, it wants to run code, lacks weights, says not
            what stands before a text, or the device is missing.
        MissingExtraError: a package is missing.
    """
    check_model_folder(folder)
    tokenizer = read_tokenizer(folder)
    module = _read_module(folder, device)
    return prepared_model(
        module,
        tokenizer,
        model_id=_model_id(folder, name, device),
        start_token_id=_start_token_id(folder, tokenizer, module),
        context_tokens=_context_tokens(folder, module),
    )


def folder_fingerprint(folder: Path) -> str:
    """Return the digest of every file of a model that decides its numbers."""
    return files_digest(folder, MODEL_PATTERNS, without=(TRAINING_FILE,))


def save_trained_model(trained: TrainedModel, folder: Path) -> None:
    """Write a reference model: weights as safetensors, config, tokenizer.json and training.json.

    Args:
        trained: the model.
        folder: created; training.json is written last, so a folder with one is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module: Any = trained.model.module
    with one_quiet_load():
        module.save_pretrained(str(folder))
    (folder / TOKENIZER_FILE).write_text(trained.model.tokenizer.to_json(), encoding="utf-8")
    record = {
        "fingerprint": trained.fingerprint,
        "model_id": trained.model.model_id,
        "start_token_id": trained.model.start_token_id,
        "settings": dataclasses.asdict(trained.settings),
        "curve": curve_as_json(trained.curve),
        "n_documents": trained.n_documents,
        "files": folder_fingerprint(folder),
    }
    sealed = {**record, "seal": digest_of(record)}
    (folder / TRAINING_FILE).write_text(canonical_json(sealed) + "\n", encoding="utf-8")


def read_training_record(folder: Path) -> TrainingRecord:
    """Return how a saved reference model came about, after checking its files; loads no weights.

    Raises:
        ConfigError: the folder holds no such model.
        IntegrityError: its files are not those that were written.
    """
    file = folder / TRAINING_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        seal = record.pop("seal", None)
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} has no {TRAINING_FILE}: not a reference model") from error
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise IntegrityError(f"{file} is damaged: {error}; train the model again") from error
    if seal != digest_of(record):
        raise IntegrityError(f"{file} was truncated or changed; train the model again")
    found = folder_fingerprint(folder)
    if found != record["files"]:
        raise IntegrityError(
            f"the files of {folder} have digest {found}, expected {record['files']}: the model "
            "was truncated or changed; train it again"
        )
    return TrainingRecord(
        record["fingerprint"],
        record["start_token_id"],
        TrainingSettings(**record["settings"]),
        tuple(_point_from_json(point) for point in record["curve"]),
        record["n_documents"],
    )


def load_trained_model(folder: Path, *, device: str = "cpu") -> TrainedModel:
    """Return a reference model as `save_trained_model` wrote it.

    Raises:
        ConfigError: the folder holds no such model.
        IntegrityError: its files are not those that were written.
        MissingExtraError: a package is missing.
    """
    record = read_training_record(folder)
    model = prepared_model(
        _read_module(folder, device),
        read_tokenizer(folder),
        model_id=trained_model_id(record.fingerprint),
        start_token_id=record.start_token_id,
        context_tokens=record.settings.context_tokens,
    )
    return TrainedModel(
        model, record.fingerprint, record.settings, record.curve, record.n_documents
    )


def curve_as_json(curve: Sequence[CurvePoint]) -> list[dict[str, float | None]]:
    """Return the points of a curve as JSON types; what is not finite is null."""
    return [_point_as_json(point) for point in curve]


def _place_of(name: str, root: Path) -> tuple[Path, str]:
    """Return the folder of a model, fetched if it is on the hub, and how its id begins."""
    place = locate(name, kind="language model", known=[], root=root)
    if isinstance(place, HubId):
        return fetch(place, MODEL_PATTERNS), str(place)
    return place, "local"


def _model_id(folder: Path, name: str, device: str) -> str:
    version = importlib.metadata.version("torch")
    device_type = device.partition(":")[0]  # equal devices of one type give equal numbers
    return f"{name}@{folder_fingerprint(folder)[:16]}/torch-{version}-{device_type}/r{_REVISION}"


def _point_as_json(point: CurvePoint) -> dict[str, float | None]:
    fields = dataclasses.asdict(point)
    finite = {name: value for name, value in fields.items() if math.isfinite(value)}
    return {name: finite.get(name) for name in fields}


def _point_from_json(point: dict[str, Any]) -> CurvePoint:
    """Return a point; JSON knows neither the NaN before the first step nor infinity."""
    train_loss = point["train_loss"]
    return CurvePoint(
        step=point["step"],
        tokens=point["tokens"],
        train_loss=math.nan if train_loss is None else train_loss,
        held_out_loss=math.inf if point["held_out_loss"] is None else point["held_out_loss"],
    )


def _read_module(folder: Path, device: str) -> Any:  # noqa: ANN401 - transformers' model
    torch = import_torch()
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "pipeline", "language models") from error
    try:
        with one_quiet_load():
            automatic: Any = transformers.AutoModelForCausalLM
            module, report = automatic.from_pretrained(
                str(folder),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{folder} cannot be loaded as a causal language model: {first_line(error)}"
        ) from error
    lacking = sorted([*report["missing_keys"], *(each[0] for each in report["mismatched_keys"])])
    if lacking:
        raise ConfigError(
            f"{folder} lacks weights of a causal language model, for example {lacking[0]}; "
            "expected one that was saved with its head"
        )
    return on_device(module, device)


def _start_token_id(folder: Path, tokenizer: ModelTokenizer, module: Any) -> int:  # noqa: ANN401
    """Return what stands before a text: its beginning token, else its end token."""
    names = _tokenizer_names(folder / "tokenizer_config.json")
    for kind in ("bos_token", "eos_token"):
        from_config = getattr(module.config, f"{kind}_id", None)
        if isinstance(from_config, list):
            from_config = next(iter(from_config), None)
        named = tokenizer.id_of(names[kind]) if kind in names else None
        found = named if named is not None else from_config
        if found is not None:
            return int(found)
    raise ConfigError(
        f"{folder} says not which token begins a text; set bos_token_id in its config.json"
    )


def _tokenizer_names(file: Path) -> dict[str, str]:
    """Return the special tokens that a tokenizer_config.json names, by kind."""
    if not file.is_file():
        return {}
    try:
        parsed = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{file} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ConfigError(f"{file} is not a tokenizer's config: expected an object")
    tokens = {kind: parsed.get(kind) for kind in ("bos_token", "eos_token")}
    names = {
        kind: token.get("content") if isinstance(token, dict) else token
        for kind, token in tokens.items()
    }
    return {kind: name for kind, name in names.items() if isinstance(name, str)}


def _context_tokens(folder: Path, module: Any) -> int:  # noqa: ANN401 - transformers' model
    limit = getattr(module.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or not 1 <= limit < _LONGEST_CONTEXT:
        raise ConfigError(
            f"{folder} says not how many tokens it reads; set max_position_embeddings in its "
            "config.json"
        )
    return limit
