"""Datamodels: how a model's output depends on which documents it was trained on, by regression.

Notation: S subsets of n documents, 1_s the inclusion mask of subset s, y_s the output of the model
trained on it (loss or margin at one target), w the coefficients, b the intercept, pen the penalty.

    y_s ~ b + w^T (1_s - mean of masks)
    LASSO: min_w  |y - y_hat|^2 / (2 S) + pen |w|_1          ridge: ... + pen |w|_2^2 / 2

Source: Ilyas, Park, Engstrom, Leclerc & Madry 2022 (arXiv 2202.00622): LASSO over many retrainings,
the gold standard that TRAK approximates. Penalties come from cross-validation over subsets, one per
target; the grids and the ridge variant are our choice. Values are larger-is-better: -w where the
output is a loss, +w where it is a margin.

Subsets of one size: masks add up to a constant, so w is known up to a common shift only. Ridge
takes the shift whose coefficients sum to 0, LASSO one that makes many of them 0. The ranking and
the LDS do not depend on it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.lds import (
    BoolArray,
    FloatArray,
    IntArray,
    check_masks,
    sign_of,
)
from databourse.influence.outputs import Output
from databourse.progress import ProgressReport, silent

DEFAULT_FOLDS = 5
LASSO_GRID = tuple(float(ratio) for ratio in np.geomspace(1.0, 1e-2, 20))
"""Penalties over the least one that makes every coefficient 0."""
RIDGE_GRID = tuple(float(ratio) for ratio in np.geomspace(1e3, 1e-3, 25))
"""Penalties over the mean eigenvalue of the covariance of masks."""

_MOST_SWEEPS = 50_000  # of coordinate descent
_GAP = 1e-8  # duality gap at which it stops, over |y|^2

TrainAndEvaluate = Callable[[IntArray, int], NDArray[np.floating]]
"""Trains on documents (sorted positions) with a seed; returns outputs at the targets, (m,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Datamodels:
    """One linear model per target."""

    values: FloatArray
    """Shape (n, m), larger is better: coefficients, their sign turned where outputs are losses."""
    intercepts: FloatArray
    """Mean output over the subsets, shape (m,)."""
    penalties: FloatArray
    """Chosen by cross-validation, shape (m,)."""
    held_out_errors: FloatArray
    """Mean squared error on held-out subsets at that penalty, shape (m,)."""
    explained: FloatArray
    """1 - that error / variance of the outputs, shape (m,): at most 1, below 0 if useless.

    A little too good, since the same folds chose the penalty.
    """
    at_edge: BoolArray
    """Shape (m,): the least penalty of the grid was best; a lower one may be better."""
    method: Literal["lasso", "ridge"]
    output: Output
    n_subsets: int
    n_folds: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrainings:
    """What models lost that were trained on random subsets of a pool.

    Attributes:
        masks: which documents a subset holds, shape (S, n).
        losses: mean over the examples of each target, by its name, shape (S,) each.
    """

    masks: BoolArray
    losses: Mapping[str, FloatArray]


def lasso_datamodels(
    masks: BoolArray,
    outputs: FloatArray,
    *,
    output: Output,
    rng: np.random.Generator,
    grid: Sequence[float] = LASSO_GRID,
    n_folds: int = DEFAULT_FOLDS,
) -> Datamodels:
    """Return sparse datamodels of every target.

    Args:
        masks: which documents a subset holds, shape (S, n).
        outputs: y, shape (S, m); average several seeds first.
        output: what they are.
        rng: deals the subsets out to folds.
        grid: penalties relative to the least one that makes all coefficients 0, in (0, 1].
        n_folds: 2 .. S.

    Raises:
        InputError: an argument is outside its domain, or coordinate descent does not converge.
    """
    return _fitted(
        masks, outputs, output=output, rng=rng, grid=grid, n_folds=n_folds, method="lasso"
    )


def ridge_datamodels(
    masks: BoolArray,
    outputs: FloatArray,
    *,
    output: Output,
    rng: np.random.Generator,
    grid: Sequence[float] = RIDGE_GRID,
    n_folds: int = DEFAULT_FOLDS,
) -> Datamodels:
    """Return dense datamodels of every target, in closed form.

    Args:
        masks: which documents a subset holds, shape (S, n).
        outputs: y, shape (S, m); average several seeds first.
        output: what they are.
        rng: deals the subsets out to folds.
        grid: penalties relative to the mean eigenvalue of the covariance of masks, > 0.
        n_folds: 2 .. S.

    Raises:
        InputError: an argument is outside its domain.
    """
    return _fitted(
        masks, outputs, output=output, rng=rng, grid=grid, n_folds=n_folds, method="ridge"
    )


def random_subsets(
    n_documents: int, *, share: float, n_subsets: int, rng: np.random.Generator
) -> BoolArray:
    """Return masks of subsets of one size, each drawn without replacement, shape (S, n).

    Args:
        n_documents: n >= 2.
        share: of the documents in a subset, in (0, 1); rounded to a whole number of them.
        n_subsets: S >= 1.
        rng: of the draws.

    Raises:
        InputError: an argument is outside its domain, or a subset would be empty or everything.
    """
    if n_subsets < 1 or not 0 < share < 1:
        raise InputError(
            f"n_subsets must be >= 1 and share in (0, 1), got {n_subsets!r} and {share!r}"
        )
    size = round(share * n_documents)
    if not 0 < size < n_documents:
        raise InputError(
            f"a share of {share!r} of {n_documents} documents is {size}: a subset must lack and "
            f"hold at least one; choose another share"
        )
    masks = np.zeros((n_subsets, n_documents), dtype=np.bool_)
    for mask in masks:
        mask[rng.choice(n_documents, size=size, replace=False)] = True
    return masks


def retrain_bank(
    train_and_evaluate: TrainAndEvaluate,
    masks: BoolArray,
    *,
    seeds: Sequence[int],
    store: MutableMapping[str, FloatArray],
    progress: ProgressReport = silent,
) -> FloatArray:
    """Return the outputs of models retrained on every subset with every seed.

    Whatever the store already holds is not trained again, so an interrupted run goes on where it
    stopped, and a run with more subsets or seeds trains only what is new. Keys depend on the subset
    and the seed alone: a store belongs to one pool, one trainer and one list of targets.

    Args:
        train_and_evaluate: given sorted positions of documents and a seed; must depend on no more.
        masks: shape (S, n).
        seeds: distinct, >= 1 of them; one seed used for all subsets gives them the same start.
        store: from `subset_key` to outputs, shape (m,); written after each training.
        progress: is told of every model that is there, trained or found.

    Returns:
        Shape (n_seeds, S, m), float64.

    Raises:
        InputError: outputs differ in shape between models or are not finite, or seeds repeat.
    """
    check_masks(masks)
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must be distinct, at least one, got {list(seeds)!r}")
    empty = np.flatnonzero(~masks.any(axis=1))
    if empty.size:
        raise InputError(f"subset {empty[0]} holds no document; nothing can be trained on it")
    rows: list[FloatArray] = []
    for seed in seeds:
        for number, mask in enumerate(masks):
            key = subset_key(mask, seed)
            is_stored = key in store
            found = store[key] if is_stored else train_and_evaluate(np.flatnonzero(mask), seed)
            row = np.asarray(found, dtype=np.float64)
            expected = rows[0].shape if rows else (row.size,)
            if row.shape != expected or not row.size or not np.isfinite(row).all():
                raise InputError(
                    f"outputs of subset {number} with seed {seed} must be finite, of shape "
                    f"{expected}, got {row!r}"
                    + ("; the store holds another run's: empty it" if is_stored else "")
                )
            if not is_stored:
                store[key] = row
            rows.append(row)
            progress(1)
    return np.stack(rows).reshape(len(seeds), masks.shape[0], -1)


def subset_key(mask: BoolArray, seed: int) -> str:
    """Return the name of a training: 128 bits of blake2b over its mask, in hex, and its seed.

    Args:
        mask: shape (n,), of booleans.
        seed: of the training.
    """
    state = hashlib.blake2b(str(mask.size).encode(), digest_size=16)
    state.update(np.packbits(mask).tobytes())
    return f"{state.hexdigest()}-{seed}"


def _fitted(
    masks: BoolArray,
    outputs: FloatArray,
    *,
    output: Output,
    rng: np.random.Generator,
    grid: Sequence[float],
    n_folds: int,
    method: Literal["lasso", "ridge"],
) -> Datamodels:
    _check_regression(masks, outputs, n_folds=n_folds)
    sign = sign_of(output)
    design, targets = masks.astype(np.float64), np.asarray(outputs, dtype=np.float64)
    means, intercepts = design.mean(axis=0), targets.mean(axis=0)
    least_null = _lasso_scale if method == "lasso" else _ridge_scale
    ratios = _falling(grid, most=1.0 if method == "lasso" else np.inf)
    penalties = ratios[:, None] * least_null(design - means, targets - intercepts)
    errors = _held_out_errors(
        design, targets, penalties, fold=rng.permutation(len(design)) % n_folds, method=method
    )
    best = errors.argmin(axis=0)  # of equals the largest penalty
    columns = np.arange(targets.shape[1])
    solve = _lasso_coefficients if method == "lasso" else _ridge_coefficients
    coefficients = solve(design - means, targets - intercepts, penalties, best)
    least_errors = errors[best, columns]
    return Datamodels(
        values=sign * coefficients,
        intercepts=intercepts,
        penalties=penalties[best, columns],
        held_out_errors=least_errors,
        explained=1 - least_errors / targets.var(axis=0),
        at_edge=best == len(ratios) - 1,
        method=method,
        output=output,
        n_subsets=len(design),
        n_folds=n_folds,
    )


def _held_out_errors(
    design: FloatArray,
    targets: FloatArray,
    penalties: FloatArray,
    *,
    fold: IntArray,
    method: Literal["lasso", "ridge"],
) -> FloatArray:
    """Return the mean squared error of each penalty on subsets it was not fitted to, (P, m)."""
    predict = _lasso_predictions if method == "lasso" else _ridge_predictions
    errors = np.zeros_like(penalties)
    for held_out in range(int(fold.max()) + 1):
        is_train = fold != held_out
        # means of the training part alone: the held-out subsets must not leak into them
        means, centre = design[is_train].mean(axis=0), targets[is_train].mean(axis=0)
        predictions = predict(
            design[is_train] - means,
            targets[is_train] - centre,
            penalties,
            design[~is_train] - means,
        )
        errors += ((targets[~is_train] - centre - predictions) ** 2).sum(axis=1)
    return errors / len(design)


def _ridge_scale(design: FloatArray, targets: FloatArray) -> FloatArray:
    mean_eigenvalue = (design**2).sum() / design.size
    return np.full(targets.shape[1], mean_eigenvalue)


def _lasso_scale(design: FloatArray, targets: FloatArray) -> FloatArray:
    slopes: FloatArray = np.abs(design.T @ targets).max(axis=0)
    return slopes / len(design)


def _ridge_predictions(
    design: FloatArray, targets: FloatArray, penalties: FloatArray, test: FloatArray
) -> FloatArray:
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    aligned, reached = left.T @ targets, test @ right.T
    return np.stack(
        [reached @ (_shrinkage(singular, row, len(design)) * aligned) for row in penalties]
    )


def _ridge_coefficients(
    design: FloatArray, targets: FloatArray, penalties: FloatArray, best: IntArray
) -> FloatArray:
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    chosen = penalties[best, np.arange(targets.shape[1])]
    coefficients: FloatArray = right.T @ (
        _shrinkage(singular, chosen, len(design)) * (left.T @ targets)
    )
    return coefficients


def _shrinkage(singular: FloatArray, penalties: FloatArray, n_subsets: int) -> FloatArray:
    """Return s / (s^2 + S pen), shape (rank, m)."""
    shrinkage: FloatArray = singular[:, None] / (singular[:, None] ** 2 + n_subsets * penalties)
    return shrinkage


def _lasso_predictions(
    design: FloatArray, targets: FloatArray, penalties: FloatArray, test: FloatArray
) -> FloatArray:
    gram = _gram(design)
    return np.stack(
        [
            (test @ _lasso_path(design, targets[:, column], penalties[:, column], gram)).T
            for column in range(targets.shape[1])
        ],
        axis=2,
    )


def _lasso_coefficients(
    design: FloatArray, targets: FloatArray, penalties: FloatArray, best: IntArray
) -> FloatArray:
    gram = _gram(design)
    return np.stack(
        [
            _lasso_path(design, targets[:, column], penalties[: place + 1, column], gram)[:, -1]
            for column, place in enumerate(best)
        ],
        axis=1,
    )


def _gram(design: FloatArray) -> FloatArray | None:
    """Return the inner products of documents where that makes sweeps cheaper."""
    n_subsets, n_documents = design.shape
    return design.T @ design if n_subsets > n_documents else None


def _lasso_path(
    design: FloatArray, target: FloatArray, penalties: FloatArray, gram: FloatArray | None
) -> FloatArray:
    """Return coefficients at falling penalties, shape (n, P), each started from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    if not target.any():  # a duality gap relative to |y|^2 = 0 is never reached
        return np.zeros((design.shape[1], len(penalties)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            _, coefficients, _ = lasso_path(
                np.asfortranarray(design),
                target,
                alphas=penalties,
                precompute=False if gram is None else gram,
                tol=_GAP,
                max_iter=_MOST_SWEEPS,
            )
        except ConvergenceWarning as warning:
            raise InputError(
                f"coordinate descent did not converge within {_MOST_SWEEPS:,} sweeps at penalties "
                f"down to {penalties[-1]:.3g}; leave the least penalties out of the grid"
            ) from warning
    path: FloatArray = coefficients
    return path


def _falling(grid: Sequence[float], *, most: float) -> FloatArray:
    ratios = np.sort(np.asarray(grid, dtype=np.float64))[::-1]
    if not (ratios.size and ratios[-1] > 0 and ratios[0] <= most and np.isfinite(ratios).all()):
        raise InputError(
            f"a grid of penalties must hold numbers > 0, finite and at most {most}, got {grid!r}"
        )
    return ratios


def _check_regression(masks: BoolArray, outputs: FloatArray, *, n_folds: int) -> None:
    check_masks(masks)
    if outputs.ndim != 2 or not outputs.size or len(outputs) != len(masks):
        raise InputError(
            f"outputs must have shape ({len(masks)}, n_targets), one row per subset, got "
            f"{outputs.shape}; average several seeds first"
        )
    if not np.isfinite(outputs).all():
        subset, target = np.argwhere(~np.isfinite(outputs))[0]
        raise InputError(
            f"outputs must be finite, got {outputs[subset, target]} at subset {subset}, target "
            f"{target}; find the model that diverged"
        )
    constant = np.flatnonzero(np.ptp(outputs, axis=0) == 0)
    if constant.size:
        raise InputError(
            f"outputs of {constant.size} targets, the first at {constant[0]}, are the same for "
            f"every subset: nothing to regress; leave those targets out"
        )
    if not (masks != masks[0]).any():
        raise InputError("all subsets are the same: coefficients cannot be told; draw other masks")
    if not 2 <= n_folds <= len(masks):
        raise InputError(f"n_folds must be in 2 .. {len(masks)} subsets, got {n_folds!r}")
