"""Linear datamodeling score (LDS): how well sums of values foretell models retrained on subsets.

Notation: S_s = subset s of the documents, s = 1..M; tau_ij = value of document i for target j;
y_sj = output of the model trained on S_s at target j; n documents, m targets.

    LDS = mean_j Spearman_s( sign * sum_{i in S_s} tau_ij, y_sj )

Values are larger-is-better. `sign` is -1 where outputs are losses, which good documents lower, and
+1 where they are margins: a positive score is a good one either way. Source: Park, Georgiev, Ilyas,
Leclerc & Madry 2023 (arXiv 2303.14186). Ties get average ranks. The bootstrap over targets and
subsets at once, and its percentile interval, are our choice.

Scores of different protocols (share kept, seeds per subset, loss or margin) do not compare, so the
result says which it was. Values that a penalty or a damping was tuned on must be scored on other
targets or subsets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.outputs import Output, check_output

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DEFAULT_RESAMPLES = 1_000
DEFAULT_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class LdsResult:
    """The score, how sure it is, and the protocol it depends on."""

    score: float
    """Mean over targets, in [-1, 1]."""
    low: float
    """Lower end of the percentile interval, over targets and subsets."""
    high: float
    """Upper end of it."""
    level: float
    """Of the interval, in (0, 1)."""
    n_resamples: int
    """Of the bootstrap."""
    by_target: FloatArray
    """Spearman correlation at each target, shape (m,)."""
    output: Output
    n_documents: int
    n_subsets: int
    n_targets: int
    n_seeds: int
    """Models per subset; their outputs were averaged."""
    subset_share: float
    """Mean share of the documents in a subset."""
    seed_agreement: float | None
    """Mean Spearman correlation of two seeds' outputs: the noise ceiling; None with one seed."""
    n_constant_predictions: int
    """Targets for which the values foretell the same for every subset; they count as 0."""

    @property
    def random_sd_by_target(self) -> float:
        """Standard deviation of the score at one target if values are random: 1 / sqrt(M - 1).

        With many more documents than subsets. Few documents add chance agreement with the true
        effects: its variance is about 1 / (n - 1) more where outputs are linear in the masks.
        """
        return 1 / math.sqrt(self.n_subsets - 1)

    @property
    def random_sd(self) -> float:
        """The same for the mean, were targets independent; they share subsets, so a lower bound."""
        return self.random_sd_by_target / math.sqrt(self.n_targets)


