"""What an encoder is, and how token sequences become vectors.

A document's vector may not depend on which documents are encoded with it. Numerical libraries
choose kernels and blocks by the shape of their input, so here the shape of a document's batch
depends on the document alone: its tokens are padded to a multiple of `length_multiple`, and a batch
of that length always has `batch_tokens // length` rows, the last one filled up with copies. Each
batch is computed by one thread; more threads compute more batches at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError, IntegrityError
from databourse.progress import ProgressReport, silent

_TEXTS_AT_ONCE = 8_192  # bounds the memory of tokens and vectors in flight


class Encoder(Protocol):
    """Turns texts into unit vectors; a vector depends on its text and the encoder_id alone."""

    @property
    def encoder_id(self) -> str:
        """Return name, weights, backend, precision and limit: what decides the vectors."""

    @property
    def dimension(self) -> int:
        """Return d, the length of a vector."""

    @property
    def max_tokens(self) -> int | None:
        """Return where longer texts are cut, in the model's tokens; None if nowhere."""

    def encode(
        self, texts: Sequence[str], *, progress: ProgressReport = silent
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of texts, shape (len(texts), d), norm 1 within 1e-5.

        Args:
            texts: any texts, also empty ones.
            progress: told of the texts of each batch.

        Raises:
            InputError: a text is not valid Unicode.
            IntegrityError: a vector is not finite.
        """


class TokenModel(Protocol):
    """A transformer with its tokenizer: texts to tokens, padded tokens to unit vectors."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, cut at the model's limit."""

    def forward(
        self, token_ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return one unit vector per row; called by several threads at once."""

    def enter_worker(self) -> None:
        """Prepare a thread that will call `forward`."""

    def leave(self) -> None:
        """Undo what `enter_worker` did to the process."""


@dataclass(frozen=True)
class BatchPlan:
    """How documents are put together: see the module.

    Attributes:
        batch_tokens: tokens of a batch, padding included; a longer document is a batch of its own.
        length_multiple: lengths are padded to a multiple of it.
        pad_token_id: what padding is made of; the mask hides it.
        pads_left: whether padding comes before the tokens.
    """

    batch_tokens: int
    length_multiple: int
    pad_token_id: int = 0
    pads_left: bool = False


@dataclass(frozen=True)
class Batch:
    """Documents that are computed together.

    Attributes:
        positions: which documents, in order of position.
        rows: rows of the batch, >= len(positions).
        length: tokens of a row.
    """

    positions: tuple[int, ...]
    rows: int
    length: int


@dataclass(frozen=True)
class TokenEncoder:
    """An encoder made of a token model: the batching of the module around its forward pass."""

    encoder_id: str
    dimension: int
    max_tokens: int
    model: TokenModel
    plan: BatchPlan
    threads: int

    def encode(
        self, texts: Sequence[str], *, progress: ProgressReport = silent
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of texts; see `Encoder.encode`."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        try:
            with ThreadPoolExecutor(self.threads, initializer=self.model.enter_worker) as pool:
                for first in range(0, len(texts), _TEXTS_AT_ONCE):
                    part = texts[first : first + _TEXTS_AT_ONCE]
                    self._encode_part(part, vectors[first : first + len(part)], pool, progress)
        finally:
            self.model.leave()
        if not np.isfinite(vectors).all():
            raise IntegrityError(f"encoder {self.encoder_id} gave a vector that is not finite")
        return vectors

    def _encode_part(
        self,
        texts: Sequence[str],
        vectors: npt.NDArray[np.float32],
        pool: ThreadPoolExecutor,
        progress: ProgressReport,
    ) -> None:
        tokens = self.model.tokenize(texts)
        batches = plan_batches(
            [len(each) for each in tokens], self.plan, max_tokens=self.max_tokens
        )

        def compute(batch: Batch) -> npt.NDArray[np.float32]:
            own = [tokens[position] for position in batch.positions]
            return self.model.forward(*padded(own, batch, self.plan))

        for batch, computed in zip(batches, pool.map(compute, batches), strict=True):
            vectors[list(batch.positions)] = computed[: len(batch.positions)]
            progress(len(batch.positions))


def plan_batches(lengths: Sequence[int], plan: BatchPlan, *, max_tokens: int) -> list[Batch]:
    """Return batches that hold every position once, the longest documents first.

    Args:
        lengths: tokens per document, in [1, max_tokens].
        plan: how batches are made.
        max_tokens: the most tokens that the model takes: padding never goes beyond.
    """
    multiple = plan.length_multiple
    padded_lengths = [min(-(-length // multiple) * multiple, max_tokens) for length in lengths]
    order = sorted(range(len(lengths)), key=lambda position: (-padded_lengths[position], position))
    batches = []
    for length, group in itertools.groupby(order, key=lambda position: padded_lengths[position]):
        rows = max(1, plan.batch_tokens // length)
        batches += [Batch(positions, rows, length) for positions in _pieces(group, rows)]
    return batches


def padded(
    tokens: Sequence[Sequence[int]], batch: Batch, plan: BatchPlan
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return token ids and mask of a batch, shape (rows, length); the last document fills it up."""
    token_ids = np.full((batch.rows, batch.length), plan.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(token_ids)
    for row, own in enumerate(tokens):
        start = batch.length - len(own) if plan.pads_left else 0
        token_ids[row, start : start + len(own)] = own
        mask[row, start : start + len(own)] = 1
    token_ids[len(tokens) :] = token_ids[len(tokens) - 1]
    mask[len(tokens) :] = mask[len(tokens) - 1]
    return token_ids, mask


def check_threads(threads: int) -> int:
    """Return `threads`.

    Raises:
        InputError: it is below 1.
    """
    if threads < 1:
        raise InputError(f"threads must be >= 1, got {threads!r}")
    return threads


def _pieces(positions: Iterator[int], size: int) -> Iterator[tuple[int, ...]]:
    while piece := tuple(itertools.islice(positions, size)):
        yield piece
