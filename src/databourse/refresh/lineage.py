"""What reads and writes what: for the assets that the UI knows, and as OpenLineage events.

A run and each of its stages tell START and then COMPLETE or FAIL, if the config has a `lineage`
section. Data sets are the tables of the warehouse and the files of sources and manifests. Nothing
that a run computes depends on whether an event arrives: a lost one is a warning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from databourse.config_lineage import LineageConfig
from databourse.errors import ConfigError, MissingExtraError
from databourse.refresh.context import RunContext, StageReport

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent

_log = logging.getLogger(__name__)
_one_line_at_a_time = threading.Lock()

NAMESPACE = "databourse"
PRODUCER = "https://pypi.org/project/databourse"
SOURCES, MANIFEST = "sources", "manifest"
"""Data that are files and no tables."""
SETTLE = "settle_market"


@dataclass(frozen=True)
class StageData:
    """Which data a stage reads and writes, by name of the table; SOURCES and MANIFEST are files."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    named_by: str = ""
    """The argument that tells one run of the stage from its others, such as the signal."""
    flow: str = "refresh_pool"


STAGES = {
    "ingest_source": StageData((SOURCES,), ("documents", "arrivals"), "source_name"),
    "count_tokens": StageData(("documents",), ("token_counts",)),
    "drop_exact_duplicates": StageData(("arrivals",), ("pool_documents", "decisions")),
    "drop_near_duplicates": StageData(("pool_documents",), ("decisions",)),
    "decontaminate": StageData(("pool_documents",), ("decisions",)),
    "take_snapshot": StageData(("pool_documents", "decisions"), ("snapshots",)),
    "embed_documents": StageData(("snapshots", "documents"), ("embeddings",)),
    "assign_topics": StageData(("embeddings",), ("topics",)),
    "find_neighbours": StageData(("embeddings",), ("neighbours",)),
    "train_language_model": StageData(("snapshots", "documents"), ("language_models",)),
    "score_losses": StageData(("documents", "language_models"), ("token_losses",)),
    "sample_generations": StageData(("documents", "language_models"), ("generations",)),
    "ask_about_quality": StageData(("documents",), ("answers",)),
    "retrain_for_datamodels": StageData(("documents",), ("retrainings",)),
    "score_signal": StageData(("snapshots", "embeddings", "topics"), ("signals",), "signal"),
    "clear_market": StageData(("signals", "topics", "wealth"), ("prices",)),
    "publish_manifest": StageData(("prices", "documents"), (MANIFEST, "manifests")),
    "settle_contracts": StageData(("prices",), ("settled_contracts", "wealth"), flow=SETTLE),
    "register_settlement": StageData(("settled_contracts",), ("settlements",), flow=SETTLE),
    "compare_sampler": StageData(
        ("signals", "embeddings", "prices"), ("comparisons",), "sampler", flow="compare_selectors"
    ),
}
"""By name of the task; others read and write nothing that outlives a run."""


@contextlib.contextmanager
def run_lineage(run: RunContext, flow: str) -> Iterator[None]:
    """Tell that a run begins, and how it ended.

    Raises:
        ConfigError: the environment lacks the key of the server.
        MissingExtraError: the config asks for events, and openlineage-python is not installed.
    """
    if run.config.lineage is None:
        yield
        return
    data = StageData((SOURCES,), (MANIFEST,), flow=flow)
    with _events(_Work(run, f"{run.pool}.{flow}", _id_of(run), data, is_stage=False)):
        yield


@contextlib.contextmanager
def stage_lineage(run: RunContext, stage: str, which: str = "") -> Iterator[list[StageReport]]:
    """Tell that a stage begins, and how it ended.

    Args:
        run: that it belongs to.
        stage: name of its task; one that is not in STAGES tells nothing.
        which: tells it from others of the same name.

    Yields:
        A list for the stage's report, whose rows are told.
    """
    reports: list[StageReport] = []
    if run.config.lineage is None or stage not in STAGES:
        yield reports
        return
    data = STAGES[stage]
    job = ".".join([run.pool, stage, *([which] if which else [])])
    with _events(_Work(run, job, uuid.uuid4(), data, is_stage=True), reports):
        yield reports


