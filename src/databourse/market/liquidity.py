"""Liquidity of a topic's maker, chosen by how concentrated its prices may be.

Notation: s = 1 / b, pi = prior (1 / n each without one), p_i proportional to pi_i exp(s q_i). The
effective share of prices is 1 / sum_i p_i^2 / pi_i, in (0, 1]; without a prior it is ESS / n with
ESS = 1 / sum p^2. It never falls as liquidity b grows: its negative logarithm is
ln E_pi[e^2sq] - 2 ln E_pi[e^sq], whose derivative by s is 2 (E_2s[q] - E_s[q]) >= 0, as tilting a
distribution further raises the mean. It goes from the prior mass of the documents that tie for the
largest order up to 1, so one search finds the b at which prices have a given share.
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

# Prior weights of one topic may differ by this factor: beyond it doubles lose them next to 0.
PRIOR_RANGE = 1e300

# At b = gap / this, a document below the largest order with the same prior has a price under 2e-16
# of the largest: a smaller b changes no price by more than a rounding error.
_GAPS_TO_CERTAINTY = -math.log(np.finfo(np.float64).eps)

_RELATIVE_TOLERANCE = 1e-12  # of the last step, whose own error is far smaller
_PRODUCT_TOLERANCE = 1e-15  # of the last two steps together
_MOST_STEPS = 200  # of which bisection needs 60 and the secant 5
_SIGNIFICANT_DIGITS = 12


@dataclass(frozen=True)
class EffectiveShare:
    """Liquidity by result: the effective share that each topic's prices shall have, in (0, 1)."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"effective share must be between 0 and 1, got {self.share!r}")


def liquidity_for_share(
    shares: FloatArray, target: EffectiveShare, *, prior: FloatArray | None = None
) -> float:
    """Return the liquidity at which a topic's prices have the target effective share.

    Args:
        shares: q of the topic's documents, shape (n,), finite, n >= 1; in any order, which does not
            change a bit of the answer (they are sorted here).
        target: the share of n, or of the prior, to reach.
        prior: shape (n,), > 0, finite, known up to a factor, within 1e300 of each other; None for
            equal weights.

    Returns:
        b > 0, in shares, to 12 significant digits; the share is then met within 1e-9, except: 1.0
        where b decides nothing (n = 1, or all shares within `EQUAL_SHARES`); and where the target
        is at most the prior mass of the documents that tie for the largest order (m / n for m of n
        without a prior), which no b reaches, the gap to the next order divided by 36 (plus the log
        of the largest weight over theirs): a smaller b gives the same prices up to rounding.

    Raises:
        InputError: `shares` is not a finite, non-empty vector, or `prior` is not > 0 for each.
    """
    if shares.ndim != 1 or shares.size == 0 or not np.isfinite(shares).all():
        raise InputError(f"shares must be a finite, non-empty vector, got {shares!r}")
    below_top, weights = _in_order(shares, prior)
    if not np.isfinite(below_top[0]):
        raise InputError("shares must not differ by more than the largest double")
    if below_top[0] >= -EQUAL_SHARES:
        return 1.0
    n_below = int(np.searchsorted(below_top, -EQUAL_SHARES))
    certainty = _GAPS_TO_CERTAINTY
    if weights is not None:  # 0 where a document of the largest order has the largest weight
        certainty -= math.log(float(weights[n_below:].max()))
    found = _search(
        _Topic(below_top, weights),
        wanted=math.sqrt(-math.log(target.share)),
        sharpest=certainty / -float(below_top[n_below - 1]),
    )
    return float(f"{1 / found:.{_SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True, eq=False)
class _Topic:
    """Orders of a topic below the largest, ascending, and prior weights; None for equal ones."""

    below_top: FloatArray
    weights: FloatArray | None

    def focus(self, inverse_liquidity: float) -> float:
        """Return sqrt(-ln(effective share)): 0 at s = 0, sd(q) s where q is normal, never falling.

        1 / share = 1 + v, v the squared variation coefficient of exp(s q): nothing cancels near 1.
        """
        grown = np.exp(self.below_top * inverse_liquidity)
        mean = self._mean(grown)
        grown -= mean
        # Divided twice: the square of a mean that a small prior makes small could underflow.
        return math.sqrt(math.log1p(self._mean(grown * grown) / mean / mean))

    def spread(self) -> float:
        """Return the standard deviation of orders, taken in their range so as not to overflow."""
        in_range = self.below_top / self.below_top[0]
        in_range -= self._mean(in_range)
        return -float(self.below_top[0]) * math.sqrt(self._mean(in_range * in_range))

    def _mean(self, values: FloatArray) -> float:
        if self.weights is None:
            return float(np.mean(values))
        return float(np.sum(self.weights * values)) / float(np.sum(self.weights))


def _in_order(shares: FloatArray, prior: FloatArray | None) -> tuple[FloatArray, FloatArray | None]:
    """Return shares below the largest, ascending, so that the order of sums is set, and the prior.

    Its largest weight is 1.
    """
    with np.errstate(over="ignore"):  # refused by the caller
        if prior is None:
            return np.sort(shares) - shares.max(), None
        if prior.shape != shares.shape or not (np.isfinite(prior).all() and prior.min() > 0):
            raise InputError(f"prior must be > 0 and finite for each of {shares.size} documents")
        if prior.min() < prior.max() / PRIOR_RANGE:
            raise InputError(
                f"prior weights may differ by a factor of at most {PRIOR_RANGE:g}, "
                f"got {float(prior.min())!r} to {float(prior.max())!r}"
            )
        order = np.argsort(shares)
        below_top = shares[order] - shares.max()
        if (below_top[1:] == below_top[:-1]).any():  # equal shares go by their prior
            order = np.lexsort((prior, shares))
        return below_top, prior[order] / prior.max()


def _search(topic: _Topic, *, wanted: float, sharpest: float) -> float:
    """Return s in (0, sharpest] with the wanted focus; `sharpest` where even that has less.

    The secant, as focus is all but linear in s; bisection where it leaves the bracket or dawdles.
    """
    # Where the share is next to 1, prices carry that many digits of it, and the secant no more.
    tolerance = _RELATIVE_TOLERANCE + 4 * float(np.finfo(np.float64).eps) / wanted
    low, high = 0.0, math.inf
    before, focus_before = 0.0, 0.0
    now = min(wanted / topic.spread(), sharpest)
    step, step_before = math.inf, math.inf
    for _ in range(_MOST_STEPS):
        focus = topic.focus(now)
        if focus < wanted and now == sharpest:
            return sharpest
        low, high = (now, high) if focus < wanted else (low, now)
        rise = focus - focus_before
        following = now + (wanted - focus) * (now - before) / rise if rise else math.inf
        following = min(following, sharpest)
        # The error of the secant's next point is about the product of the last two.
        is_next_exact = abs(following - now) * step <= _PRODUCT_TOLERANCE * now * now
        if is_next_exact or abs(following - now) <= tolerance * now:
            return min(max(following, low), high)
        if not (low < following < high and abs(following - now) <= 0.5 * step_before):
            following = _between(low, high) if high < math.inf else sharpest
        before, focus_before = now, focus
        step_before, step = step, abs(following - now)
        now = following
    return now


def _between(low: float, high: float) -> float:
    return math.sqrt(low * high) if low > 0 else 0.5 * high