@dataclass(frozen=True, kw_only=True, eq=False)
class LdsDifference:
    """By how much one scorer's LDS exceeds another's on the same subsets and targets."""

    difference: float
    """First minus second."""
    low: float
    high: float
    level: float
    n_resamples: int
    first: float
    second: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval says which one is better."""
        return self.low > 0 or self.high < 0


def linear_datamodeling_score(
    values: FloatArray,
    masks: BoolArray,
    outputs: FloatArray,
    *,
    output: Output,
    rng: np.random.Generator,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = DEFAULT_LEVEL,
) -> LdsResult:
    """Return the LDS of values with its bootstrap interval and noise ceiling.

    Args:
        values: tau, shape (n, m), larger is better; or (n,) of a scorer that knows no target.
        masks: which documents a subset holds, shape (M, n), M >= 3.
        outputs: y, shape (M, m), or (n_seeds, M, m) with several models per subset, whose mean is
            foretold.
        output: what they are.
        rng: of the bootstrap.
        n_resamples: >= 1; each draws M subsets and m targets with replacement.
        level: of the interval, in (0, 1).

    Returns:
        The result. A target whose predictions are the same for every subset scores 0.

    Raises:
        InputError: shapes do not match, a number is not finite, or an output is the same for every
            subset, so that there is nothing to foretell.
    """
    by_seed = _check_outputs(outputs, masks)
    mean_outputs = by_seed.mean(axis=0)
    predictions = subset_predictions(values, masks, output=output, n_targets=by_seed.shape[2])
    by_target = spearman_by_target(predictions, mean_outputs)
    draws = _draws(masks.shape[0], by_target.size, n_resamples=n_resamples, rng=rng)
    low, high = _interval(draws.mean_of(_Ranked(predictions), _Ranked(mean_outputs)), level)
    return LdsResult(
        score=float(by_target.mean()),
        low=low,
        high=high,
        level=level,
        n_resamples=n_resamples,
        by_target=by_target,
        output=output,
        n_documents=masks.shape[1],
        n_subsets=masks.shape[0],
        n_targets=by_target.size,
        n_seeds=by_seed.shape[0],
        subset_share=float(masks.mean()),
        seed_agreement=float(_agreement(by_seed).mean()) if by_seed.shape[0] > 1 else None,
        n_constant_predictions=int(np.count_nonzero(np.ptp(predictions, axis=0) == 0)),
    )


def lds_difference(
    first: FloatArray,
    second: FloatArray,
    masks: BoolArray,
    outputs: FloatArray,
    *,
    output: Output,
    rng: np.random.Generator,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = DEFAULT_LEVEL,
) -> LdsDifference:
    """Return the LDS of `first` minus that of `second`, paired: both see the same resamples.

    Args:
        first: values, shape (n, m) or (n,), larger is better.
        second: likewise.
        masks: shape (M, n).
        outputs: shape (M, m) or (n_seeds, M, m).
        output: what they are.
        rng: of the bootstrap.
        n_resamples: >= 1.
        level: of the interval, in (0, 1).

    Raises:
        InputError: as of `linear_datamodeling_score`.
    """
    by_seed = _check_outputs(outputs, masks)
    truth = _Ranked(by_seed.mean(axis=0))
    scorers = [
        _Ranked(subset_predictions(values, masks, output=output, n_targets=by_seed.shape[2]))
        for values in (first, second)
    ]
    draws = _draws(masks.shape[0], by_seed.shape[2], n_resamples=n_resamples, rng=rng)
    ones = np.ones((1, masks.shape[0]))
    scores = [float(_correlations(scorer, truth, ones).mean()) for scorer in scorers]
    resampled = draws.mean_of(scorers[0], truth) - draws.mean_of(scorers[1], truth)
    low, high = _interval(resampled, level)
    return LdsDifference(
        difference=scores[0] - scores[1],
        low=low,
        high=high,
        level=level,
        n_resamples=n_resamples,
        first=scores[0],
        second=scores[1],
    )


def subset_predictions(
    values: FloatArray, masks: BoolArray, *, output: Output, n_targets: int
) -> FloatArray:
    """Return what the values foretell of every subset's output, up to a constant, shape (M, m).

    Args:
        values: shape (n, m), or (n,): the same for every target.
        masks: shape (M, n).
        output: "loss" turns the sign: good documents lower it.
        n_targets: m.

    Returns:
        sign * sum of the values in the subset. A column whose spread is below the rounding error
        of the sums is set to its mean, so that rounding is never ranked.

    Raises:
        InputError: shapes do not match, or a value is not finite.
    """
    check_masks(masks)
    columns = np.asarray(values, dtype=np.float64)
    if columns.ndim == 1:
        columns = np.repeat(columns[:, None], n_targets, axis=1)
    if columns.shape != (masks.shape[1], n_targets):
        raise InputError(
            f"values must have shape ({masks.shape[1]}, {n_targets}), one row per document of the "
            f"masks and one column per target, got {values.shape}"
        )
    if not np.isfinite(columns).all():
        row, column = np.argwhere(~np.isfinite(columns))[0]
        raise InputError(
            f"values must be finite, got {columns[row, column]} at document {row}, target {column}"
        )
    sums: FloatArray = sign_of(output) * (masks.astype(np.float64) @ columns)
    rounding = masks.shape[1] * np.finfo(np.float64).eps * np.abs(columns).sum(axis=0)
    is_constant = np.ptp(sums, axis=0) <= rounding
    sums[:, is_constant] = sums[:, is_constant].mean(axis=0)
    return sums


def spearman_by_target(predictions: FloatArray, outputs: FloatArray) -> FloatArray:
    """Return the rank correlation of each column, shape (m,); 0 where a column is constant.

    Args:
        predictions: shape (M, m).
        outputs: shape (M, m).

    Raises:
        InputError: shapes differ, or a number is not finite.
    """
    if predictions.ndim != 2 or predictions.shape != outputs.shape or not predictions.size:
        raise InputError(
            f"predictions and outputs must have one shape (n_subsets, n_targets), got "
            f"{predictions.shape} and {outputs.shape}"
        )
    if not (np.isfinite(predictions).all() and np.isfinite(outputs).all()):
        raise InputError("predictions and outputs must be finite; find the model that diverged")
    ones = np.ones((1, predictions.shape[0]))
    correlations: FloatArray = _correlations(_Ranked(predictions), _Ranked(outputs), ones)[0]
    return correlations


def seed_agreement(outputs: FloatArray) -> FloatArray:
    """Return how well one seed's outputs foretell another's, shape (m,): the noise ceiling.

    A scorer that knew the expected output of every subset would reach about the square root of it
    against one seed; no scorer can be told from that one.

    Args:
        outputs: shape (n_seeds, M, m), n_seeds >= 2.

    Returns:
        The Spearman correlation over subsets, averaged over pairs of seeds.

    Raises:
        InputError: there is one seed only, or a number is not finite.
    """
    if outputs.ndim != 3 or outputs.shape[0] < 2 or not outputs.size:
        raise InputError(
            f"the agreement of seeds needs outputs (n_seeds >= 2, n_subsets, n_targets), got shape "
            f"{outputs.shape}; train every subset with a second seed"
        )
    if not np.isfinite(outputs).all():
        raise InputError("outputs must be finite; find the model that diverged")
    return _agreement(outputs)


def sign_of(output: Output) -> int:
    """Return +1 where good documents raise the output, -1 where they lower it.

    Raises:
        InputError: the output is neither a loss nor a margin.
    """
    check_output(output)
    return 1 if output == "margin" else -1


def check_masks(masks: BoolArray) -> None:
    """Refuse masks that are not boolean, shape (n_subsets, n_documents), neither of them 0.

    Raises:
        InputError: says what came.
    """
    if masks.ndim != 2 or not masks.size or masks.dtype != np.bool_:
        raise InputError(
            f"masks must be booleans of shape (n_subsets, n_documents), got shape {masks.shape} of "
            f"{masks.dtype}"
        )


class _Ranked:
    """The order of every column, from which the ranks of any resample follow without sorting."""

    def __init__(self, columns: FloatArray) -> None:
        self.order: IntArray = np.argsort(columns.T, axis=1, kind="stable")
        ordered = np.take_along_axis(columns.T, self.order, axis=1)
        is_new = np.concatenate(
            [np.ones((len(ordered), 1), dtype=bool), ordered[:, 1:] != ordered[:, :-1]], axis=1
        )
        places = np.arange(ordered.shape[1])
        self.first: IntArray = np.maximum.accumulate(np.where(is_new, places, 0), axis=1)
        is_last = np.concatenate([is_new[:, 1:], np.ones((len(ordered), 1), dtype=bool)], axis=1)
        ends = np.where(is_last, places + 1, places.size)[:, ::-1]
        self.end: IntArray = np.minimum.accumulate(ends, axis=1)[:, ::-1]

    def centred_ranks(self, column: int, weights: FloatArray) -> FloatArray:
        """Return average ranks minus their mean, shape (R, M), of M rows drawn `weights` times."""
        order = self.order[column]
        below = np.zeros((len(weights), order.size + 1))
        np.cumsum(weights[:, order], axis=1, out=below[:, 1:])
        ranks = np.empty_like(weights)
        # rows of equal value share the mean of the places they fill, first + 1 .. end; the mean of
        # all ranks is (M + 1) / 2 whatever the ties
        ranks[:, order] = (below[:, self.first[column]] + below[:, self.end[column]]) / 2
        ranks -= order.size / 2
        return ranks


def _correlations(left: _Ranked, right: _Ranked, weights: FloatArray) -> FloatArray:
    """Return Spearman's correlation of every resample and column, shape (R, m)."""
    n_columns = len(left.order)
    result = np.zeros((len(weights), n_columns))
    for column in range(n_columns):
        a, b = left.centred_ranks(column, weights), right.centred_ranks(column, weights)
        weighted = weights * a
        product = np.einsum("rs,rs->r", weighted, b)
        spread = np.einsum("rs,rs->r", weighted, a) * np.einsum("rs,rs->r", weights * b, b)
        np.divide(product, np.sqrt(spread), out=result[:, column], where=spread > 0)
    return result


