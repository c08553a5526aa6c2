"""A warehouse in memory whose market can be cleared, and the golden example of two topics."""

from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from databourse.queries import query
from databourse.selection.greedy import rank_documents

RUN, SNAPSHOT, TOPICS = "run-1", "snapshot-1", "topics-1"
TABLES = ("pool_documents", "snapshots", "topics", "signals", "signal_versions")


@dataclass
class Bourse:
    """Tables of one run, and its market's answer."""

    connection: duckdb.DuckDBPyConnection
    traders: list[str] = field(default_factory=list)
    board: object = None
    cleared: object = None

    def insert(self, table, columns):
        """Append columns by name; what is not given is null."""
        rows = pa.table(columns)
        for column in self.connection.table(table).columns:
            if column not in rows.column_names:
                rows = rows.append_column(column, pa.nulls(rows.num_rows))
        in_order = rows.select(self.connection.table(table).columns)
        self.connection.from_arrow(in_order).insert_into(table)

    def fill(self, document_ids, topics, tokens, signals, order=None):
        """Store documents and signals ({trader: values}), rows in `order`."""
        n = len(document_ids)
        order = np.arange(n) if order is None else order
        ids = pa.array(document_ids).take(order)
        same = {"document_id": ids}
        self.insert("snapshots", {**same, "snapshot_id": [SNAPSHOT] * n})
        self.insert(
            "topics",
            {
                **same,
                "topics_id": [TOPICS] * n,
                "snapshot_id": [SNAPSHOT] * n,
                "topic": pa.array(topics).take(order),
            },
        )
        self.insert(
            "pool_documents",
            {
                **same,
                "run_id": [RUN] * n,
                "source": ["source"] * n,
                "locator": ids,
                "tokens": pa.array(tokens).take(order),
            },
        )
        for trader, values in signals.items():
            self.add_trader(trader)
            self.value(trader, ids, pa.array(values, pa.float64()).take(order))

    def add_trader(self, trader, signal_id=None):
        """Store the version of a signal."""
        row = {
            "signal_id": signal_id or f"{trader}-id",
            "signal": trader,
            "scope": "pool",
            "parameters": "{}",
            "model_fingerprint": "",
            "orientation": "larger is better",
            "revision": 1,
            "seconds": 0.0,
            "cpu_seconds": 0.0,
            "gpu_seconds": 0.0,
            "model_calls": 0,
        }
        self.insert("signal_versions", {key: [value] for key, value in row.items()})
        self.traders.append(trader)

    def value(self, trader, document_ids, values, snapshot_id=SNAPSHOT):
        """Store what a trader says about documents."""
        self.insert(
            "signals",
            {
                "signal_id": [f"{trader}-id"] * len(document_ids),
                "snapshot_id": [snapshot_id] * len(document_ids),
                "document_id": document_ids,
                "value": values,
            },
        )

    def clear(self, **choices):
        """Clear the market; equal weights, b = 1, proportional, per token, unless chosen."""
        from databourse.market.clearing_sql import assemble_board, clear_board

        signal_ids = choices.pop("signal_ids", [f"{trader}-id" for trader in self.traders])
        self.board = assemble_board(
            self.connection,
            run_id=RUN,
            snapshot_id=SNAPSHOT,
            topics_id=TOPICS,
            signal_ids=signal_ids,
        )
        arguments = {
            "weights": dict.fromkeys(self.traders, 1.0),
            "liquidity": 1.0,
            "topic_mass": "proportional",
            "length_bias": 1.0,
            **choices,
        }
        self.cleared = clear_board(self.connection, self.board, **arguments)
        return self.cleared.summary

    def prices(self):
        """Return the rows of mart_prices, every document bought, in order of document_id."""
        board = self.board
        ranking = rank_documents(self.cleared.log_price_per_token, board.tokens)
        ranks = np.empty(board.n_documents, dtype=np.int64)
        ranks[ranking] = np.arange(1, board.n_documents + 1)
        outcomes = {
            "document_number": np.arange(board.n_documents),
            "document_id": board.document_ids,
            "topic": [board.topics[index] for index in board.topic_index],
            "tokens": board.tokens,
            "price_rank": ranks,
            "is_selected": np.ones(board.n_documents, dtype=bool),
            "weight": np.ones(board.n_documents),
            "inclusion_probability": pa.nulls(board.n_documents, pa.float64()),
        }
        self.connection.register("selection_outcomes", pa.table(outcomes))
        text = query("mart_prices", n_traders=len(board.traders))
        wanted = {"run_id": RUN, "traders": list(board.traders)}
        return self.connection.sql(text, params=wanted).to_arrow_table()

    def ranked(self):
        """Return mart_prices as columns, dearest per token first."""
        return self.prices().sort_by("price_rank").to_pydict()

    def by_document(self, column):
        """Return one column of mart_prices, in order of document_id."""
        return self.prices()[column].to_pylist()


@pytest.fixture
def open_bourse():
    """Return a function that opens an empty warehouse in memory with so many threads."""
    connections = []

    def open_(threads=1):
        connection = duckdb.connect(config={"threads": threads})
        connections.append(connection)
        for table in TABLES:
            connection.execute(query(table)).fetchall()
        return Bourse(connection)

    yield open_
    for connection in connections:
        connection.close()


@pytest.fixture
def bourse(open_bourse):
    """Return an empty warehouse in memory."""
    return open_bourse()


@dataclass(frozen=True)
class Golden:
    """The worked example of docs/methods.md: seven documents, two topics, three traders."""

    ids: tuple[str, ...] = tuple("abcdefg")
    topics: tuple[str, ...] = ("t0",) * 4 + ("t1",) * 3
    topic_index: tuple[int, ...] = (0, 0, 0, 0, 1, 1, 1)
    tokens: tuple[int, ...] = (100, 50, 200, 80, 40, 120, 60)
    weights: tuple[float, ...] = (0.5, 0.3, 0.2)
    uncertainty: tuple[float, ...] = (2, 1, 3, 2, 0.5, 0.7, 0.3)
    rarity: tuple[float, ...] = (0.1, 0.4, 0.2, 0.3, 0.9, 0.6, 0.6)
    diversity: tuple[float, ...] = (0.5, 0.5, 0.1, 0.9, 0.2, 0.2, 0.2)

    @property
    def signals(self):
        return {
            "uncertainty": self.uncertainty,
            "rarity": self.rarity,
            "diversity": self.diversity,
        }

    @property
    def weight_of(self):
        return dict(zip(self.signals, self.weights, strict=True))

    @property
    def arrays(self):
        """Return values, weights, topics and tokens as the Python market takes them."""
        return {
            "values": np.array(list(self.signals.values()), dtype=float).T,
            "weights": np.array(self.weights),
            "topic_index": np.array(self.topic_index),
            "tokens": np.array(self.tokens),
        }


@pytest.fixture(scope="session")
def golden():
    """Return the golden example."""
    return Golden()
