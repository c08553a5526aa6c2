"""Which end of a measure is the useful one, or its middle: where studies disagree, a choice.

Notation: m(x) = the measure of document x, such as its mean token loss; u(x) = its percentile rank
in the pool, the share of documents below plus half the share of those with the same measure, itself
among them; c = the centre, a percentile rank. Larger values are more useful:

    low:      -m(x)
    high:      m(x)
    middle:   -| u(x) - c |,   in (-1, 0]

Studies that keep the middle keep a share of the pool around its median. That a document is worth
the less the further its rank is from the centre is our choice: the dearest documents are then that
share, whatever the budget. The ranks are those of the whole pool, not of a topic.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.errors import InputError
from databourse.selection.intervals import mean_percentile_ranks
from databourse.signals.specification import SignalParameters

Preference = Literal["low", "middle", "high"]


class PreferenceParameters(SignalParameters):
    """Which documents are the useful ones: those that measure low, high or in between."""

    prefer: Preference = Field(
        default="middle", description="The end of the measure that is useful, or its middle."
    )
    centre: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Percentile rank in the pool that 'middle' prefers; unused by the others.",
    )


def oriented(
    values: NDArray[np.float64], *, prefer: Preference, centre: float
) -> NDArray[np.float64]:
    """Return a measure turned so that larger is more useful, shape (n,).

    Args:
        values: the measure of each document, shape (n,), finite; NaN where it cannot be judged,
            which stays NaN and has no part in the ranks.
        prefer: the useful end, or the middle.
        centre: percentile rank in [0, 1] of the most useful documents under `middle`.

    Returns:
        In the unit of the measure under `low` and `high`; in (-1, 0] under `middle`.

    Raises:
        InputError: a value is infinite, or an argument is outside its domain.
    """
    if np.isinf(values).any():
        position = int(np.flatnonzero(np.isinf(values))[0])
        raise InputError(
            f"a measure must be finite or NaN, got {float(values[position])} at position {position}"
        )
    if prefer == "high":
        return values.copy()
    if prefer == "low":
        return 0.0 - values  # zero stays without a sign
    if prefer == "middle":
        turned = np.full(values.shape, np.nan)
        is_judged = ~np.isnan(values)
        turned[is_judged] = 0.0 - rank_distances(values[is_judged], centre=centre)
        return turned
    raise InputError(f"prefer must be low, middle or high, got {prefer!r}")


def rank_distances(values: NDArray[np.float64], *, centre: float) -> NDArray[np.float64]:
    """Return how far the percentile rank of each document is from a centre, shape (n,), in [0, 1).

    With the centre 1/2, ranks at the same distance on its two sides have equal bits.

    Args:
        values: the measure of each document, shape (n,), finite.
        centre: percentile rank in [0, 1].

    Raises:
        InputError: a value is not finite, or the centre is outside its domain.
    """
    if not 0 <= centre <= 1:
        raise InputError(f"the centre must be a percentile rank in [0, 1], got {centre!r}")
    # in parts of a rank, which are whole numbers: nothing is rounded before the division
    parts = 2 * len(values)
    ranks = np.rint(mean_percentile_ranks([values]) * parts)
    distances: NDArray[np.float64] = np.abs(ranks - centre * parts) / parts
    return distances