@dataclass(frozen=True, eq=False)
class _Draws:
    """How often every resample draws each subset, (R, M), and each target, (R, m)."""

    subsets: FloatArray
    targets: FloatArray

    def mean_of(self, predictions: _Ranked, outputs: _Ranked) -> FloatArray:
        """Return the score of every resample, shape (R,)."""
        correlations = _correlations(predictions, outputs, self.subsets)
        means: FloatArray = (correlations * self.targets).sum(axis=1) / self.targets.shape[1]
        return means


def _draws(n_subsets: int, n_targets: int, *, n_resamples: int, rng: np.random.Generator) -> _Draws:
    if n_resamples < 1:
        raise InputError(f"n_resamples must be >= 1, got {n_resamples!r}")
    subsets = rng.multinomial(n_subsets, np.full(n_subsets, 1 / n_subsets), size=n_resamples)
    targets = rng.multinomial(n_targets, np.full(n_targets, 1 / n_targets), size=n_resamples)
    return _Draws(subsets.astype(np.float64), targets.astype(np.float64))


def _interval(resampled: FloatArray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise InputError(f"level must be in (0, 1), got {level!r}")
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _agreement(by_seed: FloatArray) -> FloatArray:
    ranked = [_Ranked(one) for one in by_seed]
    ones = np.ones((1, by_seed.shape[1]))
    pairs = [
        _correlations(left, right, ones)[0]
        for place, left in enumerate(ranked)
        for right in ranked[place + 1 :]
    ]
    agreement: FloatArray = np.mean(pairs, axis=0)
    return agreement


def _check_outputs(outputs: FloatArray, masks: BoolArray) -> FloatArray:
    """Return outputs as (n_seeds, M, m), float64."""
    check_masks(masks)
    by_seed = np.asarray(outputs, dtype=np.float64)
    by_seed = by_seed[None] if by_seed.ndim == 2 else by_seed
    if by_seed.ndim != 3 or not by_seed.size or by_seed.shape[1] != masks.shape[0]:
        raise InputError(
            f"outputs must have shape ({masks.shape[0]}, n_targets) or (n_seeds, "
            f"{masks.shape[0]}, n_targets), one row per subset, got {outputs.shape}"
        )
    if masks.shape[0] < 3:
        raise InputError(f"a rank correlation needs at least 3 subsets, got {masks.shape[0]}")
    if not np.isfinite(by_seed).all():
        seed, subset, target = np.argwhere(~np.isfinite(by_seed))[0]
        raise InputError(
            f"outputs must be finite, got {by_seed[seed, subset, target]} at seed {seed}, subset "
            f"{subset}, target {target}; find the model that diverged"
        )
    constant = np.flatnonzero(np.ptp(by_seed.mean(axis=0), axis=0) == 0)
    if constant.size:
        raise InputError(
            f"outputs of {constant.size} targets, the first at {constant[0]}, are the same for "
            f"every subset: nothing to foretell; leave those targets out"
        )
    return by_seed
