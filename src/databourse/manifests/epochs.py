"""The order of examples in an epoch, and who gets which: arrays and numbers only.

An epoch is one sequence of all examples, a function of seed and epoch alone. Blocks of rows (the
row groups of the files) are put into a random order; consecutive blocks are gathered into windows
of at least `window_rows` rows, and the rows of each window are put into a random order. So a reader
holds one window in memory, and a window as large as the data shuffles all of it. Rows lie in order
of document_id, a hash, so every block is itself a random sample of the documents.

The sequence is cut at equal distances: of S consumers (ranks times workers), the one numbered s
gets the places from floor(s * n / S) to floor((s + 1) * n / S). Each place belongs to exactly one
consumer, and two consumers differ by at most one example.

Resampling by weight, where asked for, gives document i of weight w_i its part of the epoch's n
places by systematic sampling: floor(c_i + u) - floor(c_(i-1) + u) of them, with c the running sum
of n * w / sum(w) and one u from [0, 1) per epoch. That is w_i's exact part, rounded up or down, the
expectation is exact, and the number of places stays n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.seeds import stage_rng

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """Blocks whose rows are shuffled together.

    Attributes:
        number: place among the windows of the epoch.
        blocks: which blocks, in order.
        start: place in the epoch of its first example.
        n_places: how many examples it gives; not its rows where examples are resampled.
    """

    number: int
    blocks: tuple[int, ...]
    start: int
    n_places: int


@dataclass(frozen=True)
class EpochOrder:
    """The sequence of an epoch, not spelled out: windows, and how each is shuffled.

    Attributes:
        seed: of all epochs.
        epoch: number of the epoch, from 0.
        is_shuffled: false for the order of the files.
        windows: in order of place.
        copies: how often each row is an example, shape (rows,); None for once.
        block_starts: number of the first row of each block, and of all rows, shape (blocks + 1,).
    """

    seed: int
    epoch: int
    is_shuffled: bool
    windows: tuple[Window, ...]
    copies: IntArray | None
    block_starts: IntArray

    @property
    def n_places(self) -> int:
        """Return how many examples the epoch has."""
        return sum(window.n_places for window in self.windows)

    def rows_of(self, window: Window) -> IntArray:
        """Return which rows are the examples of a window, in their order, shape (n_places,).

        A row is counted from the first row of the window's first block through its blocks.
        """
        sizes = [
            int(self.block_starts[each + 1] - self.block_starts[each]) for each in window.blocks
        ]
        rows = np.arange(sum(sizes))
        if self.copies is not None:
            parts = [
                self.copies[self.block_starts[each] : self.block_starts[each + 1]]
                for each in window.blocks
            ]
            rows = np.repeat(rows, np.concatenate(parts))
        if self.is_shuffled:
            _rng(self.seed, self.epoch, f"window-{window.number}").shuffle(rows)
        return rows

    def windows_between(self, start: int, end: int) -> Iterator[tuple[Window, int, int]]:
        """Yield the windows that places from `start` to before `end` touch.

        With each comes which of its examples: from the second number to before the third.
        """
        for window in self.windows:
            first = max(start - window.start, 0)
            last = min(end - window.start, window.n_places)
            if first < last:
                yield window, first, last


def epoch_order(
    block_rows: Sequence[int],
    *,
    seed: int,
    epoch: int,
    window_rows: int,
    weights: FloatArray | None = None,
) -> EpochOrder:
    """Return the order of an epoch.

    Args:
        block_rows: rows of each block, >= 0.
        seed: of all epochs, >= 0.
        epoch: number of the epoch, from 0.
        window_rows: least rows that are shuffled together, > 0; 0 for the order of the files.
        weights: of each row, finite and > 0, shape (rows,), to resample by; None: each row once.

    Raises:
        InputError: a number is out of its range, or there is not a weight for every row.
    """
    if window_rows < 0 or seed < 0 or epoch < 0:
        raise InputError(
            f"window_rows, seed and epoch must be >= 0, got {window_rows}, {seed} and {epoch}"
        )
    starts = np.concatenate([[0], np.cumsum(np.asarray(block_rows, dtype=np.int64))])
    copies = None
    if weights is not None:
        copies = resampled_copies(weights, int(starts[-1]), _rng(seed, epoch, "resample"))
    order = np.arange(len(block_rows))
    if window_rows:
        _rng(seed, epoch, "blocks").shuffle(order)
    windows: list[Window] = []
    gathered: list[int] = []
    place = 0
    for position, block in enumerate(order.tolist()):
        gathered.append(block)
        rows = sum(block_rows[each] for each in gathered)
        if rows < max(window_rows, 1) and position + 1 < len(order):
            continue
        n_places = rows
        if copies is not None:
            n_places = sum(int(copies[starts[b] : starts[b + 1]].sum()) for b in gathered)
        windows.append(Window(len(windows), tuple(gathered), place, n_places))
        place += n_places
        gathered = []
    return EpochOrder(seed, epoch, window_rows > 0, tuple(windows), copies, starts)


def resampled_copies(weights: FloatArray, n_places: int, rng: np.random.Generator) -> IntArray:
    """Return how often each row is drawn by systematic sampling in proportion to its weight.

    Args:
        weights: finite, > 0, shape (rows,).
        n_places: how many draws, as many as rows.

    Returns:
        Whole numbers >= 0 that add up to `n_places`, each its exact part rounded up or down.

    Raises:
        InputError: a weight is not finite and > 0, or their number is not that of the rows.
    """
    if weights.shape != (n_places,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise InputError(
            f"weights must be finite and > 0, one for each of {n_places:,} rows; "
            f"got shape {weights.shape}"
        )
    if not n_places:
        return np.zeros(0, dtype=np.int64)
    parts = np.cumsum(weights / weights.sum()) * n_places
    parts[-1] = n_places  # what rounding made of it
    edges = np.floor(parts + rng.random()).astype(np.int64)
    edges[-1] = n_places
    edges = np.minimum(edges, n_places)
    return np.diff(edges, prepend=0)


def share(n_places: int, consumer: int, n_consumers: int) -> tuple[int, int]:
    """Return the places of a consumer: from the first number to before the second.

    Raises:
        InputError: there is no such consumer.
    """
    if not 0 <= consumer < n_consumers:
        raise InputError(f"consumer must be in 0..{n_consumers - 1}, got {consumer}")
    return n_places * consumer // n_consumers, n_places * (consumer + 1) // n_consumers


def _rng(seed: int, epoch: int, purpose: str) -> np.random.Generator:
    return stage_rng(seed, "manifest epoch", str(epoch), purpose)
