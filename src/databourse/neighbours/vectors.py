"""Unit vectors and their cosines, with numbers that do not depend on how the work was cut up.

A cosine here is a float64 dot product of one pair, divided by the norms of the two vectors and
rounded to 6 decimals: the rounding error of float64 (about 1e-16) then shows in about one of 1e10
pairs at most, whatever the processor, the number of threads or the position of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError

SIMILARITY_DECIMALS = 6
NORM_TOLERANCE = 1e-3  # float32 unit vectors are within 1e-6; float16 ones within 1e-3
_ROWS = 4096


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return the vectors as contiguous float32 after checking that each has length 1.

    Args:
        vectors: shape (n, d), n >= 1, d >= 1.

    Raises:
        InputError: wrong shape, a number that is not finite, or a length off 1 by more than 1e-3;
            names the first bad rows, counted from 0.
    """
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise InputError(f"vectors must have shape (n, d) with n, d >= 1, got {vectors.shape}")
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = row_norms(rows)
    bad = np.flatnonzero(~(np.abs(lengths - 1.0) <= NORM_TOLERANCE))  # NaN is bad too
    if bad.size:
        first = ", ".join(f"{row} (length {lengths[row]:.6g})" for row in bad[:3])
        raise InputError(
            f"vectors must be finite and of length 1 within {NORM_TOLERANCE}: "
            f"{bad.size:,} of {len(rows):,} rows are not, first {first}"
        )
    return rows


def row_norms(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Euclidean length of each row, shape (n,), computed in float64."""
    return np.sqrt(paired_dots(rows, rows))


def paired_dots(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the dot product of row i of `left` with row i of `right`, in float64, shape (n,)."""
    dots = np.empty(len(left), dtype=np.float64)
    for start in range(0, len(left), _ROWS):
        block = slice(start, start + _ROWS)
        dots[block] = np.einsum(
            "ij,ij->i", left[block].astype(np.float64), right[block].astype(np.float64)
        )
    return dots


def paired_cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of row i of `left` and row i of `right`, rounded to 6 decimals.

    A zero vector has cosine 0 with everything. Shape (n,), in [-1, 1].
    """
    lengths = row_norms(left) * row_norms(right)
    dots = paired_dots(left, right)
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    return rounded(cosines)


def rounded(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosines rounded to 6 decimals, with no negative zero."""
    return np.round(cosines, SIMILARITY_DECIMALS) + 0.0
