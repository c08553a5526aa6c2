"""What each labelled document does to target loss, exactly, for the softmax-regression proxy.

Notation: that of `softmax_regression`; g_i = (p_i - onehot(y_i)) x_i^T, the gradient of the loss of
document i; v = the mean gradient of the loss of a set of targets; H = the Hessian of the training
objective, penalty included, at its optimum; U_i u = u x_i^T; S_i = diag p_i - p_i p_i^T.

    influence:      value_i = v^T H^-1 g_i
    leave one out:  value_i = v^T (H - w_i U_i S_i U_i^T)^-1 g_i
                            = (U_i^T H^-1 v)^T (I - w_i S_i K_i)^-1 (p_i - onehot(y_i)),
                    K_i = U_i^T H^-1 U_i   (C x C)
    self-influence: g_i^T H^-1 g_i, >= 0

Larger is better: the first order of what a unit of weight of the document takes off the targets'
mean loss, in nats per target document, by moving the optimum. The second is one Newton step on the
objective without the document, and the first order of the targets' loss in that; with two classes
it is the formula of Park et al. 2023 (TRAK, arXiv 2303.14186, section 3) before TRAK drops R and
the denominator, on the loss where they take the margin; the matrix form for more classes is ours.
Influence functions: Koh & Liang 2017 (arXiv 1703.04730). Values are linear in v, so one solve with
the mean over a set of targets gives the mean of the values over its members.

All runs in the C - 1 contrasts of the classes, which lose nothing (see `softmax_regression`). Up to
`CHOLESKY_LIMIT` = (C - 1) (d + 1) the Hessian is assembled and factorised in float64, beyond that
conjugate gradients solve with it to the same numbers up to 1e-10; our choice. Cost: n d^2 C^2 to
assemble and again for leave one out and self-influence, (C d)^3 / 3 to factorise, n d C per set of
targets. BLAS is held at one thread: the same bits for any number of threads.

A value is per document; a budget counts tokens, and dividing by them is the caller's. A document
whose label is unknown has no gradient: its value is NaN, for `unjudged.with_mean_for_unjudged`.

Caveat: a first-order effect at the optimum of the whole pool does not see redundancy in what is
bought. Of 10,000 news items with 20 % wrong labels, valued for 2,000 clean ones, leaving out the
worst 20 % took the loss on 5,600 others from 0.51 to 0.38, yet the best 20 % alone gave 0.57 where
a random 20 % gave 0.51 (sd 0.006), although sums of values rank random halves as refitting does
(LDS 0.97): sell by these values what is worst, and do not buy the top of the ranking alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.softmax_regression import (
    Curvature,
    FloatArray,
    IntArray,
    SoftmaxRegression,
    check_dimension,
    check_labels,
    contrasts,
    curvature_at,
    fit_proxy,
    gram_eigenbasis,
    log_posteriors,
    residuals_of,
    solve_by_conjugate_gradients,
    training_weights,
    with_intercept,
)
from databourse.neighbours.threads import single_threaded_blas
from databourse.signals.labels import NO_LABEL

CHOLESKY_LIMIT = 4_000
"""Rows of the largest Hessian that is factorised: 128 MB of float64, a second or two."""

Solver = Literal["auto", "cholesky", "conjugate_gradients"]
Targets = Sequence[tuple[NDArray[np.float32], IntArray]]

_SOLVER_TOLERANCE = 1e-12
_FOREIGN_PULL = 1e-8  # the fit leaves 1e-13
_BLOCK_DOCUMENTS = 4_096  # bounds the memory of what is per document and dimension


def influence_on(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    targets: Targets,
    weights: FloatArray | None = None,
    solver: Solver = "auto",
) -> FloatArray:
    """Return the influence of each training document on each set of targets, larger is better.

    Args:
        proxy: fitted on these documents with these weights.
        embeddings: of the documents, shape (n, d).
        label_index: class of each, -1 for none.
        targets: sets of (embeddings, label_index), none of them empty.
        weights: of the fit, shape (n,); a document of weight 0 is valued like any other.
        solver: `auto` takes Cholesky up to `CHOLESKY_LIMIT`.

    Returns:
        Shape (n, len(targets)), in nats per target document and unit of weight; NaN where there is
        no label, or one that the proxy was not trained on.

    Raises:
        InputError: an argument is outside its domain, a set is empty, or targets have a label that
            no training document has.
    """
    directions = target_directions(
        proxy,
        embeddings,
        label_index=label_index,
        targets=targets,
        weights=weights,
        solver=solver,
    )
    return values_along(proxy, embeddings, label_index=label_index, directions=directions)


def target_directions(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    targets: Targets,
    weights: FloatArray | None = None,
    solver: Solver = "auto",
) -> FloatArray:
    """Return H^-1 v of each set of targets, shape (len(targets), n_classes, d + 1).

    Computed once, it values any number of documents (`values_along`), also such as the proxy has
    not seen. Arguments and errors are those of `influence_on`.
    """
    gradients = mean_gradients(proxy, targets)
    with single_threaded_blas():
        curvature = _training_curvature(proxy, embeddings, label_index=label_index, weights=weights)
        reduced = np.matmul(curvature.basis.T, gradients)
        if _factorises(curvature, solver):
            factor = _cholesky(training_hessian(curvature))
            flat = scipy.linalg.cho_solve(
                factor, reduced.reshape(len(targets), factor[0].shape[0]).T
            )
            solved = flat.T.reshape(reduced.shape)
        else:
            gram = gram_eigenbasis(curvature.rows, curvature.weights)
            solved = np.empty_like(reduced)
            for number, each in enumerate(reduced):
                solved[number] = solve_by_conjugate_gradients(
                    curvature, each, gram=gram, tolerance=_SOLVER_TOLERANCE
                )
        directions: FloatArray = np.matmul(curvature.basis, solved)
    return directions


def values_along(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    directions: FloatArray,
) -> FloatArray:
    """Return v^T H^-1 g_i of any documents, shape (n, n_targets); NaN as in `influence_on`.

    Args:
        proxy: the one of the directions.
        embeddings: of the documents, shape (n, d).
        label_index: class of each, -1 for none.
        directions: as `target_directions` returns them.

    Raises:
        InputError: an argument is outside its domain.
    """
    judged = _judged(proxy, embeddings, label_index)
    n_targets = len(directions)
    values = np.full((len(label_index), n_targets), np.nan)
    stacked = directions.reshape(-1, directions.shape[-1])
    with single_threaded_blas():
        for block in _blocks(judged):
            rows = with_intercept(embeddings[block])
            residuals = _residuals(proxy, rows, label_index[block])
            slopes = rows @ stacked.T
            slopes = slopes.reshape(len(block), n_targets, proxy.n_classes)
            values[block] = (slopes * residuals[:, np.newaxis, :]).sum(axis=2)
    return values


def leave_one_out_influence(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    targets: Targets,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Return what one Newton step without each document adds to target loss, larger is better.

    For a document of weight w, per unit of its weight. Unlike `influence_on` this counts that the
    curvature leaves with the document, which matters where it alone holds a direction.

    Args:
        proxy: fitted on these documents with these weights.
        embeddings: of the documents, shape (n, d).
        label_index: class of each, -1 for none.
        targets: sets of (embeddings, label_index), none of them empty.
        weights: of the fit, shape (n,); at 0 the value is that of `influence_on`.

    Returns:
        Shape (n, len(targets)); NaN as in `influence_on`.

    Raises:
        InputError: as `influence_on`, or (n_classes - 1) (d + 1) is above `CHOLESKY_LIMIT`.
    """
    directions = target_directions(
        proxy,
        embeddings,
        label_index=label_index,
        targets=targets,
        weights=weights,
        solver="cholesky",
    )
    basis = contrasts(proxy.n_classes)
    all_weights = training_weights(label_index, weights)
    values = np.full((len(label_index), len(targets)), np.nan)
    identity = np.eye(proxy.n_classes - 1)
    with single_threaded_blas():
        inner = np.matmul(basis.T, directions)
        for block, residuals, leverages, posteriors in _leverages(
            proxy, embeddings, label_index=label_index, weights=weights
        ):
            spread = np.einsum("ca,nc,cb->nab", basis, posteriors, basis)
            means = posteriors @ basis
            spread -= means[:, :, np.newaxis] * means[:, np.newaxis, :]
            held = np.matmul(all_weights[block][:, np.newaxis, np.newaxis] * spread, leverages)
            pushed = np.linalg.solve(identity - held, residuals[:, :, np.newaxis])[:, :, 0]
            rows = with_intercept(embeddings[block])
            for target, direction in enumerate(inner):
                values[block, target] = ((rows @ direction.T) * pushed).sum(axis=1)
    return values


