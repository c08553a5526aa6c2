"""The board: everything that a market needs to know of its documents, in order of document_id.

A refresh stores the board of its market as one file, so that the market can be cleared again under
other settings without the warehouse and without scoring anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from databourse.errors import InputError, UnknownNameError
from databourse.market.columns import arrow_column, numpy_column
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray

SIGNAL_PREFIX = "signal_"
_KEYS = ("document_id", "source", "topic", "tokens")


@dataclass(frozen=True, eq=False)
class Board:
    """Candidates of a market; every array has one element per document, in order of document_id.

    `topics` and `sources` are names in order, `topic_index` and `source_index` point into them.
    `tokens` are lengths, >= 1. `signals` has one column (n,) per trader, traders in order of name.
    """

    document_ids: pa.ChunkedArray
    topics: tuple[str, ...]
    topic_index: IntArray
    sources: tuple[str, ...]
    source_index: IntArray
    tokens: IntArray
    signals: dict[str, FloatArray]

    @property
    def n_documents(self) -> int:
        """Return how many documents are for sale."""
        return self.tokens.size

    @property
    def traders(self) -> tuple[str, ...]:
        """Return the traders, in order of name."""
        return tuple(self.signals)

    def of_traders(self, traders: Sequence[str]) -> Board:
        """Return the board with these traders alone.

        Raises:
            UnknownNameError: the board has no signal of that name.
            InputError: none is named.
        """
        if not traders:
            raise InputError("a market needs at least one trader; keep at least one signal")
        for trader in traders:
            if trader not in self.signals:
                raise UnknownNameError("signal", trader, self.traders, where="the board")
        kept = {trader: self.signals[trader] for trader in sorted(set(traders))}
        return Board(
            self.document_ids,
            self.topics,
            self.topic_index,
            self.sources,
            self.source_index,
            self.tokens,
            kept,
        )


def board_of(table: pa.Table) -> Board:
    """Return the board in a table of one row per document.

    Args:
        table: document_id (ascending), source, topic (strings), tokens (whole numbers) and one
            column `signal_<trader>` per trader.

    Raises:
        InputError: there is no row or no trader, a column is missing, or rows are out of order.
    """
    missing = [name for name in _KEYS if name not in table.column_names]
    if missing:
        raise InputError(f"a board needs the columns {', '.join(_KEYS)}; {missing[0]} is missing")
    traders = sorted(
        name.removeprefix(SIGNAL_PREFIX)
        for name in table.column_names
        if name.startswith(SIGNAL_PREFIX)
    )
    if not traders or table.num_rows == 0:
        raise InputError(
            f"a board needs documents and signals, got {table.num_rows:,} documents and "
            f"{len(traders)} signals"
        )
    document_ids = table["document_id"]
    if not pc.all(pc.less(document_ids.slice(0, len(document_ids) - 1), document_ids.slice(1))):
        raise InputError("the documents of a board must ascend by document_id, each there once")
    topics, topic_index = _names_and_index(table["topic"])
    sources, source_index = _names_and_index(table["source"])
    return Board(
        document_ids=document_ids,
        topics=topics,
        topic_index=topic_index,
        sources=sources,
        source_index=source_index,
        tokens=numpy_column(table["tokens"]).astype(np.int64, copy=False),
        signals={trader: _floats(table[f"{SIGNAL_PREFIX}{trader}"]) for trader in traders},
    )


def board_table(board: Board) -> pa.Table:
    """Return the table of a board, as `board_of` takes it."""
    columns = {
        "document_id": board.document_ids,
        "source": _dictionary(board.sources, board.source_index),
        "topic": _dictionary(board.topics, board.topic_index),
        "tokens": arrow_column(board.tokens),
    }
    signals = {
        f"{SIGNAL_PREFIX}{name}": arrow_column(values) for name, values in board.signals.items()
    }
    return pa.table(columns | signals)


def _floats(column: pa.ChunkedArray) -> FloatArray:
    return numpy_column(column.cast(pa.float64()))


def _names_and_index(column: pa.ChunkedArray) -> tuple[tuple[str, ...], IntArray]:
    """Return the distinct names of a column in order, and where each row's name is among them."""
    encoded = pc.dictionary_encode(column).combine_chunks() if column.num_chunks else None
    if encoded is None or encoded.null_count:
        raise InputError("every document of a board needs a topic and a source, got a null")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks().chunk(0)
    names = encoded.dictionary.to_pylist()
    codes = numpy_column(encoded.indices)
    counts = np.bincount(codes, minlength=len(names)).tolist()
    used = sorted((name, code) for code, name in enumerate(names) if counts[code])
    place = np.zeros(len(names), dtype=np.int64)
    place[[code for _, code in used]] = np.arange(len(used))
    return tuple(name for name, _ in used), place[codes]


def _dictionary(names: Sequence[str], index: NDArray[np.int64]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(arrow_column(index.astype(np.int32)), pa.array(names))
