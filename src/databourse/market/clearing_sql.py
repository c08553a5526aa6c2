"""The market of `databourse.market.clearing`, cleared by named queries in DuckDB.

Queries run one after another, each into a temporary table of its own name, on the caller's cursor.
Every sum is over whole numbers, so neither the number of threads nor the order in which rows are
stored changes a bit of the result. Traders have one column each (see `databourse.queries`).
Equal to `clear_market` within 1e-9; the cost under a prior within 1e-9 + 1e-15 b.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.errors import ContractViolation, InputError
from databourse.market.board import Board, board_of
from databourse.market.clearing import (
    Liquidity,
    check_length_bias,
    check_tokens,
    log_priors,
    pool_effective_sample_size,
    topic_liquidities,
)
from databourse.market.columns import arrow_column, numpy_column
from databourse.market.liquidity import EffectiveShare, liquidity_for_share
from databourse.market.lmsr import FloatArray
from databourse.market.masses import TopicMass, topic_masses
from databourse.market.pooling import FixedOrders, Traders, normalised_weights, shares_per_spread
from databourse.market.standardisation import LEAST_HALF_RANGE, RELATIVE_NOISE
from databourse.queries import materialise, query

_BATCH_DOCUMENTS = 122_880  # a row group of DuckDB


@dataclass(frozen=True)
class TopicMarket:
    """The books of one topic's maker, in the words of `ClearedMarket`."""

    topic: str
    n_documents: int
    mass: float
    liquidity: float
    cost: float
    worst_case_loss: float
    effective_sample_size: float
    entropy: float


@dataclass(frozen=True)
class TopicTrader:
    """How a trader's signal became orders in one topic: shares bought are z * shares_per_spread."""

    topic: str
    trader: str
    mean: float
    spread: float
    shares_per_spread: float


@dataclass(frozen=True)
class MarketSummary:
    """What the market of a run was: its traders, and its topics in order of name."""

    n_documents: int
    weights: dict[str, float]
    """Trader to its part of the order flow, in order of name; sums to 1."""
    topics: tuple[TopicMarket, ...]
    topic_traders: tuple[TopicTrader, ...]

    def pool_effective_sample_size(self) -> float:
        """Return 1 / sum P^2 over the whole pool, in documents."""
        return pool_effective_sample_size(
            np.array([topic.mass for topic in self.topics]),
            np.array([topic.effective_sample_size for topic in self.topics]),
        )


@dataclass(frozen=True, eq=False)
class ClearedBoard:
    """Prices of the documents of a board, in its order, and the books of the market.

    `log_price` ln P and `log_price_per_token` have shape (n_documents,).
    """

    summary: MarketSummary
    log_price: FloatArray
    log_price_per_token: FloatArray


def assemble_board(
    cursor: duckdb.DuckDBPyConnection,
    *,
    run_id: str,
    snapshot_id: str,
    topics_id: str,
    signal_ids: Sequence[str],
) -> Board:
    """Return the board of a run from the tables of the warehouse.

    Args:
        cursor: a connection to the warehouse.
        run_id: whose pool_documents hold sources and lengths.
        snapshot_id: the documents to price.
        topics_id: the topics to price them in.
        signal_ids: stored signals, one for each trader.

    Raises:
        InputError: a signal is unknown or there twice, or no document is there.
        ContractViolation: a document has no topic or no length, or a trader has not exactly one
            finite value for it.
    """
    traders = _stored_traders(cursor, signal_ids)
    materialise(cursor, "stg_market__traders", {"traders": traders})
    ids = {"run_id": run_id, "snapshot_id": snapshot_id, "topics_id": topics_id}
    materialise(cursor, "stg_pool__documents", ids)
    _check_not_empty(cursor, snapshot_id)
    _check(cursor, "assert_candidates_are_complete")
    signals = {"snapshot_id": snapshot_id, "signal_ids": list(signal_ids)}
    materialise(cursor, "stg_signals__values", signals)
    for claim in ("unique", "complete", "finite"):
        _check(cursor, f"assert_orders_are_{claim}")
    names = {f"trader_{number}": trader for number, trader in enumerate(traders)}
    text = query("mart_board", n_traders=len(traders))
    table = cursor.sql(text, params=names).to_arrow_table()
    columns = [f"signal_{trader}" for trader in traders]
    return board_of(table.rename_columns(["document_id", "source", "topic", *columns, "tokens"]))