def self_influence(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Return g_i^T H^-1 g_i >= 0 of each document, shape (n,): what it takes off its own loss.

    Large for documents that the proxy fits only because they are there: rare, hard, or mislabelled.

    Args:
        proxy: fitted on these documents with these weights.
        embeddings: of the documents, shape (n, d).
        label_index: class of each, -1 for none.
        weights: of the fit, shape (n,).

    Raises:
        InputError: an argument is outside its domain, or (n_classes - 1) (d + 1) is above
            `CHOLESKY_LIMIT`.
    """
    values = np.full(len(label_index), np.nan)
    with single_threaded_blas():
        for block, residuals, leverages, _ in _leverages(
            proxy, embeddings, label_index=label_index, weights=weights
        ):
            values[block] = np.einsum("na,nab,nb->n", residuals, leverages, residuals)
    return values


def cross_fitted_influence(
    embeddings: NDArray[np.float32],
    label_index: IntArray,
    *,
    folds: IntArray,
    n_classes: int,
    l2: float,
    targets: Targets,
    weights: FloatArray | None = None,
    solver: Solver = "auto",
) -> FloatArray:
    """Return the influence of each document under a proxy that never saw its fold.

    A proxy bends towards the documents it is trained on, so a wrong label hides behind itself: its
    residual shrinks. Here the document is a newcomer. Cross-fitting influence is our choice.

    Args:
        embeddings: shape (n, d).
        label_index: class of each document, -1 for none.
        folds: fold of each document (`signals.folds.document_folds`), at least two of them.
        n_classes: C.
        l2: penalty of the proxies, for the documents of all other folds together.
        targets: sets of (embeddings, label_index), none of them empty.
        weights: shape (n,), >= 0.
        solver: as of `influence_on`.

    Returns:
        Shape (n, len(targets)); NaN where there is no label, or one that all other folds lack.

    Raises:
        InputError: as `fit_proxy` and `influence_on` for the documents without any one fold, or all
            documents are in one fold.
    """
    if folds.shape != label_index.shape or np.unique(folds).size < 2:
        raise InputError(
            f"folds must be one number per document, {label_index.shape}, and at least two of them "
            f"must occur; got shape {folds.shape} with {np.unique(folds).size}"
        )
    weights = training_weights(label_index, weights)
    values = np.full((len(label_index), len(targets)), np.nan)
    start = None
    for fold in np.unique(folds).tolist():
        members = folds == fold
        others = np.flatnonzero(~members)
        training, codes = embeddings[others], label_index[others]
        proxy = fit_proxy(
            training, codes, n_classes=n_classes, l2=l2, weights=weights[others], start=start
        )
        start = proxy.coefficients
        directions = target_directions(
            proxy,
            training,
            label_index=codes,
            targets=targets,
            weights=weights[others],
            solver=solver,
        )
        values[members] = values_along(
            proxy,
            embeddings[members],
            label_index=label_index[members],
            directions=directions,
        )
    return values


def mean_gradients(proxy: SoftmaxRegression, targets: Targets) -> FloatArray:
    """Return v of each set of targets: the mean gradient, shape (len(targets), n_classes, d + 1).

    Raises:
        InputError: an embedding or label is outside its domain, a set is empty, or it has a label
            that no training document of the proxy has.
    """
    shape = (len(targets), proxy.n_classes, proxy.dimension + 1)
    gradients = np.empty(shape)
    for number, (embeddings, label_index) in enumerate(targets):
        _check_targets(proxy, embeddings, label_index=label_index, number=number)
    with single_threaded_blas():
        for number, (embeddings, label_index) in enumerate(targets):
            rows = with_intercept(embeddings)
            gradients[number] = _residuals(proxy, rows, label_index).T @ rows / len(rows)
    return gradients


def training_hessian(curvature: Curvature) -> FloatArray:
    """Return H in contrasts, shape (k, k) with k = (n_classes - 1) (d + 1), flattened row-major.

    One weighted Gram matrix of the rows for each pair of contrasts. The caller holds
    `single_threaded_blas`.
    """
    basis, posteriors = curvature.basis, curvature.posteriors
    width, n_contrasts = curvature.rows.shape[1], basis.shape[1]
    hessian = np.empty((n_contrasts, width, n_contrasts, width))
    means = posteriors @ basis
    for first in range(n_contrasts):
        for second in range(first, n_contrasts):
            spread = posteriors @ (basis[:, first] * basis[:, second])
            spread = curvature.weights * (spread - means[:, first] * means[:, second])
            gram = curvature.rows.T @ (curvature.rows * spread[:, np.newaxis])
            gram = (gram + gram.T) / 2  # equal up to rounding
            hessian[first, :, second, :] = gram
            hessian[second, :, first, :] = gram
    flat = hessian.reshape(n_contrasts * width, -1)
    flat[np.diag_indices_from(flat)] += curvature.l2
    return flat


def _check_targets(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    number: int,
) -> None:
    if not len(label_index):
        raise InputError(f"set {number} of the targets is empty; every set needs a document")
    check_dimension(proxy, embeddings)
    check_labels(embeddings, label_index, n_classes=proxy.n_classes, lowest=0)
    missing = np.flatnonzero(proxy.class_weights[label_index] == 0)
    if missing.size:
        raise InputError(
            f"set {number} of the targets has documents of class {label_index[missing[0]]}, of "
            "which the pool has none; leave them out, or add such documents to the pool"
        )


def _leverages(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    weights: FloatArray | None,
) -> Iterator[tuple[IntArray, FloatArray, FloatArray, FloatArray]]:
    """Yield blocks of documents: places, residuals in contrasts, K_i, and posteriors."""
    curvature = _training_curvature(proxy, embeddings, label_index=label_index, weights=weights)
    _factorises(curvature, "cholesky")
    width, n_contrasts = curvature.rows.shape[1], curvature.basis.shape[1]
    factor = _cholesky(training_hessian(curvature))
    inverse = scipy.linalg.cho_solve(factor, np.eye(n_contrasts * width), overwrite_b=True)
    blocks_of = inverse.reshape(n_contrasts, width, n_contrasts, width)
    for block in _blocks(_judged(proxy, embeddings, label_index)):
        rows = with_intercept(embeddings[block])
        leverages = np.empty((len(block), n_contrasts, n_contrasts))
        for first in range(n_contrasts):
            for second in range(first, n_contrasts):
                products = (rows @ blocks_of[first, :, second, :]) * rows
                leverages[:, first, second] = leverages[:, second, first] = products.sum(axis=1)
        posteriors = np.exp(log_posteriors(proxy.coefficients, rows))
        residuals = residuals_of(posteriors, label_index[block]) @ curvature.basis
        yield block, residuals, leverages, posteriors


def _training_curvature(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    weights: FloatArray | None,
) -> Curvature:
    """Return the curvature at the proxy, once it is sure that these documents put it there."""
    check_dimension(proxy, embeddings)
    check_labels(embeddings, label_index, n_classes=proxy.n_classes, lowest=NO_LABEL)
    weights = training_weights(label_index, weights)
    curvature = curvature_at(proxy.coefficients, embeddings, weights=weights, l2=proxy.l2)
    residuals = residuals_of(curvature.posteriors, label_index[weights > 0])
    slopes = (curvature.weights[:, np.newaxis] * residuals).T @ curvature.rows
    pull = np.linalg.norm(slopes + proxy.l2 * proxy.coefficients) / (1.0 + weights.sum())
    if pull > _FOREIGN_PULL:
        raise InputError(
            f"the proxy was not fitted on these {len(embeddings):,} documents, labels and weights: "
            f"they would still move it, by a gradient of {pull:.3g} per document; pass those of "
            "the fit"
        )
    return curvature


def _factorises(curvature: Curvature, solver: Solver) -> bool:
    size = curvature.basis.shape[1] * curvature.rows.shape[1]
    if solver == "cholesky" and size > CHOLESKY_LIMIT:
        raise InputError(
            f"a Hessian of (classes - 1) * (dimensions + 1) = {size:,} rows is above the limit of "
            f"{CHOLESKY_LIMIT:,} for Cholesky; use influence_on with conjugate gradients, fewer "
            "classes or a smaller encoder"
        )
    return solver == "cholesky" or (solver == "auto" and size <= CHOLESKY_LIMIT)


def _cholesky(hessian: FloatArray) -> tuple[FloatArray, bool]:
    factor, lower = scipy.linalg.cho_factor(hessian, lower=True, overwrite_a=True)
    return factor, bool(lower)


def _judged(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], label_index: IntArray
) -> IntArray:
    """Return the documents whose class the proxy knows."""
    check_dimension(proxy, embeddings)
    check_labels(embeddings, label_index, n_classes=proxy.n_classes, lowest=NO_LABEL)
    is_known = np.isin(label_index, np.flatnonzero(proxy.class_weights > 0))
    return np.flatnonzero(is_known)


def _residuals(proxy: SoftmaxRegression, rows: FloatArray, labels: IntArray) -> FloatArray:
    return residuals_of(np.exp(log_posteriors(proxy.coefficients, rows)), labels)


def _blocks(places: IntArray) -> Iterator[IntArray]:
    for first in range(0, len(places), _BLOCK_DOCUMENTS):
        yield places[first : first + _BLOCK_DOCUMENTS]
