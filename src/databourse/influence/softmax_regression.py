"""Softmax regression on frozen embeddings, fitted to its optimum: the proxy of a labelled pool.

Notation: x_i = (embedding of document i, 1), d + 1 numbers; y_i its class of C, w_i its weight;
theta = one row of d + 1 coefficients per class, the last of them the intercept; p_i = softmax of
theta x_i.

    J(theta) = - sum_i w_i ln p_i[y_i] + l2 / 2 |theta|^2
    gradient = sum_i w_i (p_i - onehot(y_i)) x_i^T + l2 theta                    (C x (d + 1))
    Hessian  = sum_i w_i (diag p_i - p_i p_i^T) kron x_i x_i^T + l2 I

The loss is a sum over documents, so that weight 0 is a document left out, 2 one that is there
twice, and a subset is fitted by weights alone. In scikit-learn's terms l2 is 1 / C, except that
here the intercept is penalised like every other coefficient: then the Hessian is at least l2 I. The
same vector added to the rows of all classes changes no p_i, so of all equal theta the penalty picks
the one whose rows sum to 0. The fit therefore moves in C - 1 orthonormal contrasts of the classes,
theta = Q beta with Q^T Q = I and 1^T Q = 0, which have all that a gradient of the loss can reach:
C = 2 is a single logistic regression, whose slopes are sqrt(2) beta and whose ridge is l2 / 2.

Fit: Newton steps by conjugate gradients, preconditioned by mean_i (diag p_i - p_i p_i^T) kron
sum_i w_i x_i x_i^T + l2 I in its eigenbasis, with backtracking, until the gradient is at the level
of rounding: the coefficients are then within |gradient| / l2 of the optimum wherever the fit
started. The method is standard; the numbers and the preconditioner are our choices.

Cost: n d^2 once, and about 20 n d C per conjugate-gradient step, some tens of which are taken; 16
bytes per document and dimension. BLAS is held at one thread, so results are the same bits for any
number of threads; sums run in the order of the rows (give them in order of document_id).

The probe of `databourse.signals.probe` is the same model in scikit-learn, stopped at a looser
slope; influence needs the optimum itself, weights and the Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg  # before threads are limited: it brings its own BLAS
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours.threads import single_threaded_blas
from databourse.signals.labels import NO_LABEL

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MAX_NEWTON_STEPS = 200
_MAX_HALVINGS = 60
_MAX_GRADIENT_STEPS = 5_000
_SUFFICIENT_DECREASE = 1e-4  # Armijo's constant, the usual one
# A sum of n float64 terms is known to about 1e-16 of the sum of their sizes.
_GRADIENT_TOLERANCE = 1e-13
_VALUE_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """A fitted proxy.

    Attributes:
        coefficients: theta, shape (n_classes, d + 1); the last column is the intercept.
        class_weights: weight of the training documents of each class, shape (n_classes,); 0 for a
            class that the proxy knows nothing of.
        l2: penalty of the fit.
    """

    coefficients: FloatArray
    class_weights: FloatArray
    l2: float

    @property
    def n_classes(self) -> int:
        """Return C."""
        return int(self.coefficients.shape[0])

    @property
    def dimension(self) -> int:
        """Return d, the length of an embedding."""
        return int(self.coefficients.shape[1]) - 1


@dataclass(frozen=True, eq=False)
class Curvature:
    """The Hessian of the training objective in contrasts, as products with it.

    Attributes:
        rows: x, shape (n, d + 1).
        posteriors: p, shape (n, n_classes).
        weights: w, shape (n,).
        basis: Q, shape (n_classes, n_classes - 1).
        l2: penalty.
    """

    rows: FloatArray
    posteriors: FloatArray
    weights: FloatArray
    basis: FloatArray
    l2: float


class GramEigenbasis(NamedTuple):
    """Eigenvalues, shape (d + 1,), and eigenvectors, as columns, of sum_i w_i x_i x_i^T."""

    values: FloatArray
    vectors: FloatArray


def fit_proxy(
    embeddings: NDArray[np.float32],
    label_index: IntArray,
    *,
    n_classes: int,
    l2: float,
    weights: FloatArray | None = None,
    start: FloatArray | None = None,
) -> SoftmaxRegression:
    """Return the softmax regression at its optimum.

    Args:
        embeddings: shape (n, d), finite; unit rows in this package, though any will do.
        label_index: class of each document, in [0, n_classes), or -1 for none: such documents train
            nothing. A class may have no document.
        n_classes: C, >= 2.
        l2: penalty on the sum of losses, > 0.
        weights: shape (n,), >= 0; None is 1 for each.
        start: coefficients to start from, shape (n_classes, d + 1); None is 0. They change the time
            it takes, not the optimum.

    Raises:
        InputError: an argument is outside its domain, no labelled document has a weight, or l2 is
            so small for these embeddings that arithmetic does not reach the optimum.
    """
    if n_classes < 2:
        raise InputError(f"a proxy needs at least two classes to tell apart, got {n_classes}")
    if not 0 < l2 < np.inf:
        raise InputError(f"l2 must be a number > 0, got {l2!r}")
    check_labels(embeddings, label_index, n_classes=n_classes, lowest=NO_LABEL)
    weights = training_weights(label_index, weights)
    trains = np.flatnonzero(weights)  # the rest would only add zeros
    if not trains.size:
        raise InputError(
            f"none of {len(label_index):,} documents has a label and a weight above 0; "
            "a proxy has nothing to train on"
        )
    labels, weights = label_index[trains], weights[trains]
    shape = (n_classes, embeddings.shape[1] + 1)
    if start is not None and (start.shape != shape or not np.isfinite(start).all()):
        raise InputError(f"start must be finite of shape {shape}, got shape {start.shape}")
    basis = contrasts(n_classes)
    with single_threaded_blas():
        rows = with_intercept(embeddings[trains])
        beta = np.zeros((n_classes - 1, shape[1])) if start is None else basis.T @ start
        beta = _minimise(rows, labels, weights=weights, l2=l2, basis=basis, beta=beta)
        coefficients = basis @ beta
    class_weights = np.bincount(labels, weights=weights, minlength=n_classes).astype(np.float64)
    return SoftmaxRegression(coefficients, class_weights, l2)


def objective(
    coefficients: FloatArray,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    l2: float,
    weights: FloatArray | None = None,
) -> tuple[float, FloatArray]:
    """Return J at any coefficients, in nats, and its gradient, shape (n_classes, d + 1).

    Args:
        coefficients: theta, shape (n_classes, d + 1).
        embeddings: shape (n, d).
        label_index: class of each document, -1 for none.
        l2: penalty, >= 0.
        weights: shape (n,), >= 0; None is 1 for each.

    Raises:
        InputError: an argument is outside its domain.
    """
    n_classes = len(coefficients)
    check_labels(embeddings, label_index, n_classes=n_classes, lowest=NO_LABEL)
    weights = training_weights(label_index, weights)
    labels = np.where(label_index == NO_LABEL, 0, label_index)  # of weight 0
    with single_threaded_blas():
        rows = with_intercept(embeddings)
        log_p = log_posteriors(coefficients, rows)
        residuals = weights[:, np.newaxis] * residuals_of(np.exp(log_p), labels)
        gradient: FloatArray = residuals.T @ rows + l2 * coefficients
    return _value(log_p, labels, weights, l2=l2, coefficients=coefficients), gradient


def predict_log_proba(proxy: SoftmaxRegression, embeddings: NDArray[np.float32]) -> FloatArray:
    """Return ln p of each class, in nats, shape (n, n_classes); finite however sure the proxy is.

    Raises:
        InputError: embeddings are not finite of shape (n, d).
    """
    check_dimension(proxy, embeddings)
    with single_threaded_blas():
        return log_posteriors(proxy.coefficients, with_intercept(embeddings))


def losses(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], *, label_index: IntArray
) -> FloatArray:
    """Return - ln p of each document's own class, in nats, shape (n,).

    Raises:
        InputError: an embedding or a label is outside its domain.
    """
    return -_own(_labelled_log_p(proxy, embeddings, label_index), label_index)


def mean_loss(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], *, label_index: IntArray
) -> float:
    """Return the mean of `losses`, in nats per document.

    Raises:
        InputError: as `losses`, or there is no document.
    """
    _check_any(label_index)
    return float(losses(proxy, embeddings, label_index=label_index).mean())


def margins(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], *, label_index: IntArray
) -> FloatArray:
    """Return ln(p / (1 - p)) with p of each document's own class, shape (n,).

    Computed as the log posterior of the class minus the logsumexp of those of all others, so that
    it is exact where p rounds to 0 or 1.

    Raises:
        InputError: an embedding or a label is outside its domain.
    """
    log_p = _labelled_log_p(proxy, embeddings, label_index)
    own = _own(log_p, label_index)
    log_p[np.arange(len(log_p)), label_index] = -np.inf
    highest = log_p.max(axis=1)
    others = highest + np.log(np.exp(log_p - highest[:, np.newaxis]).sum(axis=1))
    found: FloatArray = own - others
    return found


def accuracy(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], *, label_index: IntArray
) -> float:
    """Return the share of documents whose most probable class is their own; ties to the lowest.

    Raises:
        InputError: an embedding or a label is outside its domain, or there is no document.
    """
    _check_any(label_index)
    log_p = _labelled_log_p(proxy, embeddings, label_index)
    return float((log_p.argmax(axis=1) == label_index).mean())


def macro_f1(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], *, label_index: IntArray
) -> float:
    """Return the mean over classes of F1 = 2 hits / (members + predicted), in [0, 1].

    Classes that no document has and none is predicted to have are left out.

    Raises:
        InputError: an embedding or a label is outside its domain, or there is no document.
    """
    _check_any(label_index)
    predicted = _labelled_log_p(proxy, embeddings, label_index).argmax(axis=1)
    return macro_f1_of(predicted, label_index, n_classes=proxy.n_classes)


def macro_f1_of(predicted: IntArray, label_index: IntArray, *, n_classes: int) -> float:
    """Return the mean over classes of F1 of what was predicted, as `macro_f1` does.

    Args:
        predicted: class of each of n documents, in [0, n_classes).
        label_index: the class that each has.
        n_classes: C.
    """
    hits = np.bincount(label_index[predicted == label_index], minlength=n_classes)
    either = np.bincount(label_index, minlength=n_classes)
    either = either + np.bincount(predicted, minlength=n_classes)
    return float((2 * hits[either > 0] / either[either > 0]).mean())


def contrasts(n_classes: int) -> FloatArray:
    """Return Q, shape (n_classes, n_classes - 1): orthonormal columns that each sum to 0 (Helmert).

    Column k has 1 for the first k + 1 classes and -(k + 1) for the next, scaled to norm 1.
    """
    basis = np.zeros((n_classes, n_classes - 1))
    for column in range(n_classes - 1):
        size = column + 1
        basis[:size, column] = 1.0
        basis[size, column] = -size
        basis[:, column] /= np.sqrt(size * (size + 1))
    return basis


def with_intercept(embeddings: NDArray[np.float32]) -> FloatArray:
    """Return x in float64: the embeddings and a last column of ones, shape (n, d + 1)."""
    rows = np.ones((len(embeddings), embeddings.shape[1] + 1))
    rows[:, :-1] = embeddings
    return rows


def log_posteriors(coefficients: FloatArray, rows: FloatArray) -> FloatArray:
    """Return ln p of each class for rows of `with_intercept`, shape (n, n_classes)."""
    return _log_softmax(rows @ coefficients.T)


def residuals_of(posteriors: FloatArray, labels: IntArray) -> FloatArray:
    """Return p - onehot(y), the slope of each document's loss by its logits, shape (n, C)."""
    residuals = posteriors.copy()
    residuals[np.arange(len(labels)), labels] -= 1.0
    return residuals


