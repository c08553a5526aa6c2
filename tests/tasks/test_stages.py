"""What every stage has in common: what is retried, what is not, and how runs are named."""

import contextlib
import importlib
import pickle
import pkgutil

import pytest
from prefect import Task
from prefect.logging import disable_run_logger
from prefect.states import Failed

import tasks
from databourse.errors import ContractViolation, InputError, TransientError
from databourse.refresh.context import RunContext, StageReport
from tasks.clear_market import clear_market
from tasks.ingest_source import ingest_source
from tasks.stages import RETRIES, LogDisplay, is_transient, set_display, timed_stage, writing


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientError("the store did not answer"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow"), True),
        (ContractViolation("documents", "rule", 3, ["a"]), False),
        (InputError("no"), False),
        (ValueError("no"), False),
        (FileNotFoundError("gone"), False),
    ],
)
def test_only_what_a_later_try_may_cure_is_retried(error, expected):
    assert is_transient(None, None, Failed(message="", data=error)) is expected


def test_stages_are_retried_and_named_by_stage_and_pool():
    assert ingest_source.retries == RETRIES > 0
    assert ingest_source.task_run_name == "ingest_source-{source_name}-{run.pool}"
    assert ingest_source.persist_result is False


def tasks_of_all_stages():
    """Return every Prefect task that a module of the package tasks defines, by its name."""
    found = {}
    for module in pkgutil.iter_modules(tasks.__path__):
        values = vars(importlib.import_module(f"tasks.{module.name}"))
        found |= {name: value for name, value in values.items() if isinstance(value, Task)}
    return found


def test_every_stage_backs_off_with_jitter_and_retries_what_is_transient_alone():
    found = tasks_of_all_stages()
    assert {"ingest_source", "embed_documents", "check_drift", "publish_manifest"} <= set(found)
    assert len(found) >= 28
    for name, stage in found.items():
        assert stage.retries == RETRIES > 0, name
        assert stage.retry_delay_seconds == [2, 4, 8], name  # doubles with each try
        assert stage.retry_jitter_factor == 0.5, name
        assert stage.retry_condition_fn is is_transient, name
        assert stage.persist_result is False, name


def test_a_stage_that_shows_what_it_writes_is_otherwise_the_same():
    run = RunContext("r", "news", ".", None)
    shown = writing(clear_market, run)
    assert [asset.key for asset in shown.assets] == ["databourse://news/prices"]
    assert "databourse://news/signals" in {asset.key for asset in shown.asset_deps}
    for option in (
        "fn",
        "name",
        "task_run_name",
        "retries",
        "retry_delay_seconds",
        "retry_jitter_factor",
        "retry_condition_fn",
        "cache_policy",
        "persist_result",
    ):
        assert getattr(shown, option) == getattr(clear_market, option), option
    assert clear_market.assets == []


def test_a_contract_violation_survives_pickling():
    error = ContractViolation("documents", "rule", 3, ["a", "b"])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert str(again) == str(error)
    assert "a, b" in str(again)


class Recorder:
    """A display that remembers."""

    def __init__(self):
        self.bars, self.reports = [], []

    def bar(self, stage, total):
        self.bars.append((stage, total))
        return contextlib.nullcontext(self.bars.append)

    def done(self, report):
        self.reports.append(report)


@pytest.fixture
def recorder():
    recorder = Recorder()
    set_display(recorder)
    yield recorder
    set_display(LogDisplay())


def test_a_stage_reports_time_and_progress(recorder):
    def work(advance):
        advance(3)
        return StageReport("embed", 3, 3)

    with disable_run_logger():
        report = timed_stage("embed", work, total=3)

    assert recorder.bars == [("embed", 3), 3]
    assert recorder.reports == [report]
    assert report.seconds > 0
