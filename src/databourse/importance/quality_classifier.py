"""A linear classifier of target texts against documents of the pool, on n-grams or on embeddings.

Notation: x = features of a text, y = +1 for a target text and -1 for a document of the pool,
v = weight of a text, so that either class weighs 1/2, lambda = penalty, s^2 = sum v |x|^2.

    minimise over w, b:  sum v ln(1 + exp(-y (w.x + b)))  +  (lambda / 2) s^2 |w|^2

The value of a document is w.x + b, the log-odds that it is a target text if both kinds were as
frequent: an estimate of ln p(x) / q(x), like DSIR's. Features of n-grams are counts over their sum.

Source: the fastText classifier of DCLM (Li et al. 2024, arXiv 2406.11794): uni- and bigrams,
positives that resemble the tasks, documents drawn from the pool as negatives, the top kept. This is
our form of it, not fastText: fastText (Joulin et al. 2017) averages vectors of n-grams and
multiplies by two class vectors, so that for two classes its log-odds are linear in the mean too and
its dimension limits nothing; but it is fitted by a few epochs of SGD with no penalty, keeps a row
for each word and 2 million buckets for bigrams, and neither lower-cases nor cuts off punctuation.
The penalty in units of s^2, so that one number suits both kinds of features, the weights of the
classes and the cross-fitting are our choice.

Cross-fitting: a text is scored by the model of the folds that it is not in. Folds are by document
id, and a target text has the id of a document with the same text: so no document is scored by a
model that saw it, on either side. Where a fold leaves no target text or no document to learn from,
nothing is known and its log-odds are 0; many folds and few targets do that.

Caveat: negatives are documents nobody looked at, and some are as good as targets: the AUC cannot
reach 1 where the pool has what is wanted, and log-odds are of being a target, not of being good.
What marks the form of targets (questions, lists, a header) is learnt first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from databourse.digests import canonical_text, document_id
from databourse.errors import InputError, MissingExtraError
from databourse.importance.ngrams import (
    FloatArray,
    IntArray,
    NgramHashing,
    count_documents,
    import_sparse,
    ngram_counts,
    stacked,
    text_totals,
)
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import rounded
from databourse.progress import ProgressReport, silent
from databourse.signals.folds import document_folds

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BoolArray: TypeAlias = NDArray[np.bool_]

_BINS = 10
_MAX_ITERATIONS = 2_000
_LARGEST_SLOPE = 1e-6  # of the loss per unit of scaled coefficients, where the fit may stop
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierSettings:
    """How the classifier is fitted.

    Attributes:
        folds: >= 2.
        penalty: lambda, > 0.
        most_negatives: documents of the pool to learn from: those with the smallest hash of their
            id, >= 1.

    Raises:
        InputError: a number is outside its domain.
    """

    folds: int = 5
    penalty: float = 1e-4
    most_negatives: int = 100_000

    def __post_init__(self) -> None:
        if not (self.folds >= 2 and 0 < self.penalty < np.inf and self.most_negatives >= 1):
            raise InputError(
                "folds must be >= 2, penalty finite and > 0 and most_negatives >= 1, got "
                f"{self.folds}, {self.penalty} and {self.most_negatives}"
            )


@dataclass(frozen=True, eq=False, slots=True)
class LinearModel:
    """A linear score.

    Attributes:
        coefficients: w, shape (d,).
        intercept: b.
    """

    coefficients: FloatArray
    intercept: float

    def log_odds(self, features: csr_array | FloatArray) -> FloatArray:
        """Return w.x + b of each row, shape (n,)."""
        scores: FloatArray = features @ self.coefficients + self.intercept
        return scores


@dataclass(frozen=True, eq=False, slots=True)
class QualityScores:
    """Log-odds of every document, and how well they tell target texts from documents.

    Attributes:
        log_odds: shape (n,), nats, out of fold, to 6 decimals: the fit says no more.
        target_log_odds: of the target texts, shape (m,), likewise.
        auc: probability that a target text scores above a document, ties half, in [0, 1].
        log_loss: nats, either class weighing half; ln 2 = 0.69 knows nothing.
        calibration_error: mean distance of predicted probability and share of targets over 10 bins
            of probability, either class weighing half, in [0, 1].
        n_negatives: documents learnt from.
        n_unjudged: documents whose fold leaves nothing to learn from; their log-odds are 0.
    """

    log_odds: FloatArray
    target_log_odds: FloatArray
    auc: float
    log_loss: float
    calibration_error: float
    n_negatives: int
    n_unjudged: int


def quality_by_ngrams(
    document_ids: Sequence[str],
    texts: Callable[[], Iterator[Sequence[str]]],
    *,
    target_texts: Sequence[str],
    hashing: NgramHashing,
    settings: ClassifierSettings,
    progress: ProgressReport = silent,
) -> QualityScores:
    """Return the log-odds of documents by their n-grams; the pool is read twice, in batches.

    Args:
        document_ids: of the pool.
        texts: gives its texts anew at each call, in batches of any size, in order.
        target_texts: the positives.
        hashing: which n-grams, and into which buckets.
        settings: how the classifier is fitted.
        progress: told the number of documents done.

    Raises:
        InputError: there is another number of texts, or the fit does not settle.
        MissingExtraError: scipy is not installed.
    """
    n_documents = len(document_ids)
    chosen = negatives(document_ids, settings.most_negatives)
    rows, start = [], 0
    for counts in count_documents(texts(), n_documents, hashing):
        stop = start + counts.shape[0]
        wanted = chosen[(chosen >= start) & (chosen < stop)] - start
        rows.append(mean_features(counts[wanted]))
        start = stop
    folds = document_folds(document_ids, settings.folds)
    of_targets = mean_features(ngram_counts(target_texts, hashing))
    target_folds = folds_of_texts(target_texts, settings.folds)
    models = cross_fit(
        stacked(rows, hashing.buckets),
        of_targets,
        negative_folds=folds[chosen],
        positive_folds=target_folds,
        settings=settings,
    )
    log_odds = np.empty(n_documents)
    start = 0
    for counts in count_documents(texts(), n_documents, hashing):
        block = slice(start, start + counts.shape[0])
        log_odds[block] = out_of_fold(models, mean_features(counts), folds[block])
        start = block.stop
        progress(counts.shape[0])
    target_log_odds = out_of_fold(models, of_targets, target_folds)
    return _judged(log_odds, target_log_odds, n_negatives=len(chosen), models=models, folds=folds)


def quality_by_embeddings(
    document_ids: Sequence[str],
    vectors: NDArray[np.float32],
    *,
    target_texts: Sequence[str],
    target_vectors: NDArray[np.float32],
    settings: ClassifierSettings,
    progress: ProgressReport = silent,
) -> QualityScores:
    """Return the log-odds of documents by their embeddings.

    Args:
        document_ids: of the pool.
        vectors: shape (n, d).
        target_texts: the positives, which are in the fold of their text.
        target_vectors: shape (m, d).
        settings: how the classifier is fitted.
        progress: told the number of documents done.

    Raises:
        InputError: the fit does not settle.
        MissingExtraError: scipy is not installed.
    """
    chosen = negatives(document_ids, settings.most_negatives)
    folds = document_folds(document_ids, settings.folds)
    of_targets = target_vectors.astype(np.float64)
    target_folds = folds_of_texts(target_texts, settings.folds)
    models = cross_fit(
        vectors[chosen].astype(np.float64),
        of_targets,
        negative_folds=folds[chosen],
        positive_folds=target_folds,
        settings=settings,
    )
    log_odds = np.empty(len(vectors))
    with single_threaded_blas():
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            rows = vectors[block].astype(np.float64)
            log_odds[block] = out_of_fold(models, rows, folds[block])
            progress(len(rows))
        target_log_odds = out_of_fold(models, of_targets, target_folds)
    return _judged(log_odds, target_log_odds, n_negatives=len(chosen), models=models, folds=folds)


def negatives(document_ids: Sequence[str], most: int) -> IntArray:
    """Return positions of the documents to learn from, ascending: a sample that ids alone decide.

    Args:
        document_ids: of the pool.
        most: how many at most.
    """
    if len(document_ids) <= most:
        return np.arange(len(document_ids), dtype=np.int64)
    digests = [
        hashlib.blake2b(f"negative\x1f{each}".encode(), digest_size=8).digest()
        for each in document_ids
    ]
    smallest = sorted(range(len(digests)), key=digests.__getitem__)[:most]
    return np.array(sorted(smallest), dtype=np.int64)


def folds_of_texts(texts: Sequence[str], folds: int) -> IntArray:
    """Return the fold of each text: that of a document with the same text."""
    return document_folds([document_id(canonical_text(text)) for text in texts], folds)


def mean_features(counts: csr_array) -> csr_array:
    """Return counts over their sum in each row, float64; a row of zeros stays one."""
    totals = text_totals(counts)
    shares = counts.data / np.repeat(totals, np.diff(counts.indptr))
    return import_sparse().csr_array((shares, counts.indices, counts.indptr), shape=counts.shape)


def loss_and_slope(
    parameters: FloatArray,
    features: csr_array | FloatArray,
    *,
    signs: FloatArray,
    weights: FloatArray,
    penalty: float,
) -> tuple[float, FloatArray]:
    """Return sum v ln(1 + exp(-y (w.x + b))) + penalty |w|^2 / 2 and its gradient.

    Args:
        parameters: w and then b, shape (d + 1,).
        features: x, shape (n, d).
        signs: y, shape (n,), 1 or -1.
        weights: v, shape (n,), >= 0.
        penalty: >= 0.
    """
    coefficients = parameters[:-1]
    margins = signs * (features @ coefficients + parameters[-1])
    loss = weights @ np.logaddexp(0.0, -margins) + penalty * (coefficients @ coefficients) / 2
    # 1 / (1 + exp(m)) without overflow
    pull = -weights * signs * np.exp(-np.logaddexp(0.0, margins))
    slope = np.append(features.T @ pull + penalty * coefficients, pull.sum())
    return float(loss), slope


def fit(features: csr_array | FloatArray, is_positive: BoolArray, *, penalty: float) -> LinearModel:
    """Return the model that minimises the penalised loss, either class weighing half.

    Args:
        features: x, shape (n, d), float64.
        is_positive: shape (n,).
        penalty: lambda, > 0, in units of the mean squared length of features.

    Raises:
        InputError: one class is missing, or the search does not settle.
        MissingExtraError: scipy is not installed.
    """
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    if not (n_positive and n_negative):
        raise InputError(
            "both kinds are needed to learn from, target texts and documents of the pool; got "
            f"{n_positive:,} and {n_negative:,}"
        )
    try:
        import scipy.optimize
    except ImportError as error:
        raise MissingExtraError("scipy", "pipeline", "the quality classifier") from error
    weights = np.where(is_positive, 0.5 / n_positive, 0.5 / n_negative)
    used = _used_columns(features)  # the coefficient of any other is 0
    features_used = features[:, used]
    mean_square = float(weights @ _squares(features_used))
    # the same problem in features of mean square 1, so that one stopping rule suits all
    scale = 1 / np.sqrt(mean_square) if mean_square > 0 else 1.0
    scaled = features_used * scale
    signs = np.where(is_positive, 1.0, -1.0)
    found = scipy.optimize.minimize(
        lambda parameters: loss_and_slope(
            parameters, scaled, signs=signs, weights=weights, penalty=penalty
        ),
        np.zeros(len(used) + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "gtol": _LARGEST_SLOPE, "ftol": 0.0},
    )
    if not np.abs(found.jac).max() <= 10 * _LARGEST_SLOPE:  # rounding may end the search before
        raise InputError(
            f"the classifier did not settle in {found.nit:,} steps ({found.message}); raise "
            f"penalty, now {penalty!r}"
        )
    coefficients = np.zeros(features.shape[1])
    coefficients[used] = found.x[:-1] * scale
    return LinearModel(coefficients, float(found.x[-1]))


def cross_fit(
    of_negatives: csr_array | FloatArray,
    of_positives: csr_array | FloatArray,
    *,
    negative_folds: IntArray,
    positive_folds: IntArray,
    settings: ClassifierSettings,
) -> tuple[LinearModel | None, ...]:
    """Return one model per fold, fitted without that fold; None where that leaves one kind only.

    Args:
        of_negatives: features, shape (n, d).
        of_positives: features, shape (m, d).
        negative_folds: shape (n,), 0 to folds - 1.
        positive_folds: shape (m,).
        settings: how the classifier is fitted.

    Raises:
        InputError: a fit does not settle.
        MissingExtraError: scipy is not installed.
    """
    if isinstance(of_negatives, np.ndarray):
        features = np.concatenate([of_negatives, of_positives])
    else:
        features = import_sparse().vstack([of_negatives, of_positives], format="csr")
    folds = np.concatenate([negative_folds, positive_folds])
    is_positive = np.arange(len(folds)) >= len(negative_folds)
    models: list[LinearModel | None] = []
    with single_threaded_blas():
        for fold in range(settings.folds):
            kept = np.flatnonzero(folds != fold)
            if is_positive[kept].any() and not is_positive[kept].all():
                models.append(fit(features[kept], is_positive[kept], penalty=settings.penalty))
            else:
                models.append(None)
    return tuple(models)


def out_of_fold(
    models: Sequence[LinearModel | None], features: csr_array | FloatArray, folds: IntArray
) -> FloatArray:
    """Return the log-odds of each row by the model that was fitted without its fold, shape (n,).

    Args:
        models: one per fold; without one, log-odds are 0.
        features: shape (n, d).
        folds: shape (n,).
    """
    log_odds = np.zeros(len(folds))
    for fold, model in enumerate(models):
        members = np.flatnonzero(folds == fold)
        if model is not None and members.size:
            log_odds[members] = model.log_odds(features[members])
    return log_odds


def area_under_curve(positives: FloatArray, negatives_: FloatArray) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    Args:
        positives: scores, at least one.
        negatives_: scores, at least one.
    """
    below = np.sort(negatives_)
    wins = np.searchsorted(below, positives, side="left")
    ties = np.searchsorted(below, positives, side="right") - wins
    return float((wins + ties / 2).mean() / len(below))


