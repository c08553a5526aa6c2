"""A session of the market: the config reaches the market, and the budget buys what it says."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from databourse.config import RefreshConfig
from databourse.errors import InputError, IntegrityError, UnknownNameError
from databourse.market.board import board_of, board_table
from databourse.market.clearing import clear_market
from databourse.market.clearing_sql import ClearedBoard, MarketSummary
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass
from databourse.market.pooling import FixedOrders, RiskAverse
from databourse.refresh.settings import (
    document_prior,
    market_liquidity,
    market_topic_mass,
    market_traders,
    selection_limits,
)
from databourse.refresh.standing_wealth import as_settled
from databourse.refresh.trading import hold_session, spend, stored_vectors, sweep
from databourse.warehouse.store import append

TOKENS = [10, 20, 30, 40, 5, 15]
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], dtype=np.float32)


@pytest.fixture
def config():
    """Return a function that gives a config of three signals; sections as they are named."""

    def config(**sections):
        sources = [
            {"name": name, "path": "rows.jsonl", "text": "{text}"} for name in ("web", "news")
        ]
        settings = {
            "pool": "tiny",
            "seed": 17,
            "sources": sources,
            "signals": ["rarity", "length", "diversity"],
            "budget": {"tokens": 45},
            **sections,
        }
        return RefreshConfig(**settings)

    return config


@pytest.fixture
def board():
    """Return six documents, a to f, of two topics and two sources."""
    return board_of(
        pa.table(
            {
                "document_id": list("abcdef"),
                "source": ["web", "news"] * 3,
                "topic": ["x", "x", "y", "y", "y", "x"],
                "tokens": TOKENS,
                "signal_rarity": [1.0, 3.0, 2.0, 0.5, 4.0, 2.5],
                "signal_length": [1.0, 2.0, 3.0, 4.0, 0.5, 1.5],
                "signal_diversity": [0.3, 0.1, 0.9, 0.2, 0.2, 0.8],
            }
        )
    )


PER_TOKEN = (-1.0, -2.0, -3.0, -4.0, -5.0, -6.0)


def cleared(log_price=PER_TOKEN, per_token=PER_TOKEN):
    """Return prices; unless given, a is the dearest per token and f the cheapest."""
    summary = MarketSummary(6, {}, (), ())
    return ClearedBoard(summary, np.array(log_price), np.array(per_token))


def no_vectors(positions):
    raise AssertionError(f"no diversity is wanted, but vectors of {positions.tolist()} are")


def names(session):
    return "".join(session.board.document_ids.to_pylist()[each] for each in session.purchase.order)


@pytest.mark.parametrize(
    ("sections", "bought", "limit"),
    [
        ({"budget": {"tokens": 45}, "selection": {}}, "abe", 45),
        ({"budget": {"tokens": 45}, "selection": {"rule": "stop"}}, "ab", 45),
        ({"budget": {"documents": 2}, "selection": {}}, "ab", 2),
        ({"budget": {"share": 0.5}, "selection": {}}, "abc", 60),
        ({"budget": {"tokens": 40}, "selection": {"topic_floor": {"y": 0.5}}}, "ca", 40),
        ({"budget": {"tokens": 40}, "selection": {"topic_cap": {"x": 0.25}}}, "ac", 40),
        ({"budget": {"tokens": 40}, "selection": {"source_floor": {"news": 0.75}}}, "bfe", 40),
        ({"budget": {"tokens": 40}, "selection": {"source_cap": {"web": 0.25}}}, "ab", 40),
        ({"budget": {"documents": 4}, "selection": {"topic_floor": 1.0}}, "abcd", 4),
        ({"budget": {"documents": 4}, "selection": {"topic_cap": 1.0}}, "abcd", 4),
        ({"budget": {"documents": 5}, "selection": {"topic_cap": {"x": 0.21}}}, "acde", 5),
    ],
)
def test_each_budget_and_each_limit_buys_what_can_be_counted_by_hand(
    config, board, sections, bought, limit
):
    session = spend(cleared(), board, config(**sections), vectors=no_vectors)

    assert names(session) == bought
    assert session.limit == limit
    assert session.ranking.tolist() == [0, 1, 2, 3, 4, 5]
    assert session.weight.tolist() == [1.0] * 6
    assert session.inclusion_probability is None


def test_the_best_single_document_is_bought_where_it_beats_all_others(config, board):
    prices = cleared(log_price=[-5, -5, -5, -0.1, -6, -6])
    plain = spend(prices, board, config(), vectors=no_vectors)
    guarded = spend(prices, board, config(selection={"best_single": True}), vectors=no_vectors)

    assert names(plain) == "abe"
    assert names(guarded) == "de"  # 40 + 5 tokens
    assert guarded.purchase.reasons()[3] == "best_single"


def test_novelty_is_weighed_by_the_setting_and_read_from_the_vectors(config, board):
    def bought(diversity):
        chosen = config(budget={"documents": 2}, selection={"diversity": diversity})
        return names(spend(cleared(), board, chosen, vectors=lambda places: VECTORS[places]))

    assert bought(2.0) == "ac"  # c: -3 + 2 * 1, b: -2 + 2 * 0
    assert bought(0.9) == "ab"  # c: -3 + 0.9


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            {"tokens": 4},
            (
                r"no document fits the budget of 4 tokens: the shortest of 6 candidates costs 5; "
                r"raise budget\.tokens"
            ),
        ),
        ({"share": 0.01}, r"no document fits the budget of 1 tokens.*raise budget\.share"),
    ],
)
def test_a_budget_below_the_shortest_document_is_refused(config, board, budget, message):
    with pytest.raises(InputError, match=message):
        spend(cleared(), board, config(budget=budget), vectors=no_vectors)


@pytest.mark.parametrize("budget", [{"tokens": 5}, {"documents": 1}])
def test_a_budget_of_the_shortest_document_buys_one(config, board, budget):
    assert names(spend(cleared(), board, config(budget=budget), vectors=no_vectors)) in "ae"


def sampled(config, board, seed=17, budget=35):
    chosen = config(seed=seed, budget={"tokens": budget}, selection={"method": "sample"})
    # the price per token decides, not the price; f is the dearest
    prices = cleared(log_price=[0.0] * 6, per_token=PER_TOKEN[::-1])
    return spend(prices, board, chosen, vectors=no_vectors)


def test_a_sample_says_why_weighs_the_drawn_and_has_no_marginal_price(config, board):
    session = sampled(config, board)
    purchase, probability = session.purchase, session.inclusion_probability
    drawn = purchase.is_bought
    costs = np.array(TOKENS)

    assert 0 < drawn.sum() < 5
    assert costs[drawn].sum() <= 35
    expected = ["drawn" if each else "not_drawn" for each in drawn]
    expected[3] = "longer_than_budget"
    assert purchase.reasons() == expected
    assert purchase.marginal_log_price_per_token is None
    assert purchase.order.tolist() == np.flatnonzero(drawn)[::-1].tolist()  # dearest first
    assert session.weight[drawn].tolist() == (1 / probability[drawn]).tolist()
    assert session.weight[~drawn].tolist() == [1.0] * (~drawn).sum()
    assert probability[3] == 0
    assert probability[0] / probability[1] == pytest.approx(1 / np.e)  # log prices -6 and -5


def test_a_document_that_costs_the_whole_budget_can_be_drawn(config, board):
    session = sampled(config, board, budget=40)

    assert session.inclusion_probability[3] > 0
    assert session.purchase.reasons()[3] in {"drawn", "not_drawn"}


def test_a_sample_follows_the_seed_and_nothing_else(config, board):
    draws = {seed: sampled(config, board, seed).purchase.is_bought.tobytes() for seed in range(20)}

    assert all(
        sampled(config, board, seed).purchase.is_bought.tobytes() == found
        for seed, found in draws.items()
    )
    assert len(set(draws.values())) > 1


SHARE = {"liquidity": {"effective_share": 0.45}}
MARKETS = {
    "plain": (SHARE, {}, {}),
    "length bias and weights": (
        SHARE | {"weights": {"rarity": 1.0, "length": 2.0, "diversity": 0.0}},
        {"length_bias": -0.5},
        {"weights": np.array([0.0, 2.0, 1.0]), "length_bias": -0.5},
    ),
    "liquidity in shares": ({"liquidity": {"shares": 0.7}}, {}, {"liquidity": 0.7}),
    "an exception for a topic": (
        {"liquidity": {"effective_share": 0.6, "by_topic": {"y": 0.8}}},
        {},
        {"liquidity": [EffectiveShare(0.6), EffectiveShare(0.8)]},
    ),
    "balanced": (SHARE | {"topic_mass": "balanced"}, {}, {"topic_mass": "balanced"}),
    "a power": (SHARE | {"topic_mass": {"power": 0.3}}, {}, {"topic_mass": PowerMass(0.3)}),
    "a prior of tokens": (
        SHARE | {"prior": "tokens"},
        {},
        {"prior": np.array(TOKENS[:5], dtype=float)},
    ),
    "a prior of sources": (
        SHARE | {"prior": {"sources": {"news": 1.5}}},
        {},
        {"prior": np.array([1.0, 1.5, 1.0, 1.5, 1.0])},
    ),
    "risk-averse traders in the order of the signals": (
        {"liquidity": {"shares": 0.7}, "traders": {"risk_aversion": 2.0, "confidence": 0.5}},
        {},
        {"liquidity": 0.7, "traders": RiskAverse(2.0, 0.5, (2, 1, 0))},
    ),
    "risk-averse traders in an order of their own": (
        {
            "liquidity": {"shares": 0.7},
            "traders": {"risk_aversion": 2.0, "order": ["length", "diversity", "rarity"]},
        },
        {},
        {"liquidity": 0.7, "traders": RiskAverse(2.0, 1.0, (1, 0, 2))},
    ),
}


@pytest.mark.parametrize("name", MARKETS)
def test_every_setting_of_the_market_reaches_it(config, board, name):
    market, selection, changed = MARKETS[name]
    uneven = board_of(board_table(board).slice(0, 5))
    session = hold_session(
        duckdb.connect(),
        uneven,
        as_settled(config(market=market, selection=selection), None),
        vectors=no_vectors,
    )
    default = {
        "values": np.array([uneven.signals[trader] for trader in uneven.traders]).T,
        "weights": np.ones(3),
        "topic_index": uneven.topic_index,
        "tokens": uneven.tokens,
        "liquidity": EffectiveShare(0.45),
        "topic_mass": "proportional",
        "length_bias": 1.0,
    }
    expected, plain = clear_market(**default | changed), clear_market(**default)

    for column in ("log_price", "log_price_per_token"):
        np.testing.assert_allclose(
            getattr(session.cleared, column), getattr(expected, column), rtol=0, atol=1e-9
        )
    if changed:  # or the setting could be ignored unseen
        assert np.abs(expected.log_price_per_token - plain.log_price_per_token).max() > 1e-3


def test_the_words_of_the_config_become_those_of_the_market(config, board):
    shares = {"liquidity": {"shares": 2.0}}

    assert market_liquidity(config(market=shares), board.topics) == 2.0
    assert market_liquidity(as_settled(config(), None), board.topics) == EffectiveShare(0.3)
    one = {"liquidity": {"shares": 2.0, "by_topic": {"x": 3.0}}}
    assert market_liquidity(config(market=one), board.topics) == (3.0, 2.0)
    with pytest.raises(UnknownNameError, match=r"unknown topic 'z' in market\.liquidity\.by_topic"):
        market_liquidity(
            config(market={"liquidity": {"shares": 2.0, "by_topic": {"z": 3.0}}}), board.topics
        )
    assert market_topic_mass(config()) == "proportional"
    assert market_traders(config()) == FixedOrders()
    assert document_prior(config(), board) is None


def test_limits_stand_for_the_kinds_that_are_set_and_no_others(config, board):
    def kinds(**selection):
        found = selection_limits(
            config(selection=selection), board, costs=np.array(TOKENS), budget=100
        )
        return {each.kind: (each.floors.tolist(), each.caps.tolist()) for each in found}

    assert kinds() == {}
    assert kinds(topic_floor=0.5) == {"topic": ([25, 25], [100, 100])}
    assert kinds(source_cap=1.5) == {"source": ([0, 0], [75, 75])}
    assert kinds(topic_cap={"y": 0.3}, source_floor={"web": 0.2}) == {
        "topic": ([0, 0], [100, 30]),
        "source": ([0, 20], [100, 100]),  # news, web
    }
    with pytest.raises(UnknownNameError, match="unknown topic 'z'"):
        kinds(topic_floor={"z": 0.1})


def test_a_sweep_buys_with_each_budget_what_that_budget_buys(config, board):
    chosen = config()
    session = spend(cleared(), board, chosen, vectors=no_vectors)
    rows = {row.budget: row for row in sweep(session, chosen, vectors=no_vectors)}

    assert list(rows) == sorted(rows)
    assert {45, 120} <= set(rows)
    assert min(rows) >= 5  # with less no document fits
    assert (rows[45].documents, rows[45].spent) == (3, 35)
    assert rows[45].marginal_log_price_per_token == -5.0
    assert (rows[120].documents, rows[120].utility) == (6, pytest.approx(1.0))
    for budget, row in rows.items():
        alone = spend(
            cleared(), board, config(budget={"tokens": budget}), vectors=no_vectors
        ).purchase
        assert row.documents == alone.is_bought.sum()
        assert row.marginal_log_price_per_token == alone.marginal_log_price_per_token


def test_a_sweep_shows_the_price_to_beat_and_not_that_of_a_floor(config, board):
    chosen = config(budget={"tokens": 40}, selection={"topic_floor": {"y": 0.5}})
    session = spend(cleared(), board, chosen, vectors=no_vectors)
    rows = {row.budget: row for row in sweep(session, chosen, vectors=no_vectors)}

    assert names(session) == "ca"
    assert rows[40].marginal_log_price_per_token == -1.0  # of a; c, at -3, fills the floor


def test_a_sweep_of_samples_has_no_price_to_beat(config, board):
    chosen = config(selection={"method": "sample"})
    session = spend(cleared(), board, chosen, vectors=no_vectors)
    rows = sweep(session, chosen, vectors=no_vectors)

    assert {row.marginal_log_price_per_token for row in rows} == {None}
    assert rows[-1].documents == 6


def test_a_sweep_of_documents_counts_documents_and_of_a_share_tokens(config, board):
    for budget, expected in (({"documents": 2}, {2, 6}), ({"share": 0.5}, {60, 120})):
        chosen = config(budget=budget)
        session = spend(cleared(), board, chosen, vectors=no_vectors)
        rows = sweep(session, chosen, vectors=no_vectors)

        assert expected <= {row.budget for row in rows}
        assert max(row.budget for row in rows) == max(expected)
        assert rows[-1].documents == 6


def test_a_sweep_leaves_out_budgets_that_cannot_meet_the_limits(config, board):
    chosen = config(selection={"topic_cap": 1.0, "topic_floor": 0.8})
    session = spend(cleared(), board, chosen, vectors=no_vectors)
    budgets = [row.budget for row in sweep(session, chosen, vectors=no_vectors)]
    everything = {row.budget for row in sweep(session, config(), vectors=no_vectors)}

    assert 45 in budgets
    assert 0 < len(everything - set(budgets)) < len(everything) - 1
    for budget in everything - set(budgets):
        with pytest.raises(InputError):
            tried = {"selection": {"topic_cap": 1.0, "topic_floor": 0.8}}
            spend(cleared(), board, config(budget={"tokens": budget}, **tried), vectors=no_vectors)


def test_with_diversity_a_sweep_ends_at_the_budget_of_the_session(config, board):
    chosen = config(selection={"diversity": 0.5})
    vectors = VECTORS.__getitem__
    session = spend(cleared(), board, chosen, vectors=vectors)

    budgets = [row.budget for row in sweep(session, chosen, vectors=vectors)]
    assert max(budgets) == 45
    assert len(budgets) > 1


@pytest.fixture
def embedded(warehouse, board):
    """Return a function that stores vectors of documents under encoder e."""

    def embed(document_ids, encoder_id="e", sign=1):
        places = [board.document_ids.to_pylist().index(each) for each in document_ids]
        vectors = [[sign * float(place), 1.0, 2.0] for place in places]
        with warehouse.transaction() as cursor:
            rows = {
                "document_id": document_ids,
                "encoder_id": [encoder_id] * len(places),
                "vector": pa.array(vectors, pa.list_(pa.float32())),
            }
            append(cursor, "embeddings", pa.table(rows))

    return embed


def test_stored_vectors_come_in_the_order_they_were_asked_for(warehouse, board, embedded):
    embedded(list("fdbeca"))
    embedded(list("abcdef"), encoder_id="other", sign=-1)
    cursor = warehouse.cursor()
    vectors = stored_vectors(cursor, board, "e")

    for asked in ([4, 0, 2], [5], [0, 1, 2, 3, 4, 5], [3, 5, 1]):
        found = vectors(np.array(asked))
        assert found.dtype == np.float32
        assert found.tolist() == [[place, 1.0, 2.0] for place in asked]
    cursor.close()


def test_missing_vectors_are_counted(warehouse, board, embedded):
    embedded(list("ad"))
    cursor = warehouse.cursor()
    vectors = stored_vectors(cursor, board, "e")

    with pytest.raises(IntegrityError, match="vectors of 2 of 4 wanted documents; refresh"):
        vectors(np.array([3, 2, 1, 0]))
    assert vectors(np.array([3, 0])).tolist() == [[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    cursor.close()
