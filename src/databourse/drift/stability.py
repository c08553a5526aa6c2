"""The population stability index (PSI): how far shares over bins have moved.

Notation: p, q = shares of the earlier and of the present rows in each of B bins. PSI =
sum_i (q_i - p_i) ln(q_i / p_i), the symmetric Kullback-Leibler (Jeffreys) divergence, nats, >= 0.

Where both samples are drawn from one distribution, PSI is close to chi-square with B - 1 degrees of
freedom times (1/n + 1/m) (B. Yurdakul and J. Naranjo, "Statistical properties of the population
stability index", Journal of Risk Model Validation 14(4), 2020). `Shift.by_chance` is the 99.9 %
quantile of that, so that a small pool is not said to drift where nothing but chance moved it.

That below 0.1 nothing moved, and from 0.25 on much, is a rule of thumb of credit scoring
(N. Siddiqi, "Credit Risk Scorecards", 2006), not a law; it is where our thresholds come from.

Empty bins: half a row is added to each bin of both samples, so that the logarithm is finite. This
is our choice; the sources leave empty bins open.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BINS = 10
_PSEUDO_ROWS = 0.5
_CHANCE = 0.001


@dataclass(frozen=True)
class Shift:
    """How far a distribution has moved.

    Attributes:
        index: PSI in nats, >= 0; 0 where the shares are the same.
        by_chance: what chance alone exceeds once in a thousand times.
        largest: the bin or name whose share contributes most, and its shares before and now.
    """

    index: float
    by_chance: float
    largest: tuple[str, float, float]

    def is_beyond(self, most: float) -> bool:
        """Tell whether it moved farther than allowed, and farther than chance moves it."""
        return self.index > max(most, self.by_chance)


def stability_index(before: IntArray, now: IntArray) -> float:
    """Return the PSI of two samples that were counted over the same bins.

    Args:
        before: rows of each bin, shape (n_bins,), >= 0.
        now: likewise, of the present sample.

    Raises:
        InputError: they have no bin, or not the same number.
    """
    return float(_terms(before, now).sum())


def quantile_edges(values: FloatArray, bins: int = BINS) -> FloatArray:
    """Return the inner edges of bins that hold as many values each, as far as ties allow.

    Args:
        values: shape (n,), finite, n >= 1.
        bins: wanted, >= 2.

    Returns:
        Ascending, distinct, at most `bins` - 1; a value equal to an edge is in the bin above it.

    Raises:
        InputError: there is no value, or one is not finite.
    """
    if not values.size or not np.isfinite(values).all():
        raise InputError(f"quantiles need at least one value, all finite; got {values.size}")
    inner = np.quantile(values, np.arange(1, bins) / bins, method="lower")
    edges: FloatArray = np.unique(inner)
    above: FloatArray = edges[edges > values.min()]  # nothing lies below the least value
    return above


def numeric_shift(before: FloatArray, now: FloatArray, *, bins: int = BINS) -> Shift:
    """Return how far numbers have moved, over bins of equal counts of the earlier ones.

    Args:
        before: shape (n,), finite, n >= 1.
        now: shape (m,), finite, m >= 1.
        bins: wanted, >= 2.
    """
    edges = quantile_edges(before, bins)
    if not edges.size:  # a constant: above, at, and below it
        edges = np.array([before[0], np.nextafter(before[0], np.inf)])
    names = _interval_names(edges)
    counts = [
        np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(names))
        for sample in (before, now)
    ]
    return _shift(names, *counts)


def share_shift(before: Mapping[str, int], now: Mapping[str, int]) -> Shift:
    """Return how far shares over names have moved; a name may be in one of them alone.

    Args:
        before: rows by name, >= 0, not all 0.
        now: likewise.
    """
    names = sorted({*before, *now})
    counts = [np.array([rows.get(name, 0) for name in names]) for rows in (before, now)]
    return _shift(names, *counts)


def _shift(names: list[str], before: IntArray, now: IntArray) -> Shift:
    from scipy.stats import chi2

    terms = _terms(before, now)
    n_before, n_now = int(before.sum()), int(now.sum())
    freedom = max(len(names) - 1, 1)
    chance = float(chi2.isf(_CHANCE, freedom)) * (1 / n_before + 1 / n_now)
    largest = int(np.argmax(terms))
    shares = (float(before[largest]) / n_before, float(now[largest]) / n_now)
    return Shift(float(terms.sum()), chance, (names[largest], *shares))


def _terms(before: IntArray, now: IntArray) -> FloatArray:
    """Return what each bin contributes, >= 0."""
    if before.shape != now.shape or before.ndim != 1 or not before.size:
        raise InputError(
            f"a stability index needs the same bins twice, got {before.shape} and {now.shape}"
        )
    if not before.sum() or not now.sum():
        raise InputError("a stability index needs rows on both sides, got none on one")
    p, q = (
        (counts + _PSEUDO_ROWS) / (counts.sum() + _PSEUDO_ROWS * counts.size)
        for counts in (before.astype(np.float64), now.astype(np.float64))
    )
    terms: FloatArray = (q - p) * np.log(q / p)
    return terms


def _interval_names(edges: FloatArray) -> list[str]:
    ends = [f"{edge:.4g}" for edge in edges]
    inner = [f"{low} to {high}" for low, high in itertools.pairwise(ends)]
    return [f"below {ends[0]}", *inner, f"from {ends[-1]}"]