def training_weights(label_index: IntArray, weights: FloatArray | None) -> FloatArray:
    """Return the weight with which each document trains, shape (n,): 0 where it has no label.

    Raises:
        InputError: weights are not finite numbers >= 0, one per document.
    """
    if weights is None:
        weights = np.ones(len(label_index))
    if weights.shape != label_index.shape:
        raise InputError(
            f"weights must be one per document, {label_index.shape}, got shape {weights.shape}"
        )
    wrong = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
    if wrong.size:
        raise InputError(
            f"weights must be finite and >= 0, got {weights[wrong[0]]!r} at row {wrong[0]}"
        )
    return np.where(label_index == NO_LABEL, 0.0, weights)


def check_labels(
    embeddings: NDArray[np.float32], label_index: IntArray, *, n_classes: int, lowest: int
) -> None:
    """Pass if each embedding is finite and has a class.

    Args:
        embeddings: shape (n, d).
        label_index: shape (n,), in [lowest, n_classes).
        n_classes: C.
        lowest: 0, or -1 where documents without a label are welcome.

    Raises:
        InputError: it is not so; names the first row.
    """
    _check_embeddings(embeddings)
    if label_index.shape != (len(embeddings),) or not np.issubdtype(label_index.dtype, np.integer):
        raise InputError(
            f"label_index must be one whole number per document, ({len(embeddings)},), got "
            f"{label_index.dtype} of shape {label_index.shape}"
        )
    wrong = np.flatnonzero((label_index < lowest) | (label_index >= n_classes))
    if wrong.size:
        raise InputError(
            f"label_index must be in [{lowest}, {n_classes}), got {label_index[wrong[0]]} at row "
            f"{wrong[0]}"
        )


