"""A what-if on a published board: what it buys, what it calls changed, and what it refuses."""

import json

import duckdb
import numpy as np
import pytest

from databourse.config import load_config
from databourse.errors import ConfigError, InputError, IntegrityError, ManifestError
from databourse.refresh.standing_wealth import as_settled
from databourse.refresh.trading import hold_session
from databourse.what_if.record import first_movers, record, utility
from databourse.what_if.session import what_if


def asked(pool, *overrides, **choices):
    return what_if(load_config(pool.path, overrides), pool.root, **choices)


def test_the_published_settings_buy_what_is_published(pool):
    session, _ = pool.publish()
    answer = asked(pool)

    assert answer.published.tolist() == session.purchase.is_bought.tolist()
    assert answer.session.purchase.order.tolist() == session.purchase.order.tolist()
    assert answer.comparison.entered.size == answer.comparison.left.size == 0
    assert (answer.changed, answer.ignored, answer.sweep) == ({}, (), ())


def test_other_settings_buy_what_a_session_on_the_same_board_buys(pool):
    session, _ = pool.publish()
    overrides = ["budget={documents: 9}", "selection.length_bias=-1", "selection.topic_cap=1.5"]
    config = load_config(pool.path, overrides)
    expected = hold_session(duckdb.connect(), pool.board, as_settled(config, None), vectors=None)
    answer = asked(pool, *overrides)

    after = expected.purchase.is_bought
    assert answer.session.purchase.is_bought.tolist() == after.tolist()
    assert answer.session.limit == 9
    assert set(answer.comparison.entered) == set(
        np.flatnonzero(after & ~session.purchase.is_bought)
    )
    assert set(answer.comparison.left) == set(np.flatnonzero(session.purchase.is_bought & ~after))
    assert answer.comparison.entered.size > 0
    assert answer.comparison.left.size > 0


def test_every_version_is_compared_with_its_own_documents(pool):
    first, _ = pool.publish()
    second, _ = pool.publish(budget={"tokens": 100})

    assert asked(pool, version=1).published.tolist() == first.purchase.is_bought.tolist()
    assert asked(pool, version=2).published.tolist() == second.purchase.is_bought.tolist()
    assert asked(pool).manifest.info.version == 2
    assert asked(pool, version=1).changed == {"budget.tokens": (300, 100)}


def test_vectors_are_read_from_the_warehouse_where_novelty_counts(pool, pool_vectors):
    pool.publish()
    pool.embed()
    config = load_config(pool.path, ["selection.diversity=3"])
    expected = hold_session(
        duckdb.connect(), pool.board, as_settled(config, None), vectors=pool_vectors.__getitem__
    )
    answer = asked(pool, "selection.diversity=3", budgets="sweep")

    assert answer.session.purchase.order.tolist() == expected.purchase.order.tolist()
    assert answer.session.purchase.order.tolist() != asked(pool).session.purchase.order.tolist()
    assert max(row.budget for row in answer.sweep) == 300


def test_without_a_warehouse_only_novelty_is_refused(pool):
    pool.publish()

    assert asked(pool).session.purchase.is_bought.any()
    with pytest.raises(ConfigError, match="there is no warehouse"):
        asked(pool, "selection.diversity=3")


@pytest.mark.parametrize(
    ("published", "overrides", "changed"),
    [
        (
            {},
            ["market.liquidity={shares: 0.5, by_topic: {air: 2.0}}"],
            {
                "market.liquidity.effective_share": (0.3, None),
                "market.liquidity.shares": (None, 0.5),
                "market.liquidity.by_topic.air": (None, 2.0),
            },
        ),
        (
            {"market": {"liquidity": {"shares": 0.5, "by_topic": {"air": 2.0, "fire": 1.0}}}},
            ["market.liquidity={shares: 0.5, by_topic: {fire: 3.0}}"],
            {
                "market.liquidity.by_topic.air": (2.0, None),
                "market.liquidity.by_topic.fire": (1.0, 3.0),
            },
        ),
        (
            {"selection": {"topic_cap": {"air": 0.5}}},
            ["selection.topic_cap=2"],
            {"selection.topic_cap": (None, 2.0), "selection.topic_cap.air": (0.5, None)},
        ),
        ({}, ["selection.length_bias=1"], {}),
        (
            {},
            ["budget={share: 0.2}"],
            {"budget.tokens": (300, None), "budget.share": (None, 0.2)},
        ),
        ({}, ["signals=[rarity, {name: diversity}]"], {"signals": ("diversity, length, rarity",
                                                           "diversity, rarity")}),
        ({}, ["signals=[{name: diversity}, length, rarity]"], {}),
        ({}, ["manifest.include_text=false", "compute.threads=2"], {}),
        (
            {},
            ["market.weights={rarity: 1, length: 2, diversity: 0}"],
            {
                "market.weights": ("equal", None),
                "market.weights.rarity": (None, 1.0),
                "market.weights.length": (None, 2.0),
                "market.weights.diversity": (None, 0.0),
            },
        ),
    ],
)  # fmt: skip
def test_changed_settings_are_named_by_their_dotted_key(pool, published, overrides, changed):
    pool.publish(**published)
    answer = asked(pool, *overrides)

    assert answer.changed == changed
    assert answer.ignored == ()


@pytest.mark.parametrize(
    ("overrides", "ignored"),
    [
        (["topics.count=3"], ("topics",)),
        (["deduplicate.near.threshold=0.7", "encoder=hashing"], ("deduplicate", "encoder")),
        (["tokenizer=gpt2"], ("tokenizer",)),
        (["seed=18"], ("seed",)),
        (["signals=[{name: rarity, k: 3}, length, {name: diversity}]"], ("signals.rarity",)),
        (["signals=[length]"], ()),
    ],
)
def test_settings_that_wait_for_a_refresh_are_named_and_change_nothing(pool, overrides, ignored):
    pool.publish()
    answer = asked(pool, *overrides)

    assert answer.ignored == ignored
    if ignored:
        assert answer.changed == {}
        assert answer.comparison.entered.size == answer.comparison.left.size == 0


