"""The encoders by the names that a config may give them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from databourse.encoders.encoder import Encoder, TokenEncoder
from databourse.encoders.hashing import HashingEncoder
from databourse.encoders.locations import (
    DEFAULT_MODEL,
    DEFAULT_WEIGHTS_SHA256,
    HubId,
    check_weights,
    default_model_folder,
    fetch,
    locate,
)
from databourse.encoders.static import load_static_encoder
from databourse.encoders.torch_backend import (
    CONFIG_PATTERNS,
    MODEL_PATTERNS,
    check_model_folder,
    load_torch_encoder,
)
from databourse.errors import ConfigError, MissingExtraError

ENCODER_NAMES = ("default", "static", "hashing")
Backend = Literal["openvino", "torch"]


def load_encoder(
    name: str,
    *,
    cache_dir: Path,
    threads: int,
    device: str = "cpu",
    backend: Backend | None = None,
    root: Path = Path(),
) -> Encoder:
    """Return the encoder of a name, ready to encode.

    Args:
        name: `default` (all-MiniLM-L6-v2), `static` (distilled from it), `hashing`, a model folder
            (relative ones start at `root`), or a hub id `owner/name` or `owner/name@revision`.
        cache_dir: where the default model is kept in OpenVINO's form, and the static one.
        threads: threads on a CPU, >= 1; they change no vector.
        device: "cpu", or a torch device such as "cuda".
        backend: what computes the default encoder; None is OpenVINO on a CPU where it is installed,
            else torch. Which one it was is part of the encoder_id.
        root: folder of the config.

    Raises:
        UnknownNameError: the name is of none of these forms.
        ConfigError: the model or the device cannot be used.
        IntegrityError: the default weights are not the expected ones.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    if name == "hashing":
        return HashingEncoder()
    if name == "default":
        return _load_default(cache_dir, threads, device, backend or _default_backend(device))
    if name == "static":
        chosen = backend or _default_backend(device)
        teacher = _load_default(cache_dir, threads, device, chosen)
        return load_static_encoder(teacher, default_model_folder(), cache_dir=cache_dir)
    if backend == "openvino":
        raise ConfigError(f"encoder {name!r} runs through torch; OpenVINO runs only the default")
    place = locate(name, kind="encoder", known=ENCODER_NAMES, root=root)
    if isinstance(place, HubId):
        folder = fetch(place, MODEL_PATTERNS)
        return load_torch_encoder(str(place), folder, threads=threads, device=device)
    return load_torch_encoder("local", place, threads=threads, device=device)


def check_encoder(name: str, *, device: str = "cpu", root: Path = Path()) -> str:
    """Return what the encoder of a name is, after checking that it can be had; loads no model.

    Raises:
        DatabourseError: as `load_encoder`, but for weights, which are only read there.
    """
    if name == "hashing":
        return f"{HashingEncoder().encoder_id}, not semantic: for tests"
    if name == "default":
        default_model_folder()
        return f"{DEFAULT_MODEL} through {_default_backend(device)}"
    if name == "static":
        default_model_folder()
        return f"static, distilled from {DEFAULT_MODEL} through {_default_backend(device)}"
    _check_installed("sentence_transformers", "sentence-transformers")
    place = locate(name, kind="encoder", known=ENCODER_NAMES, root=root)
    if isinstance(place, HubId):
        check_model_folder(fetch(place, CONFIG_PATTERNS), needs_weights=False)
        return f"{place} of the hub through torch"
    check_model_folder(place)
    return f"{place} through torch"


def _load_default(cache_dir: Path, threads: int, device: str, backend: Backend) -> TokenEncoder:
    folder = default_model_folder()
    if backend == "openvino":
        if device != "cpu":
            raise ConfigError(f"OpenVINO runs the default encoder on the cpu, not on {device!r}")
        from databourse.encoders.openvino_backend import load_openvino_encoder

        return load_openvino_encoder(folder, cache_dir=cache_dir, threads=threads)
    check_weights(folder, DEFAULT_WEIGHTS_SHA256)
    return load_torch_encoder(DEFAULT_MODEL, folder, threads=threads, device=device)


def _default_backend(device: str) -> Backend:
    if device == "cpu" and importlib.util.find_spec("openvino") is not None:
        return "openvino"
    _check_installed("sentence_transformers", "sentence-transformers")
    return "torch"


def _check_installed(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(package, "pipeline", "encoders through torch")