def check_dimension(proxy: SoftmaxRegression, embeddings: NDArray[np.float32]) -> None:
    """Pass if embeddings are finite and as long as those that a proxy was fitted on.

    Raises:
        InputError: they are not.
    """
    _check_embeddings(embeddings)
    if embeddings.shape[1] != proxy.dimension:
        raise InputError(
            f"embeddings must have the {proxy.dimension} dimensions that the proxy was fitted on, "
            f"got {embeddings.shape[1]}; use one encoder for both"
        )


def curvature_at(
    coefficients: FloatArray,
    embeddings: NDArray[np.float32],
    *,
    weights: FloatArray,
    l2: float,
) -> Curvature:
    """Return the curvature of J at some coefficients; rows of weight 0 are left out.

    The Hessian of softmax regression does not depend on the labels. The caller holds
    `single_threaded_blas`, which takes milliseconds to enter, here and in what follows.

    Args:
        coefficients: theta, shape (n_classes, d + 1).
        embeddings: shape (n, d).
        weights: as of `training_weights`, shape (n,).
        l2: penalty, > 0.
    """
    trains = np.flatnonzero(weights)
    rows = with_intercept(embeddings[trains])
    posteriors = np.exp(log_posteriors(coefficients, rows))
    return Curvature(rows, posteriors, weights[trains], contrasts(len(coefficients)), l2)


