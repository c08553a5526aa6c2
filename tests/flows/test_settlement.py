"""`databourse settle` on a small pool: wealth moves, is stored, and the next refresh uses it."""

import csv
import json
import random
import shutil

import duckdb
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from databourse import open_manifest
from databourse.config import load_config
from databourse.errors import ConfigError, SourceError
from databourse.refresh import oracles
from databourse.refresh.standing_wealth import published_wealth
from databourse.reports.settlement import settlement_lines

WORDS = {
    "weather": ["rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail"],
    "kitchen": ["bread", "oven", "salt", "knife", "soup", "onion", "butter", "flour", "sauce"],
}
SETTINGS = ["settlement.contracts=80"]


def rows(n, seed, wrong=0.0):
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = sorted(WORDS)
    return [
        (
            kinds[(number + (draw.random() < wrong)) % 2],
            f"note {seed}-{number} on "
            + " ".join(draw.choices(WORDS[kinds[number % 2]], k=draw.randint(8, 20))),
        )
        for number in range(n)
    ]


def write_config(folder, **changes):
    for name, lines in (("pool.csv", rows(160, 1, wrong=0.3)), ("dev.csv", rows(40, 2))):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("label", "text"), *lines])
    config = {
        "pool": "notes",
        "seed": 3,
        "sources": [{"name": "notes", "path": "pool.csv", "text": "{text}", "label": "label"}],
        "targets": [{"name": "dev", "path": "dev.csv", "text": "{text}", "label": "label"}],
        "deduplicate": {"near": False},
        "encoder": "hashing",
        "topics": {"count": 2, "smallest": 5},
        "signals": ["rarity", "length", "influence", "information_entropy"],
        "budget": {"tokens": 800},
        "compute": {"threads": 1},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module", name="refreshed")
def _refreshed(prefect_server, tmp_path_factory):
    """Return the config of a pool after its first refresh, and its manifest."""
    from flows.refresh_pool import refresh_pool

    path = write_config(tmp_path_factory.mktemp("settled"))
    return path, refresh_pool(str(path), [])


@pytest.fixture(name="pool")
def _pool(refreshed, tmp_path):
    """Return the config of a copy of that pool."""
    shutil.copytree(refreshed[0].parent, tmp_path / "pool")
    return tmp_path / "pool" / "config.yaml"


@pytest.fixture(name="settle")
def _settle(prefect_server):
    from flows.settle_market import settle_market

    return lambda path, *settings: settle_market(str(path), [*SETTINGS, *settings])


def tables(path, query):
    with duckdb.connect(str(path.parent / "warehouse" / "bourse.duckdb"), read_only=True) as found:
        return found.execute(query).fetchall()


def wealth_of(record):
    return {each["trader"]: each["wealth"] for each in record["traders"]}


def test_who_foresees_earns_and_the_next_refresh_trades_with_it(refresh, settle, pool, refreshed):
    first = open_manifest(refreshed[1].path).info
    assert first.market.settlement_id is None
    assert len(set(first.market.weights.values())) == 1  # nothing was settled yet

    record = settle(pool)
    owned = wealth_of(record)
    assert owned["influence"] > 0.6
    assert sum(owned.values()) == pytest.approx(1, abs=1e-12)
    assert record["market"]["log_score_after"] > record["market"]["log_score_before"]
    assert record["market"]["regret"] <= record["market"]["regret_bound"]
    assert (record["oracle"], record["contracts"], record["in_use"]) == ("linear", 80, True)
    stored = dict(tables(pool, "select trader, wealth from wealth"))
    assert stored == pytest.approx(owned)
    paid = tables(pool, "select count(*), sum(payoff), count(log_price) from settled_contracts")
    assert paid[0][0] == paid[0][2] == 80
    assert paid[0][1] == pytest.approx(1)

    second = open_manifest(refresh(pool).path).info
    assert second.version == 2
    assert second.market.settlement_id == record["settlement_id"]
    assert second.market.weights == pytest.approx(owned)
    assert second.market.liquidity == {"shares": record["market"]["liquidity"], "by_topic": {}}
    assert second.manifest_id != first.manifest_id
    page = (pool.parent / "manifests" / "notes" / "v000002" / "report.html").read_text()
    assert "Wealth after each settlement" in page


def test_the_oracle_may_measure_on_examples_that_no_signal_reads(settle, pool):
    assert settle(pool)["informed"] == ["influence"]
    with (pool.parent / "other.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows(40, 5)])
    others = "{name: other, path: other.csv, text: '{text}', label: label}"
    record = settle(pool, f"settlement.targets=[{others}]")
    assert record["informed"] == []
    assert wealth_of(record)["influence"] > 0.3
    both = others.replace("other.csv", "dev.csv")
    with pytest.raises(ConfigError, match=r"40 of 40 examples of settlement\.targets are targets"):
        settle(pool, f"settlement.targets=[{both}]")


def test_what_a_what_if_foresees_is_what_the_refresh_buys(refresh, settle, pool):
    from databourse.what_if.session import what_if
    from databourse.what_if.settings import Changes, changed_config

    settle(pool)
    foreseen = what_if(load_config(pool), pool.parent)
    ids = foreseen.session.board.document_ids.to_numpy()
    wanted = sorted(ids[foreseen.session.purchase.is_bought])
    without = changed_config(pool, [], Changes(without=("rarity",)))
    assert without.market.weights["influence"] > 0.6
    assert (
        without.market.liquidity.shares
        == published_wealth(pool.parent / "warehouse", "notes").shares
    )
    bought = open_manifest(refresh(pool).path).to_pandas()["document_id"]
    assert sorted(bought) == wanted


def test_settlements_follow_each_other_on_other_documents(settle, pool):
    first, second = settle(pool), settle(pool)
    assert first["settlement_id"] != second["settlement_id"]
    before = {each["trader"]: each["wealth_before"] for each in second["traders"]}
    assert before == pytest.approx(wealth_of(first))
    settled = [
        {
            row[0]
            for row in tables(
                pool,
                f"select document_id from settled_contracts where settlement_id = '{each}'",  # noqa: S608 - a digest
            )
        }
        for each in (first["settlement_id"], second["settlement_id"])
    ]
    assert settled[0] != settled[1]
    assert (
        published_wealth(pool.parent / "warehouse", "notes").settlement_id
        == (second["settlement_id"])
    )


def test_a_killed_oracle_is_not_asked_twice(settle, pool, monkeypatch):
    asked = []
    stored = oracles.append

    def dying(cursor, table, found):
        stored(cursor, table, found)
        if table == "utilities" and len(asked) == 0:
            asked.append(found.num_rows)
            raise KeyboardInterrupt

    monkeypatch.setattr(oracles, "append", dying)
    monkeypatch.setattr(oracles, "_BATCH", 30)
    with pytest.raises(KeyboardInterrupt):
        settle(pool, "settlement.oracle=leave_one_out")
    assert tables(pool, "select count(*) from settlements") == [(0,)]

    def counting(cursor, table, found):
        if table == "utilities":
            asked.append(found.num_rows)
        return stored(cursor, table, found)

    monkeypatch.setattr(oracles, "append", counting)
    record = settle(pool, "settlement.oracle=leave_one_out")
    assert record["oracle"] == "leave_one_out"
    assert tables(pool, "select count(*) from utilities") == [(80,)]
    # the batch of the kill was rolled back; a batch, not all of them, is asked about again
    assert sum(asked[1:]) == 80


def test_models_of_random_markets_settle_and_are_trained_once(settle, pool):
    settings = ["settlement.oracle=subsets", "settlement.subsets.markets=12"]
    first = settle(pool, *settings)
    assert (first["oracle"], first["contracts"]) == ("subsets", 80)
    assert first["market"]["remarks"]["markets"] == 12
    assert any("between 12 models" in line for line in settlement_lines(first))
    trained = tables(pool, "select training, seconds from retrainings order by 1")
    assert len(trained) == 12
    again = settle(pool, *settings)
    assert again["oracle_id"] == first["oracle_id"]
    assert tables(pool, "select training, seconds from retrainings order by 1") == trained
    more = settle(pool, "settlement.oracle=subsets", "settlement.subsets.markets=14")
    assert more["oracle_id"] != first["oracle_id"]
    kept = tables(pool, "select training, seconds from retrainings order by 1")
    assert len(kept) == 14
    assert set(trained) < set(kept)


def judged(path, pool, chosen=slice(None), column="utility", key="document_id"):
    """Write a file that likes long documents; return what it says."""
    found = tables(pool, "select document_id, characters from documents order by 1")
    found = [row for row in found if row[0] in members(pool)][chosen]
    path.write_text(
        "\n".join([f"{key},{column}", *(f"{each},{length}" for each, length in found)]) + "\n"
    )
    return dict(found)


def members(pool):
    return {row[0] for row in tables(pool, "select document_id from snapshots")}


def test_judgements_in_a_file_settle_the_market(settle, pool):
    said = judged(pool.parent / "judged.csv", pool, slice(0, 60))
    record = settle(
        pool, "settlement.oracle={path: judged.csv, document: document_id, utility: utility}"
    )
    assert (record["oracle"], record["contracts"]) == ("judgements", 60)
    assert max(wealth_of(record).items(), key=lambda pair: pair[1])[0] == "length"
    stored = dict(tables(pool, "select document_id, utility from settled_contracts"))
    assert stored == {key: float(value) for key, value in said.items()}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("document_id,utility\n" + "0" * 32 + ",1\n", "none of the 1 documents"),
        ("document_id,utility\nx,much\n", r"judged\.csv.*must hold a finite number, got 'much'"),
        ("document_id,utility\nx,nan\n", "must hold a finite number, got 'nan'"),
        ("document_id,utility\nx,1\nx,2\n", r"has the utility 2\.0 here and 1\.0"),
    ],
)
def test_judgements_that_cannot_be_used_are_refused_with_their_place(settle, pool, lines, message):
    (pool.parent / "judged.csv").write_text(lines)
    with pytest.raises((ConfigError, SourceError), match=message):
        settle(pool, "settlement.oracle={path: judged.csv, document: document_id}")
    assert tables(pool, "select count(*) from settlements") == [(0,)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["settlement.oracle=language_model"], "the last one trained none"),
        (["settlement.oracle=trak"], "the last one stored none"),
        (["settlement.oracle=ask_llm"], "needs a model that answers"),
    ],
)
def test_an_oracle_that_cannot_speak_says_what_is_missing(settle, pool, settings, message):
    with pytest.raises(ConfigError, match=message):
        settle(pool, *settings)


