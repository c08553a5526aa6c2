"""The market of a run: cleared in DuckDB, spent in Python, written to prices and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from databourse.config import RefreshConfig
from databourse.errors import InputError
from databourse.market.clearing_sql import MarketSummary, TopicMarket, clear_market_in
from databourse.refresh.context import SnapshotIds
from databourse.refresh.settings import market_liquidity, market_topic_mass, trader_weights
from databourse.selection.greedy import (
    buy_within_budget,
    costs_within,
    marginal_price,
    marginal_price_by_topic,
    reasons_left,
)
from databourse.warehouse.store import Warehouse, insert_query

_BOUGHT = "bought"


@dataclass(frozen=True)
class MarketReport:
    """The books of the market, the limit of the budget, and where it ran out."""

    weights: dict[str, float]
    """Trader to its share of the order flow; in order of name."""
    topics: tuple[TopicMarket, ...]
    limit: int
    """Of tokens, or of documents if the budget is one of documents."""
    marginal_log_price_per_token: float | None
    marginal_by_topic: dict[str, float | None]
    n_documents: int
    n_bought: int

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
        InputError: no candidate fits the budget.
        ContractViolation: a candidate lacks a topic, a length, or a finite value of a signal.
    """
    _forget(warehouse, run_id)
    with warehouse.transaction() as cursor:
        summary = clear_market_in(
            cursor,
            run_id=run_id,
            snapshot_id=ids.snapshot_id,
            topics_id=ids.topics_id,
            signal_ids=signal_ids,
            weights=trader_weights(config),
            liquidity=market_liquidity(config),
            topic_mass=market_topic_mass(config),
            length_bias=config.selection.length_bias,
        )
        ranked = cursor.sql(
            "select document_id, topic, tokens, log_price_per_token "
            "from mart_documents_ranked order by price_rank"
        ).to_arrow_table()
        report, outcomes = _buy(config, summary, ranked)
        cursor.register("selection_outcomes", outcomes)
        insert_query(cursor, "prices", "mart_prices", {"run_id": run_id})
        insert_query(cursor, "decisions", "mart_selection_decided", {"run_id": run_id})
    return report


def _buy(
    config: RefreshConfig, summary: MarketSummary, ranked: pa.Table
) -> tuple[MarketReport, pa.Table]:
    tokens = ranked["tokens"].to_numpy()
    costs, limit = costs_within(tokens, config.budget.kind, config.budget.amount)
    is_bought = buy_within_budget(costs=costs, budget=limit)
    if not is_bought.any():
        raise InputError(
            f"no document fits the budget of {limit:,} {_unit(config)}: the shortest of "
            f"{len(costs):,} candidates costs {int(costs.min()):,}; "
            f"raise budget.{config.budget.kind}"
        )
    log_price_per_token = ranked["log_price_per_token"].to_numpy()
    reasons = reasons_left(costs=costs, budget=limit, is_bought=is_bought)
    outcomes = {
        "document_id": ranked["document_id"],
        "is_selected": pa.array(is_bought),
        "reason": pa.array([reason or _BOUGHT for reason in reasons], pa.string()),
    }
    report = MarketReport(
        weights=summary.weights,
        topics=summary.topics,
        limit=limit,
        marginal_log_price_per_token=marginal_price(log_price_per_token, is_bought),
        marginal_by_topic=marginal_price_by_topic(
            log_price_per_token, is_bought, ranked["topic"].to_pylist()
        ),
        n_documents=summary.n_documents,
        n_bought=int(np.count_nonzero(is_bought)),
    )
    return report, pa.table(outcomes)


def _unit(config: RefreshConfig) -> str:
    return "documents" if config.budget.kind == "documents" else "tokens"


def _forget(warehouse: Warehouse, run_id: str) -> None:
    """Remove what an earlier try of this stage of the same run wrote."""
    with warehouse.transaction() as cursor:
        cursor.execute("delete from prices where run_id = $run_id", {"run_id": run_id})
        cursor.execute(
            "delete from decisions where run_id = $run_id and stage = 'budget'",
            {"run_id": run_id},
        )
