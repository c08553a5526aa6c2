"""Losses and entropies of documents under a language model, in one pass.

A document's scores may not depend on which documents are scored with it: batches have shapes that
depend on the document alone, as in `databourse.encoders.encoder`, each is computed by one thread,
and sums over tokens are taken in double precision, in order, window by window.

A prompt and its completion are tokenized apart, so a completion is the same tokens with and without
its prompt, and the start token stands before both: no first token is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from databourse.encoders.encoder import Batch, BatchPlan, check_threads, padded, plan_batches
from databourse.errors import InputError, IntegrityError
from databourse.language_models.int8 import in_int8
from databourse.language_models.losses import TokenLosses
from databourse.language_models.model import (
    LanguageModel,
    Precision,
    check_precision,
    compute_on_one_thread,
    losses_and_entropies,
    threads_of_torch,
)
from databourse.language_models.windows import Window, check_window, windows_of
from databourse.progress import ProgressReport, silent

FloatArray = npt.NDArray[np.float64]

SCORING_REVISION = 2
"""Of windows, batches and sums: raise it when the same model gives other scores."""

_TEXTS_AT_ONCE = 8_192  # bounds the memory of tokens and batches in flight
_CPU_PLAN = BatchPlan(batch_tokens=1_024, length_multiple=16)
_GPU_PLAN = BatchPlan(batch_tokens=32_768, length_multiple=32)
_MOST_LOGITS = 1 << 28  # of a batch, where they cannot be made in chunks: 1 GiB


@dataclass(frozen=True)
class _Piece:
    """One window of one document, ready to be batched."""

    document: int
    window: Window
    sequence: npt.NDArray[np.int32]

    @property
    def inputs(self) -> npt.NDArray[np.int32]:
        return self.sequence[self.window.first : self.window.end]


def score_documents(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    window_tokens: int,
    overlap_tokens: int,
    threads: int,
    prompts: Sequence[str] | None = None,
    precision: Precision = "float32",
    progress: ProgressReport = silent,
) -> TokenLosses:
    """Return counts, losses and entropies of texts, one per text, in order.

    Args:
        model: the language model.
        texts: what is scored, any texts; one of one token is scored after the start token alone.
        window_tokens: the most tokens read at once, the start token included.
        overlap_tokens: the least tokens that are seen before a scored one, where there are as
            many; 1 to window_tokens. Half of window_tokens doubles the cost of long texts at most.
        threads: on a CPU, batches computed at a time, >= 1; they change no number.
        prompts: what stands before each text, seen and not scored; None for nothing.
        precision: "bfloat16" only on a GPU, "int8" only on a CPU: there the weights of linear
            layers are rounded to eight bits first, unless they were when the model was loaded.
        progress: told of finished texts.

    Returns:
        Scores equal to those of each text alone within 1e-5 per token.

    Raises:
        InputError: a size is outside its domain, a text is not valid Unicode, or there are more or
            fewer prompts than texts.
        IntegrityError: a loss is not finite.
    """
    check_threads(threads)
    check_precision(model, precision)
    check_window(window_tokens, overlap_tokens)
    if window_tokens > model.context_tokens:
        raise InputError(
            f"window_tokens must be <= {model.context_tokens}, the context of {model.model_id}, "
            f"got {window_tokens!r}"
        )
    before = [""] * len(texts) if prompts is None else prompts
    if len(before) != len(texts):
        raise InputError(f"expected one prompt per text, got {len(before)} for {len(texts)}")
    scores = TokenLosses(
        np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts)), np.zeros(len(texts))
    )
    if precision == "int8":
        model = in_int8(model)
    run = _Run(model, window_tokens, overlap_tokens, precision, progress)
    on_cpu = model.device_type == "cpu"
    with threads_of_torch(1), _workers(threads if on_cpu else 1) as computed:
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            part = slice(first, first + _TEXTS_AT_ONCE)
            run.add(texts[part], before[part], _part_of(scores, part), computed)
    if not (np.isfinite(scores.loss_sums).all() and np.isfinite(scores.entropy_sums).all()):
        raise IntegrityError(f"model {model.model_id} gave a loss that is not finite")
    return scores


class _Computed(Protocol):
    """The results of batches, in order."""

    def __call__(
        self, compute: Callable[[Batch], list[tuple[float, float]]], batches: Sequence[Batch], /
    ) -> Iterator[list[tuple[float, float]]]: ...


@contextmanager
def _workers(threads: int) -> Iterator[_Computed]:
    """Compute batches by this thread if one is enough: then its clock tells what they cost."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads, initializer=compute_on_one_thread) as pool:
        yield pool.map


