"""The default encoder on a CPU through OpenVINO: the same vectors as torch, several times faster.

Vectors differ from torch's by rounding only (cosine above 0.9999), also where the CPU computes in
bfloat16; the precision in use is part of the encoder_id.
"""

from __future__ import annotations

import importlib.metadata
import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of, file_sha256
from databourse.encoders.conversion import CONVERSION_REVISION, converted_model, import_openvino
from databourse.encoders.encoder import BatchPlan, TokenEncoder, check_threads
from databourse.encoders.locations import (
    DEFAULT_MODEL,
    DEFAULT_WEIGHTS_SHA256,
    check_weights,
)
from databourse.errors import InputError, MissingExtraError

_REVISION = 1  # of tokenization and batching: raise it when vectors change
_MAX_TOKENS = 256  # max_seq_length of the model's sentence_bert_config.json
_DIMENSION = 384
_PLAN = BatchPlan(batch_tokens=256, length_multiple=8)  # larger batches are no faster on a CPU


def load_openvino_encoder(folder: Path, *, cache_dir: Path, threads: int) -> TokenEncoder:
    """Return the default encoder.

    Args:
        folder: its model folder; the weights are checked by digest.
        cache_dir: where the converted model is kept; created if missing.
        threads: batches computed at a time, >= 1; they change no vector.

    Raises:
        IntegrityError: the weights are not the expected ones.
        MissingExtraError: a package is missing.
    """
    check_threads(threads)
    check_weights(folder, DEFAULT_WEIGHTS_SHA256)
    openvino = import_openvino()
    fingerprint = digest_of(
        {"weights": DEFAULT_WEIGHTS_SHA256}
        | {name: file_sha256(folder / name) for name in ("config.json", "tokenizer.json")}
    )
    model_file = converted_model(
        folder, name=DEFAULT_MODEL, fingerprint=fingerprint, cache_dir=cache_dir
    )
    compiled = openvino.Core().compile_model(
        str(model_file), "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
    )
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    version = importlib.metadata.version("openvino")
    return TokenEncoder(
        encoder_id=(
            f"{DEFAULT_MODEL}@{fingerprint[:12]}/openvino-{version}-{precision}"
            f"/{_MAX_TOKENS}t/r{CONVERSION_REVISION}.{_REVISION}"
        ),
        dimension=_DIMENSION,
        max_tokens=_MAX_TOKENS,
        model=_OpenvinoModel(folder / "tokenizer.json", compiled, threads),
        plan=_PLAN,
        threads=threads,
    )


class _OpenvinoModel:
    """A compiled model with as many requests as threads, and the tokenizer cut at its limit."""

    def __init__(self, tokenizer_file: Path, compiled: Any, threads: int) -> None:  # noqa: ANN401
        try:
            import tokenizers
        except ImportError as error:
            raise MissingExtraError("tokenizers", "pipeline", "the default encoder") from error
        self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            return [each.ids for each in self._tokenizer.encode_batch_fast(list(texts))]
        except TypeError as error:
            raise InputError(
                "texts must be valid Unicode to be encoded; "
                f"one of {len(texts):,} is not a text or has a lone surrogate"
            ) from error

    def forward(
        self, token_ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        request = self._requests.get()
        try:
            request.infer([token_ids, mask])
            vectors: npt.NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        finally:
            self._requests.put(request)
        return vectors

    def enter_worker(self) -> None:
        """Do nothing: the compiled model has its own threads, one per stream."""

    def leave(self) -> None:
        """Do nothing."""
