"""What a model folder says of itself before anything of it is loaded.

All of it is read from config.json, the names of files and the headers of the weights: neither torch
nor transformers is imported, and no weight is read into memory, so that a config can be checked and
scores be recognized as known without the model.

A safetensors file is N (8 bytes, little-endian), N bytes of JSON that name each tensor with its
shape and the range of its bytes, and those bytes.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from databourse.digests import file_sha256
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.model_files import files_digest
from databourse.encoders.torch_backend import CONFIG_PATTERNS, MODEL_PATTERNS, check_model_folder
from databourse.errors import ConfigError

ModelKind = Literal["encoder-decoder", "causal"]

_TEMPLATE_PATTERNS = ("*.jinja",)  # chat templates; in older folders they are part of a .json
_FILE_PATTERNS = (*MODEL_PATTERNS, *_TEMPLATE_PATTERNS)
_CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel")
_MAX_HEADER_BYTES = 100_000_000  # as the format itself has it


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is.

    Attributes:
        label: what its scorer_id begins with: its hub id, or `local`.
        folder: with all of its files.
    """

    label: str
    folder: Path


def find_model(name: str, *, root: Path) -> ModelPlace:
    """Return the place of a model, downloaded if it is one of the hub and not here yet.

    Args:
        name: a model folder (relative ones start at `root`), or a hub id `owner/name` or
            `owner/name@revision`.
        root: folder of the config.

    Raises:
        UnknownNameError: the name is of neither form.
        ConfigError: there is no such folder or repository.
        TransientError: the hub failed.
        MissingExtraError: a package is missing.
    """
    place = locate_model(name, root=root)
    if isinstance(place, HubId):
        return ModelPlace(str(place), fetch(place, _FILE_PATTERNS))
    return ModelPlace("local", place)


def find_model_config(name: str, *, root: Path) -> Path:
    """Return a folder that has at least the config files of a model; as `find_model` otherwise."""
    place = locate_model(name, root=root)
    return fetch(place, CONFIG_PATTERNS) if isinstance(place, HubId) else place


def locate_model(name: str, *, root: Path) -> Path | HubId:
    """Return the folder or the hub id that a name stands for; asks nobody.

    Raises:
        UnknownNameError: it is neither.
        ConfigError: it looks like a folder, and nothing is there.
    """
    return locate(name, kind="Ask-LLM model", known=(), root=root)


def kind_of_model(folder: Path) -> ModelKind:
    """Return how a model answers, by its config.json.

    Raises:
        ConfigError: it says neither, or is no such file.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        architectures = [str(each) for each in config.get("architectures") or ()]
        encodes = bool(config.get("is_encoder_decoder", False))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise ConfigError(f"{file} is not the config of a model: {error}") from error
    if encodes:
        return "encoder-decoder"
    if any(each.endswith(_CAUSAL_HEADS) for each in architectures):
        return "causal"
    raise ConfigError(
        f"{folder} is no model that answers: expected an encoder-decoder or a causal language "
        f"model, got {', '.join(architectures) or 'no architectures'} in its config.json"
    )


def check_folder(folder: Path) -> ModelKind:
    """Return how the model of a folder answers, after checking that it may be loaded safely.

    Raises:
        ConfigError: it is no model folder, its weights can carry code, or it cannot answer.
    """
    check_model_folder(folder)
    return kind_of_model(folder)


def count_parameters(folder: Path) -> int:
    """Return how many numbers the weights of a folder hold, after checking that none is missing.

    Reads the headers alone; a file that was cut short is seen by its size.

    Raises:
        ConfigError: a file is not whole, or one that an index names is not there.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        for name in sorted(_indexed_files(index)):
            if not (folder / name).is_file():
                raise ConfigError(f"{folder} lacks {name}, which its {index.name} names")
    return sum(_count_in_file(file) for file in sorted(folder.glob("*.safetensors")))


def has_chat_template(folder: Path) -> bool:
    """Tell whether a folder seems to have a chat template; only its tokenizer knows for sure."""
    if any(folder.glob("*.jinja")) or (folder / "chat_template.json").is_file():
        return True
    file = folder / "tokenizer_config.json"
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        return False


def fingerprint(folder: Path) -> str:
    """Return the digest of every file of a model that decides its scores.

    Files are hashed once in the life of a process, unless their size or time changes.
    """
    return files_digest(folder, _FILE_PATTERNS, digest=_digest_of_file)


def _digest_of_file(file: Path) -> str:
    state = file.stat()
    return _digest_of_state(file.resolve(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _digest_of_state(file: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # they make another entry of a file that changed
    return file_sha256(file)


def _indexed_files(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (
        UnicodeDecodeError,
        json.JSONDecodeError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ConfigError(f"{index} is not an index of weights: {error!r}") from error


def _count_in_file(file: Path) -> int:
    header, start = _header(file)
    try:
        tensors = [each for name, each in header.items() if name != "__metadata__"]
        end = start + max((int(each["data_offsets"][1]) for each in tensors), default=0)
        count = sum(math.prod(map(int, each["shape"])) for each in tensors)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} has a header that names no tensors: {error!r}") from error
    size = file.stat().st_size
    if size != end:
        raise ConfigError(
            f"{file} is not whole: expected {end:,} bytes by its header, got {size:,}; "
            "copy or download it again"
        )
    return count


def _header(file: Path) -> tuple[Mapping[str, Any], int]:
    """Return the header of a safetensors file and where its numbers begin."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ConfigError(f"{file} is no safetensors file: a header of {length:,} bytes")
        content = stream.read(length)
    try:
        header = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no safetensors file, or was cut short") from error
    if not isinstance(header, dict):
        raise ConfigError(f"{file} is no safetensors file: its header is no JSON object")
    return header, 8 + length
