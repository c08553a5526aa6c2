"""The market of `databourse.market.clearing`, cleared by named queries in DuckDB.

Queries run one after another, each into a temporary table of its own name, on the caller's cursor.
Every sum is over fixed-point numbers, so neither the number of threads nor the order in which rows
were stored changes a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from databourse.errors import ContractViolation, InputError
from databourse.market.clearing import (
    RANK_DECIMALS,
    check_length_bias,
    pool_effective_sample_size,
)
from databourse.market.liquidity import EffectiveShare, liquidity_for_share
from databourse.market.lmsr import FloatArray
from databourse.market.masses import TopicMass, topic_masses
from databourse.market.pooling import normalised_weights
from databourse.market.standardisation import RELATIVE_NOISE
from databourse.queries import query
from databourse.warehouse.store import materialise


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
class MarketSummary:
    """What the market of a run was: its traders, and its topics in order of name."""

    n_documents: int
    weights: dict[str, float]
    """Trader to its part of the order flow, in order of name; sums to 1."""
    topics: tuple[TopicMarket, ...]

    def pool_effective_sample_size(self) -> float:
        """Return 1 / sum P^2 over the whole pool, in documents."""
        return pool_effective_sample_size(
            np.array([topic.mass for topic in self.topics]),
            np.array([topic.effective_sample_size for topic in self.topics]),
        )


def clear_market_in(
    cursor: duckdb.DuckDBPyConnection,
    *,
    run_id: str,
    snapshot_id: str,
    topics_id: str,
    signal_ids: Sequence[str],
    weights: Mapping[str, float],
    liquidity: float | Mapping[str, float] | EffectiveShare,
    topic_mass: TopicMass,
    length_bias: float,
) -> MarketSummary:
    """Return the books of the cleared market; leave its prices in mart_documents_ranked.

    Args:
        cursor: a connection to the warehouse; the ranked documents are a temporary table of it.
        run_id: whose pool_documents hold the lengths.
        snapshot_id: the documents to price.
        topics_id: the topics to price them in.
        signal_ids: stored signals, one for each trader.
        weights: trader (name of the signal) to weight, >= 0, not all 0; scaled to sum 1.
        liquidity: b in shares, > 0: one number, one per topic, or the effective share to reach.
        topic_mass: how prices of different topics are made comparable.
        length_bias: exponent of the length, finite; 0 ignores length, 1 is price per token.

    Returns:
        The books of every topic.

    Raises:
        InputError: an argument is outside its domain, a signal is unknown, or no document is there.
        ContractViolation: a document has no topic or no length, or a trader has not exactly one
            finite value for it.
    """
    check_length_bias(length_bias)
    shares_of_flow = _stage_traders(cursor, signal_ids, weights)
    ids = {"run_id": run_id, "snapshot_id": snapshot_id, "topics_id": topics_id}
    materialise(cursor, "stg_pool__documents", ids)
    _check_not_empty(cursor, snapshot_id)
    _check(cursor, "assert_candidates_are_complete")
    signals = {"snapshot_id": snapshot_id, "signal_ids": list(signal_ids)}
    materialise(cursor, "stg_signals__values", signals)
    for claim in ("unique", "complete", "finite"):
        _check(cursor, f"assert_orders_are_{claim}")
    materialise(cursor, "int_signals_standardised", {"relative_noise": RELATIVE_NOISE})
    for name in ("int_orders_placed", "int_documents_held", "int_topics_sized"):
        materialise(cursor, name)
    _stage_makers(cursor, liquidity, topic_mass)
    materialise(cursor, "int_topics_cleared")
    ranking = {"length_bias": float(length_bias), "rank_decimals": RANK_DECIMALS}
    materialise(cursor, "int_documents_priced", ranking)
    materialise(cursor, "mart_documents_ranked")
    return _summary(cursor, shares_of_flow)


def _stage_traders(
    cursor: duckdb.DuckDBPyConnection, signal_ids: Sequence[str], weights: Mapping[str, float]
) -> dict[str, float]:
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
    if set(weights) != set(traders):
        raise InputError(
            f"weights must name each trader once: expected {', '.join(traders)}, "
            f"got {', '.join(sorted(weights)) or 'none'}"
        )
    given = np.array([weights[trader] for trader in traders], dtype=np.float64)
    normalised = normalised_weights(given, n_traders=len(traders)).tolist()
    materialise(cursor, "stg_market__traders", {"traders": traders, "weights": normalised})
    return dict(zip(traders, normalised, strict=True))


def _stage_makers(
    cursor: duckdb.DuckDBPyConnection,
    liquidity: float | Mapping[str, float] | EffectiveShare,
    topic_mass: TopicMass,
) -> None:
    sizes = cursor.execute(
        "select topic, n_documents from int_topics_sized order by topic asc"
    ).fetchall()
    topics = [topic for topic, _ in sizes]
    n_documents = np.array([count for _, count in sizes], dtype=np.int64)
    makers = {
        "topics": topics,
        "liquidities": _liquidities(cursor, liquidity, topics, n_documents),
        "masses": topic_masses(n_documents, topic_mass).tolist(),
    }
    materialise(cursor, "stg_market__topics", makers)


def _liquidities(
    cursor: duckdb.DuckDBPyConnection,
    liquidity: float | Mapping[str, float] | EffectiveShare,
    topics: list[str],
    n_documents: np.ndarray[Any, np.dtype[np.int64]],
) -> list[float]:
    if isinstance(liquidity, EffectiveShare):
        ends = np.cumsum(n_documents)[:-1]
        return [
            liquidity_for_share(part, liquidity)
            for part in np.split(_shares_by_topic(cursor), ends)
        ]
    if isinstance(liquidity, Mapping):
        if set(liquidity) != set(topics):
            raise InputError(
                f"liquidity must name each topic once: expected {', '.join(topics)}, "
                f"got {', '.join(sorted(liquidity))}"
            )
        given = [float(liquidity[topic]) for topic in topics]
    else:
        given = [float(liquidity)] * len(topics)
    for shares in given:
        if not 0 < shares < math.inf:
            raise InputError(f"liquidity must be > 0 shares and finite, got {shares!r}")
    return given


def _shares_by_topic(cursor: duckdb.DuckDBPyConnection) -> FloatArray:
    columns = cursor.execute(
        "select shares from int_documents_held order by topic asc, shares asc"
    ).fetchnumpy()
    return np.asarray(columns["shares"], dtype=np.float64)


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


def _summary(cursor: duckdb.DuckDBPyConnection, weights: dict[str, float]) -> MarketSummary:
    rows = cursor.execute("""
        select
            topic, n_documents, mass, liquidity, cost, worst_case_loss,
            effective_sample_size, entropy
        from int_topics_cleared
        order by topic asc
    """).fetchall()
    topics = tuple(TopicMarket(*row) for row in rows)
    return MarketSummary(
        n_documents=sum(topic.n_documents for topic in topics), weights=weights, topics=topics
    )
