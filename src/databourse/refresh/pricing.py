"""The market of a run: cleared in DuckDB, spent in Python, written to prices and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import JsonValue, TypeAdapter

from databourse.config import RefreshConfig
from databourse.market.clearing_sql import MarketSummary, TopicMarket, assemble_board
from databourse.refresh.context import SnapshotIds
from databourse.refresh.standing_wealth import SETTLED, as_settled, publish_wealth
from databourse.refresh.trading import Session, hold_session, stored_vectors, sweep
from databourse.selection.greedy import marginal_price_by_group
from databourse.selection.sweep import SweepRow
from databourse.warehouse.boards import store_board
from databourse.warehouse.store import Warehouse, append, insert_query

_RUN_TABLES = ("prices", "topic_markets", "topic_traders", "selections")


@dataclass(frozen=True)
class MarketReport:
    """The books of the market, the limit of the budget, and where it ran out."""

    weights: dict[str, float]
    """Trader to its share of the order flow; in order of name."""
    settlement_id: str | None
    """Of the settlement that they come from; None where the config sets them, or none was yet."""
    liquidity: dict[str, JsonValue]
    """The setting that the market was cleared with."""
    topics: tuple[TopicMarket, ...]
    board_id: str
    limit: int
    """Of tokens, or of documents if the budget is one of documents."""
    marginal_log_price_per_token: float | None
    marginal_by_topic: dict[str, float | None]
    topic_floors: dict[str, int]
    """Topic to the least to spend there, in the unit of the limit; empty where none is set."""
    topic_caps: dict[str, int]
    source_floors: dict[str, int]
    source_caps: dict[str, int]
    n_documents: int
    n_bought: int
    sweep: tuple[SweepRow, ...]
    """What the same rule buys with smaller and larger budgets."""

    def to_json(self) -> str:
        """Return it as text that travels between tasks."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> MarketReport:
        """Return what `to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(MarketReport)


def clear_and_buy(
    warehouse: Warehouse,
    config: RefreshConfig,
    *,
    run_id: str,
    ids: SnapshotIds,
    signal_ids: Sequence[str],
) -> MarketReport:
    """Price every candidate, buy within the budget, and decide on each document in the ledger.

    Raises:
        InputError: no candidate fits the budget, or floors and caps cannot be met.
        ContractViolation: a candidate lacks a topic, a length, or a finite value of a signal.
    """
    _forget(warehouse, run_id)
    standing = None
    if config.market.weights == SETTLED:
        standing = publish_wealth(warehouse, config.pool)
    config = as_settled(config, standing)
    with warehouse.transaction() as cursor:
        board = assemble_board(
            cursor,
            run_id=run_id,
            snapshot_id=ids.snapshot_id,
            topics_id=ids.topics_id,
            signal_ids=signal_ids,
        )
        board_id = store_board(warehouse.root, board)
        vectors = stored_vectors(cursor, board, ids.encoder_id)
        session = hold_session(cursor, board, config, vectors=vectors)
        report = _report(
            session,
            board_id,
            sweep(session, config, vectors=vectors),
            config,
            settlement_id=None if standing is None else standing.settlement_id,
        )
        _write(cursor, session, run_id)
        append(
            cursor,
            "selections",
            _selection(
                session,
                config,
                ids,
                run_id=run_id,
                signal_ids=signal_ids,
                board_id=board_id,
            ),
        )
    return report


def _report(
    session: Session,
    board_id: str,
    rows: Sequence[SweepRow],
    config: RefreshConfig,
    *,
    settlement_id: str | None,
) -> MarketReport:
    summary: MarketSummary = session.cleared.summary
    board, is_bought = session.board, session.purchase.is_bought
    marginal = marginal_price_by_group(
        session.cleared.log_price_per_token,
        is_bought=is_bought,
        ranking=session.ranking,
        group_index=board.topic_index,
        n_groups=len(board.topics),
    )
    return MarketReport(
        weights=summary.weights,
        settlement_id=settlement_id,
        liquidity=_configured_liquidity(config),
        topics=summary.topics,
        board_id=board_id,
        limit=session.limit,
        marginal_log_price_per_token=session.purchase.marginal_log_price_per_token,
        marginal_by_topic=dict(zip(board.topics, marginal, strict=True)),
        topic_floors=_limits(session, "topic", "floors"),
        topic_caps=_limits(session, "topic", "caps"),
        source_floors=_limits(session, "source", "floors"),
        source_caps=_limits(session, "source", "caps"),
        n_documents=summary.n_documents,
        n_bought=int(np.count_nonzero(is_bought)),
        sweep=tuple(rows),
    )


def _configured_liquidity(config: RefreshConfig) -> dict[str, JsonValue]:
    liquidity = config.market.liquidity
    assert not isinstance(liquidity, str)  # noqa: S101 - it was looked up
    return liquidity.model_dump(mode="json", exclude_none=True)


def _limits(session: Session, kind: str, which: Literal["floors", "caps"]) -> dict[str, int]:
    """Return the floors or caps that bind: a floor of 0 and a cap of the whole budget do not."""
    unset = 0 if which == "floors" else session.limit
    return {
        name: int(amount)
        for limits in session.limits
        if limits.kind == kind
        for name, amount in zip(limits.names, getattr(limits, which).tolist(), strict=True)
        if amount != unset
    }


def _write(cursor: duckdb.DuckDBPyConnection, session: Session, run_id: str) -> None:
    """Write the prices, the books and the decisions of a run."""
    summary = session.cleared.summary
    cursor.register("selection_outcomes", _outcomes(session))
    insert_query(
        cursor,
        "prices",
        "mart_prices",
        {"run_id": run_id, "traders": list(session.board.traders)},
        n_traders=len(session.board.traders),
    )
    insert_query(cursor, "decisions", "mart_selection_decided", {"run_id": run_id})
    cursor.unregister("selection_outcomes")
    books: dict[str, Sequence[object]] = {
        "topic_markets": summary.topics,
        "topic_traders": summary.topic_traders,
    }
    for table, rows in books.items():
        of_run = [{"run_id": run_id, **asdict(row)} for row in rows]  # type: ignore[call-overload]
        append(cursor, table, pa.Table.from_pylist(of_run))


def _outcomes(session: Session) -> pa.Table:
    """Return what became of each document, in the order of the board."""
    board = session.board
    ranks = np.empty(board.n_documents, dtype=np.int64)
    ranks[session.ranking] = np.arange(1, board.n_documents + 1)
    probability = session.inclusion_probability
    return pa.table(
        {
            "document_number": np.arange(board.n_documents, dtype=np.int64),
            "document_id": board.document_ids,
            "topic": pa.array(board.topics).take(pa.array(board.topic_index)),
            "tokens": board.tokens,
            "log_price_per_token": session.cleared.log_price_per_token,
            "price_rank": ranks,
            "is_selected": session.purchase.is_bought,
            "reason": pa.array(session.purchase.reason_names).take(
                pa.array(session.purchase.reason_codes)
            ),
            "weight": session.weight,
            "inclusion_probability": (
                pa.nulls(board.n_documents, pa.float64())
                if probability is None
                else pa.array(probability)
            ),
        }
    )


def _selection(
    session: Session,
    config: RefreshConfig,
    ids: SnapshotIds,
    *,
    run_id: str,
    signal_ids: Sequence[str],
    board_id: str,
) -> pa.Table:
    is_bought = session.purchase.is_bought
    row = {
        "run_id": run_id,
        "snapshot_id": ids.snapshot_id,
        "topics_id": ids.topics_id,
        "tokenizer_id": ids.tokenizer_id,
        "encoder_id": ids.encoder_id,
        "board_id": board_id,
        "signal_ids": list(signal_ids),
        "length_bias": config.selection.length_bias,
        "budget_kind": config.budget.kind,
        "limit_cost": session.limit,
        "marginal_log_price_per_token": session.purchase.marginal_log_price_per_token,
        "tokens": int(session.board.tokens[is_bought].sum()),
        "documents": int(np.count_nonzero(is_bought)),
    }
    return pa.Table.from_pylist([row])


def _forget(warehouse: Warehouse, run_id: str) -> None:
    """Remove what an earlier try of this stage of the same run wrote."""
    with warehouse.transaction() as cursor:
        for table in _RUN_TABLES:
            cursor.execute(f"delete from {table} where run_id = $run_id", {"run_id": run_id})  # noqa: S608 - a closed list of names
        cursor.execute(
            "delete from decisions where run_id = $run_id and stage = 'budget'",
            {"run_id": run_id},
        )
