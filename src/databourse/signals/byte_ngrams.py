"""A cross-fitted byte n-gram model: no document is scored by counts that include its own fold.

A byte is predicted as two symbols of 4 bits, the high one first: P(w | h) = P(high | h) *
P(low | h, high), with h = the last m - 1 bytes (NUL bytes before the start of a text). Rows of 16
counts are mostly in use where rows of 256 would be mostly zeros. Notation, for a symbol s after a
state g (h, or h and the high half): c(g, s) = how often s followed g in the other folds;
C(g) = sum_s c(g, s); T(g) = distinct s that followed g; g' = g without its oldest byte.
Interpolated Witten-Bell estimate (Witten & Bell 1991, IEEE Trans. Inf. Theory 37(4); recursion as
in Chen & Goodman 1999, Computer Speech & Language 13):

    P_m(s | g) = ( c(g, s) + T(g) * P_{m-1}(s | g') ) / ( C(g) + T(g) )

with P_m = P_{m-1} where C(g) = 0, and P_0 = 1 / 16. States of more than `table_bits` bits are
hashed to that many; states that collide share one row. A row holds all 16 next symbols, so the
estimate stays a distribution whatever collides: it sums to 1 over the 256 bytes.

Memory of the counts: 4 bytes * folds * 16 * (sum over m of the rows of order m), plus 16 bytes per
fold and row, where order m has min(2**(8 (m - 1) + 5), 2**table_bits) rows: 255 MB for order 5, 4
folds and 18 bits, whatever the pool; a small pool touches little of it. Working memory: 60 MB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError

_PIECE_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 18
_FOLD_BYTES = 2**32  # a count is 32 bits wide
_ROWS = 1024
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio (Knuth, TAOCP 3, 6.4)
_SYMBOLS = 16


@dataclasses.dataclass(frozen=True)
class PackedTexts:
    """Some texts as one array of bytes, cut into pieces that each carry their context.

    Attributes:
        buffer: shape (m,), uint8; each piece after the order - 1 bytes before it.
        following: positions in `buffer` of the bytes to predict, shape (n_bytes,).
        pieces: the piece of each such byte, shape (n_bytes,), from 0.
        documents: the document of each piece, shape (n_pieces,).
    """

    buffer: NDArray[np.uint8]
    following: NDArray[np.int64]
    pieces: NDArray[np.int64]
    documents: NDArray[np.int64]


def pack_texts(batches: Iterable[Sequence[str]], *, order: int) -> Iterator[PackedTexts]:
    """Yield texts as UTF-8 bytes, in chunks of bounded size; documents are numbered from 0.

    The pieces of a text depend on the text alone, so nothing computed per piece can depend on how
    the texts were batched.
    """
    held: list[tuple[int, bytes, bytes]] = []
    size = 0
    document = -1
    for batch in batches:
        for text in batch:
            document += 1
            for context, body in _pieces(text.encode("utf-8"), order - 1):
                held.append((document, context, body))
                size += len(body)
                if size >= _CHUNK_BYTES:
                    yield _packed(held, order - 1)
                    held, size = [], 0
    if held:
        yield _packed(held, order - 1)


def _pieces(data: bytes, context_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    padded = bytes(context_bytes) + data
    for start in range(0, len(data), _PIECE_BYTES):
        yield (
            padded[start : start + context_bytes],
            data[start : start + _PIECE_BYTES],
        )


def _packed(held: Sequence[tuple[int, bytes, bytes]], context_bytes: int) -> PackedTexts:
    joined = b"".join(part for _, context, body in held for part in (context, body))
    lengths = np.array([len(body) for _, _, body in held], dtype=np.int64)
    pieces = np.repeat(np.arange(len(held)), lengths)
    return PackedTexts(
        buffer=np.frombuffer(joined, dtype=np.uint8),
        following=np.arange(len(pieces)) + (pieces + 1) * context_bytes,
        pieces=pieces,
        documents=np.array([document for document, _, _ in held], dtype=np.int64),
    )


class ByteCounts:
    """Counts of byte n-grams by fold; `finish` turns them into the model."""

    def __init__(self, *, order: int, folds: int, table_bits: int) -> None:
        """Start from nothing.

        Args:
            order: n of the longest n-gram, 1 to 8.
            folds: >= 2.
            table_bits: the rows of an order are at most 2**table_bits.
        """
        if not (1 <= order <= 8 and folds >= 2 and 8 <= table_bits <= 24):
            raise InputError(
                "order must be 1..8, folds >= 2 and table_bits 8..24, got "
                f"{order}, {folds} and {table_bits}"
            )
        self.order, self.folds, self.table_bits = order, folds, table_bits
        rows = [1 << min(8 * context_bytes + 5, table_bits) for context_bytes in range(order)]
        self._cells = [np.zeros((folds, n_rows, _SYMBOLS), dtype=np.uint32) for n_rows in rows]
        self._seen = [np.zeros(n_rows, dtype=np.bool_) for n_rows in rows]
        self._bytes = np.zeros(folds, dtype=np.int64)

    def add(self, packed: PackedTexts, folds: NDArray[np.int64]) -> None:
        """Count packed texts; `folds` holds the fold of every document.

        Raises:
            InputError: a fold would hold 4 GiB or more, beyond the width of a count.
        """
        fold = _folds_of_symbols(packed, folds)
        self._bytes += np.bincount(fold, minlength=self.folds) // 2
        if (self._bytes >= _FOLD_BYTES).any():
            raise InputError(
                f"a fold must hold less than 4 GiB of text, got {int(self._bytes.max()):,} bytes; "
                "raise folds"
            )
        symbols = _symbols(packed)
        rows_by_order = state_rows(packed, self.order, self.table_bits)
        for cells, seen, rows in zip(self._cells, self._seen, rows_by_order, strict=True):
            seen[rows] = True
            places = (fold * len(seen) + rows) * _SYMBOLS + symbols
            np.add.at(cells.reshape(-1), places, np.uint32(1))

    def finish(self) -> ByteModel:
        """Return the model; the counts become those of the other folds, in place."""
        tables = [
            _counts_of_other_folds(cells, np.flatnonzero(seen))
            for cells, seen in zip(self._cells, self._seen, strict=True)
        ]
        model = ByteModel(self.table_bits, tuple(tables))
        self._cells, self._seen = [], []  # they belong to the model now
        return model


@dataclasses.dataclass(frozen=True)
class OtherCounts:
    """Counts of one order, for each fold those of all the other folds.

    Attributes:
        cells: c, shape (folds, rows, 16), uint32.
        totals: C, shape (folds, rows), int64.
        types: T, shape (folds, rows), int64.
    """

    cells: NDArray[np.uint32]
    totals: NDArray[np.int64]
    types: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ByteModel:
    """One n-gram model per fold, each fitted to all other folds."""

    table_bits: int
    tables: tuple[OtherCounts, ...]

    def probabilities(self, packed: PackedTexts, folds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return P(byte | bytes before it) of each byte of packed texts, in (0, 1].

        Args:
            packed: texts packed with the order of this model.
            folds: the fold of every document.
        """
        fold = _folds_of_symbols(packed, folds)
        symbols = _symbols(packed)
        estimate = np.full(len(symbols), 1.0 / _SYMBOLS)
        rows_by_order = state_rows(packed, len(self.tables), self.table_bits)
        for table, rows in zip(self.tables, rows_by_order, strict=True):
            place = fold * table.totals.shape[1] + rows
            types = table.types.reshape(-1)[place]
            weight = (table.totals.reshape(-1)[place] + types).astype(np.float64)
            counts = table.cells.reshape(-1)[place * _SYMBOLS + symbols]
            np.divide(counts + types * estimate, weight, out=estimate, where=weight > 0)
        high, low = np.split(estimate, 2)
        joint: NDArray[np.float64] = high * low
        return joint


