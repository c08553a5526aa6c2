"""How far a draw by weight is from a uniform one.

Notation: w_i = weight of document i, n documents, s_i = w_i / sum w its share.

    ratio = max w / min w,   effective share = (sum w)^2 / (n sum w^2),
    distance from uniform = (1 / 2) * sum |s_i - 1 / n|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.density.hashes import FloatArray
from databourse.errors import InputError

NEARLY_UNIFORM_RATIO = 1.5
"""Below this ratio of weights a draw must not be called diverse; our choice."""


@dataclass(frozen=True, slots=True)
class WeightSpread:
    """How unequal weights are.

    Attributes:
        ratio: of the largest to the least weight, >= 1.
        effective_share: of the documents, in (0, 1]; 1 for equal weights.
        distance_from_uniform: total variation, in [0, 1); 0 for equal weights.
    """

    ratio: float
    effective_share: float
    distance_from_uniform: float

    @property
    def is_nearly_uniform(self) -> bool:
        """Whether the weights are too equal to tell a draw from a uniform one."""
        return self.ratio < NEARLY_UNIFORM_RATIO


def weight_spread(log_weights: FloatArray) -> WeightSpread:
    """Return how unequal weights are.

    Args:
        log_weights: ln w, shape (n,), n >= 1, finite; only differences count.

    Raises:
        InputError: there are none, or one is not finite.
    """
    if not log_weights.size or not np.isfinite(log_weights).all():
        raise InputError("log weights must be finite and at least one")
    weights = np.exp(log_weights - log_weights.max())
    shares = weights / weights.sum()
    return WeightSpread(
        ratio=float(np.exp(log_weights.max() - log_weights.min())),
        effective_share=float(1.0 / (shares**2).sum() / shares.size),
        distance_from_uniform=float(0.5 * np.abs(shares - 1.0 / shares.size).sum()),
    )


def effective_groups(sizes: Sequence[float] | FloatArray) -> float:
    """Return exp(entropy) of the mix of groups: k for k groups of equal size.

    Args:
        sizes: of the groups, >= 0, not all 0.

    Raises:
        InputError: a size is negative or not finite, or all are 0.
    """
    found = np.asarray(sizes, dtype=np.float64)
    if not (found >= 0).all() or not 0 < found.sum() < np.inf:
        raise InputError(f"sizes must be finite, >= 0 and not all 0, got {sizes!r}")
    shares = found[found > 0] / found.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
