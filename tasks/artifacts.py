"""What people see of a run in the Prefect UI: tables, pictures, progress, failed contracts."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run, task_run

from databourse.contracts import ContractResult
from databourse.progress import ProgressReport
from databourse.reports.watching import Shown, failed_contract

SECONDS_BETWEEN_UPDATES = 5.0
"""A stage that ends sooner shows no progress; a longer one tells the server no more often."""


def artifact_key(name: str, pool: str) -> str:
    """Return the key under which the UI keeps the history of an artifact of a pool."""
    return f"{name}-{pool}".replace("_", "-")


def name_run(name: str) -> None:
    """Give the flow run that is under way another name."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(UUID(flow_run.id), name)


def show(pool: str, things: Sequence[Shown]) -> None:
    """Leave tables and pictures with the run, through one connection."""
    with get_client(sync_client=True) as client:
        for thing in things:
            artifact = ArtifactCreate(
                type="image" if thing.picture else "table",
                key=artifact_key(thing.name, pool),
                description=thing.title,
                data=thing.picture or json.dumps(thing.rows),
                flow_run_id=UUID(flow_run.id),
                task_run_id=UUID(task_run.id),
            )
            client.create_artifact(artifact)


def show_failed_contract(
    pool: str, result: ContractResult, rows: Sequence[Mapping[str, str]]
) -> None:
    """Leave the rules that fail, and rows that break them, with the run."""
    name = f"contract-{result.contract}"
    verdict = "warnings" if result.success else "failed"
    artifact = ArtifactCreate(
        type="markdown",
        key=artifact_key(name, pool),
        description=f"Contract {result.contract}: {verdict}",
        data=failed_contract(result, rows),
        flow_run_id=UUID(flow_run.id),
        task_run_id=UUID(task_run.id),
    )
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)


@contextlib.contextmanager
def shown_progress(
    stage: str, total: int | None, advance: ProgressReport
) -> Iterator[ProgressReport]:
    """Show a stage of known size as a bar on the page of its run; `advance` hears of it as well."""
    if not total:
        yield advance
        return
    bar = _Bar(stage, total, advance)
    yield bar
    bar.end()


class _Bar:
    """A progress artifact that appears and changes at most every few seconds, from any thread."""

    def __init__(self, stage: str, total: int, advance: ProgressReport) -> None:
        self._stage, self._total, self._advance = stage, total, advance
        self._context = contextvars.copy_context()  # other threads know of no run
        self._lock = threading.Lock()
        self._done = 0
        self._artifact: UUID | None = None
        self._told_at = time.monotonic()

    def __call__(self, done: int) -> None:
        """Add finished units."""
        self._advance(done)
        with self._lock:
            self._done += done
            if time.monotonic() - self._told_at >= SECONDS_BETWEEN_UPDATES:
                self._context.run(self._tell, min(100.0, 100 * self._done / self._total))

    def end(self) -> None:
        """Show that nothing is left, if anything was shown."""
        with self._lock:
            if self._artifact is not None:
                self._context.run(self._tell, 100.0)

    def _tell(self, percent: float) -> None:
        text = f"{self._stage}: {self._done:,} of {self._total:,}"
        try:
            # a client of our own, since Prefect's function for this leaves its connection open
            with get_client(sync_client=True) as client:
                if self._artifact is None:
                    key = f"progress-{re.sub('[^a-z0-9]+', '-', self._stage.lower()).strip('-')}"
                    artifact = ArtifactCreate(
                        type="progress",
                        key=key,
                        description=text,
                        data=percent,
                        flow_run_id=UUID(flow_run.id),
                        task_run_id=UUID(task_run.id),
                    )
                    self._artifact = client.create_artifact(artifact).id
                else:
                    update = ArtifactUpdate(data=percent, description=text)
                    client.update_artifact(self._artifact, update)
        except httpx.HTTPError as error:
            # what the stage computes does not depend on who watches
            get_run_logger().warning("progress of %s was not shown: %r", self._stage, error)
        self._told_at = time.monotonic()