def state_rows(packed: PackedTexts, order: int, table_bits: int) -> Iterator[NDArray[np.int64]]:
    """Yield, for orders 1 to `order`, the row of the state before each symbol of `_symbols`."""
    following = packed.buffer[packed.following]
    high = following.astype(np.uint64) >> np.uint64(4)
    stage = np.concatenate([np.full(len(high), _SYMBOLS, dtype=np.uint64), high])
    context = np.zeros(len(following), dtype=np.uint64)
    for context_bytes in range(order):
        if context_bytes:
            older = packed.buffer[packed.following - context_bytes].astype(np.uint64)
            context |= older << np.uint64(8 * (context_bytes - 1))
        state = (np.concatenate([context, context]) << np.uint64(5)) | stage
        if 8 * context_bytes + 5 > table_bits:
            # unsigned products wrap; the top bits of a product depend on all bits of the state
            state = (state * _MULTIPLIER) >> np.uint64(64 - table_bits)
        yield state.astype(np.int64)


def _symbols(packed: PackedTexts) -> NDArray[np.int64]:
    """Return the high halves of the bytes to predict, then the low halves."""
    following = packed.buffer[packed.following].astype(np.int64)
    return np.concatenate([following >> 4, following & 15])


def _folds_of_symbols(packed: PackedTexts, folds: NDArray[np.int64]) -> NDArray[np.int64]:
    fold = folds[packed.documents][packed.pieces]
    return np.concatenate([fold, fold])


def _counts_of_other_folds(cells: NDArray[np.uint32], seen: NDArray[np.int64]) -> OtherCounts:
    totals = np.zeros(cells.shape[:2], dtype=np.int64)
    types = np.zeros(cells.shape[:2], dtype=np.int64)
    for start in range(0, len(seen), _ROWS):
        rows = seen[start : start + _ROWS]
        own = cells[:, rows]
        others = own.sum(axis=0, dtype=np.uint32) - own
        cells[:, rows] = others
        totals[:, rows] = others.sum(axis=2, dtype=np.int64)
        types[:, rows] = np.count_nonzero(others, axis=2)
    return OtherCounts(cells, totals, types)
