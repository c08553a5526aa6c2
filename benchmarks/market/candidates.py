"""The candidates of the clearing benchmark: the same work, from columns in memory.

Each gets a board whose columns are numpy arrays. `clear` ends with shares, log price and log price
per token of every document and the books of every topic; `select` with the documents that a token
budget buys. A new candidate is one more class and one more line in `CANDIDATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.market import numpy_twin
from databourse.market.board import Board
from databourse.market.clearing_sql import clear_board
from databourse.selection.buying import buy
from databourse.selection.greedy import rank_documents

FloatArray = NDArray[np.float64]

LIQUIDITY, LENGTH_BIAS = 1.0, 1.0
"""Of every market here; traders have equal weights, topics masses by their documents."""


class Prices(Protocol):
    """What clearing ends with, whoever clears."""

    @property
    def log_price(self) -> FloatArray:
        """Return ln P, shape (n,)."""

    @property
    def log_price_per_token(self) -> FloatArray:
        """Return ln P - g ln tokens, shape (n,)."""


class Candidate(Protocol):
    """One way to clear a market and to spend a budget."""

    def clear(self, board: Board) -> Prices:
        """Return the prices of every document; books of topics are made too."""

    def select(self, board: Board, prices: Prices, *, budget: int) -> NDArray[np.bool_]:
        """Return which documents the budget buys, shape (n,)."""


class NumpyTwin:
    """The yardstick: `numpy_twin`."""

    def clear(self, board: Board) -> Prices:
        """Return the prices of every document."""
        signals = list(board.signals.values())
        return numpy_twin.clear(
            signals,
            np.full(len(signals), 1 / len(signals)),
            topic_index=board.topic_index,
            tokens=board.tokens,
            liquidity=LIQUIDITY,
            length_bias=LENGTH_BIAS,
        )

    def select(self, board: Board, prices: Prices, *, budget: int) -> NDArray[np.bool_]:
        """Return which documents the budget buys, shape (n,)."""
        return numpy_twin.select(prices.log_price_per_token, board.tokens, budget=budget)


class Databourse:
    """The product: named queries in DuckDB, sums in whole numbers."""

    def __init__(self, threads: int) -> None:
        self._cursor = duckdb.connect(
            config={"threads": threads, "preserve_insertion_order": False}
        )

    def clear(self, board: Board) -> Prices:
        """Return the prices of every document."""
        return clear_board(
            self._cursor,
            board,
            weights=dict.fromkeys(board.traders, 1.0),
            liquidity=LIQUIDITY,
            topic_mass="proportional",
            length_bias=LENGTH_BIAS,
        )

    def select(self, board: Board, prices: Prices, *, budget: int) -> NDArray[np.bool_]:
        """Return which documents the budget buys, shape (n,)."""
        return buy(
            log_price=prices.log_price,
            log_price_per_token=prices.log_price_per_token,
            costs=board.tokens,
            budget=budget,
            ranking=rank_documents(prices.log_price_per_token, board.tokens),
        ).is_bought


CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "numpy twin": NumpyTwin,
    "databourse, 1 thread": lambda: Databourse(1),
    "databourse, 2 threads": lambda: Databourse(2),
}
YARDSTICK = "numpy twin"


def read_by_numpy(board: Board) -> None:
    """Read every signal once: the least that any clearing has to do."""
    for values in board.signals.values():
        values.sum()


def reader_in_duckdb(board: Board, threads: int) -> Callable[[], None]:
    """Return what reads every signal once from a table in DuckDB's memory."""
    connection = duckdb.connect(config={"threads": threads})
    connection.register("columns", pa.table(dict(board.signals)))
    connection.execute("create table signals as from columns").fetchall()
    sums = ", ".join(f'sum("{trader}")' for trader in board.traders)

    def read() -> None:
        connection.execute(f"select {sums} from signals").fetchall()  # noqa: S608

    return read


FLOORS: dict[str, Callable[[Board], Callable[[], None]]] = {
    "one read of the columns, numpy": lambda board: lambda: read_by_numpy(board),
    "one read of the columns, DuckDB, 1 thread": lambda board: reader_in_duckdb(board, 1),
    "one read of the columns, DuckDB, 2 threads": lambda board: reader_in_duckdb(board, 2),
}
