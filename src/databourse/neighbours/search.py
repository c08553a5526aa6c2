"""Exact nearest neighbours by cosine, the same for any number of threads and any block size.

Two steps per block of queries. (1) float32 products of the block with all vectors find candidates:
everything within the worst rounding error of the k-th best. (2) The cosines of the candidates alone
are computed again pair by pair in float64 and rounded to 6 decimals, and the total order (cosine
descending, position ascending) picks k. The first step cannot lose a neighbour and the second does
not depend on the first, so an approximate or GPU index may one day replace step 1 alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import paired_dots, rounded, row_norms, unit_rows
from databourse.progress import ProgressReport, silent

_BLOCK_ROWS = 256
_PAIRS = 8192
_BLOCK_CELLS = 1 << 26  # 256 MiB of float32: larger pools get lower blocks


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest documents of each document, nearest first, without itself.

    Attributes:
        positions: shape (n, k), int32; rows of the neighbours, from 0.
        similarities: shape (n, k), float32; cosine rounded to 6 decimals, not increasing by row;
            equal ones are in order of position.
        requested: the k that was asked for; larger than `k` when the pool was too small.
    """

    positions: NDArray[np.int32]
    similarities: NDArray[np.float32]
    requested: int

    @property
    def k(self) -> int:
        """Neighbours per document: min(requested, n - 1)."""
        return int(self.positions.shape[1])


def nearest_neighbours(
    vectors: NDArray[Any],
    k: int,
    *,
    workers: int = 1,
    progress: ProgressReport = silent,
) -> Neighbours:
    """Return the k nearest rows of each row by cosine, never the row itself (by position).

    Time grows with n * n * d: 10,000 x 384 takes about 3 s on one core. Memory: the vectors plus
    `workers` blocks of at most 9 bytes * max(2**26, 16 n).

    Args:
        vectors: unit rows, shape (n, d), float32.
        k: neighbours per row, >= 1; clipped to n - 1 (see `Neighbours.requested`).
        workers: threads that work on different blocks, >= 1; never changes the result.
        progress: told the number of rows done.

    Raises:
        InputError: vectors not finite or not of length 1, or k or workers below 1.
    """
    if k < 1 or workers < 1:
        raise InputError(f"k and workers must be >= 1, got k={k}, workers={workers}")
    rows = unit_rows(vectors)
    kept = min(k, len(rows) - 1)
    if kept == 0:
        progress(1)
        nothing = np.empty((1, 0))
        return Neighbours(nothing.astype(np.int32), nothing.astype(np.float32), requested=k)
    positions, similarities = _search_blocks(rows, kept, workers, progress)
    return Neighbours(positions, similarities, requested=k)


def _search_blocks(
    rows: NDArray[np.float32], k: int, workers: int, progress: ProgressReport
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    size = max(16, min(_BLOCK_ROWS, _BLOCK_CELLS // len(rows)))
    lengths = row_norms(rows)
    margin = product_margin(lengths, rows.shape[1])
    first_equal = _first_equal_rows(rows)
    positions = np.empty((len(rows), k), dtype=np.int32)
    similarities = np.empty((len(rows), k), dtype=np.float32)

    def search(start: int) -> int:
        block = slice(start, min(start + size, len(rows)))
        queries, candidates = _candidates(rows, block, k, margin)
        cosines = _pair_cosines(rows, lengths, first_equal, queries, candidates)
        best = _best_per_query(queries, candidates, cosines, k)
        positions[block] = candidates[best]
        similarities[block] = cosines[best]
        return block.stop - block.start

    with single_threaded_blas(), ThreadPoolExecutor(max_workers=workers) as pool:
        for done in pool.map(search, range(0, len(rows), size)):
            progress(done)
    return positions, similarities


def product_margin(lengths: NDArray[np.float64], dimension: int) -> float:
    """Return by how much a true neighbour's float32 product may be below the k-th best product.

    |float32 dot - exact| <= d * 2**-24 * |x| |y| (Higham 2002, 3.1), and |dot - cosine| <= 2.1 s
    for lengths within s <= 1e-3 of 1; each once for the candidate and once for the k-th best. 2e-6
    covers the rounding of both cosines to 6 decimals.
    """
    spread = float(np.abs(lengths - 1.0).max())
    return 2.0 * (1.01 * dimension * 2.0**-24 + 2.1 * spread) + 2e-6


def _candidates(
    rows: NDArray[np.float32], block: slice, k: int, margin: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs (row of the block, other row) that hold every true neighbour, in order."""
    products = rows[block] @ rows.T
    local = np.arange(block.stop - block.start)
    products[local, local + block.start] = -np.inf
    from_top = len(rows) - k
    kth_best = np.partition(products, from_top, axis=1)[:, from_top]
    queries, candidates = np.nonzero(products >= (kth_best - np.float32(margin))[:, None])
    return queries + block.start, candidates


def _first_equal_rows(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return, for each row, the position of the first row with the same bytes."""
    first: dict[bytes, int] = {}
    digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return np.fromiter(
        (first.setdefault(digest, position) for position, digest in enumerate(digests)),
        dtype=np.int64,
        count=len(rows),
    )


def _pair_cosines(
    rows: NDArray[np.float32],
    lengths: NDArray[np.float64],
    first_equal: NDArray[np.int64],
    queries: NDArray[np.int64],
    candidates: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the cosine of each pair; pairs of equal vectors are computed once.

    Texts cut at the encoder's length share vectors, and m of them make m * m candidate pairs.
    """
    keys, pair = np.unique(
        first_equal[queries] * len(rows) + first_equal[candidates], return_inverse=True
    )
    cosines = np.empty(len(keys), dtype=np.float64)
    for start in range(0, len(keys), _PAIRS):
        left, right = np.divmod(keys[start : start + _PAIRS], len(rows))
        dots = paired_dots(rows[left], rows[right])
        cosines[start : start + _PAIRS] = rounded(dots / (lengths[left] * lengths[right]))
    return cosines[pair]


def _best_per_query(
    queries: NDArray[np.int64],
    candidates: NDArray[np.int64],
    cosines: NDArray[np.float64],
    k: int,
) -> NDArray[np.int64]:
    """Return, per query, the indices of its k best pairs: shape (queries of the block, k)."""
    order = np.lexsort((candidates, -cosines, queries))
    first = np.searchsorted(queries, np.unique(queries))
    picked: NDArray[np.int64] = order[first[:, None] + np.arange(k)]
    return picked