def test_a_comparison_learns_weights_on_every_pool(pool, prefect_server):
    from flows.compare_selectors import compare_selectors

    with (pool.parent / "exam.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows(60, 4)])
    samplers = "[random, market, market_settled, market_regression, market_equal_weights]"
    compared = compare_selectors(
        str(pool),
        [
            "compare.test={name: exam, path: exam.csv, text: '{text}', label: label}",
            "compare.budgets=[0.3]",
            "compare.seeds=2",
            "compare.pool_share=0.9",
            f"compare.samplers={samplers}",
        ],
    )
    assert compared.left_out == {}
    found = {row["sampler"]: row for row in compared.summary if row["metric"] == "accuracy"}
    assert set(found) == set(samplers.strip("[]").split(", "))


def test_the_command_shows_old_and_new_wealth(pool, prefect_server):
    from flows.cli import app

    shown = CliRunner().invoke(app, ["settle", str(pool), "--contracts", "60"])
    assert shown.exit_code == 0, shown.output
    assert "Oracle linear settled 60 of 160 documents in 2 of 2 topics" in shown.stdout
    assert "The next refresh trades with it (wealth)." in shown.stdout
    again = CliRunner().invoke(
        app,
        ["settle", str(pool), "--json", "--set", "market.weights=equal", *("--contracts", "60")],
    )
    record = json.loads(again.stdout)
    assert record["in_use"] is False
    assert np.isclose(sum(wealth_of(record).values()), 1)
    wrong = CliRunner().invoke(app, ["settle", str(pool), "--oracle", "crystal_ball"])
    assert isinstance(wrong.exception, ConfigError)
