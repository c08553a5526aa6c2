"""LESS: how far a document's Adam step points along the gradients of target examples.

Notation: g = gradient of a candidate's loss, (m, v) = Adam's moments at a checkpoint after t steps,
m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, checkpoints e with learning rates eta_e, target
examples x in sub-tasks D_j.

    Gamma = m' / (1 - b1^(t+1)) / (sqrt(v' / (1 - b2^(t+1))) + eps)       Adam's step / -LR
    as released: Gamma = m' / sqrt(v' + eps)                              eps inside, no correction
    value(z) = max_j sum_e eta_e mean_{x in D_j} cos(P^T grad l(x), P^T Gamma_e(z)),  sum eta = 1

Source: Xia, Malladi, Gururangan, Arora & Chen 2024 (arXiv 2402.04333) and the code they released.
There every target example is normalised first and cosines are averaged inside a sub-task, and rates
are scaled to sum 1; so here. The step is -LR Gamma, hence a positive cosine lowers the loss of the
target: larger is better. Target gradients are plain, never Adam-scaled.

The clip, the share of the norm in few coordinates, and leaving out b1 m, a vector that all
candidates have in common, are ours, not the paper's. The maximum over sub-tasks is a union: one
noisy sub-task can fill a selection; `best_task` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.lds import FloatArray, IntArray
from databourse.influence.trak import RowBlock, check_features, chunks_of, covering

TOP_COORDINATE_SHARE = 0.001
"""Of the coordinates, whose share in the squared norm of a step is reported."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AdamState:
    """What Adam remembers at a checkpoint, of the parameters that gradients are taken for.

    Attributes:
        first: m, shape (p,).
        second: v, shape (p,), >= 0.
        n_steps: t, steps taken so far, >= 0.
        first_decay: b1, in [0, 1).
        second_decay: b2, in [0, 1).
        epsilon: eps > 0.

    Raises:
        InputError: one of them is outside its domain.
    """

    first: FloatArray
    second: FloatArray
    n_steps: int
    first_decay: float
    second_decay: float
    epsilon: float

    def __post_init__(self) -> None:
        if self.first.ndim != 1 or not self.first.size or self.second.shape != self.first.shape:
            raise InputError(
                f"moments must be two vectors of one length, got shapes {self.first.shape} and "
                f"{self.second.shape}"
            )
        if not (np.isfinite(self.first).all() and np.isfinite(self.second).all()):
            raise InputError("moments must be finite; the checkpoint diverged")
        if self.second.min() < 0:
            raise InputError(f"second moments must be >= 0, got {self.second.min()}")
        if not (0 <= self.first_decay < 1 and 0 <= self.second_decay < 1):
            raise InputError(
                f"decays must be in [0, 1), got {self.first_decay!r} and {self.second_decay!r}"
            )
        if not (0 < self.epsilon < math.inf and self.n_steps >= 0):
            raise InputError(
                f"epsilon must be > 0 and n_steps >= 0, got {self.epsilon!r} and {self.n_steps!r}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Clipped:
    """Steps with their largest coordinates cut, and how much that mattered."""

    steps: FloatArray
    """Shape (b, p)."""
    clipped_coordinates: IntArray
    """Of each row, shape (b,)."""
    kept_norm_share: FloatArray
    """Norm after over norm before, shape (b,); 1 for a row of zeros."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LessCheckpoint:
    """The features of one checkpoint.

    Attributes:
        blocks: one pass over P^T Gamma of all n documents, without output weights.
        target_features: P^T grad l(x) by the same checkpoint and projection, shape (m, k).
        learning_rate: eta > 0, the mean of the epoch; only ratios matter.
    """

    blocks: Iterable[RowBlock]
    target_features: NDArray[Any]
    learning_rate: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LessValues:
    """Values, and which sub-task each comes from."""

    values: FloatArray
    """Maximum over sub-tasks, shape (n,), larger is better, in [-1, 1]."""
    by_task: FloatArray
    """Shape (n, n_tasks)."""
    best_task: IntArray
    """Index of the sub-task of the maximum, shape (n,); of equals the first."""
    checkpoint_weights: FloatArray
    """eta scaled to sum 1."""
    n_without_step: int
    """Documents whose step was zero at some checkpoint, where their cosine counts as 0."""


def adam_steps(
    gradients: NDArray[Any], state: AdamState, *, include_momentum: bool = True
) -> FloatArray:
    """Return Gamma: the change of parameters by Adam's next step, over minus the learning rate.

    Args:
        gradients: g, one document per row, shape (b, p).
        state: as saved, before the step.
        include_momentum: False leaves b1 m out, which all candidates have in common; then it is no
            longer Adam's step.

    Returns:
        Shape (b, p), float64.

    Raises:
        InputError: gradients are not (b, p), finite.
    """
    first, second = _moments_after(gradients, state, include_momentum=include_momentum)
    n_steps = state.n_steps + 1
    first /= 1 - state.first_decay**n_steps
    second /= 1 - state.second_decay**n_steps
    steps: FloatArray = first / (np.sqrt(second) + state.epsilon)
    return steps


def released_adam_steps(
    gradients: NDArray[Any], state: AdamState, *, include_momentum: bool = True
) -> FloatArray:
    """Return Gamma as the released code has it: eps inside the root and no bias correction.

    Args:
        gradients: g, one document per row, shape (b, p).
        state: as saved, before the step; `n_steps` plays no part.
        include_momentum: False leaves b1 m out.

    Returns:
        Shape (b, p), float64.

    Raises:
        InputError: gradients are not (b, p), finite.
    """
    first, second = _moments_after(gradients, state, include_momentum=include_momentum)
    steps: FloatArray = first / np.sqrt(second + state.epsilon)
    return steps


def clipped_steps(steps: FloatArray, *, limit: float) -> Clipped:
    """Return steps with every coordinate cut to -limit .. limit.

    One gradient has a large part in v' where few batches had any: such coordinates go up to
    (1 - b1) / sqrt(1 - b2), 3.2 with the usual decays, while a steady gradient has about 1.

    Args:
        steps: Gamma, shape (b, p).
        limit: > 0, in learning rates.

    Raises:
        InputError: the limit is not > 0.
    """
    if not limit > 0:
        raise InputError(f"a clip limit must be > 0, got {limit!r}")
    cut = np.clip(steps, -limit, limit)
    before, after = np.linalg.norm(steps, axis=1), np.linalg.norm(cut, axis=1)
    return Clipped(
        steps=cut,
        clipped_coordinates=np.count_nonzero(np.abs(steps) > limit, axis=1).astype(np.int64),
        kept_norm_share=np.divide(after, before, out=np.ones_like(after), where=before > 0),
    )


def top_coordinate_share(
    steps: FloatArray, *, coordinate_share: float = TOP_COORDINATE_SHARE
) -> FloatArray:
    """Return the part of each squared norm that lies in the largest coordinates, shape (b,).

    Args:
        steps: Gamma, shape (b, p).
        coordinate_share: of the p coordinates, in (0, 1]; rounded up to a whole number.

    Returns:
        In [0, 1]; `coordinate_share` if all are equal, 0 for a row of zeros.

    Raises:
        InputError: the share is outside (0, 1].
    """
    if not 0 < coordinate_share <= 1:
        raise InputError(f"coordinate_share must be in (0, 1], got {coordinate_share!r}")
    n_coordinates = steps.shape[1]
    n_top = math.ceil(coordinate_share * n_coordinates)
    squares = np.partition(steps**2, n_coordinates - n_top, axis=1)
    top, total = squares[:, n_coordinates - n_top :].sum(axis=1), squares.sum(axis=1)
    shares: FloatArray = np.divide(top, total, out=np.zeros_like(total), where=total > 0)
    return shares


def less_values(
    checkpoints: Sequence[LessCheckpoint], *, n_documents: int, target_tasks: IntArray
) -> LessValues:
    """Return the LESS value of every document.

    Args:
        checkpoints: at least one; each is passed over once.
        n_documents: n >= 1.
        target_tasks: the sub-task of every target example, shape (m,), each of 0 .. n_tasks - 1
            at least once; sub-tasks may differ in size.

    Returns:
        The same whatever the size of blocks; in another order of rows within 1e-12.

    Raises:
        InputError: an argument is malformed, a document is missing or comes twice, or a target has
            a zero gradient.
    """
    members = _task_members(target_tasks)
    rates = np.array([checkpoint.learning_rate for checkpoint in checkpoints], dtype=np.float64)
    if not rates.size or not (np.isfinite(rates) & (rates > 0)).all():
        raise InputError(
            f"there must be checkpoints with learning rates > 0, got rates {rates.tolist()}"
        )
    weights = rates / rates.sum()
    by_task = np.zeros((n_documents, len(members)))
    is_without_step = np.zeros(n_documents, dtype=np.bool_)
    for checkpoint, weight in zip(checkpoints, weights, strict=True):
        directions = _task_directions(checkpoint.target_features, members)
        n_features = directions.shape[1]
        covered = covering(checkpoint.blocks, n_documents=n_documents, n_features=n_features)
        for positions, chunk in chunks_of(_unweighted(covered), n_features=n_features):
            units, is_zero = _unit_rows(chunk)
            by_task[positions] += weight * (units @ directions.T)
            is_without_step[positions] |= is_zero
    return LessValues(
        values=by_task.max(axis=1),
        by_task=by_task,
        best_task=by_task.argmax(axis=1).astype(np.int64),
        checkpoint_weights=weights,
        n_without_step=int(np.count_nonzero(is_without_step)),
    )


def _moments_after(
    gradients: NDArray[Any], state: AdamState, *, include_momentum: bool
) -> tuple[FloatArray, FloatArray]:
    check_features(gradients, n_features=state.first.size, what="gradient")
    wide = gradients.astype(np.float64)
    first = (1 - state.first_decay) * wide
    if include_momentum:
        first += state.first_decay * state.first
    second = state.second_decay * state.second + (1 - state.second_decay) * wide**2
    return first, second


def _task_members(target_tasks: IntArray) -> list[IntArray]:
    if target_tasks.ndim != 1 or not np.issubdtype(target_tasks.dtype, np.integer):
        raise InputError(
            f"target_tasks must be one integer per target example, got shape {target_tasks.shape} "
            f"of {target_tasks.dtype}"
        )
    present = np.unique(target_tasks)
    if not present.size or not np.array_equal(present, np.arange(present.size)):
        raise InputError(
            f"sub-tasks must be numbered 0 .. n_tasks - 1 without a gap, got {present.tolist()}"
        )
    return [np.flatnonzero(target_tasks == task) for task in present]


def _task_directions(features: NDArray[Any], members: Sequence[IntArray]) -> FloatArray:
    """Return the mean unit vector of each sub-task: its dot product is the mean of cosines."""
    check_features(features, n_features=None, what="target")
    n_examples = sum(len(rows) for rows in members)
    if len(features) != n_examples:
        raise InputError(f"expected features of {n_examples} target examples, got {len(features)}")
    units, is_zero = _unit_rows(features.astype(np.float64))
    if is_zero.any():
        raise InputError(
            f"target example {np.flatnonzero(is_zero)[0]} has a zero gradient and no direction; "
            f"leave it out"
        )
    return np.stack([units[rows].mean(axis=0) for rows in members])


def _unit_rows(rows: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return rows of norm 1, and which were zero and stay so."""
    # by the largest coordinate first, so that no square overflows or vanishes
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    units = np.divide(scaled, norms, out=np.zeros_like(rows), where=norms > 0)
    return units, largest[:, 0] == 0


def _unweighted(blocks: Iterable[RowBlock]) -> Iterable[RowBlock]:
    for block in blocks:
        if block.output_weights is not None:
            raise InputError("LESS has no output weights; give steps of the loss, and None")
        yield block
