"""Ask a model about a sample, learn its answers from embeddings, predict them for the rest.

Ask-LLM scores every document; this is our own shortcut (a small head on frozen embeddings is the
idea of FineWeb-Edu, Penedo et al. 2024, arXiv 2406.17557). How well the head ranks is measured on
answers that it never saw, and belongs beside every use of its predictions.

Heads: 'ridge' fits s with w.x + c and |w|^2 as penalty; its predictions rank, and may leave [0, 1].
'logistic' fits P = 1 / (1 + exp(-(w.x + c))) to the scores as soft labels: each document counts as
yes with weight s and as no with weight 1 - s.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError, MissingExtraError
from databourse.neighbours.threads import single_threaded_blas
from databourse.progress import ProgressReport, silent
from databourse.signals.folds import document_folds

FloatArray = npt.NDArray[np.float64]
Predict = Callable[[FloatArray], FloatArray]
HeadName = Literal["ridge", "logistic"]

_ROWS_AT_ONCE = 65_536  # bounds the memory of float64 copies
_MAX_ITERATIONS = 1_000


@dataclass(frozen=True)
class Distilled:
    """Predicted scores and how far to trust them.

    Attributes:
        scores: shape (n,), in the order of the embeddings. A labelled document is predicted by the
            head that did not see its label, so that all values mean the same.
        held_out_spearman: rank correlation of labels and those predictions over all labelled
            documents, in [-1, 1]; None where the predictions of all are equal.
        fold_spearmans: the same within each fold; None where ranks are not defined.
        n_labelled: labelled documents.
    """

    scores: FloatArray
    held_out_spearman: float | None
    fold_spearmans: tuple[float | None, ...]
    n_labelled: int


def labelled_sample(
    document_ids: Sequence[str], n_labelled: int, *, seed: int
) -> npt.NDArray[np.int64]:
    """Return positions of the documents to label, ascending, shape (min(n_labelled, n),).

    Those with the smallest blake2b of seed and id: a uniform sample that does not depend on order,
    and of which most stays when documents come and go, so that few new labels are needed.

    Raises:
        InputError: `n_labelled` is below 1.
    """
    if n_labelled < 1:
        raise InputError(f"n_labelled must be >= 1 documents, got {n_labelled!r}")
    draws = [
        (hashlib.blake2b(f"label\x1f{seed}\x1f{each}".encode(), digest_size=16).digest(), position)
        for position, each in enumerate(document_ids)
    ]
    chosen = sorted(position for _, position in sorted(draws)[:n_labelled])
    return np.array(chosen, dtype=np.int64)


def distil(
    document_ids: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    *,
    labelled: npt.NDArray[np.int64],
    labels: FloatArray,
    head: HeadName,
    penalty: float,
    folds: int,
    progress: ProgressReport = silent,
) -> Distilled:
    """Return the score of every document, learnt from some, and its held-out rank correlation.

    Args:
        document_ids: n ids; the fold of a labelled document depends on its id alone.
        embeddings: shape (n, d), finite.
        labelled: distinct positions of the labelled documents, shape (m,).
        labels: their scores in [0, 1], shape (m,), not all equal.
        head: 'ridge' or 'logistic', see the module.
        penalty: weight of |w|^2 / 2 (logistic) or |w|^2 (ridge) against the sum of losses, > 0.
        folds: of the cross-validation, >= 2; each needs two labelled documents outside of it.
        progress: told the number of documents predicted.

    Raises:
        InputError: an argument is outside its domain.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(document_ids, embeddings, labelled, labels)
    if head not in HEADS:
        raise InputError(f"head must be one of {sorted(HEADS)}, got {head!r}")
    if not 0 < penalty < math.inf:
        raise InputError(f"penalty must be > 0 and finite, got {penalty!r}")
    if folds < 2:
        raise InputError(f"folds must be >= 2, got {folds!r}")
    fold_of = document_folds([document_ids[position] for position in labelled], folds)
    for fold in range(folds):
        outside = int((fold_of != fold).sum())
        if outside < 2:
            raise InputError(
                f"{len(labelled)} labelled documents are too few for {folds} folds: "
                f"{outside} remain without fold {fold}; label more"
            )
    vectors = embeddings[labelled].astype(np.float64)
    unseen = np.empty(len(labels))
    scores = np.empty(len(embeddings))
    with single_threaded_blas():
        for fold in np.unique(fold_of).tolist():
            inside = fold_of == fold
            predict = HEADS[head](vectors[~inside], labels[~inside], penalty)
            unseen[inside] = predict(vectors[inside])
        predict = HEADS[head](vectors, labels, penalty)
        for first in range(0, len(embeddings), _ROWS_AT_ONCE):
            rows = embeddings[first : first + _ROWS_AT_ONCE].astype(np.float64)
            scores[first : first + len(rows)] = predict(rows)
            progress(len(rows))
    scores[labelled] = unseen
    return Distilled(
        scores=scores,
        held_out_spearman=spearman(labels, unseen),
        fold_spearmans=tuple(
            spearman(labels[fold_of == fold], unseen[fold_of == fold]) for fold in range(folds)
        ),
        n_labelled=len(labelled),
    )