def require_lineage(config: LineageConfig) -> str:
    """Return where events will go.

    Raises:
        ConfigError, MissingExtraError: as `run_lineage`.
    """
    _key(config)
    _require_package()
    return config.path or config.url or ""


@dataclass(frozen=True)
class _Work:
    """A run, or a stage of one, as its events tell of it."""

    run: RunContext
    job: str
    run_id: uuid.UUID
    data: StageData
    is_stage: bool


@contextlib.contextmanager
def _events(work: _Work, reports: Sequence[StageReport] = ()) -> Iterator[None]:
    client = _client(work.run)

    def tell(what: str, error: BaseException | None = None) -> None:
        event = _event(work, what, rows=reports[-1].rows_out if reports else None, error=error)
        try:
            with _one_line_at_a_time:
                client.emit(event)
        except (OSError, RuntimeError) as problem:  # what disk, network and client raise
            _log.warning("lineage event %s of %s was lost: %s", what, work.job, problem)

    tell("START")
    try:
        yield
    except BaseException as error:
        tell("FAIL", error)
        raise
    tell("COMPLETE")


def _event(work: _Work, what: str, *, rows: int | None, error: BaseException | None) -> RunEvent:
    from openlineage.client import event_v2 as events
    from openlineage.client import facet_v2 as facets

    run = work.run
    told: dict[str, Any] = {}
    if work.is_stage:
        told["parent"] = facets.parent_run.ParentRunFacet(
            run=facets.parent_run.Run(runId=str(_id_of(run))),
            job=facets.parent_run.Job(namespace=NAMESPACE, name=f"{run.pool}.{work.data.flow}"),
        )
    if error is not None:
        told["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(
            message=f"{type(error).__name__}: {error}", programmingLanguage="python"
        )
    counted: dict[str, Any] = {}
    if rows is not None:
        statistics = facets.output_statistics_output_dataset
        counted["outputStatistics"] = statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    return events.RunEvent(
        eventType=events.RunState(what),
        eventTime=datetime.now(UTC).isoformat(),
        run=events.Run(runId=str(work.run_id), facets=told),
        job=events.Job(namespace=NAMESPACE, name=work.job),
        producer=PRODUCER,
        inputs=[
            events.InputDataset(*place) for name in work.data.reads for place in _places(run, name)
        ],
        outputs=[
            events.OutputDataset(*place, outputFacets=counted)
            for name in work.data.writes
            for place in _places(run, name)
        ],
    )


def _places(run: RunContext, name: str) -> list[tuple[str, str]]:
    """Return namespace and name of the data sets behind a name."""
    if name == SOURCES:
        found = [
            (source.path,) if isinstance(source.path, str) else source.path
            for source in run.config.sources
        ]
        return [("file", path) for paths in found for path in paths]
    if name == MANIFEST:
        return [("file", str(run.manifests_path / run.pool))]
    return [("duckdb", f"{run.warehouse_path / 'bourse.duckdb'}/{name}")]


def _id_of(run: RunContext) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/{run.run_id}")


def _client(run: RunContext) -> OpenLineageClient:
    config = run.config.lineage
    if config is None:
        raise ConfigError("lineage events were asked for without a lineage section")
    _require_package()
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    if config.path is not None:
        path = Path(run.root) / config.path
        path.parent.mkdir(parents=True, exist_ok=True)
        return OpenLineageClient(
            transport=FileTransport(FileConfig(log_file_path=str(path), append=True))
        )
    settings: dict[str, Any] = {"url": config.url}
    if key := _key(config):
        settings["auth"] = ApiKeyTokenProvider({"api_key": key})
    return OpenLineageClient(transport=HttpTransport(HttpConfig(**settings)))


def _key(config: LineageConfig) -> str | None:
    if config.api_key_variable is None:
        return None
    key = os.environ.get(config.api_key_variable)
    if not key:
        raise ConfigError(
            f"lineage.api_key_variable names {config.api_key_variable}, which is not set in the "
            "environment; set it, or take it out of the config"
        )
    return key


def _require_package() -> None:
    try:
        import openlineage.client  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("openlineage-python", "lineage", "telling lineage") from error
