"""Documents as gradients see them: tokens, and how much the loss of each counts.

A document's loss is sum_t w_t * l_t, l_t the loss of token t in nats. Gradients are of that sum,
never of a mean over a batch; a mean over tokens is asked for by its weights.

A document longer than the context is read in windows of as many tokens as the model reads, each
after a start token of its own, and every token's loss counts in exactly one of them. This cut is a
choice of this package (RECONSTRUCTION): sources cut pools into full rows beforehand. Scoring
overlaps windows instead, which a sum of gradients must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.language_models.model import LanguageModel

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WeightedDocument:
    """Tokens of one document and the weights of their losses.

    Attributes:
        token_ids: shape (n,), int64, without a start token; n = 0 has gradient 0.
        weights: shape (n,), float32, >= 0 and finite; 0 for a token that is read and not scored.

    Raises:
        InputError: the arrays are not such.
    """

    token_ids: IntArray
    weights: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.token_ids.ndim != 1 or self.token_ids.dtype != np.int64:
            raise InputError(
                "token_ids of a document must be a vector of int64, got shape "
                f"{self.token_ids.shape} of {self.token_ids.dtype}"
            )
        if self.weights.shape != self.token_ids.shape or self.weights.dtype != np.float32:
            raise InputError(
                f"weights of a document must be float32, one per token: {self.token_ids.shape}, "
                f"got {self.weights.shape} of {self.weights.dtype}"
            )
        if not (np.isfinite(self.weights) & (self.weights >= 0)).all():
            raise InputError("weights of a document must be finite and >= 0; some are not")


class TokenWindow(NamedTuple):
    """Tokens `first` to `end` - 1 of a document, read after a start token."""

    document: int
    first: int
    end: int


class GradientBatch(NamedTuple):
    """Documents whose gradients are computed together.

    Attributes:
        positions: which documents; those without a token that counts have no window.
        passes: windows of a forward pass each, longest first.
    """

    positions: tuple[int, ...]
    passes: tuple[tuple[TokenWindow, ...], ...]


def whole_documents(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    most_tokens: int | None = None,
    loss: Literal["sum", "mean"] = "sum",
) -> list[WeightedDocument]:
    """Return texts as documents all of whose tokens count alike.

    Args:
        model: whose tokens they become.
        texts: any texts; an empty one has no token.
        most_tokens: where longer ones are cut, >= 1; None for nowhere.
        loss: "sum" weighs each token 1, "mean" 1 / their number.

    Raises:
        InputError: a text is not valid Unicode, or the limit or loss is none.
    """
    if loss not in ("sum", "mean"):
        raise InputError(f"loss must be 'sum' or 'mean', got {loss!r}")
    limit = _checked_limit(most_tokens)
    documents = []
    for ids in model.tokenizer.encode(texts):
        kept = ids[:limit].astype(np.int64)
        weight = 1.0 if loss == "sum" else 1.0 / max(1, len(kept))
        documents.append(WeightedDocument(kept, np.full(len(kept), weight, dtype=np.float32)))
    return documents


def completions(
    model: LanguageModel,
    texts: Sequence[str],
    prompt_characters: Sequence[int] | IntArray,
    *,
    loss: Literal["sum", "mean"],
    most_tokens: int | None = None,
) -> list[WeightedDocument]:
    """Return texts as documents of which what follows the prompt counts.

    Prompt and completion are tokenized apart, as `score_documents` does.

    Args:
        model: whose tokens they become.
        texts: a prompt with its completion each.
        prompt_characters: the length of the prompt at the head of each text; 0 for none.
        loss: "sum" weighs each token of a completion 1, "mean" 1 / their number: the mean loss of
            an answer.
        most_tokens: where longer completions are cut, >= 1; None for nowhere.

    Raises:
        InputError: there are more or fewer lengths than texts, a prompt is longer than its text, a
            text is not valid Unicode, or the limit is not positive.
    """
    if loss not in ("sum", "mean"):
        raise InputError(f"loss must be 'sum' or 'mean', got {loss!r}")
    if len(prompt_characters) != len(texts):
        raise InputError(
            f"expected one prompt_characters per text, got {len(prompt_characters):,} for "
            f"{len(texts):,}"
        )
    limit = _checked_limit(most_tokens)
    lengths = [int(each) for each in prompt_characters]
    for place, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        if not 0 <= length <= len(text):
            raise InputError(
                f"prompt_characters must be in [0, {len(text)}], the length of text {place}, "
                f"got {length}"
            )
    pairs = list(zip(texts, lengths, strict=True))
    prompts = model.tokenizer.encode([text[:length] for text, length in pairs])
    answers = model.tokenizer.encode([text[length:] for text, length in pairs])
    documents = []
    for prompt, answer in zip(prompts, answers, strict=True):
        kept = answer[:limit]
        weight = 1.0 if loss == "sum" else 1.0 / max(1, len(kept))
        weights = np.zeros(len(prompt) + len(kept), dtype=np.float32)
        weights[len(prompt) :] = weight
        documents.append(WeightedDocument(np.concatenate([prompt, kept]).astype(np.int64), weights))
    return documents


def windows_of_document(
    weights: npt.NDArray[np.float32], *, document: int, context_tokens: int
) -> list[TokenWindow]:
    """Return the windows in which each token that counts is predicted once.

    Tokens after the last one that counts are not read. Of those before the first, where not all
    fit into one window with it, the last half a context is.

    Args:
        weights: of the document's tokens.
        document: its position.
        context_tokens: C: a window of C tokens reads the start token and C - 1 of them.
    """
    counted = np.flatnonzero(weights)
    if not len(counted):
        return []
    first, end = 0, int(counted[-1]) + 1
    if end > context_tokens:
        first = max(0, int(counted[0]) - context_tokens // 2)
    starts = range(first, end, context_tokens)
    windows = [TokenWindow(document, start, min(start + context_tokens, end)) for start in starts]
    return [each for each in windows if weights[each.first : each.end].any()]


def plan_gradients(
    documents: Sequence[WeightedDocument],
    *,
    context_tokens: int,
    batch_tokens: int,
    most_documents: int | None = None,
) -> list[GradientBatch]:
    """Return batches that hold every document once, the longest first.

    They depend on the documents and `batch_tokens` alone: on no number of workers.

    Args:
        documents: what gradients are asked of.
        context_tokens: the most tokens of a window.
        batch_tokens: the most tokens of a batch, padding included, >= 1; a document with more is a
            batch of its own, of several passes.
        most_documents: of a batch, >= 1; None for any number.

    Raises:
        InputError: a size is not positive.
    """
    most = len(documents) if most_documents is None else most_documents
    if batch_tokens < 1 or context_tokens < 1 or (most_documents is not None and most < 1):
        raise InputError(
            "batch_tokens, context_tokens and most_documents must be >= 1, got "
            f"{batch_tokens!r}, {context_tokens!r}, {most_documents!r}"
        )
    windows = [
        windows_of_document(each.weights, document=place, context_tokens=context_tokens)
        for place, each in enumerate(documents)
    ]
    longest = [max((end - first for _, first, end in own), default=0) for own in windows]
    order = sorted(range(len(documents)), key=lambda place: (-longest[place], place))
    batches: list[GradientBatch] = []
    held: list[int] = []
    rows = 0
    for place in order:
        cost = max(1, longest[held[0]] if held else longest[place])
        # documents without a window cost nothing, but results have a size: they count as one
        full = (rows + max(1, len(windows[place]))) * cost > batch_tokens or len(held) >= most
        if held and full:
            batches.append(_batch(held, windows, batch_tokens))
            held, rows = [], 0
        held.append(place)
        rows += max(1, len(windows[place]))
    if held:
        batches.append(_batch(held, windows, batch_tokens))
    return batches


def _batch(
    held: Sequence[int], windows: Sequence[Sequence[TokenWindow]], batch_tokens: int
) -> GradientBatch:
    own = sorted(
        (window for place in held for window in windows[place]),
        key=lambda each: (each.first - each.end, each.document, each.first),
    )
    passes: list[tuple[TokenWindow, ...]] = []
    while own:
        most_rows = max(1, batch_tokens // (own[0].end - own[0].first))
        passes.append(tuple(own[:most_rows]))
        own = own[most_rows:]
    return GradientBatch(tuple(held), tuple(passes))


def _checked_limit(most_tokens: int | None) -> int | None:
    if most_tokens is not None and most_tokens < 1:
        raise InputError(f"most_tokens must be >= 1, got {most_tokens!r}")
    return most_tokens