def clear_board(
    cursor: duckdb.DuckDBPyConnection,
    board: Board,
    *,
    weights: Mapping[str, float],
    liquidity: Liquidity,
    topic_mass: TopicMass,
    length_bias: float,
    prior: FloatArray | None = None,
    traders: Traders = FixedOrders(),  # noqa: B008 - a frozen value
) -> ClearedBoard:
    """Return the prices at which the market of every topic of a board clears.

    Args:
        cursor: any DuckDB connection; it keeps what `mart_prices` reads.
        board: the documents and the traders' signals.
        weights: every trader of the board to its weight, >= 0, not all 0; scaled to sum 1.
        liquidity: as in `clear_market`; sequences go by `board.topics`.
        topic_mass: how prices of different topics are made comparable.
        length_bias: exponent of the length, finite; 0 ignores length, 1 is price per token.
        prior: as in `clear_market`.
        traders: as in `clear_market`; orders of trading go by `board.traders`.

    Raises:
        InputError: an argument is outside its domain.
        ContractViolation: a signal is not finite.
    """
    check_length_bias(length_bias)
    check_tokens(board.tokens, n_documents=board.n_documents)
    flow = _flow(board, weights)
    n_topics = len(board.topics)
    n_documents = np.bincount(board.topic_index, minlength=n_topics).astype(np.int64)
    log_prior = log_priors(prior, board.topic_index, n_topics=n_topics)
    _hand_over(cursor, board, log_prior)
    _standardise(cursor, board)
    given = topic_liquidities(liquidity, n_topics=n_topics)
    stakes = shares_per_spread(flow, given, traders)
    by_trader = {f"shares_{trader}": stakes[:, trader] for trader in range(stakes.shape[1])}
    topic_numbers: dict[str, NDArray[Any]] = {"topic_number": np.arange(n_topics, dtype=np.int32)}
    _register(cursor, "market_traders", topic_numbers | by_trader)
    for name in ("int_topics_staked", "int_documents_held"):
        _step(cursor, name, board)
    makers = {
        "liquidity": _makers(cursor, board, given, log_prior, has_prior=prior is not None),
        "mass": topic_masses(n_documents, topic_mass),
    }
    _register(cursor, "market_makers", topic_numbers | makers)
    for name in ("int_topics_sized", "int_topics_peaked", "int_topics_cleared"):
        _step(cursor, name, board)
    materialise(cursor, "int_documents_priced", {"length_bias": float(length_bias)})
    columns = ("log_price", "log_price_per_token")
    return ClearedBoard(
        _summary(cursor, board, flow, stakes, has_prior=prior is not None),
        *_in_board_order(cursor, "int_documents_priced", columns, board.n_documents),
    )


def _stored_traders(cursor: duckdb.DuckDBPyConnection, signal_ids: Sequence[str]) -> list[str]:
    if not signal_ids or len(set(signal_ids)) != len(signal_ids):
        raise InputError(f"the market needs distinct signals, at least 1; got {list(signal_ids)}")
    text = query("stg_signal_versions__traders")
    found = dict(cursor.execute(text, {"signal_ids": list(signal_ids)}).fetchall())
    unknown = [signal_id for signal_id in signal_ids if signal_id not in found]
    if unknown:
        raise InputError(
            f"signal_versions does not hold {', '.join(unknown)}; score the signal before pricing"
        )
    traders = sorted(found.values())
    if len(set(traders)) != len(traders):
        raise InputError(f"two versions of one signal cannot trade together, got {sorted(found)}")
    return traders


def _flow(board: Board, weights: Mapping[str, float]) -> FloatArray:
    """Return the weights of the board's traders, in its order, scaled to sum 1."""
    if set(weights) != set(board.traders):
        raise InputError(
            f"weights must name each trader once: expected {', '.join(board.traders)}, "
            f"got {', '.join(sorted(weights)) or 'none'}"
        )
    given = np.array([weights[trader] for trader in board.traders], dtype=np.float64)
    return normalised_weights(given, n_traders=len(board.traders))


def _hand_over(cursor: duckdb.DuckDBPyConnection, board: Board, log_prior: FloatArray) -> None:
    columns: dict[str, NDArray[Any]] = {
        "document_number": np.arange(board.n_documents, dtype=np.int64),
        "topic_number": board.topic_index.astype(np.int32),
        "log_prior": log_prior,
        "log_tokens": np.log(board.tokens.astype(np.float64)),
    }
    signals = {f"signal_{number}": values for number, values in enumerate(board.signals.values())}
    _register(cursor, "market_documents", columns | signals)


def _step(cursor: duckdb.DuckDBPyConnection, name: str, board: Board) -> None:
    materialise(cursor, name, n_traders=len(board.traders))


def _standardise(cursor: duckdb.DuckDBPyConnection, board: Board) -> None:
    _step(cursor, "int_topics_ranged", board)
    _check_finite(cursor, board)
    noise = {"relative_noise": RELATIVE_NOISE, "least_half_range": LEAST_HALF_RANGE}
    materialise(cursor, "int_topics_scaled", noise, n_traders=len(board.traders))
    for name in ("int_topics_centred", "int_topics_spread", "int_topics_standardised"):
        _step(cursor, name, board)


