"""The value of a document that a signal cannot judge: neither punished nor rewarded."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError


def with_mean_for_unjudged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values with the mean of the finite ones in place of NaN, shape (n,).

    The mean is a correctly rounded sum divided by its number, so it does not depend on the order of
    the documents, and lies between the smallest and the largest value.

    Args:
        values: of one signal, shape (n,); NaN where a document cannot be judged. What is infinite
            stays and has no part in the mean.

    Raises:
        InputError: no value is finite.
    """
    judged = values[np.isfinite(values)]
    if not judged.size:
        raise InputError(
            f"at least one document must be judged, got a finite value for none of {values.size:,}"
        )
    # scaled by a power of two, which is exact, so that no sum overflows
    _, exponent = math.frexp(float(np.abs(judged).max()))
    total = math.fsum(np.ldexp(judged, -exponent).tolist())
    mean = math.ldexp(total / judged.size, exponent)
    # the two roundings could leave the mean of equal values beside them
    mean = min(max(mean, float(judged.min())), float(judged.max()))
    return np.where(np.isnan(values), mean, values)
