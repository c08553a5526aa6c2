"""What the last settlement left, and how the next market takes it."""

import json
from datetime import datetime

import pyarrow as pa
import pytest

from databourse.config import RefreshConfig
from databourse.errors import IntegrityError
from databourse.refresh.settings import market_liquidity, trader_weights
from databourse.refresh.standing_wealth import (
    StandingWealth,
    as_settled,
    publish_wealth,
    published_wealth,
    shared_out,
    standing_wealth,
)
from databourse.warehouse import hold_warehouse
from databourse.warehouse.store import append


def config(**market):
    return RefreshConfig(
        pool="notes",
        seed=1,
        sources=[{"name": "rows", "path": "rows.csv", "text": "{text}"}],
        signals=["rarity", "length", "diversity"],
        budget={"tokens": 100},
        market=market,
    )


@pytest.fixture(name="warehouse")
def _warehouse(tmp_path):
    with hold_warehouse(tmp_path / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        yield warehouse


def settle(warehouse, settlement_id, day, *, weights="wealth", liquidity=2.0, pool="notes"):
    owned = {"rarity": 0.75, "length": 0.25}
    row = {
        "settlement_id": settlement_id,
        "pool": pool,
        "run_id": "run",
        "refresh_run_id": "refresh",
        "settled_at": datetime(2026, 1, day),  # noqa: DTZ001 - tables hold UTC without a zone
        "oracle": "linear",
        "oracle_id": "o",
        "weights": weights,
        "liquidity": liquidity,
        "documents": 10,
        "contracts": 10,
        "unjudged": 0,
        "record": "{}",
    }
    wealth = {
        "settlement_id": [settlement_id] * 2,
        "trader": list(owned),
        "wealth_before": [0.5, 0.5],
        "wealth": list(owned.values()),
        "orders": [0.1, 0.1],
        "lone_log_score": [0.0, 0.0],
        "marginal_log_score": [0.0, 0.0],
        "fitted_weight": [0.1, 0.9],
        "fitted_spread": [0.0, 0.0],
    }
    with warehouse.transaction() as cursor:
        append(cursor, "settlements", pa.Table.from_pylist([row]))
        append(cursor, "wealth", pa.table(wealth))


def test_before_the_first_settlement_weights_are_even_and_liquidity_is_the_usual(warehouse):
    assert standing_wealth(warehouse, "notes") is None
    assert publish_wealth(warehouse, "notes") is None
    assert published_wealth(warehouse.root, "notes") is None
    settled = as_settled(config(), None)
    assert trader_weights(settled) == {"rarity": 1.0, "length": 1.0, "diversity": 1.0}
    assert settled.market.liquidity.effective_share == 0.3


def test_the_last_settlement_of_the_pool_counts(warehouse):
    settle(warehouse, "late", 3, liquidity=5.0)
    settle(warehouse, "early", 2)
    settle(warehouse, "of another", 4, pool="others")
    found = standing_wealth(warehouse, "notes")
    assert found == StandingWealth("late", {"length": 0.25, "rarity": 0.75}, 5.0)


def test_fitted_weights_count_where_the_settlement_says_so(warehouse):
    settle(warehouse, "fitted", 1, weights="regression")
    assert standing_wealth(warehouse, "notes").weights == {"length": 0.9, "rarity": 0.1}


def test_the_file_says_what_the_tables_say_and_is_mended(warehouse):
    settle(warehouse, "one", 1, liquidity=None)
    path = warehouse.root / "wealth" / "notes.json"
    assert publish_wealth(warehouse, "notes") == published_wealth(warehouse.root, "notes")
    before = path.stat().st_mtime_ns
    publish_wealth(warehouse, "notes")
    assert path.stat().st_mtime_ns == before  # nothing new is not written
    for damage in ("", "{", json.dumps({"settlement_id": "one"}), "[]", '{"weights": 3}'):
        path.write_text(damage)
        with pytest.raises(IntegrityError, match=r"notes\.json is damaged .* remove it"):
            published_wealth(warehouse.root, "notes")
        publish_wealth(warehouse, "notes")
        assert published_wealth(warehouse.root, "notes").settlement_id == "one"
    assert [each.name for each in path.parent.iterdir()] == ["notes.json"]


def test_new_traders_get_an_even_share_and_those_who_left_nothing():
    wealth = {"rarity": 0.6, "length": 0.2, "gone": 0.2}
    found = shared_out(wealth, ["rarity", "length", "diversity"])
    # a third for the newcomer; two thirds go 3 : 1
    assert found == pytest.approx({"rarity": 0.5, "length": 1 / 6, "diversity": 1 / 3})
    assert sum(found.values()) == pytest.approx(1)


def test_traders_that_all_own_nothing_have_the_same():
    assert shared_out({"rarity": 0.0, "gone": 1.0}, ["rarity", "length"]) == {
        "rarity": 0.5,
        "length": 0.5,
    }
    assert shared_out({}, ["rarity"]) == {"rarity": 1.0}


def test_a_ruined_trader_stays_ruined_beside_a_newcomer():
    found = shared_out({"rarity": 1.0, "length": 0.0}, ["rarity", "length", "new"])
    assert found["length"] == 0
    assert found["new"] == pytest.approx(1 / 3)


def test_what_a_config_sets_itself_is_left_alone():
    standing = StandingWealth("s", {"rarity": 1.0, "length": 0.0, "diversity": 0.0}, 2.0)
    own = {"rarity": 1, "length": 2, "diversity": 3}
    fixed = config(weights=own, liquidity={"shares": 4.0})
    assert as_settled(fixed, standing) is fixed
    # liquidity that was fitted to wealth is not for other weights
    assert as_settled(config(weights="equal"), standing).market.liquidity.effective_share == 0.3
    kept = as_settled(config(liquidity={"shares": 4.0}), standing)
    assert kept.market.liquidity.shares == 4.0
    assert trader_weights(kept)["rarity"] == 1.0


def test_wealth_and_liquidity_come_together():
    standing = StandingWealth("s", {"rarity": 0.5, "length": 0.5, "diversity": 0.0}, 2.5)
    settled = as_settled(config(), standing)
    assert trader_weights(settled) == {"rarity": 0.5, "length": 0.5, "diversity": 0.0}
    assert market_liquidity(settled, ["a"]) == 2.5
    nobody_earned = StandingWealth("s", standing.weights, None)
    assert as_settled(config(), nobody_earned).market.liquidity.effective_share == 0.3
