"""The matrix that the peers are given, and by which every choice is valued.

Left to themselves, apricot squares a cosine, so that -0.9 becomes 0.81, and submodlib takes
exp(-distance / dimensions), which is nearly the same for all pairs of many dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 1024


def similarities(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return max(0, cosine) of all pairs, to 6 decimals, 1 on the diagonal, shape (n, n).

    Args:
        vectors: shape (n, d), none of them zero.
    """
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = np.empty((len(rows), len(rows)))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        matrix[block] = np.round(np.maximum(rows[block] @ rows.T, 0.0), 6)
    np.fill_diagonal(matrix, 1.0)
    return matrix
