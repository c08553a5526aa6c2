"""Paired differences between samplers over seeds, with bootstrap intervals.

Cells are paired by seed: the same seed draws the same subsets for random samplers and the same
weights for proxies, and what two samplers have in common falls out of their difference. An
interval is the percentile bootstrap over seeds (Efron & Tibshirani 1993, chapter 13). Where neither
sampler nor proxy draws anything, every seed has the same value and an interval says nothing about
another pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.selection.greedy import FloatArray


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the interval about it.

    Attributes:
        mean: over seeds.
        low: end of the interval.
        high: end of the interval.
        deviation: standard deviation over seeds, n - 1; 0 for one seed.
        seeds: how many there were.
    """

    mean: float
    low: float
    high: float
    deviation: float
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Tell whether 0 is outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class DeviationChange:
    """How far two samplers vary over the same seeds.

    Attributes:
        difference: standard deviation of the one minus that of the other, n - 1.
        low: end of the interval of the difference.
        high: end of the interval of the difference.
        ratio: of the one to the other; None where the other does not vary.
        seeds: how many there were.
    """

    difference: float
    low: float
    high: float
    ratio: float | None
    seeds: int

    @property
    def is_smaller(self) -> bool:
        """Tell whether the whole interval is below 0."""
        return self.high < 0


def mean_interval(
    values: FloatArray, *, rng: np.random.Generator, level: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Return the mean of one value per seed with its percentile bootstrap interval.

    Args:
        values: one per seed, shape (n,), finite, n >= 1.
        rng: resamples are drawn from it.
        level: of the interval, in (0, 1).
        resamples: how many, >= 1.

    Raises:
        InputError: an argument is outside its domain.
    """
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise InputError(f"values must be at least one finite number, got {values!r}")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level must be in (0, 1) and resamples >= 1, got {level!r}, {resamples}")
    drawn = values[rng.integers(0, values.size, (resamples, values.size))].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return Interval(float(values.mean()), float(low), float(high), deviation, values.size)


def paired_difference(
    values: FloatArray,
    others: FloatArray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Return the mean of values - others, paired by seed, with its bootstrap interval.

    Args:
        values: one per seed, shape (n,).
        others: of the same seeds in the same order.
        rng: resamples are drawn from it.
        level: of the interval, in (0, 1).
        resamples: how many, >= 1.

    Raises:
        InputError: an argument is outside its domain, or there are more of one than of the other.
    """
    if values.shape != others.shape:
        raise InputError(f"pairs must be of the same seeds, got {values.shape} and {others.shape}")
    return mean_interval(values - others, rng=rng, level=level, resamples=resamples)


def deviation_change(
    values: FloatArray,
    others: FloatArray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> DeviationChange:
    """Return how the deviation of values over seeds differs from that of others.

    The interval is the percentile bootstrap over seeds that are drawn in pairs. It is too narrow
    for few seeds: a deviation of five values is known to a factor of about two.

    Args:
        values: one per seed, shape (n,), n >= 3.
        others: of the same seeds in the same order.
        rng: resamples are drawn from it.
        level: of the interval, in (0, 1).
        resamples: how many, >= 1.

    Raises:
        InputError: an argument is outside its domain, or the seeds are not the same.
    """
    if values.shape != others.shape or values.ndim != 1 or values.size < 3:
        raise InputError(
            f"deviations must be of the same three seeds or more, got {values.shape} and "
            f"{others.shape}"
        )
    if not (np.isfinite(values).all() and np.isfinite(others).all()):
        raise InputError(f"values must be finite numbers, got {values!r} and {others!r}")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level must be in (0, 1) and resamples >= 1, got {level!r}, {resamples}")
    own, other = (float(each.std(ddof=1)) for each in (values, others))
    drawn = rng.integers(0, values.size, (resamples, values.size))
    changes = values[drawn].std(axis=1, ddof=1) - others[drawn].std(axis=1, ddof=1)
    tail = (1 - level) / 2
    low, high = np.quantile(changes, [tail, 1 - tail])
    ratio = own / other if other > 0 else None
    return DeviationChange(own - other, float(low), float(high), ratio, values.size)
