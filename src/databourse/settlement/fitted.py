"""Weights of traders fitted by non-negative regression: the alternative to wealth that is earned.

Notation: r_i = rank of the utility of settled contract i (`payoffs.ranks`), a_i = base, z_ik =
standardised score, rho = ridge, n = contracts.

    least over beta >= 0 of  sum_i a_i (r_i - 1/2 - sum_k beta_k (z_ik - zbar_k))^2
                             + rho sum_k beta_k^2
    weights = beta / sum of beta

zbar is the mean of each score under a. rho is chosen by cross-validation, the largest whose error
is within a standard error over folds of the least (Breiman et al. 1984). Non-negative least
squares: Lawson & Hanson 1974.

When which. To first order in the orders both solve the same equations (with payoffs by rank, E_u[z]
- E_a[z] is proportional to the covariance of rank and score), and on AG News with noisy labels they
bought alike. Where one trader all but repeats the oracle (its estimate for every document) the fit
gives it nearly all, and wealth, whose prices are exponential in the orders, kept a tenth for label
agreement and was better by 0.004 to 0.01 in accuracy. The fit says how much of utility the traders
explain and how sure each weight is, and has no liquidity, fee or memory: take it to look at signals
once, with 10 contracts or more per trader. Wealth carries over from one settlement to the next,
ruins useless and opposite traders, and learning online its regret is bounded however utilities
drift: take it for a market that settles again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.standardisation import IntArray
from databourse.settlement.payoffs import Ranked, base_of, check_settled, ranks

RIDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""rho to choose from, in units of the variance of a score, which is about 1."""

_HALF = 0.5  # the mean rank


@dataclass(frozen=True, eq=False)
class FittedWeights:
    """Weights of the traders, and how far to trust them.

    `weights`, shape (n_traders,), >= 0, sums to 1; `coefficients` beta, shape (n_traders,), in
    ranks per spread; `ridge` rho; `explained`: part of the variance of ranks that folds foretell of
    each other, at most 1, negative where they do worse than the mean; `error_by_ridge`, shape
    (n_ridges,), mean squared error in ranks; `spread`, shape (n_traders,): standard deviation of
    each weight over bootstrap samples of contracts, rho kept.
    """

    weights: FloatArray
    coefficients: FloatArray
    ridge: float
    explained: float
    error_by_ridge: FloatArray
    spread: FloatArray


def fitted_weights(
    scores: FloatArray,
    utilities: FloatArray,
    *,
    topic_index: IntArray,
    rng: np.random.Generator,
    weights: FloatArray | None = None,
    ranked: Ranked = "topic",
    ridges: tuple[float, ...] = RIDGES,
    n_folds: int = 5,
    resamples: int = 100,
) -> FittedWeights:
    """Return the weights whose orders foretell the ranks of utilities best.

    Args:
        scores: of the settled contracts, shape (n, n_traders), standardised within the topics of
            the whole pool; finite.
        utilities: shape (n,), larger is better, finite.
        topic_index: topic of each, shape (n,), integers >= 0.
        rng: folds and bootstrap samples are drawn from it.
        weights: documents of the pool that each stands for, shape (n,), > 0; None for 1 each.
        ranked: among which contracts a utility is ranked.
        ridges: rho to choose from, each >= 0.
        n_folds: for choosing it, 2 .. n.
        resamples: of the bootstrap, >= 2.

    Raises:
        InputError: an argument is outside its domain, or no trader has a weight above 0: none of
            them rises with utility.
    """
    base = base_of(weights, n_contracts=utilities.size)
    check_settled(utilities, topic_index)
    n, n_traders = utilities.size, scores.shape[1] if scores.ndim == 2 else 0
    if scores.shape != (n, n_traders) or not n_traders or not np.isfinite(scores).all():
        raise InputError(
            f"scores must be finite, one row for each of {n} contracts and at least one trader, "
            f"got shape {scores.shape}"
        )
    if not ridges or not all(0 <= ridge < np.inf for ridge in ridges):
        raise InputError(f"ridges must be at least one number >= 0, got {ridges!r}")
    if not 2 <= n_folds <= n or resamples < 2:
        raise InputError(
            f"fitting needs 2 .. {n} folds and at least 2 resamples, got {n_folds} and {resamples}"
        )
    groups = topic_index if ranked == "topic" else np.zeros(n, dtype=np.int64)
    rank = ranks(utilities, groups=groups, weights=base) - _HALF
    folds = np.empty(n, dtype=np.int64)
    folds[rng.permutation(n)] = np.arange(n) % n_folds
    errors = _errors(scores, rank, base=base, folds=folds, ridges=ridges)
    means = errors @ _fold_masses(base, folds)
    ridge = _chosen(errors, means, ridges)
    coefficients = non_negative_ridge(scores, rank, base=base, ridge=ridge)
    if not coefficients.any():
        raise InputError(
            "no trader's signal rises with utility on the settled contracts, so none can be given "
            "a weight; settle more contracts, turn signals round, or keep the weights you have"
        )
    variance = exact_sum(base * rank * rank)
    return FittedWeights(
        weights=coefficients / exact_sum(coefficients),
        coefficients=coefficients,
        ridge=ridge,
        explained=1 - float(means[ridges.index(ridge)]) / variance if variance > 0 else 0.0,
        error_by_ridge=means,
        spread=_bootstrap_spread(
            scores, rank, base=base, ridge=ridge, resamples=resamples, rng=rng
        ),
    )


