"""An out-of-fold softmax-regression probe on embeddings: class posteriors of unseen documents."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from databourse.errors import MissingExtraError
from databourse.neighbours.threads import single_threaded_blas
from databourse.progress import ProgressReport
from databourse.signals.labels import NO_LABEL

_MAX_ITERATIONS = 1000

Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def entropy(posteriors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -sum_c p_c ln p_c of each row, in nats, in [0, ln n_classes]."""
    logarithms = np.log(posteriors, out=np.zeros_like(posteriors), where=posteriors > 0)
    entropies: NDArray[np.float64] = -(posteriors * logarithms).sum(axis=1) + 0.0
    return entropies


def margin(posteriors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - (p_first - p_second) of each row, in [0, 1]."""
    top = np.partition(posteriors, -2, axis=1)[:, -2:]
    return 1.0 - (top[:, 1] - top[:, 0])


def least_confidence(posteriors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - p_first of each row, in [0, 1 - 1 / n_classes]."""
    highest: NDArray[np.float64] = posteriors.max(axis=1)
    return 1.0 - highest


MEASURES: dict[str, Measure] = {
    "entropy": entropy,
    "margin": margin,
    "least_confidence": least_confidence,
}


def probe_fingerprint() -> str:
    """Return the identity of the probe: its kind and the library that fits it.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        version = metadata.version("scikit-learn")
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "the probe on embeddings") from error
    return f"softmax-regression-probe; scikit-learn {version}"


def can_train(codes: NDArray[np.int64], folds: NDArray[np.int64], n_folds: int) -> bool:
    """Tell whether a probe can be trained without any one fold: two classes must remain each time.

    Args:
        codes: class of each document, -1 for none.
        folds: fold of each document, 0 to n_folds - 1.
        n_folds: number of folds.
    """
    return all(
        len(np.unique(codes[(folds != fold) & (codes != NO_LABEL)])) >= 2 for fold in range(n_folds)
    )


def out_of_fold(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    measure: Measure,
    inverse_penalty: float,
    progress: ProgressReport,
) -> NDArray[np.float64]:
    """Return the measure of each document's posterior under a probe that never saw its fold.

    Documents without a class are measured like the others and train nothing. A class with all its
    members in one fold is unknown to the probe of that fold.

    Args:
        vectors: shape (n, d).
        codes: class of each document, -1 for none; `can_train` must hold.
        folds: fold of each document.
        measure: posteriors, shape (m, n_classes), to values, shape (m,).
        inverse_penalty: C of the L2-penalised softmax regression, > 0.
        progress: told the number of documents done.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "the uncertainty probe") from error
    values = np.empty(len(vectors), dtype=np.float64)
    with single_threaded_blas():
        for fold in np.unique(folds).tolist():
            training = np.flatnonzero((folds != fold) & (codes != NO_LABEL))
            probe = LogisticRegression(C=inverse_penalty, max_iter=_MAX_ITERATIONS)
            # float64: the stopping test of float32 depends on rounding
            probe.fit(vectors[training].astype(np.float64), codes[training])
            members = np.flatnonzero(folds == fold)
            posteriors = probe.predict_proba(vectors[members].astype(np.float64))
            values[members] = measure(np.asarray(posteriors, dtype=np.float64))
            progress(len(members))
    return values
