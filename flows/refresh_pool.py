"""The refresh: from the sources of a pool to a published manifest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from databourse.config import load_config
from databourse.engines import hold_engine
from databourse.refresh.context import ModelIds, RunContext, SnapshotIds, StageReport
from databourse.refresh.deduplication import removed_share_limits
from databourse.refresh.examples import ExampleKind, example_sections
from databourse.refresh.lineage import run_lineage
from databourse.refresh.publication import Outcome, abandon_staged
from databourse.refresh.runs import end_run, new_run_id, start_run
from databourse.refresh.settings import (
    model_work,
    neighbours_needed,
    signal_names,
)
from databourse.warehouse import Warehouse, hold_warehouse
from tasks.artifacts import name_run
from tasks.ask_about_quality import ask_about_quality
from tasks.assign_topics import assign_topics
from tasks.check_contract import check_contract
from tasks.check_drift import check_drift
from tasks.clear_market import clear_market
from tasks.count_tokens import count_tokens
from tasks.decontaminate import decontaminate
from tasks.drop_exact_duplicates import drop_exact_duplicates
from tasks.drop_near_duplicates import drop_near_duplicates
from tasks.drop_semantic_duplicates import drop_semantic_duplicates
from tasks.embed_documents import embed_documents
from tasks.embed_targets import embed_targets
from tasks.find_neighbours import find_neighbours
from tasks.ingest_source import ingest_source
from tasks.measure_gradients import measure_gradients
from tasks.measure_steps import measure_steps
from tasks.mirror_manifests import mirror_manifests
from tasks.publish_manifest import publish_manifest
from tasks.read_examples import read_examples
from tasks.retrain_for_datamodels import retrain_for_datamodels
from tasks.sample_generations import sample_generations
from tasks.score_losses import score_losses
from tasks.score_signal import score_signal
from tasks.stage_manifest import stage_manifest
from tasks.stages import writing
from tasks.take_snapshot import take_snapshot
from tasks.train_language_model import train_language_model
from tasks.write_data_docs import write_data_docs
from tasks.write_report import write_report

CONCURRENT_TASKS = 4


def _flow_run_name() -> str:
    """Name a run by its pool and its start; it is named by its version once it has one."""
    parameters = flow_run.parameters
    config = load_config(Path(parameters["config_path"]), parameters.get("overrides") or [])
    return f"{config.pool}-{datetime.now(UTC):%Y%m%dT%H%M%S}"


@flow(
    name="refresh_pool",
    flow_run_name=_flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=CONCURRENT_TASKS),  # type: ignore[arg-type]
    persist_result=False,
)
def refresh_pool(config_path: str, overrides: list[str] | None = None) -> Outcome:
    """Refresh one pool; one new manifest version, or none if nothing changed.

    Args:
        config_path: the YAML config; its folder is where relative paths start.
        overrides: `key=value` pairs over the config.
    """
    path = Path(config_path).resolve()
    config = load_config(path, overrides or [])
    now = datetime.now(UTC)
    run = RunContext(new_run_id(now), config.pool, str(path.parent), config)
    compute = config.compute
    with (
        hold_engine(config.engine),
        hold_warehouse(
            run.warehouse_path,
            threads=compute.threads,
            memory_limit=compute.memory_limit,
            wait_seconds=60 * compute.wait_minutes,
        ) as warehouse,
    ):
        start_run(warehouse, run, flow="refresh_pool", now=now)
        name_run(f"{run.pool}-{run.run_id}")
        with run_lineage(run, "refresh_pool"):
            outcome = _recorded(warehouse, run, lambda stages: _refresh(run, stages))
    unchanged = "" if outcome.published else "-unchanged"
    name_run(f"{run.pool}-{Path(outcome.path).name}{unchanged}")
    return outcome


def _recorded(
    warehouse: Warehouse, run: RunContext, work: Callable[[list[StageReport]], Outcome]
) -> Outcome:
    """Do the work; write down how it ended, also when it fails."""
    stages: list[StageReport] = []
    status, message = "failed", "interrupted"
    try:
        result = work(stages)
        status, message = "completed", result.path
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        end_run(
            warehouse, run, status=status, message=message, stages=stages, now=datetime.now(UTC)
        )
    return result


def _refresh(run: RunContext, stages: list[StageReport]) -> Outcome:
    """Say what follows what."""
    tokenizer_id = _gather(run, stages)
    examples = _read_examples(run, stages)
    if run.config.deduplicate.semantic:
        _drop_semantic_duplicates(run, stages)
    snapshot = _done(stages, writing(take_snapshot, run)(run))
    snapshot_id = snapshot.values["snapshot_id"]
    _check(run, stages, "documents", **removed_share_limits(run.config))
    ids = _describe(run, stages, snapshot_id, snapshot.rows_out, tokenizer_id)
    ids = replace(
        ids,
        targets_id=examples.get("targets_id"),
        decontamination=examples.get("decontamination", "null"),
    )
    if model_work(run.config).retrains:
        bank = _done(stages, retrain_for_datamodels(run, ids)).values["bank_id"]
        ids = replace(ids, models=replace(ids.models, bank=bank))
    signal_ids = _score(run, stages, ids)
    _check(run, stages, "signals", snapshot_id=snapshot_id, signal_ids=list(signal_ids))
    market = _done(stages, writing(clear_market, run)(run, ids, signal_ids))
    _check(run, stages, "board", path=market.values["board"], snapshot_id=snapshot_id)
    _check(run, stages, "prices", snapshot_id=snapshot_id)
    _done(stages, check_drift(run, Path(market.values["board"]).stem))
    return _publish(run, stages, ids, signal_ids, market)


def _gather(run: RunContext, stages: list[StageReport]) -> str:
    """Read the sources and drop duplicates; return the id of the tokenizer that counted."""
    for source in run.config.sources:
        _done(stages, writing(ingest_source, run)(run, source.name))
    counted = _done(stages, count_tokens(run))
    tokenizer_id = counted.values["tokenizer_id"]
    _done(stages, drop_exact_duplicates(run, tokenizer_id))
    _done(stages, drop_near_duplicates(run))
    return tokenizer_id


def _read_examples(run: RunContext, stages: list[StageReport]) -> dict[str, str]:
    """Read targets and protected texts and keep them out of the pool; return what is to know."""
    sections = example_sections(run.config)
    known: dict[str, str] = {}
    if sections["target"]:
        known |= _done(stages, read_examples(run, "target")).values
    kept_out: tuple[ExampleKind, ...] = ("protected", "test", "settlement")
    for kind in kept_out:
        if sections[kind]:
            _done(stages, read_examples(run, kind))
    if any(sections.values()):
        known |= _done(stages, decontaminate(run)).values
    return known


def _drop_semantic_duplicates(run: RunContext, stages: list[StageReport]) -> None:
    """Embed what is left so far, as the snapshot would be, and drop what repeats a meaning."""
    left = _done(stages, take_snapshot(run))
    snapshot_id = left.values["snapshot_id"]
    embedded = _done(stages, embed_documents(run, snapshot_id, left.rows_out))
    _done(stages, drop_semantic_duplicates(run, snapshot_id, embedded.values["encoder_id"]))


def _describe(
    run: RunContext,
    stages: list[StageReport],
    snapshot_id: str,
    n_documents: int,
    tokenizer_id: str,
) -> SnapshotIds:
    """Give the snapshot its vectors, topics and neighbours."""
    embedded = _done(stages, writing(embed_documents, run)(run, snapshot_id, n_documents))
    encoder_id = embedded.values["encoder_id"]
    _check(run, stages, "embeddings", snapshot_id=snapshot_id, encoder_id=encoder_id)
    if run.config.targets:
        _done(stages, embed_targets(run))
    topics = _done(stages, writing(assign_topics, run)(run, snapshot_id, encoder_id))
    topics_id = topics.values["topics_id"]
    _check(run, stages, "topics", snapshot_id=snapshot_id, topics_id=topics_id)
    neighbours_id = None
    if neighbours_needed(run.config):
        found = _done(stages, find_neighbours(run, snapshot_id, encoder_id))
        neighbours_id = found.values["neighbours_id"]
    models = _ask_models(run, stages, snapshot_id, n_documents)
    return SnapshotIds(snapshot_id, tokenizer_id, encoder_id, topics_id, neighbours_id, models)


def _ask_models(
    run: RunContext, stages: list[StageReport], snapshot_id: str, n_documents: int
) -> ModelIds:
    """Have language models read, write and answer, as far as a signal asks for it."""
    work = model_work(run.config)
    trained: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    generations: tuple[str, ...] = ()
    if work.trains:
        models = _done(stages, train_language_model(run, snapshot_id))
        trained = tuple(json.loads(models.values["trained"]))
    if work.scores:
        scored = _done(stages, score_losses(run, snapshot_id, n_documents, trained))
        losses = tuple(json.loads(scored.values["losses"]))
        parts = json.loads(scored.values["parts"])
        where = {"losses_ids": list(losses), "parts": parts, "snapshot_id": snapshot_id}
        _check(run, stages, "token_losses", **where)
    if work.generates:
        sampled = _done(stages, sample_generations(run, snapshot_id, n_documents, trained))
        generations = tuple(json.loads(sampled.values["generations"]))
        _check(
            run, stages, "generations", generations_ids=list(generations), snapshot_id=snapshot_id
        )
    gradients: tuple[str, ...] = ()
    if work.measures:
        measured = _done(stages, measure_gradients(run, snapshot_id, n_documents, trained))
        gradients = tuple(json.loads(measured.values["gradients"]))
    steps: dict[str, str] = {}
    if work.steps:
        steps = _done(stages, measure_steps(run, snapshot_id, n_documents)).values
    ids = ModelIds(
        trained,
        losses,
        generations,
        gradients,
        steps=tuple(json.loads(steps.get("steps", "[]"))),
        rates=tuple(json.loads(steps.get("rates", "[]"))),
    )
    if not work.asks:
        return ids
    asked = _done(stages, ask_about_quality(run, snapshot_id))
    scorer = asked.values["scorer"]
    _check(run, stages, "answers", scorer_id=scorer, snapshot_id=snapshot_id)
    return replace(ids, scorer=scorer, unanswered=asked.values["unanswered"])


def _score(run: RunContext, stages: list[StageReport], ids: SnapshotIds) -> tuple[str, ...]:
    """Score the snapshot by every signal, side by side; return the signals' ids in config order."""
    score = writing(score_signal, run)
    futures = [score.submit(run, ids, signal) for signal in signal_names(run.config)]
    wait(futures)
    return tuple(_done(stages, future.result()).values["signal_id"] for future in futures)


