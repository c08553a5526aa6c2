"""RACE: sums of a kernel over all items seen, from counts of hash collisions.

Notation: R = rows, B = columns, p = hashes of a row, N = items counted, K(y) = sum over the items x
of k(x, y)^p, k the kernel of the hash family.

Row i hashes an item by p functions and their codes by one universal function into a column; an item
adds 1 to its column in every row. A count at the column of y has expectation K + (N - K) / B, so

    K is estimated by (mean over the rows - N / B) / (1 - 1 / B)

Of an item that was counted itself 1 is its own: the sum over the others is less by exactly 1.

Source: Coleman & Shrivastava 2020 (arXiv 1912.02283), known to us at second hand. Our choice: the
universal function, (sum a_j c_j + b mod 2^64) >> 32, scaled to B (vector multiply-shift, Thorup,
"High speed hashing for integers and strings", section 3.6); taking N / B off; 64-bit counts. Counts
are whole numbers, and so is the sum over rows: nothing depends on batches, order or threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.density.hashes import FloatArray, HashedBlock, HashFamily
from databourse.errors import InputError

Items = TypeVar("Items", bound=Sized)
IntArray: TypeAlias = NDArray[np.int64]
Columns: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]

_HASHES_AT_ONCE = 128  # with a block of vectors: codes of 1 MiB, near to a core's cache
_COLUMN_BYTES = 1 << 28  # of all columns held at once, unless there are very many items
_LEAST_ROWS = 32
_HALF = np.uint64(32)


@dataclass(frozen=True, eq=False, kw_only=True)
class RowHashes(Generic[Items]):
    """Which column an item has in each row.

    Attributes:
        family: rows * hashes_per_row hash functions, those of a row side by side.
        multipliers: of the universal functions, shape (rows, hashes_per_row), uint64.
        increments: likewise, shape (rows,).
        columns: B.
    """

    family: HashFamily[Items]
    multipliers: NDArray[np.uint64]
    increments: NDArray[np.uint64]
    columns: int

    @property
    def rows(self) -> int:
        """R."""
        return len(self.increments)

    @property
    def hashes_per_row(self) -> int:
        """p."""
        return int(self.multipliers.shape[1])

    @property
    def fingerprint(self) -> str:
        """Equal where every item has the same columns, so that counts can be added."""
        state = hashlib.blake2b(f"{self.family.fingerprint} {self.columns}".encode())
        state.update(self.multipliers.tobytes())
        state.update(self.increments.tobytes())
        return state.hexdigest()[:32]


def draw_row_hashes(
    family: HashFamily[Items], *, hashes_per_row: int, columns: int, rng: np.random.Generator
) -> RowHashes[Items]:
    """Return rows of p hash functions each.

    Args:
        family: a multiple of p hash functions.
        hashes_per_row: p >= 1.
        columns: B, 2 .. 2^32.
        rng: the universal functions are drawn from it.

    Raises:
        InputError: an argument is outside its domain.
    """
    if hashes_per_row < 1 or family.n_hashes % hashes_per_row:
        raise InputError(
            f"hashes per row must be >= 1 and divide {family.n_hashes:,}, got {hashes_per_row!r}"
        )
    if not 2 <= columns <= 2**32:
        raise InputError(f"columns must be in 2 .. 2^32, got {columns!r}")
    rows = family.n_hashes // hashes_per_row
    drawn = rng.integers(0, 1 << 64, size=(rows, hashes_per_row + 1), dtype=np.uint64)
    return RowHashes(
        family=family,
        multipliers=np.ascontiguousarray(drawn[:, 1:]),
        increments=drawn[:, 0].copy(),
        columns=columns,
    )


class RaceSketch(Generic[Items]):
    """Counts of items by row and column: built, changed, added and asked.

    Attributes:
        hashes: of the rows.
        counts: shape (rows, columns), int64.
        n_items: N.
    """

    def __init__(self, hashes: RowHashes[Items]) -> None:
        self.hashes = hashes
        self.counts: IntArray = np.zeros((hashes.rows, hashes.columns), dtype=np.int64)
        self.n_items = 0

    def add(self, items: Items, *, threads: int = 1) -> None:
        """Count more items.

        Args:
            items: of the kind that the family hashes.
            threads: that work on it, >= 1; they change nothing but the time.
        """
        self.counts, n_items = self._changed(items, 1, threads)
        self.n_items += n_items

    def remove(self, items: Items, *, threads: int = 1) -> None:
        """Take away items that were counted; a sketch that refuses them is left as it was.

        Args:
            items: as for `add`.
            threads: as for `add`.

        Raises:
            InputError: some cannot have been counted. What shares its columns with others goes
                unnoticed.
        """
        counts, n_items = self._changed(items, -1, threads)
        if n_items > self.n_items or counts.min() < 0:
            raise InputError(
                f"only what was counted can be removed: {n_items:,} of {self.n_items:,} items are "
                "to go, and a count would fall below 0"
            )
        self.counts, self.n_items = counts, self.n_items - n_items

    def merged(self, other: RaceSketch[Items]) -> RaceSketch[Items]:
        """Return the sketch of the items of both.

        Raises:
            InputError: they do not have the same hash functions.
        """
        if self.hashes.fingerprint != other.hashes.fingerprint:
            raise InputError(
                "only sketches with the same hash functions can be merged; draw them with one seed"
            )
        both = RaceSketch(self.hashes)
        both.counts = self.counts + other.counts
        both.n_items = self.n_items + other.n_items
        return both

    def row_counts(self, items: Items) -> IntArray:
        """Return the counts at the columns of some items, shape (rows, n)."""
        found = np.empty((self.hashes.rows, len(items)), dtype=np.int64)
        for first, cells in _row_groups(items, self.hashes, 1):
            for offset, row_cells in enumerate(cells):
                found[first + offset] = self.counts[first + offset].take(row_cells)
        return found

    def kernel_sums(self, items: Items, *, groups: int = 1, threads: int = 1) -> FloatArray:
        """Return estimates of K, shape (n,), float64; unbiased for one group.

        Args:
            items: counted or not.
            groups: the rows are cut into so many groups, and the median of their means is taken;
                1 for the plain mean.
            threads: as for `add`.

        Raises:
            InputError: `groups` is not in 1 .. rows.
        """
        if not 1 <= groups <= self.hashes.rows:
            raise InputError(f"groups must be in 1 .. {self.hashes.rows}, got {groups!r}")
        ends = np.arange(1, groups + 1) * self.hashes.rows // groups
        sums: IntArray | None = None
        for first, cells in _row_groups(items, self.hashes, threads):
            if sums is None:
                sums = np.zeros((groups, cells.shape[1]), dtype=np.int64)
            for offset, row_cells in enumerate(cells):
                row = first + offset
                sums[np.searchsorted(ends, row, side="right")] += self.counts[row].take(row_cells)
        if sums is None:
            return np.empty(0)
        means = sums / np.diff(ends, prepend=0)[:, None]
        return without_accidents(np.median(means, axis=0), self.n_items, self.hashes.columns)

    def kernel_sums_without_self(
        self, items: Items, *, groups: int = 1, threads: int = 1
    ) -> FloatArray:
        """Return estimates of K less the item's own 1, shape (n,).

        Args:
            items: all of them counted.
            groups: as for `kernel_sums`.
            threads: as for `add`.

        Raises:
            InputError: as for `kernel_sums`.
        """
        return self.kernel_sums(items, groups=groups, threads=threads) - 1.0

    def _changed(self, items: Items, sign: int, threads: int) -> tuple[IntArray, int]:
        counts, n_items = self.counts.copy(), 0
        for first, cells in _row_groups(items, self.hashes, threads):
            n_items = cells.shape[1]
            for offset, row_cells in enumerate(cells):
                counts[first + offset] += sign * _histogram(row_cells, self.hashes.columns)
        return counts, n_items


def pool_kernel_sums(items: Items, hashes: RowHashes[Items], *, threads: int = 1) -> FloatArray:
    """Return estimates of K of every item over all of them, itself included, shape (n,).

    The same numbers as from a sketch of the items, hashed once instead of twice: rows are counted
    and asked before the next are hashed.

    Args:
        items: at least one.
        hashes: of the rows.
        threads: that work on it, >= 1; they change nothing but the time.

    Raises:
        InputError: there is no item.
    """
    sums: IntArray | None = None
    for _, cells in _row_groups(items, hashes, threads):
        if sums is None:
            sums = np.zeros(cells.shape[1], dtype=np.int64)
        for row_cells in cells:
            sums += _histogram(row_cells, hashes.columns).take(row_cells)
    if sums is None:
        raise InputError("there must be at least one item, got none")
    return without_accidents(sums / hashes.rows, len(sums), hashes.columns)


def without_accidents(means: FloatArray, n_items: int, columns: int) -> FloatArray:
    """Return (mean - N / B) / (1 - 1 / B): counts without what shares a column by accident.

    Args:
        means: of the counts, any shape.
        n_items: N.
        columns: B >= 2.
    """
    return (means - n_items / columns) / (1.0 - 1.0 / columns)


def _histogram(cells: Columns, columns: int) -> IntArray:
    return np.bincount(cells, minlength=columns).astype(np.int64, copy=False)


def _row_groups(
    items: Items, hashes: RowHashes[Items], threads: int
) -> Iterator[tuple[int, Columns]]:
    """Yield groups of rows: the first row, and the columns of all items, shape (rows, n)."""
    if threads < 1:
        raise InputError(f"threads must be >= 1, got {threads!r}")
    n_items = len(items)
    if not n_items:
        return
    kind = np.uint16 if hashes.columns <= 1 << 16 else np.uint32
    held = max(_LEAST_ROWS, _COLUMN_BYTES // (n_items * kind().itemsize))
    step = max(1, _HASHES_AT_ONCE // hashes.hashes_per_row)
    for first in range(0, hashes.rows, held):
        end = min(first + held, hashes.rows)
        cells = np.empty((end - first, n_items), dtype=kind)

        def fill(
            task: tuple[int, HashedBlock],
            first: int = first,
            end: int = end,
            cells: Columns = cells,
        ) -> None:
            start, block = task
            for row in range(first, end, step):
                last = min(row + step, end)
                cells[row - first : last - first, start : start + block.n_items] = _columns_of(
                    block, hashes, row, last
                )

        if threads == 1:
            for task in _placed(hashes.family.blocks(items)):
                fill(task)
        else:
            with ThreadPoolExecutor(max_workers=threads) as pool:
                list(pool.map(fill, _placed(hashes.family.blocks(items))))
        yield first, cells


def _placed(blocks: Iterator[HashedBlock]) -> Iterator[tuple[int, HashedBlock]]:
    start = 0
    for block in blocks:
        yield start, block
        start += block.n_items


def _columns_of(
    block: HashedBlock, hashes: RowHashes[Items], first: int, end: int
) -> NDArray[np.uint64]:
    """Return the columns of a block in some rows, shape (end - first, n_items)."""
    width = hashes.hashes_per_row
    codes = block.codes(first * width, end * width).reshape(end - first, width, block.n_items)
    mixed = np.empty((end - first, block.n_items), dtype=np.uint64)
    mixed[:] = hashes.increments[first:end, None]
    for place in range(width):
        # sums wrap at 2^64, which is part of the scheme
        mixed += codes[:, place].astype(np.uint64) * hashes.multipliers[first:end, place, None]
    mixed >>= _HALF
    mixed *= np.uint64(hashes.columns)
    mixed >>= _HALF
    return mixed