def gram_eigenbasis(rows: FloatArray, weights: FloatArray) -> GramEigenbasis:
    """Return what preconditions `solve_by_conjugate_gradients`, of rows of shape (n, d + 1)."""
    scaled = rows * np.sqrt(weights)[:, np.newaxis]
    values, vectors = scipy.linalg.eigh(scaled.T @ scaled, overwrite_a=True)
    return GramEigenbasis(np.maximum(values, 0.0), vectors)  # below 0 only by rounding


def curvature_product(curvature: Curvature, direction: FloatArray) -> FloatArray:
    """Return H V for V of shape (n_classes - 1, d + 1), in contrasts."""
    slopes = (curvature.rows @ direction.T) @ curvature.basis.T
    # (diag p - p p^T) s = p * (s - p^T s), without a C x C matrix per document
    centres = (curvature.posteriors * slopes).sum(axis=1, keepdims=True)
    pulls = curvature.posteriors * (slopes - centres) * curvature.weights[:, np.newaxis]
    product: FloatArray = (pulls @ curvature.basis).T @ curvature.rows
    return product + curvature.l2 * direction


def solve_by_conjugate_gradients(
    curvature: Curvature, gradient: FloatArray, *, gram: GramEigenbasis, tolerance: float
) -> FloatArray:
    """Return H^-1 G for G of shape (n_classes - 1, d + 1), to |G - H solution| <= tolerance |G|.

    Args:
        curvature: H.
        gradient: G.
        gram: eigenbasis of the rows and weights of H.
        tolerance: > 0.

    Raises:
        InputError: rounding keeps it from getting there: l2 is too small for these embeddings.
    """
    class_values, class_vectors = np.linalg.eigh(_mean_class_curvature(curvature))
    inverse = 1.0 / (np.maximum(class_values, 0.0)[:, np.newaxis] * gram.values + curvature.l2)

    def precondition(residual: FloatArray) -> FloatArray:
        inner = class_vectors.T @ residual @ gram.vectors
        outer: FloatArray = class_vectors @ (inner * inverse) @ gram.vectors.T
        return outer

    solution = np.zeros_like(gradient)
    residual = gradient.copy()
    goal = tolerance * _norm(gradient)
    preconditioned = precondition(residual)
    direction = preconditioned
    slope = float((residual * preconditioned).sum())
    for _ in range(_MAX_GRADIENT_STEPS):
        if _norm(residual) <= goal:
            return solution
        product = curvature_product(curvature, direction)
        step = slope / float((direction * product).sum())
        solution = solution + step * direction
        residual = residual - step * product
        preconditioned = precondition(residual)
        slope, before = float((residual * preconditioned).sum()), slope
        direction = preconditioned + (slope / before) * direction
    raise InputError(
        f"conjugate gradients did not reach {tolerance} in {_MAX_GRADIENT_STEPS:,} steps with l2 = "
        f"{curvature.l2!r}; raise l2 or scale the embeddings"
    )