def _publish(
    run: RunContext,
    stages: list[StageReport],
    ids: SnapshotIds,
    signal_ids: tuple[str, ...],
    market: StageReport,
) -> Outcome:
    """Stage the manifest, judge exactly these files, and publish them with their report."""
    books = market.values["market"]
    staged = _done(stages, stage_manifest(run, ids, signal_ids, books))
    path = staged.values["path"]
    try:
        _check(run, stages, "manifest", **json.loads(staged.values["contract"]))
        report = _done(
            stages,
            write_report(run, ids, signal_ids, market=books, path=path, stages=tuple(stages)),
        )
        published = _done(
            stages,
            writing(publish_manifest, run)(
                run,
                path,
                candidates=market.rows_in,
                summary=report.values["summary"],
                stages=tuple(stages),
            ),
        )
        if run.config.data_docs:
            _done(stages, write_data_docs(run, tuple(stages)))
    finally:
        abandon_staged(path)
    mirror = run.config.manifest.mirror
    if mirror is not None:
        _done(stages, mirror_manifests(run, mirror))
    return Outcome(**json.loads(published.values["outcome"]))


def _check(run: RunContext, stages: list[StageReport], contract: str, **where: object) -> None:
    _done(stages, check_contract(run, contract, where))


def _done(stages: list[StageReport], report: StageReport) -> StageReport:
    stages.append(report)
    return report


if __name__ == "__main__":
    refresh_pool(sys.argv[1], sys.argv[2:])
