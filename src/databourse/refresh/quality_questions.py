"""Answers of Ask-LLM about the snapshot: each document is asked about once, failures again.

Answers are committed every few seconds, in the order in which they come, so that a killed run pays
twice for little; what an attempt without an answer has cost stays in the table too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse.ask_llm.results import Interval, QualityScore, ScoreFailure
from databourse.ask_llm.scorer import open_scorer, scorer_id
from databourse.config import RefreshConfig
from databourse.config_models import AskLlmConfig
from databourse.digests import digest_of_lines
from databourse.errors import ConfigError, TransientError
from databourse.progress import ProgressReport
from databourse.refresh.answering import answering
from databourse.refresh.context import RunContext
from databourse.refresh.model_costs import NO_PART, Clock, append_cost
from databourse.refresh.settings import configured_signals
from databourse.seeds import stage_rng
from databourse.signals import ask_llm_distilled
from databourse.signals.inputs import QualityAnswers
from databourse.warehouse.store import Warehouse, upsert_query

_COMMIT_SECONDS = 5.0
_COMMIT_DOCUMENTS = 1_000
_BOUNDS = ("log_p_yes_low", "log_p_yes_high", "log_p_no_low", "log_p_no_high")
_SCHEMA = pa.schema(
    [
        ("scorer_id", pa.string()),
        ("document_id", pa.string()),
        ("run_id", pa.string()),
        *((name, pa.float64()) for name in _BOUNDS),
        ("is_truncated", pa.bool_()),
        ("failure", pa.string()),
        ("requests", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("unreported_requests", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Asked:
    """Who answered, about how many documents, and about which not.

    Attributes:
        scorer_id: under which answers are stored.
        n_wanted: documents that the signals need answers about.
        n_asked: of which these were asked about now.
        n_failed: documents without an answer.
        unanswered: digest of their ids.
    """

    scorer_id: str
    n_wanted: int
    n_asked: int
    n_failed: int
    unanswered: str


def ask_about_quality(
    warehouse: Warehouse, run: RunContext, snapshot_id: str, *, advance: ProgressReport
) -> Asked:
    """Ask about the documents that the signals need and that have no answer yet.

    Raises:
        ConfigError: the model or endpoint cannot be used.
        TransientError: too many documents have no answer after all retries; what was answered is
            kept, and a later try asks about the others only.
    """
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id})
    wanted = _wanted(run, members["document_id"].to_pylist())
    return ask_about(warehouse, run, wanted, advance=advance)


def ask_about(
    warehouse: Warehouse, run: RunContext, document_ids: Sequence[str], *, advance: ProgressReport
) -> Asked:
    """Ask about those of some documents that have no answer yet.

    Args:
        warehouse: that holds their texts.
        run: whose config says who answers.
        document_ids: distinct.
        advance: told of documents as they are answered.

    Raises:
        ConfigError: the model or endpoint cannot be used.
        TransientError: too many documents have no answer after all retries; what was answered is
            kept, and a later try asks about the others only.
    """
    config = _settings(run.config)
    asked = answering(config, root=Path(run.root))
    wanted = sorted(document_ids)
    relations = {"wanted_documents": pa.table({"document_id": pa.array(wanted, pa.string())})}
    asked_id = scorer_id(
        model=asked.model,
        endpoint=asked.endpoint,
        prompt=asked.prompt,
        device=run.config.compute.device,
        precision=config.precision,
        root=Path(run.root),
    )

    def unanswered() -> list[str]:
        found: list[str] = warehouse.rows(
            "stg_wanted__unanswered_documents", {"scorer_id": asked_id}, relations=relations
        )["document_id"].to_pylist()
        return found

    missing = unanswered()
    advance(len(wanted) - len(missing))
    if missing:
        scorer = open_scorer(
            model=asked.model,
            endpoint=asked.endpoint,
            prompt=asked.prompt,
            device=run.config.compute.device,
            precision=config.precision,
            threads=run.config.compute.threads,
            root=Path(run.root),
        )
        outcomes = scorer.score(
            _documents(warehouse, run, missing),
            already_scored=frozenset(),
            rng=stage_rng(run.config.seed, "ask about quality"),
            progress=advance,
        )
        _store_all(warehouse, run, asked_id, outcomes)
    failed = unanswered()
    if len(failed) > config.max_failed_share * len(wanted):
        raise TransientError(
            f"{len(failed):,} of {len(wanted):,} documents have no answer of {asked_id}, more than "
            f"ask_llm.max_failed_share {config.max_failed_share:g} allows; the last reason: "
            f"{_last_failure(warehouse, asked_id, failed)}. What was answered is kept: run again"
        )
    return Asked(asked_id, len(wanted), len(missing), len(failed), digest_of_lines(failed))


def stored_answers(
    warehouse: Warehouse, documents: pa.Table, *, snapshot_id: str, scorer_id: str
) -> QualityAnswers:
    """Return what was answered about documents, in their order; NaN where nothing was."""
    found = warehouse.rows(
        "stg_snapshot__answers", {"snapshot_id": snapshot_id, "scorer_id": scorer_id}
    )
    rows = pa.compute.index_in(
        found["document_id"], value_set=documents["document_id"].combine_chunks()
    ).to_numpy()
    p_yes = np.full(documents.num_rows, np.nan)
    yes_share = np.full(documents.num_rows, np.nan)
    for row, answer in zip(rows.tolist(), found.to_pylist(), strict=True):
        score = QualityScore(
            document_id=answer["document_id"],
            log_p_yes=Interval(answer["log_p_yes_low"], answer["log_p_yes_high"]),
            log_p_no=Interval(answer["log_p_no_low"], answer["log_p_no_high"]),
            truncated=False,
        )
        p_yes[row], yes_share[row] = _middle(score.p_yes), _middle(score.yes_share)
    return QualityAnswers(p_yes=p_yes, yes_share=yes_share)


def _middle(interval: Interval) -> float:
    return (interval.low + interval.high) / 2


def _settings(config: RefreshConfig) -> AskLlmConfig:
    if config.ask_llm is None:
        raise ConfigError("the config has no ask_llm: name the model that answers")
    return config.ask_llm


def _wanted(run: RunContext, document_ids: Sequence[str]) -> list[str]:
    """Return the documents that the signals need answers about, in key order."""
    wanted: set[str] = set()
    for signal in configured_signals(run.config):
        if "answers" not in signal.needs:
            continue
        if isinstance(signal.parameters, ask_llm_distilled.AskLlmDistilledParameters):
            chosen = ask_llm_distilled.documents_to_ask(
                signal.parameters, document_ids, run.config.seed
            )
            wanted.update(document_ids[each] for each in chosen.tolist())
        else:
            wanted.update(document_ids)
    return sorted(wanted)


def _documents(
    warehouse: Warehouse, run: RunContext, document_ids: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for batch in warehouse.texts_of(
        pa.array(document_ids, pa.string()), batch_documents=run.config.compute.batch_documents
    ):
        yield from zip(batch["document_id"].to_pylist(), batch["text"].to_pylist(), strict=True)


def _store_all(
    warehouse: Warehouse,
    run: RunContext,
    asked_id: str,
    outcomes: Iterable[QualityScore | ScoreFailure],
) -> None:
    """Keep outcomes as they come, also those that came before an error."""
    waiting: list[QualityScore | ScoreFailure] = []
    started, cpu_started = time.perf_counter(), time.process_time()

    def keep() -> None:
        nonlocal started, cpu_started
        now, cpu_now = time.perf_counter(), time.process_time()
        clock = Clock(now - started, cpu_now - cpu_started)
        started, cpu_started = now, cpu_now
        if waiting:
            _store(warehouse, run, asked_id, waiting, clock)
            waiting.clear()

    try:
        for outcome in outcomes:
            waiting.append(outcome)
            if (
                len(waiting) >= _COMMIT_DOCUMENTS
                or time.perf_counter() - started >= _COMMIT_SECONDS
            ):
                keep()
    finally:
        keep()


def _store(
    warehouse: Warehouse,
    run: RunContext,
    asked_id: str,
    outcomes: Sequence[QualityScore | ScoreFailure],
    clock: Clock,
) -> None:
    rows = [_row(run, asked_id, outcome) for outcome in outcomes]
    with warehouse.transaction() as cursor:
        cursor.register("new_answers", pa.Table.from_pylist(rows, schema=_SCHEMA))
        upsert_query(cursor, "answers", "int_answers_added")
        cursor.unregister("new_answers")
        append_cost(
            cursor,
            measured_id=asked_id,
            part=NO_PART,
            run_id=run.run_id,
            n_documents=len(outcomes),
            clock=clock,
            model_calls=sum(outcome.cost.requests or 1 for outcome in outcomes),
        )


def _row(run: RunContext, asked_id: str, outcome: QualityScore | ScoreFailure) -> dict[str, object]:
    answer: dict[str, object] = {}
    if isinstance(outcome, QualityScore):
        yes, no = outcome.log_p_yes, outcome.log_p_no
        answer = dict(zip(_BOUNDS, (yes.low, yes.high, no.low, no.high), strict=True))
        answer["is_truncated"] = outcome.truncated
    else:
        answer["failure"] = outcome.reason
    cost = outcome.cost
    return {
        "scorer_id": asked_id,
        "document_id": outcome.document_id,
        "run_id": run.run_id,
        **answer,
        "requests": cost.requests,
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "unreported_requests": cost.unreported_requests,
    }


def _last_failure(warehouse: Warehouse, asked_id: str, failed: Sequence[str]) -> str:
    found = warehouse.rows(
        "stg_scorer__failures", {"scorer_id": asked_id, "document_ids": list(failed[:100])}
    )["failure"].to_pylist()
    return str(found[-1]) if found else "none is known"
