"""The story that the tables of a warehouse tell, and its counterfactuals on the real market."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from databourse.digests import document_id
from databourse.errors import (
    ConfigError,
    IntegrityError,
    ManifestError,
    UnknownNameError,
    WarehouseLockedError,
)
from databourse.explanations import record

URI = "data/a.jsonl"


def left_and_bought(market):
    is_bought, _ = market.bought(market.cleared().log_price_per_token)
    return np.flatnonzero(~is_bought).tolist(), np.flatnonzero(is_bought).tolist()


def test_the_parts_of_the_price_add_up_to_its_logarithm(store, market_of):
    market = market_of(6)
    cleared, _, _ = store.add_market(market)

    story = store.explain(market.ids[7])

    parts = sum(signal.log_price for signal in story.signals)
    price = story.price
    whole = -np.log(market.n) + price.topic_log_price + parts + price.competition_log_price
    assert whole == pytest.approx(cleared.log_price[7], abs=1e-12)
    assert price.topic_log_price == pytest.approx(0, abs=1e-12)  # half the documents, half the mass
    assert price.share_of_pool == pytest.approx(np.exp(cleared.log_price[7]))
    assert price.times_average == pytest.approx(price.share_of_pool * market.n)
    for signal in story.signals:
        ordered = signal.z * signal.shares_per_spread / story.topic.liquidity
        assert ordered == pytest.approx(signal.log_price, abs=1e-9)
        assert signal.factor == pytest.approx(np.exp(signal.log_price))


def two_documents(market_of, changed, **settings):
    """Return a market of one topic, two documents a spread from the mean, and one signal."""
    return changed(
        market_of(0, n=2),
        values=np.array([[1.0], [3.0]]),
        topic_index=np.array([0, 0]),
        tokens=np.array([10, 10]),
        weights=np.array([2.0]),
        liquidity=1.0,
        amount=10,
        **settings,
    )


def test_a_market_of_two_documents_is_told_as_computed_by_hand(store, market_of, changed):
    market = two_documents(market_of, changed)
    store.add_market(market)

    story = store.explain(market.ids[0])

    # z = -1 and +1, q = z, p = 1 / (1 + e^2) = 0.1192 and 0.8808
    (signal,) = story.signals
    assert (signal.value, signal.mean, signal.spread, signal.z) == (1.0, 2.0, 1.0, -1.0)
    assert (signal.lowest, signal.highest) == (1.0, 3.0)
    assert signal.log_price == pytest.approx(-1.0)
    assert story.price.share_of_pool == pytest.approx(0.119203, abs=1e-6)
    assert story.price.times_average == pytest.approx(0.238406, abs=1e-6)
    assert (story.price.price_rank, story.price.n_documents) == (2, 2)
    assert (story.outcome, story.reason, story.price.is_selected) == ("left", "did_not_fit", False)
    # to p = 0.8808 its odds must grow by e^4: 4 shares, so the signal must be 4 spreads higher
    assert story.change.log_rise == pytest.approx(2.0)
    assert story.change.shares == pytest.approx(4.0)
    assert signal.needed_value == pytest.approx(5.0)
    # e^2 times cheaper: at 10 / e^2 = 1.35 tokens as dear per token as the other
    assert story.change.tokens == 1
    assert (story.change.budget, story.change.limit) == (20, 10)
    assert story.change.left_at_turn == 0
    assert (story.topic.n_documents, story.topic.mass, story.topic.liquidity) == (2, 1.0, 1.0)
    assert story.document.excerpt == "document 0"
    assert (story.document.label, story.document.metadata) == ("label-0", {"number": 0})
    assert (story.run.run_id, story.run.version, story.run.is_latest) == ("run-1", 1, True)
    assert story.published == ()


def test_of_two_equal_documents_the_left_one_needs_one_token_less(store, market_of, changed):
    market = two_documents(market_of, changed)
    market = changed(market, values=np.array([[1.0], [1.0]]))
    _, is_bought, _ = store.add_market(market)

    change = store.explain(market.ids[int(np.argmin(is_bought))]).change

    assert (change.log_rise, change.shares, change.tokens) == (0.0, 0.0, 9)
    assert "any rise is enough" in change.remarks[0]


def test_a_bought_document_is_measured_against_the_margin(store, market_of):
    market = market_of(1, amount=120)
    cleared, is_bought, ranking = store.add_market(market)
    first = int(ranking[0])
    assert is_bought[first]
    margin = cleared.log_price_per_token[ranking[is_bought[ranking]][-1]]

    story = store.explain(market.ids[first])

    assert story.outcome == "selected"
    assert story.price.log_above_margin == pytest.approx(
        cleared.log_price_per_token[first] - margin
    )
    assert story.change.log_rise == pytest.approx(-story.price.log_above_margin)
    assert story.change.shares < 0
    assert [(each.version, each.status) for each in story.published] == [(1, "published")]


def test_the_document_at_the_margin_has_no_way_to_fall(store, market_of):
    market = market_of(1, amount=120)
    _, is_bought, ranking = store.add_market(market)
    last = int(ranking[is_bought[ranking]][-1])

    story = store.explain(market.ids[last])

    assert story.change.log_rise == 0
    assert story.change.shares == pytest.approx(0, abs=1e-12)
    assert story.change.tokens == market.tokens[last]


def test_a_version_speaks_of_the_run_that_published_it_and_not_of_one_that_found_it(
    store, market_of
):
    market = market_of(1, amount=120)
    store.add_market(market)
    store.add_run(2, version=1)

    story = store.explain(market.ids[0], version=1)

    assert (story.run.run_id, story.run.version) == ("run-1", 1)


def test_duplicates_name_who_stands_for_them_and_what_became_of_it(store, market_of):
    market = market_of(1, amount=120)
    _, _, ranking = store.add_market(market)
    winner = int(ranking[0])
    near = document_id("near")
    store.add_texts(["near"])
    store.arrive(100, near)
    store.arrive(101, market.ids[winner], label="other")
    store.add_pool("run-1", [near], [7])
    duplicate = {"stage": "near_dedup", "outcome": "dropped", "reason": "near_duplicate"}
    store.decide("run-1", 100, near, **duplicate, representative_id=market.ids[winner], value=0.875)
    store.decide(
        "run-1",
        101,
        market.ids[winner],
        stage="exact_dedup",
        outcome="dropped",
        reason="exact_duplicate",
        representative_id=market.ids[winner],
        value=1.0,
    )

    of_near = store.explain(near)
    of_row = store.explain(f"{URI}#101")
    of_winner = store.explain(market.ids[winner])

    assert (of_near.outcome, of_near.reason) == ("dropped", "near_duplicate")
    assert of_near.representative.document_id == market.ids[winner]
    assert of_near.representative.similarity == 0.875
    assert (of_near.representative.outcome, of_near.representative.price_rank) == ("selected", 1)
    assert of_near.price is None
    assert of_near.document.tokens == 7
    assert (of_row.outcome, of_row.reason) == ("dropped", "exact_duplicate")
    assert f"repeats {URI}#{winner} word for word" in of_row.summary
    assert of_row.price.price_rank == 1
    assert [each.locator for each in of_row.arrivals if each.is_asked] == [f"{URI}#101"]
    assert (of_winner.represents.exact_rows, of_winner.represents.near_documents) == (1, 1)
    assert [each.document_id for each in of_winner.represents.first] == [near]
    assert len(of_winner.arrivals) == 2


def test_a_near_duplicate_that_came_twice_is_told_by_the_row_that_speaks_for_it(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    near, stands = document_id("near"), market.ids[0]
    store.add_texts(["near"])
    store.arrive(100, near)
    store.arrive(101, near)
    store.add_pool("run-1", [near], [7])
    same = {"outcome": "dropped"}
    repeated = {"stage": "exact_dedup", "reason": "exact_duplicate", "representative_id": near}
    store.decide("run-1", 100, near, **same, **repeated, value=1.0)
    similar = {"stage": "near_dedup", "reason": "near_duplicate", "representative_id": stands}
    store.decide("run-1", 101, near, **same, **similar, value=0.9)

    story = store.explain(near)

    assert story.reason == "near_duplicate"
    assert story.representative.document_id == stands


def test_a_row_in_quarantine_is_told_with_what_came(store):
    run = store.add_run()
    row = {"file_id": "file-1", "row_number": 5, "place": "#5", "reason": "broken_json"}
    store.insert("quarantine", [{**row, "detail": "expected ',' at column 9", "excerpt": '{"te'}])
    fate = {"stage": "ingest", "outcome": "quarantined", "reason": "broken_json"}
    store.decide(run, 5, None, **fate)

    story = store.explain(f"{URI}#5")

    assert (story.outcome, story.reason, story.document) == ("quarantined", "broken_json", None)
    (rejection,) = story.rejections
    assert (rejection.detail, rejection.excerpt) == ("expected ',' at column 9", '{"te')
    assert rejection.words == "the line is no valid JSON"


def test_the_latest_completed_run_that_priced_it_is_told_and_the_latest_run_noted(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    gone, dropped = market.ids[0], market.ids[1]
    later = store.add_run(2, version=2)
    store.add_version(2, later)
    store.connection.execute("update sources set file_id = 'file-2' where run_id = 'run-2'")
    row = {"file_id": "file-2", "row_number": 0, "place": "#0", "document_id": dropped}
    store.insert("arrivals", [row])
    fate = {"stage": "near_dedup", "outcome": "dropped", "reason": "near_duplicate"}
    store.decide(later, 0, dropped, **fate, representative_id=gone)
    store.add_run(3, status="failed")

    of_gone = store.explain(gone)
    of_dropped = store.explain(dropped)
    later_on = store.explain(gone, version=2)

    assert (of_gone.run.run_id, of_gone.run.is_latest) == ("run-1", False)
    assert of_gone.notes == (
        "the latest completed run is run-2; its sources no longer hold the document",
    )
    assert "there it was dropped" in of_dropped.notes[0]
    assert (later_on.outcome, later_on.run.run_id) == ("absent", "run-2")


def test_a_run_that_ended_early_leaves_a_document_undecided(store):
    run = store.add_run(status="failed")
    store.add_texts(["lonely"])
    store.arrive(0, document_id("lonely"))
    store.add_pool(run, [document_id("lonely")], [3])

    story = store.explain(document_id("lonely"))

    assert (story.outcome, story.run.status, story.price) == ("undecided", "failed", None)
    assert "ended before" in story.summary
    assert story.notes[0].startswith("run run-1 is failed")


def test_a_document_that_no_run_decided_on_is_told_without_a_run(store):
    store.add_run()
    store.add_texts(["lonely"])

    story = store.explain(document_id("lonely"))

    assert (story.run, story.outcome) == (None, "absent")
    assert "no run" in story.summary
    assert story.document.excerpt == "lonely"


def test_the_books_of_a_run_that_kept_none_are_null_and_noted(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    store.connection.execute("delete from topic_markets")
    store.connection.execute("delete from topic_traders")
    left = left_and_bought(market)[0][0]

    story = store.explain(market.ids[left])

    assert story.topic.mass is None
    assert story.price.topic_log_price is None
    assert all(signal.z is None for signal in story.signals)
    assert story.change.shares is None
    assert "books" in story.notes[0]


def test_an_id_is_found_by_its_first_digits_in_any_case(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    assert store.explain(market.ids[3][:9].upper()).document.document_id == market.ids[3]


def test_a_prefix_of_several_ids_lists_five_of_them(store):
    store.add_run()
    ids = [f"abcdef{number:026x}" for number in range(7)]
    rows = [{"document_id": key, "characters": 1, "text_shard": "none"} for key in ids]
    store.insert("documents", rows)

    with pytest.raises(ConfigError) as error:
        store.explain("abcdef")

    assert all(key in str(error.value) for key in ids[:5])
    assert ids[5] not in str(error.value)
    assert "and more; give more digits" in str(error.value)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("ab12", "too short"),
        ("f" * 32, "was never seen in pool tiny"),
        ("f" * 32, "documents-*.parquet"),
        (f"{URI}#99", "no row data/a.jsonl#99 was decided on"),
        ("data/b.jsonl#1", "did you mean 'data/a.jsonl'?"),
        ("", "nothing in pool tiny answers to ''"),
        ("'; drop table documents; --", "nothing in pool tiny answers"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_ask_instead(store, asked, expected):
    store.add_run()
    with pytest.raises(ConfigError) as error:
        store.explain(asked)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_document_of_another_pool_and_an_unknown_pool_name_the_right_one(store):
    store.add_run()
    store.add_run(2, pool="other")
    store.add_texts(["far"])
    store.add_pool("run-2", [document_id("far")], [1])

    with pytest.raises(ConfigError, match="never seen in pool tiny, but in other"):
        store.explain(document_id("far"))
    with pytest.raises(UnknownNameError, match=r"unknown pool 'othr'.*mean 'other'"):
        store.explain(document_id("far"), pool="othr")


def test_an_unknown_version_lists_those_there_are(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    with pytest.raises(ManifestError, match="has no version 7; it has 1"):
        store.explain(market.ids[0], version=7)


def test_a_damaged_text_is_named_and_the_rest_is_told(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    (shard,) = (store.root / "text").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])

    story = store.explain(market.ids[0])

    assert story.document.excerpt is None
    assert shard.name in story.document.excerpt_problem
    assert story.price is not None


def test_numbers_that_are_not_finite_become_null_in_the_record(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    left = left_and_bought(market)[0][0]
    store.connection.execute(
        "update prices set log_price = '-inf', log_price_per_token = '-inf' "
        "where document_id = $id",
        {"id": market.ids[left]},
    )

    written = record(store.explain(market.ids[left]))

    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written["price"]["log_price"] is None
    assert written["price"]["share_of_pool"] == 0.0
    assert written["change"]["shares"] is None


def test_a_missing_an_older_and_a_broken_warehouse_are_each_refused(make_store, tmp_path):
    nowhere = make_store("gone")
    nowhere.close()
    (nowhere.root / "bourse.duckdb").unlink()
    older = make_store("older")
    older.connection.execute("update schema_versions set schema_version = 0")
    partial = make_store("partial")
    partial.connection.execute("drop table topic_traders")
    broken = make_store("broken")
    broken.close()
    (broken.root / "bourse.duckdb").write_bytes(b"no database" * 1000)

    with pytest.raises(ConfigError, match="there is no warehouse at"):
        nowhere.explain("abcdef")
    with pytest.raises(IntegrityError, match="has table layout 0"):
        older.explain("abcdef")
    with pytest.raises(IntegrityError, match="lacks the tables topic_traders"):
        partial.explain("abcdef")
    with pytest.raises(IntegrityError, match="cannot be opened"):
        broken.explain("abcdef")


_HOLD = """
import sys, time
from pathlib import Path
from databourse.warehouse import hold_warehouse
with hold_warehouse(Path(sys.argv[1]), threads=1, memory_limit="500MB"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_warehouse_that_a_refresh_writes_is_refused_with_its_process(store):
    store.add_run()
    store.close()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.root)], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout.readline() == "held\n"
            with pytest.raises(WarehouseLockedError) as error:
                store.explain("abcdef")
        finally:
            writer.kill()
    assert f"process {writer.pid} since 20" in str(error.value)
    assert "try again when it has ended" in str(error.value)


_READ = """
import sys, time
from pathlib import Path
from databourse.warehouse.reading import open_for_reading
with open_for_reading(Path(sys.argv[1]), threads=1, memory_limit="500MB"):
    print("read", flush=True)
    time.sleep(60)
"""


def test_two_readers_do_not_wait_for_each_other(store, market_of):
    market = market_of(1, amount=120)
    store.add_market(market)
    store.close()
    with subprocess.Popen(
        [sys.executable, "-c", _READ, str(store.root)], stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout.readline() == "read\n"
            started = time.perf_counter()
            assert store.explain(market.ids[0]).document is not None
            assert time.perf_counter() - started < 30
        finally:
            reader.kill()
