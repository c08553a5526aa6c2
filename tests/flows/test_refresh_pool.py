"""The whole refresh on a small pool: what it promises, seen from outside."""

import contextlib
import dataclasses
import json
import random
import shutil
from datetime import UTC, datetime

import duckdb
import pytest

from databourse.errors import (
    ConfigError,
    ContractViolation,
    DedupError,
    IntegrityError,
    ManifestError,
    SourceError,
)
from databourse.manifests import open_manifest, verify, withdraw


@contextlib.contextmanager
def tables(config_path, *, read_only=True):
    path = config_path.parent / "warehouse" / "bourse.duckdb"
    with duckdb.connect(str(path), read_only=read_only) as connection:
        yield connection


def rows_of(config_path, query, *parameters):
    with tables(config_path) as connection:
        return connection.execute(query, parameters).fetchall()


@pytest.fixture(scope="session")
def refreshed(prefect_server, write_pool, tmp_path_factory):
    """A pool that was refreshed once: its folder, and what came of it."""
    from flows.refresh_pool import refresh_pool

    folder = tmp_path_factory.mktemp("refreshed")
    return folder, refresh_pool(str(write_pool(folder)))


def artifact(key):
    """Return what the latest artifact of a key holds."""
    from prefect.artifacts import Artifact

    return Artifact.get(key).data


@pytest.fixture
def first(refreshed, tmp_path):
    """A copy of that pool for one test: a pool may be moved."""
    folder, result = refreshed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = str(tmp_path / "manifests" / "tiny" / "v000001")
    return tmp_path / "pool.yaml", dataclasses.replace(result, path=path)


def test_a_refresh_publishes_a_manifest_that_verifies(first):
    path, result = first

    assert result.published
    assert result.version == 1
    assert verify(result.path).ok
    manifest = open_manifest(path.parent / "manifests" / "tiny")
    assert manifest.info.manifest_id == result.manifest_id
    assert len(manifest) == result.documents > 10
    judged = [each.contract for each in manifest.info.contracts]
    assert judged == [
        "documents",
        "embeddings",
        "topics",
        "signals",
        "board",
        "prices",
        "drift",
        "manifest",
    ]
    texts = {document.text for document in manifest.iter_documents()}
    assert all(texts)
    assert (path.parent / "manifests/tiny/v000001/report.html").stat().st_size > 10_000


def test_the_budget_holds_and_nothing_left_would_fit(first):
    path, result = first

    assert result.tokens <= 900
    smallest_left = rows_of(
        path,
        "select min(tokens) from prices where run_id = ? and not is_selected",
        result.run_id,
    )
    assert result.tokens + smallest_left[0][0] > 900


def test_every_row_that_came_in_has_exactly_one_fate(first):
    path, result = first

    read_rows = rows_of(path, "select sum(rows) from sources where run_id = ?", result.run_id)
    fates = rows_of(
        path,
        "select outcome, reason, count(*)::int from decisions where run_id = ? "
        "group by all order by all",
        result.run_id,
    )
    counts = {(outcome, reason): count for outcome, reason, count in fates}
    assert sum(counts.values()) == read_rows[0][0] == 171
    assert counts["dropped", "exact_duplicate"] == 5
    assert counts["dropped", "near_duplicate"] == 4
    assert counts["quarantined", "broken_json"] == 1
    assert counts["quarantined", "too_short"] == 1
    assert result.candidates == 160
    assert result.dropped == {
        "exact_duplicate": 5,
        "near_duplicate": 4,
        "broken_json": 1,
        "too_short": 1,
    }


def test_a_second_refresh_publishes_nothing_new_and_computes_nothing_new(refresh, first):
    path, result = first

    again = refresh(path)

    assert not again.published
    assert (again.version, again.manifest_id) == (1, result.manifest_id)
    stored = rows_of(path, "select count(*), count(distinct signal_id) from signals")
    assert stored == [(160 * 5, 5)]
    assert rows_of(path, "select status, count(*) from runs group by all") == [("completed", 2)]


