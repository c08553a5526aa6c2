"""Transformers in OpenVINO's form: traced from torch once, kept in a cache, checked when loaded."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from databourse.digests import digest_of
from databourse.encoders.made_models import made_folder
from databourse.encoders.silence import one_quiet_load, without_tracing_notes
from databourse.errors import MissingExtraError

CONVERSION_REVISION = 1
"""Of pooling and tracing: raise it when what is converted changes."""

_CONVERTERS = ("openvino", "torch", "transformers")
_MODEL_FILE = "model.xml"  # beside it: model.bin


def import_openvino() -> ModuleType:
    """Return openvino, imported so that it reports nothing to anybody.

    Importing it sends a usage event to its maker and writes a client id into the home folder,
    unless its telemetry package is absent, which it allows for; so it finds none.
    """
    hidden = "openvino_telemetry"
    hides = hidden not in sys.modules
    if hides:
        sys.modules[hidden] = None  # type: ignore[assignment]  # makes its import fail
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "pipeline,cpu", "encoding by OpenVINO") from error
    finally:
        if hides:
            del sys.modules[hidden]
    module: ModuleType = openvino
    return module


def converted_model(folder: Path, *, name: str, fingerprint: str, cache_dir: Path) -> Path:
    """Return the OpenVINO form of a transformer with mean pooling, converted now if need be.

    Args:
        folder: a transformers folder with safetensors weights.
        name: what the entry in the cache begins with.
        fingerprint: digest of what the model is made of.
        cache_dir: where converted models are kept; created if missing. A damaged entry is noticed
            by its digests and made again.

    Returns:
        A model file whose inputs are token ids and mask, int64, shape (rows, length) each, and
        whose output is one unit vector per row, float32.

    Raises:
        MissingExtraError: a package is missing.
    """
    import_openvino()
    target = cache_dir / f"{name}-{_cache_key(fingerprint)[:16]}"
    made_folder(target, lambda made: _convert(folder, made / _MODEL_FILE))
    return target / _MODEL_FILE


def _cache_key(fingerprint: str) -> str:
    try:
        made_by = {each: importlib.metadata.version(each) for each in _CONVERTERS}
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(str(error.name), "pipeline,cpu", "converting an encoder") from error
    return digest_of({"model": fingerprint, "revision": CONVERSION_REVISION, "made_by": made_by})


def _convert(folder: Path, model_file: Path) -> None:
    openvino = import_openvino()
    with one_quiet_load(), without_tracing_notes():
        module, example = _traceable(folder)
        converted = openvino.convert_model(module, example_input=example)
        openvino.save_model(converted, str(model_file), compress_to_fp16=False)


def _traceable(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return a torch module from tokens and mask to unit vectors, and an example of its input."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pipeline", "converting an encoder") from error

    class MeanPooled(torch.nn.Module):
        """Mean of the last hidden states under the mask, scaled to norm 1."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = transformers.AutoModel.from_pretrained(
                str(folder),
                attn_implementation="eager",  # what the converter can trace
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            ).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.inner(input_ids=input_ids, attention_mask=attention_mask)[0]
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            means = (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)
            return torch.nn.functional.normalize(means, dim=1)

    token_ids = torch.arange(1000, 1000 + 4 * 32).reshape(4, 32)
    mask = torch.ones_like(token_ids)
    mask[1, 20:] = 0
    return MeanPooled(), {"input_ids": token_ids, "attention_mask": mask}