def calibration_error(positives: FloatArray, negatives_: FloatArray) -> float:
    """Return how far predicted probabilities are from shares, over bins, either class half.

    Args:
        positives: log-odds, at least one.
        negatives_: log-odds, at least one.

    Returns:
        sum over 10 equal bins of probability of |weighted sum of (probability - truth)|, in [0, 1].
    """
    log_odds = np.concatenate([positives, negatives_])
    truth = np.arange(len(log_odds)) < len(positives)
    weights = np.where(truth, 0.5 / len(positives), 0.5 / len(negatives_))
    probability = np.exp(-np.logaddexp(0.0, -log_odds))
    bins = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=weights * (probability - truth), minlength=_BINS)
    return float(np.abs(gaps).sum())


def _used_columns(features: csr_array | FloatArray) -> IntArray:
    if isinstance(features, np.ndarray):
        return np.arange(features.shape[1])
    met = np.bincount(features.indices, minlength=features.shape[1])
    return np.flatnonzero(met).astype(np.int64)


def _squares(features: csr_array | FloatArray) -> FloatArray:
    if isinstance(features, np.ndarray):
        return np.asarray(np.einsum("ij,ij->i", features, features))
    return np.asarray((features * features).sum(axis=1))


def _judged(
    log_odds: FloatArray,
    target_log_odds: FloatArray,
    *,
    n_negatives: int,
    models: Sequence[LinearModel | None],
    folds: IntArray,
) -> QualityScores:
    pool, targets = rounded(log_odds), rounded(target_log_odds)
    losses = np.logaddexp(0.0, -targets).mean(), np.logaddexp(0.0, pool).mean()
    lacking = [fold for fold, model in enumerate(models) if model is None]
    return QualityScores(
        log_odds=pool,
        target_log_odds=targets,
        auc=area_under_curve(targets, pool),
        log_loss=float(sum(losses) / 2),
        calibration_error=calibration_error(targets, pool),
        n_negatives=n_negatives,
        n_unjudged=int(np.isin(folds, lacking).sum()),
    )
