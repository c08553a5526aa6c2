"""The candidates of the scoring benchmark: sums of token losses of documents under one model.

The plain ones are written as most users would, with transformers alone. The first gives what the
product gives, losses and the entropy before each token, and is the yardstick; the others give
losses only. No document is longer than the model's context, so all of them read
the same tokens. A new candidate is one more function and one more line in `SCORERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from databourse.language_models.model import LanguageModel
from databourse.language_models.scoring import score_documents

FloatArray = NDArray[np.float64]

_ROWS = 16  # of a padded batch
_IGNORED = -100


def by_product(model: LanguageModel, texts: Sequence[str], threads: int) -> FloatArray:
    """Return the sum of losses of each text, nats, shape (n,), as the product finds them."""
    scores = score_documents(
        model,
        texts,
        window_tokens=model.context_tokens,
        overlap_tokens=model.context_tokens // 2,
        threads=threads,
    )
    return scores.loss_sums


def one_by_one_with_entropies(
    model: LanguageModel, texts: Sequence[str], threads: int
) -> FloatArray:
    """Return the same by one forward pass per text; entropies are made, and summed, too."""
    torch.set_num_threads(threads)
    sums, entropies = np.zeros(len(texts)), np.zeros(len(texts))
    with torch.inference_mode():
        for place, text in enumerate(texts):
            ids = torch.tensor([_sequence(model, text)])
            output = model.module(input_ids=ids, labels=ids)
            sums[place] = float(output.loss) * (ids.shape[1] - 1)
            told = torch.distributions.Categorical(logits=output.logits[0, :-1])
            entropies[place] = float(told.entropy().sum())
    return sums


def one_by_one(model: LanguageModel, texts: Sequence[str], threads: int) -> FloatArray:
    """Return the same by one forward pass per text, its tokens as their own labels."""
    torch.set_num_threads(threads)
    sums = np.zeros(len(texts))
    with torch.inference_mode():
        for place, text in enumerate(texts):
            ids = torch.tensor([_sequence(model, text)])
            sums[place] = float(model.module(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    return sums


def in_padded_batches(model: LanguageModel, texts: Sequence[str], threads: int) -> FloatArray:
    """Return the same by batches in the order of the texts, padded to their longest, masked."""
    torch.set_num_threads(threads)
    sums = np.zeros(len(texts))
    with torch.inference_mode():
        for first in range(0, len(texts), _ROWS):
            sequences = [_sequence(model, text) for text in texts[first : first + _ROWS]]
            length = max(len(each) for each in sequences)
            ids = torch.full((len(sequences), length), model.start_token_id)
            mask = torch.zeros_like(ids)
            for row, own in enumerate(sequences):
                ids[row, : len(own)] = torch.tensor(own)
                mask[row, : len(own)] = 1
            logits = model.module(input_ids=ids, attention_mask=mask).logits
            targets = ids.masked_fill(mask == 0, _IGNORED)[:, 1:]
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].transpose(1, 2), targets, reduction="none", ignore_index=_IGNORED
            )
            sums[first : first + _ROWS] = losses.sum(dim=1).numpy()
    return sums


def _sequence(model: LanguageModel, text: str) -> list[int]:
    return [model.start_token_id, *model.tokenizer.encode([text])[0].tolist()]


YARDSTICK = "transformers, one document at a time, losses and entropies"
PRODUCT = "databourse"
SCORERS: dict[str, Callable[[LanguageModel, Sequence[str], int], FloatArray]] = {
    YARDSTICK: one_by_one_with_entropies,
    "transformers, one document at a time": one_by_one,
    "transformers, padded batches": in_padded_batches,
    PRODUCT: by_product,
}
