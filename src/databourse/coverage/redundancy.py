"""How much each document repeats another one of its cluster: the score of SemDeDup.

Notation: within a cluster, documents are put in order of their cosine to its centroid, the lowest
first, ties in order of position; then

    r_j = max over the i before j of cos(x_i, x_j),   and -1 for the first of each cluster.

SemDeDup keeps j exactly where r_j <= 1 - epsilon. So the documents that it keeps at any epsilon are
those with the lowest r, and a budget can be met by buying in rising order of r.

Source: Abbas et al. 2023 (arXiv 2303.09540) and their code, which keeps the hard examples, those
far from the centroid. As there, a document that is dropped still eliminates those after it: of a
chain a - b - c with both neighbours alike, a alone stays though a and c differ. This keeps fewer
documents than a greedy rule (compare with what is kept) and more than connected components; and
only so is r independent of epsilon. The code counts negative cosines as 0, which changes nothing
for epsilon < 1. Duplicates in two clusters are not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.coverage.clusters import centroid_cosines
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import rounded, row_norms, unit_rows
from databourse.selection.greedy import FloatArray, IntArray

_BLOCK_ROWS = 1024
_BLOCK_CELLS = 1 << 24  # 128 MiB of float64: larger clusters get lower blocks
_NONE_BEFORE = -1.0


def redundancies(vectors: NDArray[Any], clusters: IntArray) -> FloatArray:
    """Return the largest cosine of each document to one before it in its cluster, to 6 decimals.

    Time grows with d times the sum of the squared cluster sizes. Memory: a float64 copy of the
    largest cluster, and a block of 128 MiB.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        clusters: shape (n,), integers >= 0.

    Returns:
        Shape (n,), in [-1, 1]; -1 for the first of each cluster. Of two equal vectors in one
        cluster the one at the later position has 1.

    Raises:
        InputError: vectors are not finite or not of length 1.
    """
    rows = unit_rows(vectors)
    typical = centroid_cosines(rows, clusters)
    order = np.lexsort((typical, clusters))
    _, firsts = np.unique(clusters[order], return_index=True)
    scores = np.empty(len(rows))
    with single_threaded_blas():
        for members in np.split(order, firsts[1:]):
            scores[members] = _largest_before(rows[members])
    return scores


def _largest_before(rows: NDArray[np.float32]) -> FloatArray:
    """Return the largest cosine of each row to one above it; -1 for the first.

    Products of whole blocks in float64 are off by about 1e-15, which rounding to 6 decimals hides
    in all but about one of 1e8 pairs, and a pair counts only where it is the largest of its row.
    """
    scaled = rows.astype(np.float64)
    scaled /= row_norms(rows)[:, None]
    largest = np.full(len(rows), _NONE_BEFORE)
    size = max(16, min(_BLOCK_ROWS, _BLOCK_CELLS // len(rows)))
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        products = scaled[start:stop] @ scaled[:stop].T
        products[:, start:][np.triu_indices(stop - start)] = _NONE_BEFORE  # itself and later ones
        largest[start:stop] = products.max(axis=1)
    return np.maximum(rounded(largest), _NONE_BEFORE)