def test_order_sharding_and_threads_do_not_change_the_manifest(
    refresh, first, small_pool, pool_lines
):
    _, result = first
    shuffled = pool_lines()
    random.Random(5).shuffle(shuffled)  # noqa: S311

    other = refresh(
        small_pool("other", lines=shuffled, files=7),
        "compute.threads=4",
        "compute.batch_documents=7",
    )
    alone = refresh(small_pool("alone", lines=shuffled, files=3), "compute.threads=1")

    assert other.manifest_id == alone.manifest_id == result.manifest_id  # of two threads
    one, two = (open_manifest(each.path).to_arrow() for each in (result, other))
    assert one.drop_columns("locator").equals(two.drop_columns("locator"))


def test_day_two_gives_the_manifest_of_a_rebuild(refresh, small_pool, pool_lines):
    lines = pool_lines()
    path = small_pool(lines=lines[:100])
    refresh(path)
    embedded = rows_of(path, "select count(*) from embeddings")[0][0]

    two = refresh(small_pool(lines=lines))  # the same folder: the files have grown
    rebuilt = refresh(small_pool("rebuilt", lines=lines))

    assert two.manifest_id == rebuilt.manifest_id
    assert two.version == 2
    assert open_manifest(two.path).info.parent.version == 1
    paid = rows_of(path, "select count(*), count(distinct document_id) from embeddings")[0]
    assert embedded < paid[0] == paid[1] <= 164  # each document once, near duplicates included


def test_semantic_duplicates_are_dropped_alike_on_day_two_and_in_a_rebuild(
    refresh, small_pool, pool_lines
):
    short = [json.loads(line) for line in pool_lines()[:160]]
    short = [row for row in short if 9 <= len(row["text"].split()) <= 14][:8]
    again = [json.dumps({**row, "text": " ".join([row["text"]] * 2)}) for row in short]
    lines = [*again, *pool_lines()]
    on = {"deduplicate": {"semantic": {"threshold": 0.97}}}
    path = small_pool(lines=lines[:90], **on)
    refresh(path)

    two = refresh(small_pool(lines=lines, **on))
    rebuilt = refresh(small_pool("rebuilt", lines=lines[::-1], **on), "compute.threads=2")

    assert two.manifest_id == rebuilt.manifest_id
    assert two.dropped["semantic_duplicate"] == len(again) > 3
    assert two.candidates == 160  # each of them stands for its shorter self
    stood_for = rows_of(
        path,
        "select count(*), min(value) >= 0.97 from decisions "
        "inner join prices on representative_id = prices.document_id "
        "and decisions.run_id = prices.run_id "
        "where reason = 'semantic_duplicate' and decisions.run_id = ?",
        two.run_id,
    )
    assert stood_for == [(len(again), True)]


def test_a_version_whose_row_a_kill_prevented_is_registered_by_the_next_run(refresh, first):
    path, result = first
    registered = "select version, manifest_id, run_id, documents, status from manifests"
    expected = [(1, result.manifest_id, result.run_id, result.documents, "published")]
    assert rows_of(path, registered) == expected
    with tables(path, read_only=False) as connection:
        connection.execute("delete from manifests")

    assert not refresh(path).published

    assert rows_of(path, registered) == expected


def test_what_was_withdrawn_is_refused_and_the_tables_follow(refresh, first):
    path, _ = first
    pool = path.parent / "manifests" / "tiny"
    known = "select version, status from manifests order by version"
    at = datetime(2026, 12, 1, tzinfo=UTC)
    withdraw(pool, 1, reason="wrong licence", withdrawn_at=at)

    with pytest.raises(ManifestError, match=r"same content was withdrawn .*: wrong licence"):
        refresh(path)

    assert rows_of(path, known) == [(1, "withdrawn")]
    assert not (pool / "latest.json").exists()
    ended = rows_of(path, "select status, message from runs order by started_at desc limit 1")
    assert ended[0][0] == "failed"
    assert "wrong licence" in ended[0][1]
    other = refresh(path, "budget.tokens=300")
    assert (other.published, other.version) == (True, 2)
    assert open_manifest(other.path).info.parent is None
    assert rows_of(path, known) == [(1, "withdrawn"), (2, "published")]
    (pool / "v000001.withdrawn.json").unlink()  # reinstated
    assert refresh(path).version == 3
    assert rows_of(path, known) == [(1, "published"), (2, "published"), (3, "published")]