def spearman(left: FloatArray, right: FloatArray) -> float | None:
    """Return the rank correlation of two vectors, ties at their mean rank; None if undefined.

    It is undefined below two values, and where all of one side are equal.

    Raises:
        InputError: the vectors differ in length, or a value is NaN.
    """
    if left.shape != right.shape or left.ndim != 1:
        raise InputError(f"expected two vectors of one length, got {left.shape} and {right.shape}")
    if np.isnan(left).any() or np.isnan(right).any():
        raise InputError("ranks need numbers, got NaN")
    if len(left) < 2:
        return None
    first, second = _mean_ranks(left), _mean_ranks(right)
    first -= first.mean()
    second -= second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    if scale == 0:
        return None
    return max(-1.0, min(1.0, float(first @ second) / scale))  # rounding may leave [-1, 1]


def _mean_ranks(values: FloatArray) -> FloatArray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_rank = counts.cumsum()
    ranks: FloatArray = (last_rank - (counts - 1) / 2)[place]
    return ranks


def _fit_ridge(vectors: FloatArray, labels: FloatArray, penalty: float) -> Predict:
    try:
        from sklearn.linear_model import Ridge
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "distilled scores") from error
    fitted = Ridge(alpha=penalty, solver="cholesky").fit(vectors, labels)
    return lambda rows: np.asarray(fitted.predict(rows), dtype=np.float64)


def _fit_logistic(vectors: FloatArray, labels: FloatArray, penalty: float) -> Predict:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "distilled scores") from error
    fitted = LogisticRegression(C=1.0 / penalty, max_iter=_MAX_ITERATIONS).fit(
        np.concatenate([vectors, vectors]),
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([labels, 1.0 - labels]),
    )
    return lambda rows: np.asarray(fitted.predict_proba(rows)[:, 1], dtype=np.float64)


HEADS: dict[str, Callable[[FloatArray, FloatArray, float], Predict]] = {
    "ridge": _fit_ridge,
    "logistic": _fit_logistic,
}


def _check(
    document_ids: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    labelled: npt.NDArray[np.int64],
    labels: FloatArray,
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(document_ids):
        raise InputError(
            f"embeddings must have one row for each of {len(document_ids):,} documents, "
            f"got shape {embeddings.shape}"
        )
    if not np.isfinite(embeddings).all():
        raise InputError("embeddings must be finite")
    if labelled.ndim != 1 or labelled.shape != labels.shape:
        raise InputError(
            f"expected one label for each labelled document, got shapes {labels.shape} and "
            f"{labelled.shape}"
        )
    if len(np.unique(labelled)) != len(labelled):
        raise InputError("labelled must hold distinct positions; one is there twice")
    if len(labelled) and not (labelled.min() >= 0 and labelled.max() < len(embeddings)):
        raise InputError(
            f"labelled must hold positions in [0, {len(embeddings)}), "
            f"got {labelled.min()} to {labelled.max()}"
        )
    wrong = labels[~((labels >= 0) & (labels <= 1))]  # this way round so that NaN is wrong too
    if len(wrong):
        raise InputError(f"labels must be in [0, 1], got {wrong[0]!r}; leave failures out")
    if len(labels) == 0 or labels.min() == labels.max():
        raise InputError(f"labels must differ to be learnt, got {len(labels)} with the same value")
