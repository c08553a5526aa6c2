"""Scores of a pool under cross-fitted models: no document meets a model that was trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from databourse.errors import InputError
from databourse.language_models.losses import TokenLosses
from databourse.language_models.model import LanguageModel, Precision
from databourse.language_models.scoring import score_documents
from databourse.progress import ProgressReport, silent
from databourse.signals.folds import document_folds


def score_cross_fitted(
    models: Sequence[LanguageModel],
    document_ids: Sequence[str],
    texts: Sequence[str],
    *,
    window_tokens: int,
    overlap_tokens: int,
    threads: int,
    prompts: Sequence[str] | None = None,
    precision: Precision = "float32",
    progress: ProgressReport = silent,
) -> TokenLosses:
    """Return the scores of documents, each under the model of its own fold.

    Args:
        models: one per fold, in order: model k has seen no document of fold k; see
            `train_cross_fitted`.
        document_ids: one per text; they say which fold a document is in.
        texts, window_tokens, overlap_tokens, threads, prompts, precision, progress: as
            `score_documents`.

    Raises:
        InputError: as `score_documents`, or numbers of ids, texts and prompts differ, or fewer
            than two models.
    """
    if len(models) < 2:
        raise InputError(f"expected a model per fold, two or more, got {len(models)}")
    if len(document_ids) != len(texts) or (prompts is not None and len(prompts) != len(texts)):
        raise InputError(
            f"expected one document_id and one prompt per text, got {len(document_ids):,} ids, "
            f"{len(texts):,} texts and {'no' if prompts is None else len(prompts)} prompts"
        )
    fold_of = document_folds(document_ids, len(models))
    counts = np.zeros(len(texts), dtype=np.int64)
    losses, entropies = np.zeros(len(texts)), np.zeros(len(texts))
    for fold, model in enumerate(models):
        own = np.flatnonzero(fold_of == fold).tolist()
        scores = score_documents(
            model,
            [texts[place] for place in own],
            window_tokens=window_tokens,
            overlap_tokens=overlap_tokens,
            threads=threads,
            prompts=None if prompts is None else [prompts[place] for place in own],
            precision=precision,
            progress=progress,
        )
        counts[own] = scores.token_counts
        losses[own] = scores.loss_sums
        entropies[own] = scores.entropy_sums
    return TokenLosses(counts, losses, entropies)
