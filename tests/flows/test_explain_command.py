"""`databourse explain` after a real refresh: every kind of document has its story."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime

import duckdb
import pytest

from databourse.manifests import withdraw

_BASE_INSTALL = (
    "import sys\n"
    "for name in ('prefect', 'torch', 'faiss', 'transformers', 'sklearn', 'great_expectations'):\n"
    "    sys.modules[name] = None\n"
    "from flows.cli import app\n"
    "app()\n"
)


@pytest.fixture(scope="module")
def pool(prefect_server, write_pool, tmp_path_factory):
    """Return the config of a pool that was refreshed."""
    from flows.refresh_pool import refresh_pool

    path = write_pool(tmp_path_factory.mktemp("explained"))
    result = refresh_pool(str(path), [])
    assert result.published
    return path


@pytest.fixture(scope="module")
def ledger(pool):
    """Return a function that queries the tables of the pool."""

    def query(text):
        with duckdb.connect(str(pool.parent / "warehouse" / "bourse.duckdb"), read_only=True) as it:
            return it.execute(text).fetchall()

    return query


def explain(*arguments):
    """Run the command in a process that has the base install alone."""
    command = [sys.executable, "-c", _BASE_INSTALL, "explain", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ, capture_output=True, text=True, check=False, timeout=100
    )


def story_of(*arguments):
    finished = explain(*arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return json.loads(finished.stdout)


def text_of(*arguments):
    finished = explain(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert all(len(line) <= 100 for line in finished.stdout.splitlines())
    return finished.stdout


def error_of(*arguments):
    finished = explain(*arguments)
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    return finished.returncode, finished.stderr


def test_the_help_shows_an_example():
    assert "Example: databourse explain databourse.yaml" in explain("--help").stdout


def test_a_bought_document_is_told_with_its_price_and_version(pool, ledger):
    ((document_id, rank, log_price),) = ledger(
        "select document_id, price_rank, log_price from prices where is_selected "
        "order by price_rank limit 1"
    )

    story = story_of(pool, document_id)
    text = text_of(pool, document_id[:12])

    assert (story["outcome"], story["reason"]) == ("selected", "bought")
    assert (story["price"]["price_rank"], story["price"]["log_price"]) == (rank, log_price)
    assert story["change"]["log_rise"] < 0
    assert {signal["signal"] for signal in story["signals"]} == {
        "uncertainty",
        "rarity",
        "diversity",
        "neighbour_agreement",
        "length",
    }
    parts = sum(signal["log_price"] for signal in story["signals"])
    rest = story["price"]["topic_log_price"] + story["price"]["competition_log_price"]
    (candidates,) = ledger("select -ln(count(*)) from prices")[0]
    assert parts + rest + candidates == pytest.approx(log_price, abs=1e-9)
    assert [each["version"] for each in story["published"]] == [1]
    assert story["document"]["excerpt"]
    assert text.startswith(f"{document_id}\nSELECTED: ")
    assert "in version 1" in text


def test_a_version_withdrawn_since_the_last_run_is_told_so(pool, ledger, tmp_path):
    copy = shutil.copytree(pool.parent, tmp_path / "copy")
    ((document_id,),) = ledger("select document_id from prices where price_rank = 1")
    withdraw(
        copy / "manifests" / "tiny",
        1,
        reason="wrong licence",
        withdrawn_at=datetime(2026, 12, 1, tzinfo=UTC),
    )

    story = story_of(copy / pool.name, document_id)

    assert [each["status"] for each in story["published"]] == ["withdrawn"]
    assert story_of(pool, document_id)["published"][0]["status"] == "published"


def test_a_left_document_is_told_with_what_would_have_it_bought(pool, ledger):
    ((document_id,),) = ledger(
        "select document_id from prices where not is_selected order by price_rank limit 1"
    )

    story = story_of(pool, document_id, "--version", "1")
    text = text_of(pool, document_id)

    assert story["outcome"] == "left"
    assert story["change"]["log_rise"] > 0
    assert story["change"]["shares"] > 0
    assert story["change"]["budget"] > story["change"]["limit"] == 900
    assert story["published"] == []
    assert "To be bought, its price per token must rise" in text
    assert "tokens or more buy it, instead of 900" in text


def test_every_signal_orders_what_its_raw_value_says(pool, ledger):
    ids = ledger("select document_id from prices order by hash(document_id) limit 3")
    for (document_id,) in ids:
        story = story_of(pool, document_id)
        for signal in story["signals"]:
            ordered = signal["z"] * signal["shares_per_spread"] / story["topic"]["liquidity"]
            assert ordered == pytest.approx(signal["log_price"], abs=1e-9)


def test_duplicates_name_their_representative(pool, ledger):
    ((row, copy),) = ledger(
        "select locator, document_id from decisions where reason = 'exact_duplicate' limit 1"
    )
    ((near, representative),) = ledger(
        "select document_id, representative_id from decisions where reason = 'near_duplicate' "
        "limit 1"
    )

    of_row, of_near = story_of(pool, row), story_of(pool, near)

    assert (of_row["outcome"], of_row["reason"]) == ("dropped", "exact_duplicate")
    assert of_row["document"]["document_id"] == copy
    assert of_row["price"] is not None
    assert "word for word" in text_of(pool, row)
    assert of_near["outcome"] == "dropped"
    assert of_near["representative"]["document_id"] == representative
    assert of_near["representative"]["outcome"] in {"selected", "left"}
    assert of_near["representative"]["similarity"] >= 0.8
    represents = story_of(pool, representative)["represents"]
    assert near in {each["document_id"] for each in represents["first"]}


def test_a_row_in_quarantine_is_told_by_its_place(pool, ledger):
    rows = ledger("select locator, reason from decisions where outcome = 'quarantined'")
    assert len(rows) == 2
    for locator, reason in rows:
        story = story_of(pool, locator)
        assert (story["outcome"], story["reason"]) == ("quarantined", reason)
        assert "never became a document" in text_of(pool, locator)


def test_mistakes_are_one_line_and_an_exit_code(pool, tmp_path):
    assert error_of(pool, "0" * 32)[0] == 2
    assert "nothing in pool tiny answers to 'nowhere'" in error_of(pool, "nowhere")[1]
    assert "has no version 9; it has 1" in error_of(pool, "0" * 32, "--version", "9")[1]
    missing = f"warehouse={tmp_path}"
    assert "there is no warehouse" in error_of(pool, "0" * 32, "--set", missing)[1]


def test_a_refresh_that_runs_is_named(pool):
    from databourse.warehouse import hold_warehouse

    with hold_warehouse(pool.parent / "warehouse", threads=1, memory_limit="500MB"):
        code, line = error_of(pool, "0" * 32)

    assert code == 1
    assert f"is being written by process {os.getpid()}" in line


def test_an_answer_comes_quickly(pool, ledger):
    ((document_id,),) = ledger("select document_id from prices limit 1")
    started = time.perf_counter()
    story_of(pool, document_id)
    assert time.perf_counter() - started < 15  # a guard against heavy imports and full scans
