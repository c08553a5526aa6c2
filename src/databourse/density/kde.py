"""The exact sum of a kernel over all items: n * m * d operations, to check estimates with.

Notation: K(y) = sum over the data x of k(x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.density.hashes import FloatArray, l2_kernel, sign_kernel
from databourse.errors import InputError

_BLOCK_CELLS = 1 << 20


def exact_l2_sums(
    queries: NDArray[Any], data: NDArray[Any], *, bandwidth: float, hashes_per_row: int = 1
) -> FloatArray:
    """Return the sums of the L2 kernel to the power p, shape (n_queries,), within 1e-6 relative.

    Args:
        queries: shape (n_queries, d).
        data: shape (n, d); a query that is among them counts 1 for itself.
        bandwidth: r > 0.
        hashes_per_row: p >= 1.

    Raises:
        InputError: shapes do not match.
    """
    return _sums(queries, data, _l2_block(bandwidth, hashes_per_row))


def exact_sign_sums(
    queries: NDArray[Any], data: NDArray[Any], *, hashes_per_row: int = 1
) -> FloatArray:
    """Return the sums of the sign kernel to the power p, shape (n_queries,).

    Args:
        queries: shape (n_queries, d), unit rows.
        data: shape (n, d), unit rows.
        hashes_per_row: p >= 1.

    Raises:
        InputError: shapes do not match.
    """

    def block(left: FloatArray, right: FloatArray) -> FloatArray:
        return sign_kernel(left @ right.T) ** hashes_per_row

    return _sums(queries, data, block)


def _l2_block(bandwidth: float, power: int) -> Callable[[FloatArray, FloatArray], FloatArray]:
    kernel = partial(l2_kernel, bandwidth=bandwidth)

    def block(left: FloatArray, right: FloatArray) -> FloatArray:
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * (left @ right.T)
        return kernel(np.sqrt(np.maximum(squares, 0.0))) ** power

    return block


def _sums(
    queries: NDArray[Any],
    data: NDArray[Any],
    kernel: Callable[[FloatArray, FloatArray], FloatArray],
) -> FloatArray:
    if queries.ndim != 2 or data.ndim != 2 or queries.shape[1] != data.shape[1]:
        raise InputError(
            f"queries and data must have shapes (m, d) and (n, d), got {queries.shape} and "
            f"{data.shape}"
        )
    sums = np.zeros(len(queries))
    columns = data.astype(np.float64)
    step = max(1, _BLOCK_CELLS // max(1, len(data)))
    for start in range(0, len(queries), step):
        rows = queries[start : start + step].astype(np.float64)
        sums[start : start + step] = kernel(rows, columns).sum(axis=1)
    return sums
