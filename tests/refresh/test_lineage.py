"""OpenLineage events of runs and stages, as a consumer would read them from the file."""

import dataclasses
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from databourse.config import RefreshConfig, config_digest
from databourse.config_lineage import LineageConfig
from databourse.errors import ConfigError
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.lineage import STAGES, require_lineage, run_lineage, stage_lineage
from databourse.warehouse import hold_warehouse

pytest.importorskip("openlineage.client")


@pytest.fixture
def run(tmp_path):
    config = RefreshConfig(
        pool="news",
        seed=1,
        sources=[{"name": "rows", "path": ["data/a.jsonl", "data/b.jsonl"], "text": "{text}"}],
        encoder="hashing",
        signals=["length"],
        budget={"tokens": 10},
        lineage={"path": "told/events.ndjson"},
    )
    return RunContext("20260101T000000-abc", "news", str(tmp_path), config)


def told(run):
    lines = (run.manifests_path.parent / "told" / "events.ndjson").read_text().splitlines()
    return [json.loads(line) for line in lines]


def short(event):
    return event["eventType"], event["job"]["name"]


def test_a_run_and_its_stages_tell_begin_and_end(run):
    with (
        run_lineage(run, "refresh_pool"),
        stage_lineage(run, "score_signal", "rarity") as reports,
    ):
        reports.append(StageReport("signal rarity", 12, 11))
    events = told(run)
    assert [short(event) for event in events] == [
        ("START", "news.refresh_pool"),
        ("START", "news.score_signal.rarity"),
        ("COMPLETE", "news.score_signal.rarity"),
        ("COMPLETE", "news.refresh_pool"),
    ]
    whole, stage, ended, _ = events
    assert stage["run"]["runId"] == ended["run"]["runId"] != whole["run"]["runId"]
    parent = stage["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == whole["run"]["runId"]
    assert parent["job"]["name"] == whole["job"]["name"]
    assert {each["name"] for each in whole["inputs"]} == {"data/a.jsonl", "data/b.jsonl"}
    database = str(run.warehouse_path / "bourse.duckdb")
    assert [each["name"] for each in ended["outputs"]] == [f"{database}/signals"]
    assert {each["namespace"] for each in ended["inputs"]} == {"duckdb"}
    assert ended["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 11


def test_a_failed_stage_says_why_and_still_fails(run):
    with (
        pytest.raises(ValueError, match="no such luck"),
        run_lineage(run, "refresh_pool"),
        stage_lineage(run, "clear_market"),
    ):
        raise ValueError("no such luck")
    failures = [event for event in told(run) if event["eventType"] == "FAIL"]
    assert [short(event)[1] for event in failures] == ["news.clear_market", "news.refresh_pool"]
    message = failures[0]["run"]["facets"]["errorMessage"]["message"]
    assert message == "ValueError: no such luck"


def test_without_the_section_nothing_is_written(run, tmp_path):
    quiet = dataclasses.replace(run, config=run.config.model_copy(update={"lineage": None}))
    with run_lineage(quiet, "refresh_pool"), stage_lineage(quiet, "clear_market"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_events_go_changes_no_result(run):
    quiet = run.config.model_copy(update={"lineage": None})
    assert config_digest(quiet) == config_digest(run.config)


def test_a_lost_event_stops_nothing(run, caplog):
    (run.manifests_path.parent / "told").mkdir()
    (run.manifests_path.parent / "told" / "events.ndjson").mkdir()  # a folder takes no line
    with caplog.at_level(logging.WARNING), run_lineage(run, "refresh_pool"):
        pass
    lost = [record.getMessage() for record in caplog.records if "was lost" in record.getMessage()]
    assert len(lost) == 2
    assert "START of news.refresh_pool" in lost[0]


def test_a_server_takes_events_with_the_key_of_the_environment(run, monkeypatch):
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("LINEAGE_KEY", "s3cret")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        lineage = LineageConfig(
            url=f"http://127.0.0.1:{server.server_port}", api_key_variable="LINEAGE_KEY"
        )
        there = dataclasses.replace(run, config=run.config.model_copy(update={"lineage": lineage}))
        with run_lineage(there, "settle_market"):
            pass
        server.shutdown()
        thread.join()
    assert [(path, key) for path, key, _ in heard] == [("/api/v1/lineage", "Bearer s3cret")] * 2
    assert [short(event) for _, _, event in heard] == [
        ("START", "news.settle_market"),
        ("COMPLETE", "news.settle_market"),
    ]
    assert "s3cret" not in json.dumps([event for _, _, event in heard])


def test_a_key_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("LINEAGE_KEY", raising=False)
    config = LineageConfig(url="http://127.0.0.1:1", api_key_variable="LINEAGE_KEY")
    with pytest.raises(ConfigError, match="LINEAGE_KEY, which is not set"):
        require_lineage(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either path"),
        ({"path": "a", "url": "http://b"}, "either path"),
        ({"path": "a", "api_key_variable": "K"}, "goes with lineage.url"),
    ],
)
def test_a_section_names_one_place(settings, message):
    with pytest.raises(ValueError, match=message):
        LineageConfig(**settings)


def test_every_stage_that_is_told_is_a_task_and_its_tables_exist(tmp_path):
    import importlib

    with hold_warehouse(tmp_path / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        cursor = warehouse.cursor()
        tables = {name for (name,) in cursor.execute("show tables").fetchall()}
        cursor.close()
    for name, data in STAGES.items():
        stage = getattr(importlib.import_module(f"tasks.{name}"), name)
        assert stage.name == name
        assert {*data.reads, *data.writes} - {"sources", "manifest"} <= tables
        assert not data.named_by or data.named_by in stage.fn.__wrapped__.__annotations__
