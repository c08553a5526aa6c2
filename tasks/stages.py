"""What every stage has in common as a Prefect task: name, retries, log line, clock."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypeVar

from prefect import Task, get_run_logger
from prefect.assets import Asset
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import MaterializingTask, exponential_backoff

from databourse.engines.elsewhere import cpu_seconds
from databourse.errors import TransientError
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.lineage import STAGES, stage_lineage
from tasks.artifacts import shown_progress

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
FIRST_RETRY_SECONDS = 2


class Display(Protocol):
    """Who shows the progress of stages to a person; the command line sets one with bars."""

    def bar(
        self, stage: str, total: int | None
    ) -> contextlib.AbstractContextManager[ProgressReport]:
        """Show a stage while the block runs; give the function that advances it."""

    def done(self, report: StageReport) -> None:
        """Show that a stage has ended."""


class LogDisplay:
    """Progress as log lines, ten to a stage: what a worker without a terminal has."""

    @contextlib.contextmanager
    def bar(self, stage: str, total: int | None) -> Iterator[ProgressReport]:
        """Log each tenth of `total`; with no total, nothing."""
        logger = get_run_logger()
        finished = 0

        def advance(done: int) -> None:
            nonlocal finished
            before, finished = finished, finished + done
            if total and before * 10 // total < finished * 10 // total:
                logger.info("%s: %s of %s", stage, f"{finished:,}", f"{total:,}")

        yield advance

    def done(self, report: StageReport) -> None:
        """Say nothing more: the stage logs its own line."""


_display: Display = LogDisplay()


def set_display(display: Display) -> None:
    """Show progress through `display` from now on, in this process."""
    global _display  # noqa: PLW0603 - one terminal, one display
    _display = display


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a later try may succeed: an outside system failed, not our data or settings."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TransientError | ConnectionError | TimeoutError)


def stage_task(name: str) -> Callable[[Callable[P, R]], MaterializingTask[P, R]]:
    """Make a function a Prefect task whose runs are named by stage and pool.

    The warehouse is the checkpoint, so nothing is cached by Prefect; errors that a later try cannot
    cure are not retried.
    """

    def decorate(function: Callable[P, R]) -> MaterializingTask[P, R]:
        return MaterializingTask(
            _with_lineage(function),
            assets=[],
            materialized_by="databourse",
            name=function.__name__,
            task_run_name=f"{name}-{{run.pool}}",
            retries=RETRIES,
            retry_delay_seconds=exponential_backoff(FIRST_RETRY_SECONDS),
            retry_jitter_factor=0.5,
            retry_condition_fn=is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate


def _with_lineage(function: Callable[P, R]) -> Callable[P, R]:
    """Return the stage, which tells what it reads and writes if its run's config asks for it."""
    signature, data = inspect.signature(function), STAGES.get(function.__name__)
    if data is None:
        return function

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        which = str(arguments[data.named_by]) if data.named_by else ""
        with stage_lineage(arguments["run"], function.__name__, which) as reports:
            result = function(*args, **kwargs)
            if isinstance(result, StageReport):
                reports.append(result)
        return result

    return told


def writing(stage: MaterializingTask[P, R], run: RunContext) -> MaterializingTask[P, R]:
    """Return a stage that shows in the UI's events as what materialises its tables or files."""
    data = STAGES[stage.name]
    return stage.with_options(
        assets=[_asset(run, name) for name in data.writes],
        asset_deps=[_asset(run, name) for name in data.reads],
    )


def _asset(run: RunContext, name: str) -> Asset:
    return Asset(key=f"databourse://{run.pool}/{name}")


def timed_stage(
    stage: str,
    work: Callable[[ProgressReport], StageReport],
    *,
    total: int | None = None,
    cpu_clock: Callable[[], float] = cpu_seconds,
) -> StageReport:
    """Run a stage's work under a progress bar; return its report with seconds, and log it.

    Stages that run side by side pass `time.thread_time` as the clock: the process's own would
    count each other's work.
    """
    since_epoch = time.time()
    started, cpu_started = time.perf_counter(), cpu_clock()
    with _display.bar(stage, total) as advance, shown_progress(stage, total, advance) as shown:
        report = work(shown)
    report = replace(
        report,
        seconds=time.perf_counter() - started,
        cpu_seconds=cpu_clock() - cpu_started,
        started_seconds=since_epoch,
    )
    get_run_logger().info(
        "%s: %s rows in, %s rows out, %.1f s%s",
        report.stage,
        f"{report.rows_in:,}",
        f"{report.rows_out:,}",
        report.seconds,
        f" ({report.note})" if report.note else "",
    )
    _display.done(report)
    return report