def test_another_seed_is_another_sample_and_nothing_else(pool):
    pool.publish()
    sample = "selection.method=sample"
    tried = [asked(pool, sample, f"seed={seed}") for seed in range(17, 25)]

    assert "seed" not in tried[0].changed
    assert tried[1].changed["seed"] == (17, 18)
    assert {answer.ignored for answer in tried} == {()}
    assert len({tuple(answer.session.purchase.order) for answer in tried}) > 1


@pytest.mark.parametrize("entry", ["{name: rarity}", "{name: rarity, k: 10}", "rarity"])
def test_a_signal_with_its_defaults_written_out_is_the_same_signal(pool, entry):
    pool.publish(signals=["rarity", "length", "diversity"])

    assert asked(pool, f"signals=[{entry}, length, diversity]").ignored == ()


def test_signals_that_were_not_scored_are_refused_with_what_is_there(pool):
    pool.publish()

    with pytest.raises(
        ConfigError,
        match=r"'uncertainty' was not scored for tiny version 1, which has diversity, length, "
        r"rarity; refresh the pool, or add --without uncertainty",
    ):
        asked(pool, "signals=[rarity, uncertainty]")


def test_a_manifest_without_a_board_or_with_a_lost_one_is_refused(pool):
    _, path = pool.publish(board_id="0" * 64)
    with pytest.raises(IntegrityError, match="is missing; refresh"):
        asked(pool)

    facts = json.loads((path / "manifest.json").read_text())
    assert facts["board_id"] == "0" * 64


def test_a_manifest_of_documents_that_the_board_lacks_is_refused(pool):
    from databourse.market.board import board_of, board_table
    from databourse.warehouse.boards import store_board

    rows = board_table(pool.board)
    other = store_board(pool.root / "warehouse", board_of(rows.slice(20)))
    session, _ = pool.publish(board_id=other)
    missing = int(session.purchase.is_bought[:20].sum())

    with pytest.raises(IntegrityError, match=f"holds {missing} documents that its board lacks"):
        asked(pool)


def test_nothing_published_and_nothing_that_fits_are_told_apart(pool):
    pool.write()
    with pytest.raises(ManifestError):
        asked(pool)
    pool.publish()
    with pytest.raises(InputError, match="no document fits the budget of 1 tokens"):
        asked(pool, "budget.tokens=1")


def test_the_record_is_json_and_says_what_the_answer_says(pool):
    pool.publish()
    answer = asked(pool, "budget.tokens=120", "market.topic_mass=balanced", budgets="sweep")
    found = json.loads(json.dumps(record(answer), allow_nan=False))
    comparison, purchase = answer.comparison, answer.session.purchase
    ids = pool.board.document_ids.to_pylist()
    prices = np.exp(answer.session.cleared.log_price)

    assert (found["pool"], found["version"], found["candidates"]) == ("tiny", 1, 40)
    assert found["manifest_id"] == answer.manifest.info.manifest_id
    assert found["budget"] == 120
    assert found["changed"] == {
        "budget.tokens": [300, 120],
        "market.topic_mass": ["proportional", "balanced"],
    }
    assert found["entered"] == [ids[place] for place in comparison.entered]
    assert found["left"] == [ids[place] for place in comparison.left]
    assert len(found["left"]) > 1
    kept = found["kept"]["documents"]
    assert found["before"]["documents"] == kept + len(found["left"])
    assert found["after"]["documents"] == kept + len(found["entered"])
    assert found["utility_before"] == pytest.approx(prices[answer.published].sum())
    assert found["utility_after"] == pytest.approx(prices[purchase.is_bought].sum())
    assert found["utility_before"] > found["utility_after"]
    info = answer.manifest.info
    before = found["marginal_log_price_per_token_before"]
    assert before == info.marginal_log_price_per_token
    assert found["marginal_log_price_per_token_after"] == purchase.marginal_log_price_per_token
    assert found["effective_sample_size"] == pytest.approx(1 / (prices**2).sum())
    assert {row["budget"] for row in found["sweep"]} == {row.budget for row in answer.sweep}
    assert [each["topic"] for each in found["market"]] == list(pool.board.topics)
    assert found["needs_a_refresh"] == []


def test_shares_of_the_market_are_of_all_prices(pool):
    pool.publish()
    answer = asked(pool, "budget={share: 1.0}")

    assert utility(answer, published=False) == pytest.approx(1.0)
    assert 0 < utility(answer, published=True) < 1


def test_the_first_movers_are_the_dearest_that_enter_and_the_cheapest_that_leave(pool):
    pool.publish()
    answer = asked(pool, "market.weights={rarity: 0, length: 1, diversity: 0}")
    entered, left = first_movers(answer, n_documents=2)
    per_token = answer.session.cleared.log_price_per_token
    ranks = {each.price_rank for each in entered}

    assert len(entered) == len(left) == 2
    assert answer.comparison.entered.size > 2
    assert entered[0].log_price_per_token == max(per_token[answer.comparison.entered])
    assert left[0].log_price_per_token == min(per_token[answer.comparison.left])
    assert entered[0].price_rank < entered[1].price_rank
    assert left[0].price_rank > left[1].price_rank
    for each in (*entered, *left):
        assert each.price_rank == 1 + (per_token > each.log_price_per_token).sum()
    assert min(ranks) >= 1
