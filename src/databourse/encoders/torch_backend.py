"""Encoders of sentence-transformers folders through torch, on a CPU or a GPU.

Only safetensors weights are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from databourse.encoders.encoder import BatchPlan, TokenEncoder, check_threads
from databourse.encoders.model_files import files_digest
from databourse.encoders.silence import one_quiet_load
from databourse.errors import ConfigError, InputError, MissingExtraError

CONFIG_PATTERNS = ("*.json", "*.txt", "*.model")
MODEL_PATTERNS = ("*.safetensors", *CONFIG_PATTERNS)

_REVISION = 1  # of tokenization, pooling and batching: raise it when vectors change
_CPU_BATCH_TOKENS, _CPU_LENGTH_MULTIPLE = 256, 8
_GPU_BATCH_TOKENS, _GPU_LENGTH_MULTIPLE = 8_192, 32  # fewer, larger batches keep a GPU busy
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # those of sentence-transformers, in order


def load_torch_encoder(name: str, folder: Path, *, threads: int, device: str) -> TokenEncoder:
    """Return the encoder of a model folder.

    Args:
        name: what the encoder_id begins with.
        folder: a sentence-transformers or transformers folder.
        threads: on a CPU, batches computed at a time, >= 1; they change no vector.
        device: "cpu", or a torch device such as "cuda" or "cuda:1".

    Raises:
        ConfigError: the folder is not such a model, wants to run code, or the device is missing.
        MissingExtraError: a package is missing.
    """
    check_threads(threads)
    check_model_folder(folder)
    model = TorchModel(folder, device)
    on_cpu = model.device_type == "cpu"
    fingerprint = files_digest(folder, MODEL_PATTERNS)
    version = importlib.metadata.version("torch")
    return TokenEncoder(
        encoder_id=(
            f"{name}@{fingerprint[:12]}/torch-{version}-f32-{model.device_type}"
            f"/{model.max_tokens}t/r{_REVISION}"
        ),
        dimension=model.dimension,
        max_tokens=model.max_tokens,
        model=model,
        plan=BatchPlan(
            batch_tokens=_CPU_BATCH_TOKENS if on_cpu else _GPU_BATCH_TOKENS,
            length_multiple=_CPU_LENGTH_MULTIPLE if on_cpu else _GPU_LENGTH_MULTIPLE,
            pad_token_id=model.pad_token_id,
            pads_left=model.pads_left,
        ),
        threads=threads if on_cpu else 1,
    )


def check_model_folder(folder: Path, *, needs_weights: bool = True) -> None:
    """Pass if a folder holds a model that can be loaded safely.

    Raises:
        ConfigError: it has no config.json or modules.json, no safetensors weights, weights in a
            form that can carry code (.bin, .pt), or modules from outside sentence-transformers.
    """
    modules = folder / "modules.json"
    if not modules.is_file() and not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder} is not a model folder: expected modules.json or config.json in it"
        )
    if modules.is_file():
        _check_modules(modules)
    weights = {file.parent for file in folder.rglob("*.safetensors")}
    unsafe = sorted(
        file
        for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt")
        for file in folder.rglob(pattern)
        if file.parent not in weights
    )
    if needs_weights and (unsafe or not weights):
        found = f"found {unsafe[0].relative_to(folder)}" if unsafe else "found none"
        raise ConfigError(
            f"{folder} must have its weights as .safetensors, {found}; "
            "save it with save_pretrained(safe_serialization=True)"
        )


def _check_modules(file: Path) -> None:
    try:
        modules = json.loads(file.read_text(encoding="utf-8"))
        types = [str(module["type"]) for module in modules]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not a list of modules with their types: {error}") from error
    foreign = [each for each in types if not each.startswith("sentence_transformers.")]
    if foreign:
        raise ConfigError(
            f"{file} names the module {foreign[0]!r}: code that comes with a model is not run"
        )


class TorchModel:
    """A sentence-transformers model, run in float32 on batches that we pad ourselves."""

    def __init__(self, folder: Path, device: str) -> None:
        self._torch, self._model = _load_model(folder, device)
        self.module: Any = self._model
        tokenizer = self._model.tokenizer
        self.device_type = str(self._model.device.type)
        self.dimension = int(self._model.get_embedding_dimension())
        self.max_tokens = _limit(folder, self._model.max_seq_length, tokenizer.model_max_length)
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        self.pads_left = tokenizer.padding_side == "left"
        self._empty_token_id = int(tokenizer.eos_token_id or tokenizer.unk_token_id or 0)
        self._prompt = _document_prompt(self._model)
        self._threads_before = self._torch.get_num_threads()

    def tokenize(self, texts: Sequence[str], *, most_tokens: int | None = None) -> list[list[int]]:
        """Return the token ids of each text, cut at the model's limit or at a lower one."""
        try:
            encoded = self._model.tokenizer(
                [self._prompt + text for text in texts],
                truncation=True,
                max_length=min(self.max_tokens, most_tokens or self.max_tokens),
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(
                "texts must be valid Unicode to be encoded; "
                f"one of {len(texts):,} is not a text or has a lone surrogate"
            ) from error
        return [own or [self._empty_token_id] for own in encoded["input_ids"]]

    def forward(
        self, token_ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return one unit vector per row."""
        torch = self._torch
        features = {
            "input_ids": torch.from_numpy(token_ids).to(self._model.device),
            "attention_mask": torch.from_numpy(mask).to(self._model.device),
        }
        with torch.inference_mode():
            pooled = self._model(features)["sentence_embedding"].float()
            unit = torch.nn.functional.normalize(pooled, dim=1)
        vectors: npt.NDArray[np.float32] = unit.cpu().numpy()
        return vectors

    def enter_worker(self) -> None:
        """Compute on one thread: sums split over threads would depend on how many there are."""
        self._torch.set_num_threads(1)

    def leave(self) -> None:
        """Give the process its threads back."""
        self._torch.set_num_threads(self._threads_before)


def _load_model(folder: Path, device: str) -> tuple[Any, Any]:
    try:
        import sentence_transformers
        import torch
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pipeline", "encoders through torch") from error
    usable = _checked_device(torch, device)
    try:
        with one_quiet_load():
            model = sentence_transformers.SentenceTransformer(
                str(folder),
                device=usable,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            ).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{folder} cannot be loaded as an encoder: {reason}") from error
    return torch, model


def _checked_device(torch: Any, device: str) -> str:  # noqa: ANN401 - a module
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"device {device!r} cannot be used by torch: {reason}") from error
    return device


def _limit(folder: Path, *limits: int | None) -> int:
    """Return the least limit that is one: a tokenizer without any says 10^30."""
    real = [int(limit) for limit in limits if limit is not None and limit < 1 << 31]
    if not real:
        raise ConfigError(
            f"{folder} says nowhere where texts are cut; set max_seq_length in its "
            "sentence_bert_config.json"
        )
    return min(real)


def _document_prompt(model: Any) -> str:  # noqa: ANN401 - a SentenceTransformer
    """Return what the model puts before a document, as `SentenceTransformer.encode_document`."""
    names = [name for name in _DOCUMENT_PROMPTS if model.prompts.get(name)]
    name = names[0] if names else model.default_prompt_name
    return str(model.prompts.get(name) or "") if name else ""