def test_another_budget_pays_for_no_new_signal(refresh, first):
    path, _ = first

    other = refresh(path, "budget.tokens=300")

    assert other.published
    assert other.tokens <= 300
    assert rows_of(path, "select count(distinct signal_id) from signals") == [(5,)]


def test_a_failed_contract_stops_publication_and_names_the_row(refresh, first):
    path, result = first
    bought = open_manifest(result.path).to_arrow(["document_id"])["document_id"][0].as_py()
    with tables(path, read_only=False) as connection:
        connection.execute(
            "update embeddings set vector = list_transform(vector, lambda x: x * 2) "
            "where document_id = ?",
            [bought],
        )

    with pytest.raises(ContractViolation, match=bought):
        refresh(path, "budget.tokens=300")

    told = artifact("contract-embeddings-tiny")
    assert "| unit\\_norm | critical | 1 |" in told
    assert f"| {bought} | hashing" in told.partition("## Rows that break a rule")[2]
    pool = path.parent / "manifests" / "tiny"
    assert json.loads((pool / "latest.json").read_text())["version"] == 1
    assert sorted(each.name for each in pool.glob("v*")) == ["v000001"]
    assert not list(pool.glob(".staging-*"))
    status = rows_of(path, "select status, message from runs order by started_at desc limit 1")
    assert status[0][0] == "failed"
    assert bought in status[0][1]


def test_dedup_that_would_gut_a_source_stops_and_names_it(refresh, small_pool):
    row = {"text": "the same words over and over again in every single row", "label": "a"}
    lines = [json.dumps({**row, "n": n}) for n in range(10)]

    with pytest.raises(DedupError, match="rows"):
        refresh(small_pool(lines=lines))


def test_a_signal_without_its_labels_is_refused_before_anything_is_encoded(refresh, small_pool):
    source = {"name": "rows", "path": "data/*.jsonl", "text": "{text}"}
    path = small_pool(sources=[source])

    with pytest.raises(ConfigError, match="needs labels"):
        refresh(path)

    assert rows_of(path, "select count(*) from embeddings") == [(0,)]


def test_a_source_without_documents_is_an_error(refresh, small_pool):
    with pytest.raises(SourceError, match="broken_json"):
        refresh(small_pool(lines=["{broken", "also broken"]))


def test_an_edited_text_shard_stops_the_run_and_is_named(refresh, first):
    path, _ = first
    shard = next((path.parent / "warehouse" / "text").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    with pytest.raises(IntegrityError, match=shard.name):
        refresh(path, "budget.tokens=300")


def test_pairs_keep_both_parts_known(refresh, small_pool):
    lines = [
        json.dumps({"q": f"What is {n} and {n * 7}?", "a": f"It is {n * 8}, or so they say. " * 3})
        for n in range(40)
    ]
    sources = [{"name": "sums", "path": "data/*.jsonl", "prompt": "{q}", "completion": "{a}"}]

    result = refresh(small_pool(lines=lines, sources=sources, signals=["uncertainty", "rarity"]))

    for document in open_manifest(result.path).iter_documents():
        assert document.text[: document.prompt_characters].startswith("What is")
        assert document.text[document.prompt_characters :].startswith("It is")


def test_long_stages_show_how_far_they_are_and_short_ones_nothing(prefect_server, monkeypatch):
    import threading

    from prefect import flow, task
    from prefect.artifacts import Artifact

    from databourse.refresh.context import StageReport
    from tasks import artifacts
    from tasks.stages import timed_stage

    def work(advance):
        # other threads know of no run
        threads = [threading.Thread(target=advance, args=(10,)) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join()
        return StageReport("count sheep", 40, 40)

    @flow
    def night(stage):
        task(lambda: timed_stage(stage, work, total=40), name="count")()

    night("count fast: sheep")  # ends before anything is shown
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)
    night("count slow: sheep")

    assert Artifact.get("progress-count-fast-sheep") is None
    shown = Artifact.get("progress-count-slow-sheep")
    assert (shown.type, float(shown.data)) == ("progress", 100.0)
    assert shown.task_run_id is not None
