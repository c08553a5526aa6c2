"""Drift against the last published version: what each rule finds, and what it does about it."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from databourse.config import RefreshConfig, config_digest
from databourse.errors import DriftViolation
from databourse.market.board import Board
from databourse.refresh.drift import (
    PoolPicture,
    compare_pictures,
    enforce_drift,
    first_version,
)

RULES = ["signals", "tokens", "sources", "labels", "topics", "removals", "candidates"]


def config(**changes):
    return RefreshConfig(
        pool="tiny",
        seed=1,
        sources=[{"name": "rows", "path": "a.jsonl", "text": "{text}", "label": "label"}],
        signals=["length"],
        budget={"tokens": 10},
        **{"topics": {"by": "label"}, **changes},
    )


def picture(n=1_000, seed=1, **changes):
    """Return a pool of two sources, two topics and two labels, half of each."""
    rng = np.random.default_rng(seed)
    half = np.arange(n) % 2
    board = Board(
        pa.chunked_array([[f"{each:032x}" for each in range(n)]]),
        ("a", "b"),
        half,
        ("one", "two"),
        half,
        rng.integers(1, 100, size=n),
        {"length": rng.normal(size=n), "rarity": rng.normal(size=n)},
    )
    removed = {"near_dedup: near_duplicate": n // 10, "ingest: broken_json": 3}
    found = PoolPicture(board, {"x": n // 2, "y": n - n // 2}, removed, n + n // 10 + 3)
    own = {key: value for key, value in changes.items() if key in ("labels", "removed", "arrived")}
    more = {key: value for key, value in changes.items() if key not in own}
    return dataclasses.replace(found, board=dataclasses.replace(board, **more), **own)


def failed(result):
    return [rule.rule for rule in result.rules if not rule.success]


def judged(now, **changes):
    return compare_pictures(config(**changes), picture(), now, where="version 3")


def test_another_sample_of_the_same_pool_has_not_drifted():
    result = judged(picture(seed=2))
    assert [rule.rule for rule in result.rules] == RULES
    assert failed(result) == []
    assert result.rows == 1_000
    assert "version 3" in result.rules[0].description
    assert result.rules[0].observed.startswith(("signal length: PSI 0.0", "signal rarity: PSI 0.0"))


SIXTH = (np.arange(1_000) % 6 == 0).astype(np.int64)
FAULTS = {
    "signals": {"signals": {"length": np.random.default_rng(3).normal(1.5, size=1_000)}},
    "tokens": {"tokens": np.random.default_rng(3).integers(60, 160, size=1_000)},
    "sources": {"source_index": SIXTH},
    "topics": {"topic_index": SIXTH},
    "labels": {"labels": {"x": 990, "": 10}},
    "removals": {"removed": {"near_dedup: near_duplicate": 400}},
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_rule_finds_what_moved_and_no_other_does(rule):
    result = judged(picture(**FAULTS[rule]))
    assert failed(result) == [rule]
    found = next(each for each in result.rules if each.rule == rule)
    assert found.severity == "warning"
    assert found.failing_rows == len(found.example_ids) >= 1
    enforce_drift(result)  # a warning stops nothing


def test_the_signal_that_moved_is_named_with_its_bin():
    found = judged(picture(**FAULTS["signals"])).rules[0]
    assert found.example_ids[0].startswith("signal length: PSI ")
    assert "from " in found.example_ids[0]


def test_a_removal_is_told_with_its_stage_and_shares():
    found = next(each for each in judged(picture(**FAULTS["removals"])).rules if not each.success)
    # 400 of 1,103 rows that came in, where it was 100
    assert found.example_ids == (
        "near_dedup: near_duplicate removed 36.3% of the rows, before 9.1%",
    )


def test_a_pool_that_halves_is_told():
    result = judged(picture(n=400))
    assert failed(result) == ["candidates"]
    assert "400 candidates, before 1,000 (-60.0%)" in result.rules[-1].observed


@pytest.mark.parametrize("rule", FAULTS)
def test_what_is_to_stop_stops_and_says_how_to_go_on(rule):
    result = judged(picture(**FAULTS[rule]), drift={rule: "stop"})
    with pytest.raises(DriftViolation, match=rf"drifted: {rule}: .*--set drift.{rule}=warn"):
        enforce_drift(result)


def test_what_is_off_is_not_looked_at():
    result = judged(picture(**FAULTS["tokens"]), drift={"tokens": "off"})
    assert [rule.rule for rule in result.rules] == [each for each in RULES if each != "tokens"]
    assert failed(result) == []


def test_clusters_are_not_compared():
    result = judged(picture(**FAULTS["topics"]), topics={"by": "kmeans"})
    assert failed(result) == []


def test_a_trader_that_is_new_has_nothing_to_be_compared_with():
    now = picture(signals={"density": np.zeros(1_000)})
    assert failed(judged(now)) == []


def test_a_limit_of_the_config_counts():
    now = picture(tokens=picture().board.tokens + 8)
    assert failed(judged(now)) == []
    assert failed(judged(now, drift={"most_stability_index": 0.05})) == ["tokens"]


def test_a_first_version_has_nothing_to_be_compared_with_and_says_so():
    result = first_version(config(drift={"tokens": "stop"}), 10)
    assert failed(result) == []
    assert {rule.observed for rule in result.rules} == {"no published version to compare with"}
    enforce_drift(result)
    assert json.loads(result.to_json())["rows"] == 10


def test_drift_is_no_part_of_what_a_manifest_is_made_of():
    assert config_digest(config()) == config_digest(config(drift={"tokens": "stop"}))
    assert config_digest(config()) == config_digest(config(retention={"runs": 2}))