def non_negative_ridge(
    scores: FloatArray, rank: FloatArray, *, base: FloatArray, ridge: float
) -> FloatArray:
    """Return beta >= 0, shape (n_traders,).

    Args:
        scores: z, shape (n, n_traders).
        rank: centred, shape (n,).
        base: a, shape (n,), sums to 1.
        ridge: rho >= 0.
    """
    root = np.sqrt(base)
    rows = root[:, np.newaxis] * (scores - base @ scores)
    n_traders = scores.shape[1]
    penalised = np.vstack([rows, np.sqrt(ridge) * np.eye(n_traders)])
    wanted = np.concatenate([root * (rank - base @ rank), np.zeros(n_traders)])
    return np.asarray(nnls(penalised, wanted)[0], dtype=np.float64)


def _errors(
    scores: FloatArray,
    rank: FloatArray,
    *,
    base: FloatArray,
    folds: IntArray,
    ridges: tuple[float, ...],
) -> FloatArray:
    """Return the mean squared error on each fold of what the others fit, (n_ridges, n_folds)."""
    n_folds = int(folds.max()) + 1
    errors = np.empty((len(ridges), n_folds))
    for fold in range(n_folds):
        held, kept = folds == fold, folds != fold
        own = base[kept] / base[kept].sum()
        score_mean, rank_mean = own @ scores[kept], own @ rank[kept]
        for number, ridge in enumerate(ridges):
            beta = non_negative_ridge(scores[kept], rank[kept], base=own, ridge=ridge)
            foretold = rank_mean + (scores[held] - score_mean) @ beta
            missed = rank[held] - foretold
            errors[number, fold] = base[held] @ (missed * missed) / base[held].sum()
    return errors


def _fold_masses(base: FloatArray, folds: IntArray) -> FloatArray:
    return np.bincount(folds, weights=base).astype(np.float64)


def _chosen(errors: FloatArray, means: FloatArray, ridges: tuple[float, ...]) -> float:
    best = int(np.argmin(means))
    # Of differences to the best, fold by fold: what all folds share would hide them.
    excess = errors - errors[best]
    slack = excess.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
    fine = [
        ridge
        for ridge, more, by in zip(ridges, means - means[best], slack, strict=True)
        if more <= by
    ]
    return max(fine)


def _bootstrap_spread(
    scores: FloatArray,
    rank: FloatArray,
    *,
    base: FloatArray,
    ridge: float,
    resamples: int,
    rng: np.random.Generator,
) -> FloatArray:
    drawn = np.empty((resamples, scores.shape[1]))
    for number in range(resamples):
        rows = rng.choice(rank.size, rank.size)
        own = base[rows] / base[rows].sum()
        beta = non_negative_ridge(scores[rows], rank[rows], base=own, ridge=ridge)
        drawn[number] = beta / beta.sum() if beta.any() else 0.0
    spread: FloatArray = drawn.std(axis=0, ddof=1)
    return spread