@dataclass(frozen=True)
class _Run:
    model: LanguageModel
    window_tokens: int
    overlap_tokens: int
    precision: Precision
    progress: ProgressReport

    def add(
        self,
        texts: Sequence[str],
        prompts: Sequence[str],
        scores: TokenLosses,
        computed: _Computed,
    ) -> None:
        """Fill in the scores of some texts."""
        pieces = self._pieces(texts, prompts)
        unfinished = np.bincount([each.document for each in pieces], minlength=len(texts))
        self.progress(int(np.count_nonzero(unfinished == 0)))
        plan = batch_plan(self.model)
        batches = plan_batches(
            [len(each.inputs) for each in pieces], plan, max_tokens=self.window_tokens
        )
        sums = np.zeros((len(pieces), 2))

        def compute(batch: Batch) -> list[tuple[float, float]]:
            return self._sums_of([pieces[each] for each in batch.positions], batch, plan)

        for batch, found in zip(batches, computed(compute, batches), strict=True):
            sums[list(batch.positions)] = found
            documents = [pieces[each].document for each in batch.positions]
            np.subtract.at(unfinished, documents, 1)
            self.progress(int(np.count_nonzero(unfinished[np.unique(documents)] == 0)))
        for piece, (loss, entropy) in zip(pieces, sums, strict=True):
            scores.token_counts[piece.document] += piece.window.end - piece.window.scored_from
            scores.loss_sums[piece.document] += loss
            scores.entropy_sums[piece.document] += entropy

    def _pieces(self, texts: Sequence[str], prompts: Sequence[str]) -> list[_Piece]:
        encode = self.model.tokenizer.encode
        start = np.array([self.model.start_token_id], dtype=np.int32)
        pieces = []
        for document, (prompt, text) in enumerate(zip(encode(prompts), encode(texts), strict=True)):
            windows = windows_of(
                len(prompt) + len(text),
                window_tokens=self.window_tokens,
                overlap_tokens=self.overlap_tokens,
                scored_from=len(prompt),
            )
            sequence = np.concatenate([start, prompt, text])
            pieces += [_Piece(document, window, sequence) for window in windows]
        return pieces

    def _sums_of(
        self, pieces: Sequence[_Piece], batch: Batch, plan: BatchPlan
    ) -> list[tuple[float, float]]:
        token_ids, _ = padded([piece.inputs.tolist() for piece in pieces], batch, plan)
        spans = [(piece.window.scored_from, piece.window.end) for piece in pieces]
        lengths = [end - scored_from for scored_from, end in spans]
        losses, entropies = losses_and_entropies(
            self.model,
            token_ids,
            rows=np.repeat(np.arange(len(pieces)), lengths),
            columns=np.concatenate(
                [
                    np.arange(scored_from, end) - piece.window.first
                    for piece, (scored_from, end) in zip(pieces, spans, strict=True)
                ]
            ),
            targets=np.concatenate(
                [
                    piece.sequence[scored_from + 1 : end + 1]
                    for piece, (scored_from, end) in zip(pieces, spans, strict=True)
                ]
            ).astype(np.int64),
            precision=self.precision,
        )
        ends = np.cumsum(lengths)[:-1]
        return [
            (float(loss.sum()), float(entropy.sum()))
            for loss, entropy in zip(np.split(losses, ends), np.split(entropies, ends), strict=True)
        ]


def scoring_id(
    model_id: str, *, window_tokens: int, overlap_tokens: int, precision: Precision
) -> str:
    """Return what decides a document's scores beside its texts: equal ids, equal scores.

    Args:
        model_id: of the language model.
        window_tokens, overlap_tokens, precision: as `score_documents`.
    """
    return (
        f"{model_id}/window-{window_tokens}-{overlap_tokens}/{precision}"
        f"/scoring-r{SCORING_REVISION}"
    )


def batch_plan(model: LanguageModel) -> BatchPlan:
    """Return how windows are put together for a model: it decides memory, and no number."""
    plan = _CPU_PLAN if model.device_type == "cpu" else _GPU_PLAN
    if model.head == "separate":
        return plan
    most_tokens = max(1, _MOST_LOGITS // model.tokenizer.vocabulary_size)
    return dataclasses.replace(plan, batch_tokens=min(plan.batch_tokens, most_tokens))


def _part_of(scores: TokenLosses, part: slice) -> TokenLosses:
    """Return views of a part: what is written there is written in `scores`."""
    return TokenLosses(scores.token_counts[part], scores.loss_sums[part], scores.entropy_sums[part])