def _minimise(
    rows: FloatArray,
    labels: IntArray,
    *,
    weights: FloatArray,
    l2: float,
    basis: FloatArray,
    beta: FloatArray,
) -> FloatArray:
    """Return the beta, shape (n_classes - 1, d + 1), at which the gradient is rounding."""
    gram = gram_eigenbasis(rows, weights)
    scale = float((weights * np.sqrt((rows * rows).sum(axis=1))).sum())

    def at(beta: FloatArray) -> tuple[float, FloatArray]:
        log_p = _log_softmax((rows @ beta.T) @ basis.T)
        return _value(log_p, labels, weights, l2=l2, coefficients=beta), log_p

    value, log_p = at(beta)
    for _ in range(_MAX_NEWTON_STEPS):
        posteriors = np.exp(log_p)
        residuals = weights[:, np.newaxis] * (residuals_of(posteriors, labels) @ basis)
        gradient = residuals.T @ rows + l2 * beta
        relative = _norm(gradient) / (scale + l2 * _norm(beta))
        if relative <= _GRADIENT_TOLERANCE:
            return beta
        curvature = Curvature(rows, posteriors, weights, basis, l2)
        # solved the better the nearer the optimum is: faster than linear, little waste far away
        forcing = min(0.1, float(np.sqrt(relative)))
        step = -solve_by_conjugate_gradients(curvature, gradient, gram=gram, tolerance=forcing)
        slope = float((gradient * step).sum())
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            trial, trial_log_p = at(beta + length * step)
            allowed = value + _SUFFICIENT_DECREASE * length * slope
            if trial <= allowed + _VALUE_ROUNDING * abs(value):
                break
            length /= 2
        beta = beta + length * step
        value, log_p = trial, trial_log_p
    raise InputError(
        f"the proxy did not reach its optimum in {_MAX_NEWTON_STEPS} Newton steps with l2 = {l2!r} "
        f"on {len(rows):,} documents; raise l2 or scale the embeddings"
    )


def _value(
    log_p: FloatArray,
    labels: IntArray,
    weights: FloatArray,
    *,
    l2: float,
    coefficients: FloatArray,
) -> float:
    loss = -float((weights * _own(log_p, labels)).sum())
    return loss + l2 / 2 * float((coefficients * coefficients).sum())


def _mean_class_curvature(curvature: Curvature) -> FloatArray:
    """Return the weighted mean over documents of Q^T (diag p - p p^T) Q."""
    p, weights = curvature.posteriors, curvature.weights
    total = weights.sum()
    mean = np.diag(weights @ p) - p.T @ (weights[:, np.newaxis] * p)
    reduced: FloatArray = curvature.basis.T @ (mean / total) @ curvature.basis
    return reduced


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)  # cancels; it stops overflow
    log_p: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def _labelled_log_p(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], label_index: IntArray
) -> FloatArray:
    check_labels(embeddings, label_index, n_classes=proxy.n_classes, lowest=0)
    return predict_log_proba(proxy, embeddings)


def _own(log_p: FloatArray, labels: IntArray) -> FloatArray:
    return log_p[np.arange(len(labels)), labels]


def _norm(array: FloatArray) -> float:
    return float(np.sqrt((array * array).sum()))


def _check_any(label_index: IntArray) -> None:
    if not label_index.size:
        raise InputError("at least one labelled document is needed to evaluate a proxy, got none")


def _check_embeddings(embeddings: NDArray[np.float32]) -> None:
    if embeddings.ndim != 2:
        raise InputError(f"embeddings must have the shape (n, d), got {embeddings.shape}")
    finite = np.asarray(np.isfinite(embeddings).all(axis=1))
    if not finite.all():
        raise InputError(
            f"embeddings must be finite, row {np.flatnonzero(~finite)[0]} of {len(finite):,} is not"
        )
