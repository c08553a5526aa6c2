"""Words of a what-if become overrides that give the config that is meant."""

import pytest
import yaml

from databourse.config import load_config
from databourse.errors import ConfigError, UnknownNameError
from databourse.what_if.settings import (
    Changes,
    changed_config,
    market_overrides,
    trader_overrides,
)


def parsed(overrides):
    pairs = dict(each.partition("=")[::2] for each in overrides)
    return {key: yaml.safe_load(value) for key, value in pairs.items()}


def test_no_change_is_the_config_itself(pool):
    config = pool.write(market={"weights": {"rarity": 1, "length": 2, "diversity": 0}})

    assert changed_config(pool.path, [], Changes()) == config
    assert market_overrides(Changes()) == []


def test_each_choice_lands_at_its_key(pool):
    pool.write(budget={"share": 0.5}, market={"liquidity": {"shares": 2.0, "by_topic": {"a": 1}}})
    changes = Changes(
        budget=("documents", 7),
        liquidity=("effective_share", 0.25),
        length_bias=0.0,
        topic_mass="balanced",
        rule="stop",
        diversity=0.0,
        limits={"topic_floor": 0.5, "topic_cap": {"air": 0.4}, "source_floor": {"web": 0.1},
                "source_cap": 1.5},
    )  # fmt: skip
    config = changed_config(pool.path, [], changes)

    assert (config.budget.kind, config.budget.amount) == ("documents", 7)
    liquidity = config.market.liquidity
    assert (liquidity.shares, liquidity.effective_share, liquidity.by_topic) == (None, 0.25, {})
    assert config.market.topic_mass == "balanced"
    selection = config.selection
    assert (selection.length_bias, selection.rule, selection.diversity) == (0.0, "stop", 0.0)
    assert (selection.topic_floor, selection.topic_cap) == (0.5, {"air": 0.4})
    assert (selection.source_floor, selection.source_cap) == ({"web": 0.1}, 1.5)
    assert changed_config(pool.path, [], Changes(method="sample")).selection.method == "sample"


def test_changes_win_over_overrides_and_overrides_over_the_file(pool):
    pool.write()
    changes = Changes(length_bias=0.25)
    config = changed_config(
        pool.path, ["selection.length_bias=0.5", "selection.rule=stop"], changes
    )

    assert (config.selection.length_bias, config.selection.rule) == (0.25, "stop")


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "a.b", "été", "it's", 'say "so"', "a: b", "{x}", "yes", "12", "#1"],
)
def test_limits_by_name_survive_whatever_the_name_holds(pool, name):
    pool.write()
    config = changed_config(pool.path, [], Changes(limits={"topic_cap": {name: 0.25}}))

    assert config.selection.topic_cap == {name: 0.25}


@pytest.mark.parametrize("name", ["\U0001f600", "\u2028", "a\x7fb", "a\tb", "\U0010ffff"])
def test_limits_by_name_survive_rare_characters(pool, name):
    pool.write()
    config = changed_config(pool.path, [], Changes(limits={"topic_cap": {name: 0.25}}))

    assert config.selection.topic_cap == {name: 0.25}


@pytest.mark.parametrize("number", [1e-05, 1e6, 2.5e-300, 0.1, 3.0])
def test_numbers_stay_numbers(pool, number):
    config = pool.write(
        signals=["rarity", "length", {"name": "uncertainty", "inverse_penalty": number}]
    )
    (found,) = [
        each
        for each in changed_config(pool.path, [], Changes(without=["length"])).signals
        if each != "rarity"
    ]

    assert found == config.signals[2]
    assert isinstance(found["inverse_penalty"], float)


def test_a_weight_changes_one_trader_and_the_others_keep_theirs(pool):
    pool.write()
    equal = changed_config(pool.path, [], Changes(weights={"rarity": 3.0}))
    assert equal.market.weights == {"rarity": 3.0, "length": 1.0, "diversity": 1.0}

    pool.write(market={"weights": {"rarity": 5, "length": 2, "diversity": 0.5}})
    given = changed_config(pool.path, [], Changes(weights={"length": 0.0}))
    assert given.market.weights == {"rarity": 5.0, "length": 0.0, "diversity": 0.5}


def test_who_is_left_out_leaves_signals_weights_and_the_order_of_trading(pool):
    weights = {"rarity": 5, "length": 2, "diversity": 0.5}
    traders = {"risk_aversion": 2.0, "order": ["length", "diversity", "rarity"]}
    pool.write(market={"weights": weights, "traders": traders, "liquidity": {"shares": 1.0}})
    config = changed_config(pool.path, [], Changes(without=["length"]))

    assert config.signals == ("rarity", {"name": "diversity"})
    assert config.market.weights == {"rarity": 5.0, "diversity": 0.5}
    assert config.market.traders.order == ("diversity", "rarity")
    assert config.market.traders.risk_aversion == 2.0


def test_equal_weights_stay_equal_when_a_trader_is_left_out(pool):
    pool.write()
    config = changed_config(pool.path, [], Changes(without=["length", "rarity"]))

    assert config.signals == ({"name": "diversity"},)
    assert config.market.weights == "equal"


def test_one_trader_can_be_weighted_and_another_left_out(pool):
    pool.write()
    changes = Changes(weights={"rarity": 2.0}, without=["length"])

    assert changed_config(pool.path, [], changes).market.weights == {
        "rarity": 2.0,
        "diversity": 1.0,
    }


def test_trader_overrides_alone_give_signals_weights_and_order(pool):
    config = pool.write()
    found = parsed(trader_overrides(Changes(without=["length"]), config))

    assert found == {"signals": ["rarity", {"name": "diversity"}]}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (Changes(without=["rarety"]), UnknownNameError, "did you mean 'rarity'"),
        (Changes(weights={"rarety": 1.0}), UnknownNameError, "did you mean 'rarity'"),
        (Changes(without=["rarity", "length", "diversity"]), ConfigError, "no signal is left"),
        (
            Changes(without=["rarity"], weights={"rarity": 1.0}),
            ConfigError,
            "'rarity' is given a weight and left out",
        ),
        (Changes(weights={"rarity": -1.0}), ConfigError, "greater than or equal to 0"),
        (Changes(liquidity=("shares", float("inf"))), ConfigError, "finite"),
        (Changes(limits={"topic_floor": 1.5}), ConfigError, "topic_floor"),
    ],
)
def test_changes_that_cannot_be_are_refused(pool, changes, error, message):
    pool.write()

    with pytest.raises(error, match=message):
        changed_config(pool.path, [], changes)


def test_the_file_is_read_and_never_written(pool):
    pool.write()
    before = pool.path.read_bytes()
    changed_config(pool.path, ["seed=3"], Changes(without=["length"], diversity=1.0))

    assert pool.path.read_bytes() == before
    assert load_config(pool.path).seed == 17