def _check_finite(cursor: duckdb.DuckDBPyConnection, board: Board) -> None:
    """Refuse signals that are not finite; DuckDB sorts NaN above every number."""
    ranges = cursor.table("int_topics_ranged").to_arrow_table()
    for number, (trader, values) in enumerate(board.signals.items()):
        ends = np.concatenate([numpy_column(ranges[f"{end}_{number}"]) for end in ("low", "high")])
        if not np.isfinite(ends).all():
            bad = np.flatnonzero(~np.isfinite(values))
            raise ContractViolation(
                "signals",
                f"the values of trader {trader} are finite",
                bad.size,
                [board.document_ids[position].as_py() for position in bad[:3].tolist()],
            )


def _register(
    cursor: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, NDArray[Any]]
) -> None:
    table = pa.table({key: arrow_column(values) for key, values in columns.items()})
    # DuckDB gives each thread a batch at a time; a table in one piece is scanned by one thread.
    batches = table.to_batches(max_chunksize=_BATCH_DOCUMENTS)
    cursor.register(name, pa.Table.from_batches(batches, table.schema))


def _makers(
    cursor: duckdb.DuckDBPyConnection,
    board: Board,
    given: Sequence[float | EffectiveShare],
    log_prior: FloatArray,
    *,
    has_prior: bool,
) -> FloatArray:
    """Return the liquidity of each topic's maker, found where an effective share is asked for."""
    if not any(isinstance(each, EffectiveShare) for each in given):
        return np.array(given, dtype=np.float64)
    shares = _in_board_order(cursor, "int_documents_held", ("shares",), board.n_documents)[0]
    by_topic = np.argsort(board.topic_index, kind="stable")
    ends = np.cumsum(np.bincount(board.topic_index, minlength=len(board.topics)))[:-1]
    parts = zip(given, np.split(by_topic, ends), strict=True)
    return np.array(
        [
            liquidity_for_share(
                shares[part], each, prior=np.exp(log_prior[part]) if has_prior else None
            )
            if isinstance(each, EffectiveShare)
            else each
            for each, part in parts
        ]
    )


def _in_board_order(
    cursor: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], n_documents: int
) -> list[FloatArray]:
    """Return columns of a table of one row per document, in the order of the board."""
    results = [np.empty(n_documents) for _ in columns]
    for batch in cursor.table(table).to_arrow_table().to_batches():
        place = numpy_column(batch["document_number"])
        for column, values in zip(columns, results, strict=True):
            values[place] = numpy_column(batch[column])
    return results


def _check_not_empty(cursor: duckdb.DuckDBPyConnection, snapshot_id: str) -> None:
    if cursor.execute("select count(*) from stg_pool__documents").fetchall()[0][0] == 0:
        raise InputError(
            f"snapshot {snapshot_id} has no documents, so there is no market; take it again"
        )


def _check(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    violations = cursor.execute(query(name)).fetchall()
    if violations:
        contract, rule, failing_rows, example_ids = violations[0]
        raise ContractViolation(contract, rule, failing_rows, example_ids)


def _summary(
    cursor: duckdb.DuckDBPyConnection,
    board: Board,
    flow: FloatArray,
    stakes: FloatArray,
    *,
    has_prior: bool,
) -> MarketSummary:
    books, standards = (
        cursor.table(name).order("topic_number").to_arrow_table().to_pylist()
        for name in ("int_topics_cleared", "int_topics_standardised")
    )
    return MarketSummary(
        n_documents=board.n_documents,
        weights=dict(zip(board.traders, flow.tolist(), strict=True)),
        topics=tuple(
            TopicMarket(
                topic=topic,
                n_documents=row["n_documents"],
                mass=row["mass"],
                liquidity=row["liquidity"],
                cost=row["cost"],
                worst_case_loss=_worst_case_loss(row, has_prior=has_prior),
                effective_sample_size=row["effective_sample_size"],
                entropy=max(0.0, row["entropy"]),
            )
            for topic, row in zip(board.topics, books, strict=True)
        ),
        topic_traders=tuple(
            TopicTrader(topic, trader, *_mean_and_spread(row, number), shares_per_spread=stake)
            for topic, row, stakes_of in zip(board.topics, standards, stakes.tolist(), strict=True)
            for number, (trader, stake) in enumerate(zip(board.traders, stakes_of, strict=True))
        ),
    )


def _worst_case_loss(row: Mapping[str, Any], *, has_prior: bool) -> float:
    odds = -row["least_log_prior"] if has_prior else math.log(row["n_documents"])
    return float(row["liquidity"] * odds)


def _mean_and_spread(row: Mapping[str, Any], number: int) -> tuple[float, float]:
    """Return mean and spread of a raw signal; the centre and 0 where it is constant."""
    centre, half_range = row[f"centre_{number}"], row[f"half_range_{number}"]
    return centre + half_range * row[f"mean_{number}"], half_range * row[f"spread_{number}"]
