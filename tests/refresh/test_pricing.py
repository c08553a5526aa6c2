"""The market of a run in the tables: prices, books, decisions and the report of them."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from databourse.config import RefreshConfig
from databourse.errors import InputError
from databourse.refresh.context import SnapshotIds
from databourse.refresh.pricing import MarketReport, clear_and_buy
from databourse.refresh.standing_wealth import as_settled
from databourse.refresh.trading import hold_session
from databourse.warehouse.boards import load_board
from databourse.warehouse.store import append

IDS = SnapshotIds("snapshot", "tokenizer", "encoder", "topics", None)
DOCUMENTS = list("abcdefgh")
TOKENS = [10, 20, 30, 40, 5, 15, 25, 35]
TOPICS = ["x", "x", "y", "y", "y", "x", "x", "x"]
SOURCES = ["web", "news"] * 4
SIGNALS = {
    "rarity": [1.0, 3.0, 2.0, 0.5, 4.0, 2.5, 0.1, 0.2],
    "length": [1.0, 2.0, 3.0, 4.0, 0.5, 1.5, 2.5, 3.5],
}


def config(**sections):
    sources = [{"name": name, "path": "r.jsonl", "text": "{text}"} for name in ("web", "news")]
    return RefreshConfig(
        **{
            "pool": "tiny",
            "seed": 17,
            "sources": sources,
            "signals": list(SIGNALS),
            "market": {"liquidity": {"shares": 0.8}},
            "budget": {"tokens": 80},
            **sections,
        }
    )


@pytest.fixture
def scored(warehouse):
    """Return a warehouse in which eight documents wait for their prices."""
    n_documents = len(DOCUMENTS)
    tables = {
        "snapshots": {"document_id": DOCUMENTS, "snapshot_id": ["snapshot"] * n_documents},
        "topics": {
            "document_id": DOCUMENTS,
            "topics_id": ["topics"] * n_documents,
            "snapshot_id": ["snapshot"] * n_documents,
            "topic": TOPICS,
        },
        "pool_documents": {
            "document_id": DOCUMENTS,
            "run_id": ["run"] * n_documents,
            "source": SOURCES,
            "locator": [f"rows#{name}" for name in DOCUMENTS],
            "tokens": TOKENS,
        },
    }
    with warehouse.transaction() as cursor:
        for table, columns in tables.items():
            append(cursor, table, pa.table(columns))
        for name, values in SIGNALS.items():
            version = {
                "signal_id": f"{name}-id",
                "signal": name,
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
            append(cursor, "signal_versions", pa.Table.from_pylist([version]))
            rows = {
                "signal_id": [f"{name}-id"] * n_documents,
                "snapshot_id": ["snapshot"] * n_documents,
                "document_id": DOCUMENTS,
                "value": values,
            }
            append(cursor, "signals", pa.table(rows))
    return warehouse


def priced(warehouse, **sections):
    chosen = as_settled(config(**sections), None)
    report = clear_and_buy(
        warehouse, chosen, run_id="run", ids=IDS, signal_ids=[f"{name}-id" for name in SIGNALS]
    )
    return chosen, report


def session_of(warehouse, chosen, report):
    """Return the session on the stored board: what the tables must say."""
    board = load_board(warehouse.root, report.board_id)
    return hold_session(duckdb.connect(), board, chosen, vectors=None)


def test_the_tables_hold_what_the_session_on_the_stored_board_gives(scored, query):
    chosen, report = priced(scored, selection={"topic_cap": {"x": 0.5}})
    session = session_of(scored, chosen, report)
    purchase, summary = session.purchase, session.cleared.summary
    rows = query(
        "select document_id, topic, tokens, log_price, log_price_per_token, price_rank, "
        "is_selected, weight, inclusion_probability from prices order by document_id"
    )
    ranks = np.empty(8, dtype=int)
    ranks[session.ranking] = np.arange(1, 9)

    assert rows == [
        (
            DOCUMENTS[place],
            TOPICS[place],
            TOKENS[place],
            session.cleared.log_price[place],
            session.cleared.log_price_per_token[place],
            ranks[place],
            purchase.is_bought[place],
            1.0,
            None,
        )
        for place in range(8)
    ]
    assert query(
        "select document_id, source, locator, stage, outcome, reason, value from decisions "
        "order by document_id"
    ) == [
        (
            name,
            SOURCES[place],
            f"rows#{name}",
            "budget",
            "selected" if purchase.is_bought[place] else "left",
            purchase.reasons()[place],
            session.cleared.log_price_per_token[place],
        )
        for place, name in enumerate(DOCUMENTS)
    ]
    assert "topic_cap" in purchase.reasons()  # or the reasons show little
    assert query("select topic, n_documents, mass, cost from topic_markets order by topic") == [
        (each.topic, each.n_documents, each.mass, each.cost) for each in summary.topics
    ]
    found = query("select topic, trader, spread from topic_traders order by topic, trader")
    assert found == [(each.topic, each.trader, each.spread) for each in summary.topic_traders]


def test_contributions_of_all_traders_add_up_to_the_shares_over_the_liquidity(scored, query):
    priced(scored)
    for shares, contributions in query("select shares, contributions from prices"):
        assert sorted(contributions) == ["length", "rarity"]
        assert sum(contributions.values()) == pytest.approx(shares / 0.8, abs=1e-11)


def test_the_report_counts_what_was_bought_and_says_which_limits_bind(scored, query):
    limits = {
        "topic_floor": {"y": 0.25},
        "topic_cap": {"x": 0.5},
        "source_floor": 0.5,
        "source_cap": {"news": 1.0},
    }
    chosen, report = priced(scored, selection=limits)
    session = session_of(scored, chosen, report)
    bought = session.purchase.is_bought
    per_token = session.cleared.log_price_per_token

    assert report.limit == 80
    assert (report.topic_floors, report.topic_caps) == ({"y": 20}, {"x": 40})
    assert (report.source_floors, report.source_caps) == ({"news": 20, "web": 20}, {})
    assert report.n_documents == 8
    assert report.n_bought == bought.sum()
    assert report.weights == {"length": 0.5, "rarity": 0.5}
    assert report.marginal_by_topic == {
        topic: min(
            price for price, name, is_in in zip(per_token, TOPICS, bought, strict=True)
            if name == topic and is_in
        )
        for topic in ("x", "y")
    }  # fmt: skip
    assert report.marginal_log_price_per_token == session.purchase.marginal_log_price_per_token
    assert 80 in {row.budget for row in report.sweep}
    ((kind, limit, tokens, documents, board_id, signal_ids, length_bias, marginal),) = query(
        "select budget_kind, limit_cost, tokens, documents, board_id, signal_ids, length_bias, "
        "marginal_log_price_per_token from selections"
    )
    assert (kind, limit, documents, length_bias) == ("tokens", 80, bought.sum(), 1.0)
    assert tokens == np.array(TOKENS)[bought].sum()
    assert (board_id, signal_ids) == (report.board_id, ["rarity-id", "length-id"])
    assert marginal == report.marginal_log_price_per_token
    assert MarketReport.from_json(report.to_json()) == report


def test_without_limits_none_is_reported(scored):
    _, report = priced(scored)

    assert report.topic_floors == report.topic_caps == {}
    assert report.source_floors == report.source_caps == {}


def test_a_topic_of_which_nothing_is_bought_has_no_marginal_price(scored):
    _, report = priced(scored, selection={"topic_cap": {"y": 0.01}})

    assert report.marginal_by_topic["y"] is None
    assert report.marginal_by_topic["x"] is not None


def test_a_sample_is_written_with_its_probabilities_and_weights(scored, query):
    chosen, report = priced(scored, selection={"method": "sample"})
    session = session_of(scored, chosen, report)
    rows = query(
        "select is_selected, weight, inclusion_probability from prices order by document_id"
    )

    assert rows == list(
        zip(
            session.purchase.is_bought.tolist(),
            session.weight.tolist(),
            session.inclusion_probability.tolist(),
            strict=True,
        )
    )
    assert any(weight != 1 for _, weight, _ in rows)
    assert report.marginal_log_price_per_token is None


def test_a_second_try_of_the_stage_replaces_what_the_first_wrote(scored, query):
    _, first = priced(scored)
    _, second = priced(scored)

    assert second == first
    assert query("select count(*) from prices") == [(8,)]
    assert query("select count(*) from decisions") == [(8,)]
    assert query("select count(*) from selections") == [(1,)]
    assert query("select count(*) from topic_markets") == [(2,)]
    assert query("select count(*) from topic_traders") == [(4,)]


def test_a_budget_that_cannot_be_spent_writes_nothing(scored, query):
    with pytest.raises(InputError, match="no document fits"):
        priced(scored, budget={"tokens": 4})

    for table in ("prices", "decisions", "selections", "topic_markets", "topic_traders"):
        assert query(f"select count(*) from {table}") == [(0,)]  # noqa: S608 - names above
