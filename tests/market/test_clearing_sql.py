"""The market in SQL: equal to the Python market, the same bits for any threads and row order."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databourse.errors import ContractViolation, InputError
from databourse.market.board import board_of
from databourse.market.clearing import clear_market
from databourse.market.clearing_sql import clear_board
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass
from databourse.market.pooling import RiskAverse
from databourse.queries import query
from databourse.selection.buying import buy
from databourse.selection.greedy import rank_documents


def random_pool(n_documents, n_topics, n_traders, seed):
    """Return a pool with ties, outliers, a large offset, and a signal that is rounding noise."""
    rng = np.random.default_rng(seed)
    topic_index = np.sort(rng.integers(0, n_topics, n_documents))
    topic_index[:n_topics] = np.arange(n_topics)  # none is empty
    values = rng.normal(size=(n_documents, n_traders))
    values[:, 0] = np.round(values[:, 0], 1)
    values[:, 1] = 1e6 + 1e-3 * values[:, 1]
    values[topic_index == 1, 2] = rng.choice([0.3, 0.1 + 0.2], (topic_index == 1).sum())
    values[rng.integers(0, n_documents, 3), n_traders - 1] = 1e9
    return {
        "values": values,
        "topic_index": topic_index,
        "tokens": rng.integers(1, 2000, n_documents),
        "weights": np.arange(1.0, n_traders + 1),
    }


def names_of(pool):
    """Return document ids, topics and signals by name, as the warehouse holds them."""
    ids = [f"{position:08d}" for position in range(len(pool["tokens"]))]
    topics = [f"topic-{topic:03d}" for topic in pool["topic_index"]]
    signals = {f"signal-{trader}": column for trader, column in enumerate(pool["values"].T)}
    return ids, topics, signals


def filled(bourse, pool, order=None):
    ids, topics, signals = names_of(pool)
    bourse.fill(ids, topics, pool["tokens"], signals, order=order)
    return {
        name: float(weight) for name, weight in zip(bourse.traders, pool["weights"], strict=True)
    }


CHOICES = [
    {"liquidity": 0.3, "topic_mass": "proportional", "length_bias": 1.0},
    {"liquidity": 1e-3, "topic_mass": "balanced", "length_bias": 0.0},
    {"liquidity": EffectiveShare(0.3), "topic_mass": PowerMass(0.5), "length_bias": -0.7},
    {"liquidity": EffectiveShare(0.01), "topic_mass": "proportional", "length_bias": 1.5},
    {
        "liquidity": [EffectiveShare(0.4), 0.7, *[EffectiveShare(0.2)] * 10],
        "topic_mass": "balanced",
        "length_bias": 1.0,
    },
    {
        "liquidity": 0.4,
        "topic_mass": "proportional",
        "length_bias": 0.5,
        "traders": RiskAverse(risk_aversion=2.0, confidence=0.7, order=(2, 0, 3, 1)),
    },
]


@pytest.mark.parametrize("opening", ["plain", "prior"])
@pytest.mark.parametrize("choices", CHOICES)
def test_sql_and_python_markets_agree_within_1e_9(bourse, choices, opening):
    pool = random_pool(3000, 12, 4, seed=5)
    if opening == "prior":
        choices = {**choices, "prior": np.random.default_rng(6).lognormal(0, 3, 3000)}
    summary = bourse.clear(weights=filled(bourse, pool), **choices)
    market = clear_market(**pool, **choices)

    exact = {"rtol": 1e-9, "atol": 1e-9}
    for column in ("shares", "log_price", "log_price_per_token"):
        np.testing.assert_allclose(bourse.by_document(column), getattr(market, column), **exact)
    contributions = [list(dict(entry).values()) for entry in bourse.by_document("contributions")]
    np.testing.assert_allclose(contributions, market.contributions, **exact)
    for entry in (
        "n_documents",
        "mass",
        "liquidity",
        "cost",
        "worst_case_loss",
        "effective_sample_size",
        "entropy",
    ):
        in_sql = [getattr(topic, entry) for topic in summary.topics]
        np.testing.assert_allclose(in_sql, getattr(market, entry), err_msg=entry, **exact)
    for entry in ("mean", "spread", "shares_per_spread"):
        in_sql = [getattr(each, entry) for each in summary.topic_traders]
        expected = getattr(market, entry).ravel()
        np.testing.assert_allclose(in_sql, expected, err_msg=entry, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        summary.pool_effective_sample_size(), market.pool_effective_sample_size(), rtol=1e-9
    )


def test_sql_and_python_markets_agree_on_where_prices_underflow(bourse):
    pool = random_pool(200, 3, 4, seed=6)
    choices = {"liquidity": 1e-7, "topic_mass": "balanced", "length_bias": 1.0}
    bourse.clear(weights=filled(bourse, pool), **choices)
    market = clear_market(**pool, **choices)

    assert (np.exp(market.log_price) == 0).sum() > 150  # or this shows nothing
    np.testing.assert_allclose(bourse.by_document("log_price"), market.log_price, rtol=1e-9)


def test_liquidity_next_to_nothing_gives_the_limit_in_both_markets(bourse, golden):
    bourse.fill(golden.ids, golden.topics, golden.tokens, golden.signals)
    choices = {"liquidity": 1e-310, "topic_mass": "balanced", "length_bias": 1.0}
    summary = bourse.clear(weights=golden.weight_of, **choices)
    market = clear_market(**golden.arrays, **choices)

    expected = [-np.inf] * 3 + [np.log(0.5)] * 2 + [-np.inf] * 2
    assert bourse.by_document("log_price") == expected
    assert market.log_price.tolist() == expected
    assert [topic.entropy for topic in summary.topics] == market.entropy.tolist() == [0, 0]


def test_contributions_add_up_to_the_shares_over_the_liquidity(bourse):
    pool = random_pool(50, 2, 4, seed=7)
    bourse.clear(weights=filled(bourse, pool), liquidity=0.25)
    rows = bourse.ranked()

    for shares, entry in zip(rows["shares"], rows["contributions"], strict=True):
        assert [trader for trader, _ in entry] == sorted(bourse.traders)
        assert sum(part for _, part in entry) == pytest.approx(shares / 0.25, abs=1e-12)


def test_200_000_random_documents_have_the_same_prices_and_the_same_selection(open_bourse):
    pool = random_pool(200_000, 60, 5, seed=12)
    board = board_of(
        pa.table(
            {
                "document_id": [f"{position:08d}" for position in range(200_000)],
                "source": ["source"] * 200_000,
                "topic": [f"topic-{topic:03d}" for topic in pool["topic_index"]],
                "tokens": pool["tokens"],
                **{f"signal_{k}": column for k, column in enumerate(pool["values"].T)},
            }
        )
    )
    choices = {
        "liquidity": EffectiveShare(0.3),
        "topic_mass": PowerMass(0.5),
        "length_bias": 0.8,
    }
    weights = {str(k): float(k + 1) for k in range(5)}
    in_sql = clear_board(open_bourse(2).connection, board, weights=weights, **choices)
    in_python = clear_market(**pool, **choices)

    np.testing.assert_allclose(in_sql.log_price, in_python.log_price, rtol=0, atol=1e-9)
    bought = []
    for market in (in_sql, in_python):
        ranking = rank_documents(market.log_price_per_token, pool["tokens"])
        purchase = buy(
            log_price=market.log_price,
            log_price_per_token=market.log_price_per_token,
            costs=pool["tokens"],
            budget=20_000_000,
            ranking=ranking,
        )
        bought.append(purchase.is_bought)
    assert 10_000 < bought[0].sum() < 190_000
    assert np.array_equal(*bought)


def test_a_topic_keeps_every_bit_of_its_prices_when_another_topics_signals_change(open_bourse):
    pool = random_pool(5000, 4, 3, seed=13)
    connection = open_bourse(2).connection
    others = pool["topic_index"] != 2

    def prices(values):
        columns = {f"signal_{k}": column for k, column in enumerate(values.T)}
        board = board_of(
            pa.table(
                {
                    "document_id": [f"{position:08d}" for position in range(5000)],
                    "source": ["source"] * 5000,
                    "topic": [f"topic-{topic}" for topic in pool["topic_index"]],
                    "tokens": pool["tokens"],
                    **columns,
                }
            )
        )
        weights = dict.fromkeys(board.traders, 1.0)
        choices = {"topic_mass": "proportional", "length_bias": 1.0}
        liquidity = EffectiveShare(0.2)
        return clear_board(connection, board, weights=weights, liquidity=liquidity, **choices)

    before = prices(pool["values"]).log_price
    changed = pool["values"].copy()
    changed[~others] *= np.random.default_rng(14).uniform(-1e6, 1e6, changed[~others].shape)
    after = prices(changed).log_price

    assert after[others].tobytes() == before[others].tobytes()
    assert (after[~others] != before[~others]).all()


def bits_of_market(bourse, weights):
    summary = bourse.clear(weights=weights, liquidity=EffectiveShare(0.3))
    table = bourse.prices()
    floats = [
        table[name].to_numpy().tobytes() for name in ("shares", "log_price", "log_price_per_token")
    ]
    parts = table["contributions"].combine_chunks().items.to_numpy().tobytes()
    return summary, floats, parts, table["price_rank"].to_numpy().tobytes()


def test_threads_and_order_of_rows_do_not_change_a_bit_of_the_market(open_bourse):
    pool = random_pool(50_000, 20, 4, seed=8)
    ordered, shuffled = open_bourse(threads=1), open_bourse(threads=2)
    weights = filled(ordered, pool)
    filled(shuffled, pool, order=np.random.default_rng(9).permutation(50_000))
    alone = bits_of_market(ordered, weights)
    ordered.connection.execute("set threads = 4").fetchall()

    assert bits_of_market(ordered, weights) == alone
    assert bits_of_market(shuffled, weights) == alone


def test_equal_prices_rank_the_shorter_document_first_and_then_the_smaller_id(bourse):
    bourse.fill(["d", "c", "b", "a"], ["t"] * 4, [5, 7, 5, 9], {"flat": [1.0] * 4})
    bourse.clear(length_bias=0.0)

    assert bourse.ranked()["document_id"] == ["b", "d", "c", "a"]
    assert bourse.ranked()["price_rank"] == [1, 2, 3, 4]


def test_flat_signals_give_flat_prices_over_topics_of_any_size(bourse):
    topics = ["one"] + ["three"] * 3 + ["seven"] * 7
    bourse.fill(list("abcdefghijk"), topics, [9] * 10 + [8], {"flat": [0.1 + 0.2] * 11})
    bourse.clear(length_bias=0.0, liquidity=EffectiveShare(0.3))
    rows = bourse.ranked()

    assert set(rows["log_price_per_token"]) == {round(-np.log(11), 12)}
    assert rows["document_id"] == list("kabcdefghij")


def test_document_scoped_signals_stand_under_a_dash(bourse):
    bourse.fill(["a", "b"], ["t"] * 2, [5, 5], {})
    bourse.add_trader("entropy")
    bourse.value("entropy", ["a", "b", "elsewhere"], [0.0, 2.0, 9.0], snapshot_id="-")
    bourse.clear()

    assert bourse.by_document("shares") == [-1.0, 1.0]


def test_values_of_other_snapshots_and_signals_do_not_trade(bourse):
    bourse.fill(["a", "b"], ["t"] * 2, [5, 5], {"rarity": [0.0, 2.0], "idle": [7.0, -7.0]})
    bourse.value("rarity", ["a", "b"], [5.0, 1.0], snapshot_id="older")
    summary = bourse.clear(signal_ids=["rarity-id"], weights={"rarity": 3.0})

    assert summary.weights == {"rarity": 1.0}
    assert bourse.by_document("shares") == [-1.0, 1.0]


def test_each_relation_has_one_row_for_each_value_of_its_grain(bourse):
    bourse.clear(weights=filled(bourse, random_pool(300, 5, 3, seed=10)))
    relations = {
        row[0]
        for row in bourse.connection.execute(
            "select table_name from duckdb_tables() where temporary"
        ).fetchall()
    }

    assert len(relations) == 14
    for relation in relations:
        grain = re.search(r"-- grain: +one row per (.+)", query(relation)).group(1).split(", ")
        rows = bourse.connection.table(relation).to_arrow_table().select(grain).to_pylist()
        distinct = len({tuple(row.values()) for row in rows})
        assert len(rows) == distinct > 0, relation


def test_missing_values_name_the_trader_their_number_and_documents(bourse):
    bourse.fill(list("abcdef"), ["t"] * 6, [5] * 6, {"rarity": range(6)})
    bourse.add_trader("entropy")
    bourse.value("entropy", ["b"], [1.0])

    with pytest.raises(ContractViolation) as caught:
        bourse.clear()
    assert "trader entropy has a value for every document" in str(caught.value)
    assert caught.value.failing_rows == 5
    assert caught.value.example_ids == ("a", "c", "d")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_name_the_trader_and_documents(bourse, value):
    bourse.fill(["a", "b", "c"], ["t"] * 3, [5] * 3, {"rarity": [1.0, value, 2.0]})

    with pytest.raises(ContractViolation, match=r"trader rarity are finite.* 1 row.*example b"):
        bourse.clear()


def test_two_values_of_a_trader_for_one_document_are_refused(bourse):
    bourse.fill(["a", "b"], ["t"] * 2, [5] * 2, {"rarity": [1.0, 2.0]})
    bourse.value("rarity", ["b"], [2.0], snapshot_id="-")

    with pytest.raises(ContractViolation, match=r"trader rarity has one value.* 1 row.*example b"):
        bourse.clear()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("delete from topics where document_id = 'b'", "topics.*has a topic.*example b"),
        ("delete from pool_documents where document_id = 'b'", "in the run's pool.*example b"),
        ("update pool_documents set tokens = 0 where document_id = 'b'", "1 token.*example b"),
    ],
)
def test_candidates_without_topic_or_length_are_refused(bourse, damage, message):
    bourse.fill(["a", "b"], ["t"] * 2, [5] * 2, {"rarity": [1.0, 2.0]})
    bourse.connection.execute(damage).fetchall()

    with pytest.raises(ContractViolation, match=message):
        bourse.clear()


def test_an_empty_snapshot_is_no_market(bourse):
    bourse.add_trader("rarity")

    with pytest.raises(InputError, match="snapshot-1 has no documents"):
        bourse.clear()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"signal_ids": []}, "at least 1"),
        ({"signal_ids": ["rarity-id", "rarity-id"]}, "distinct"),
        ({"signal_ids": ["rarity-id", "gone-id"]}, "does not hold gone-id"),
        ({"weights": {"entropy": 1.0}}, "expected rarity, got entropy"),
        ({"weights": {"rarity": 0.0}}, "not all 0"),
        ({"weights": {"rarity": -1.0}}, ">= 0"),
        ({"liquidity": 0.0}, "liquidity must be > 0"),
        ({"liquidity": float("nan")}, "liquidity must be > 0"),
        ({"liquidity": [1.0, 2.0]}, "one for each of 1 topics, got 2"),
        ({"length_bias": float("inf")}, "length_bias"),
        ({"topic_mass": "heavy"}, "got 'heavy'"),
    ],
)
def test_choices_outside_their_domain_are_refused(bourse, choices, message):
    bourse.fill(["a", "b"], ["t"] * 2, [5] * 2, {"rarity": [1.0, 2.0]})

    with pytest.raises(InputError, match=message):
        bourse.clear(**choices)


def test_two_versions_of_one_signal_cannot_trade_together(bourse):
    bourse.fill(["a", "b"], ["t"] * 2, [5] * 2, {"rarity": [1.0, 2.0]})
    bourse.add_trader("rarity", signal_id="rarity-2")

    with pytest.raises(InputError, match="two versions"):
        bourse.clear(signal_ids=["rarity-id", "rarity-2"])


def test_liquidity_may_differ_by_topic(bourse):
    bourse.fill(list("abcd"), ["x", "x", "y", "y"], [5] * 4, {"rarity": [0.0, 1.0] * 2})
    bourse.clear(liquidity=[1.0, 4.0], length_bias=0.0)
    log_price = bourse.by_document("log_price")

    assert log_price[1] - log_price[0] == pytest.approx(2.0)  # z is -1 and 1: a gap of 2 shares
    assert log_price[3] - log_price[2] == pytest.approx(0.5)


def test_ids_are_parameters_and_never_become_sql(bourse):
    bourse.fill(["a'; drop table signals; --", "b"], ["t'"] * 2, [5] * 2, {"o'clock": [1.0, 2.0]})
    bourse.clear()

    assert bourse.ranked()["document_id"][0] == "b"
    assert bourse.connection.execute("select count(*) from signals").fetchall() == [(2,)]


def test_mart_holds_what_the_prices_table_stores(bourse):
    bourse.clear(weights=filled(bourse, random_pool(20, 2, 3, seed=11)))
    bourse.connection.execute(query("prices")).fetchall()
    schema = bourse.connection.sql("select * from prices").to_arrow_table().schema
    ranked = bourse.prices().schema

    assert set(schema.names) == set(ranked.names)
    for name in schema.names:
        assert ranked.field(name).type == schema.field(name).type, name
    assert isinstance(ranked.field("contributions").type, pa.MapType)


def board_table_of(values, topic_index, tokens):
    """Return the table of a board whose documents are numbered."""
    n_documents = len(tokens)
    return pa.table(
        {
            "document_id": [f"{position:08d}" for position in range(n_documents)],
            "source": ["source"] * n_documents,
            "topic": [f"topic-{topic:04d}" for topic in topic_index],
            "tokens": tokens,
            **{f"signal_{trader:02d}": column for trader, column in enumerate(values.T)},
        }
    )


def both_markets(connection, *, values, topic_index, tokens=None, weights=None, **choices):
    """Return the books and prices of both markets, under the same choices."""
    tokens = np.arange(1, len(values) + 1) if tokens is None else tokens
    weights = np.arange(1.0, values.shape[1] + 1) if weights is None else weights
    choices = {
        "liquidity": 0.5,
        "topic_mass": "proportional",
        "length_bias": 1.0,
        **choices,
    }
    board = board_of(board_table_of(values, topic_index, tokens))
    by_name = dict(zip(board.traders, weights.tolist(), strict=True))
    in_sql = clear_board(connection, board, weights=by_name, **choices)
    in_python = clear_market(
        values=values, topic_index=topic_index, tokens=tokens, weights=weights, **choices
    )
    return in_sql, in_python


N = 600
NORMAL = np.random.default_rng(20).normal(size=(N, 3))
TOPIC_OF = np.sort(np.r_[np.arange(5), np.random.default_rng(21).integers(0, 5, N - 5)])
WIDE_PRIOR = 10.0 ** np.random.default_rng(22).uniform(-6, 6, N)
WIDEST_PRIOR = 10.0 ** np.random.default_rng(23).uniform(-149, 149, N)


def one_outlier(n_documents, noise, offset=0.0):
    values = noise * np.random.default_rng(24).normal(size=(n_documents, 1))
    values[7] = 1.0
    return offset + values


NASTY = {
    "beside 1e12": {"values": 1e12 + 1e4 * NORMAL},
    "just not constant beside 1e12": {"values": 1e12 + 1.01e3 * np.tanh(NORMAL)},
    "rounding noise beside 1e12": {"values": 1e12 + NORMAL},
    "both ends of the doubles": {"values": 1.79e308 * np.tanh(NORMAL)},
    "the upper end of the doubles": {"values": 1.4e308 + 0.39e308 * np.tanh(NORMAL)},
    "subnormal": {"values": 1e-310 * NORMAL},
    "just not constant beside 0": {"values": 2e-290 * NORMAL},
    "just constant beside 0": {"values": np.copysign(1e-290, NORMAL)},
    "constant in one topic": {"values": np.where(TOPIC_OF[:, None] == 2, 0.3, NORMAL)},
    "one trader": {"values": NORMAL[:, :1]},
    "twelve traders": {"values": np.random.default_rng(25).normal(size=(N, 12))},
    "traders of weight 0": {"values": NORMAL, "weights": np.array([0.0, 1.0, 0.0])},
    "topics of one document": {"values": NORMAL, "topic_index": np.arange(N)},
    "topics of one document, by share": {
        "values": NORMAL,
        "topic_index": np.arange(N),
        "liquidity": EffectiveShare(0.3),
        "prior": WIDE_PRIOR,
    },
    "a wide prior": {"values": NORMAL, "prior": WIDE_PRIOR},
    "the widest prior, by share": {
        "values": NORMAL,
        "prior": WIDEST_PRIOR,
        "liquidity": EffectiveShare(0.02),
    },
    "next to no liquidity": {"values": NORMAL, "liquidity": 1e-310},
    "next to no liquidity, a wide prior": {
        "values": NORMAL,
        "liquidity": 1e-310,
        "prior": WIDE_PRIOR,
    },
    "boundless liquidity, a wide prior": {
        "values": NORMAL,
        "liquidity": 1e300,
        "prior": WIDE_PRIOR,
    },
    "books beyond the doubles": {"values": NORMAL, "liquidity": 1.7e308},
    "a liquidity for each topic": {
        "values": NORMAL,
        "liquidity": [1e-310, 1e300, EffectiveShare(0.2), 1e-5, 3.0],
        "prior": WIDE_PRIOR,
    },
    "risk-averse": {
        "values": NORMAL,
        "liquidity": [1e-3, 1e300, 0.2, 1.0, 3.0],
        "traders": RiskAverse(2.0, 0.7, (2, 0, 1)),
        "prior": WIDE_PRIOR,
    },
    "the largest orders of the smallest signals": {
        "values": 2e-290 * NORMAL,
        "liquidity": 500.0,
        "traders": RiskAverse(0.001, 1.9, (0, 1, 2)),
    },
    "long documents": {
        "values": NORMAL,
        "tokens": np.random.default_rng(26).integers(1, 2**62, N),
        "length_bias": 1.5,
    },
    "prices per token without decimals": {"values": NORMAL, "length_bias": 1e291},
    "one outlier": {
        "values": one_outlier(100_000, 1e-6),
        "topic_index": np.zeros(100_000, dtype=int),
        "liquidity": 0.01,
    },
    "one outlier far away": {
        "values": one_outlier(100_000, 1e-7, offset=1e8),
        "topic_index": np.zeros(100_000, dtype=int),
        "liquidity": EffectiveShare(0.5),
    },
}


@pytest.mark.parametrize("name", NASTY)
def test_the_markets_agree_where_numbers_are_at_their_worst(open_bourse, name):
    choices = {"topic_index": TOPIC_OF, **NASTY[name]}
    in_sql, in_python = both_markets(open_bourse(2).connection, **choices)
    exact = {"rtol": 1e-9, "atol": 1e-9}

    for column in ("log_price", "log_price_per_token"):
        np.testing.assert_allclose(
            getattr(in_sql, column), getattr(in_python, column), err_msg=column, **exact
        )
    for entry in ("liquidity", "worst_case_loss", "effective_sample_size", "entropy"):
        found = [getattr(topic, entry) for topic in in_sql.summary.topics]
        np.testing.assert_allclose(found, getattr(in_python, entry), err_msg=entry, **exact)
    for topic, cost in zip(in_sql.summary.topics, in_python.cost, strict=True):
        # with a prior, the cost is what is left of b ln(1 + little)
        assert topic.cost == pytest.approx(cost, rel=1e-9, abs=1e-9 + 1e-15 * topic.liquidity)
    for entry in ("mean", "spread", "shares_per_spread"):
        found = [getattr(each, entry) for each in in_sql.summary.topic_traders]
        expected = getattr(in_python, entry).ravel()
        np.testing.assert_allclose(found, expected, err_msg=entry, rtol=1e-9, atol=0)


def test_prices_per_token_are_rounded_to_twelve_decimals_in_both_markets(open_bourse):
    choices = {"values": NORMAL, "topic_index": TOPIC_OF, "length_bias": 0.1}
    for market in both_markets(open_bourse(1).connection, **choices):
        found = market.log_price_per_token

        assert found.tolist() == [round(each, 12) for each in found.tolist()]
        exact = market.log_price - 0.1 * np.log(np.arange(1, N + 1))
        np.testing.assert_allclose(found, exact, rtol=0, atol=0.51e-12)
        assert (found != exact).any()


def bits_of(cleared):
    books = [
        tuple(getattr(topic, entry) for entry in ("cost", "effective_sample_size", "entropy"))
        for topic in cleared.summary.topics
    ]
    scales = [(each.mean, each.spread) for each in cleared.summary.topic_traders]
    return cleared.log_price.tobytes(), cleared.log_price_per_token.tobytes(), books, scales


def test_a_board_read_in_pieces_has_the_same_bits_for_any_threads(open_bourse, tmp_path):
    pool = random_pool(300_000, 30, 3, seed=31)  # more documents than DuckDB takes at a time
    table = board_table_of(pool["values"], pool["topic_index"], pool["tokens"])
    path = tmp_path / "board.parquet"
    pq.write_table(table, path, row_group_size=70_001)
    with pq.ParquetFile(path, read_dictionary=["topic", "source"]) as file:
        pieces = pa.concat_tables([file.read_row_group(group) for group in range(5)])
    choices = {
        "weights": {f"{trader:02d}": trader + 1.0 for trader in range(3)},
        "liquidity": 0.4,
        "topic_mass": "balanced",
        "length_bias": 0.7,
        "prior": np.random.default_rng(32).lognormal(size=300_000),
    }
    first = bits_of(clear_board(open_bourse(1).connection, board_of(table), **choices))

    for threads in (1, 2, 4):
        connection = open_bourse(threads).connection
        connection.execute("set preserve_insertion_order = false").fetchall()
        assert bits_of(clear_board(connection, board_of(pieces), **choices)) == first


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_board_with_values_that_are_not_finite_is_refused_as_it_is(open_bourse, bad):
    values = NORMAL.copy()
    values[[3, 9, 27, 500], 1] = bad
    board = board_of(board_table_of(values, TOPIC_OF, np.arange(1, N + 1)))

    with pytest.raises(ContractViolation, match="the values of trader 01 are finite") as caught:
        clear_board(
            open_bourse().connection,
            board,
            weights=dict.fromkeys(board.traders, 1.0),
            liquidity=1.0,
            topic_mass="proportional",
            length_bias=1.0,
        )
    assert caught.value.failing_rows == 4
    assert list(caught.value.example_ids) == ["00000003", "00000009", "00000027"]


def test_a_board_with_an_empty_document_is_refused(open_bourse):
    tokens = np.arange(N)

    with pytest.raises(InputError, match=r"at least 1 token, got 0 at position 0"):
        both_markets(open_bourse().connection, values=NORMAL, topic_index=TOPIC_OF, tokens=tokens)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"prior": np.ones(N - 1)}, "prior must be one weight for each of 600"),
        ({"prior": np.zeros(N)}, "prior weights must be > 0"),
        ({"traders": RiskAverse(1.0, 1.0, (0, 1))}, "must name each of 3 traders"),
        (
            {"traders": RiskAverse(1.0, 1.0, (0, 1, 2)), "liquidity": EffectiveShare(0.3)},
            "effective share",
        ),
    ],
)
def test_priors_and_traders_outside_their_domain_are_refused(open_bourse, choices, message):
    board = board_of(board_table_of(NORMAL, TOPIC_OF, np.arange(1, N + 1)))
    arguments = {"liquidity": 1.0, "topic_mass": "balanced", "length_bias": 0.0, **choices}

    with pytest.raises(InputError, match=message):
        clear_board(
            open_bourse().connection,
            board,
            weights=dict.fromkeys(board.traders, 1.0),
            **arguments,
        )


def test_one_connection_clears_one_board_after_another(open_bourse):
    connection = open_bourse().connection
    choices = {"values": NORMAL, "topic_index": TOPIC_OF, "prior": WIDE_PRIOR}
    alone = both_markets(connection, **choices)[0]
    both_markets(connection, values=NORMAL[:50, :1], topic_index=np.zeros(50, dtype=int))

    assert bits_of(both_markets(connection, **choices)[0]) == bits_of(alone)
