"""Liquidity of a topic's maker, chosen by how concentrated its prices may be.

The effective sample size ESS = 1 / sum p^2 of prices never falls as liquidity b grows (it goes from
the number of documents that tie for the largest order up to all n), so one bisection finds the b at
which a given share of the topic's documents carries the prices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray

# Orders are weighted z-scores, so 1 share is one standard deviation. Differences below this are
# rounding: liquidity must not blow them up into prices.
EQUAL_SHARES = 1e-9

# At b = gap / this, every document below the largest order has a price under 2e-16 of the largest:
# a smaller b changes no price by more than a rounding error.
_GAPS_TO_CERTAINTY = -math.log(np.finfo(np.float64).eps)

_RELATIVE_TOLERANCE = 1e-13
_SIGNIFICANT_DIGITS = 12


@dataclass(frozen=True)
class EffectiveShare:
    """Liquidity by result: each topic's ESS shall be this share of its documents, in (0, 1)."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"effective share must be between 0 and 1, got {self.share!r}")


def liquidity_for_share(shares: FloatArray, target: EffectiveShare) -> float:
    """Return the liquidity at which a topic's prices have the target effective sample size.

    Args:
        shares: q of the topic's documents, shape (n,), finite, n >= 1, any order.
        target: ESS / n to reach.

    Returns:
        b > 0, in shares, to 12 significant digits; ESS then meets the target within 1e-9 n, except:
        1.0 where b decides nothing (n = 1, or all shares within `EQUAL_SHARES`); and where m
        documents tie for the largest order and the target is at most m, which no b reaches, the
        gap to the next order divided by 36: a smaller b gives the same prices up to rounding.

    Raises:
        InputError: `shares` is not a finite, non-empty vector.
    """
    if shares.ndim != 1 or shares.size == 0 or not np.isfinite(shares).all():
        raise InputError(f"shares must be a finite, non-empty vector, got {shares!r}")
    below_top = np.sort(shares) - shares.max()  # sorted: the order of documents cannot matter
    if below_top[0] >= -EQUAL_SHARES:
        return 1.0
    gap = -float(below_top[below_top < -EQUAL_SHARES][-1])
    low = gap / _GAPS_TO_CERTAINTY
    wanted = target.share * shares.size
    if _effective_size(below_top, low) < wanted:
        low = _bisect(below_top, low, wanted)
    return float(f"{low:.{_SIGNIFICANT_DIGITS}g}")


def _bisect(below_top: FloatArray, low: float, wanted: float) -> float:
    high = 2 * low
    while _effective_size(below_top, high) < wanted:  # ends: at 2^60 ranges every weight is 1.0
        low, high = high, 2 * high
    while high - low > _RELATIVE_TOLERANCE * high:
        middle = 0.5 * (low + high)
        if _effective_size(below_top, middle) < wanted:
            low = middle
        else:
            high = middle
    return high


def _effective_size(below_top: FloatArray, liquidity: float) -> float:
    weights = np.exp(below_top / liquidity)
    return float(np.sum(weights)) ** 2 / float(np.sum(weights * weights))
