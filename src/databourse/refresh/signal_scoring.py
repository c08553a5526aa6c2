"""Signals of the snapshot: what is stored already is not computed again.

A pool-scoped signal is computed for the whole snapshot and committed at once; a document-scoped one
for the documents that lack it, batch by batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse.digests import canonical_json
from databourse.progress import ProgressReport
from databourse.refresh.answering import answering
from databourse.refresh.context import RunContext, SnapshotIds
from databourse.refresh.datamodel_retraining import check_retrainings
from databourse.refresh.document_parts import PARTS
from databourse.refresh.influence_measuring import influence_id
from databourse.refresh.language_models import model_ids
from databourse.refresh.model_costs import NO_PART, ModelCost, cost_of, training_cost
from databourse.refresh.settings import ConfiguredSignal, configured_signal, configured_signals
from databourse.refresh.snapshot import labels_digest, prompts_digest, snapshot_documents
from databourse.refresh.snapshot_inputs import snapshot_inputs
from databourse.signals.computation import compute_signal, model_fingerprint
from databourse.signals.inputs import SignalInputs, SignalResult
from databourse.signals.registry import signal_id as version_of
from databourse.signals.specification import NO_MODEL, Need
from databourse.warehouse.store import Warehouse, append

READS_MODEL: frozenset[Need] = frozenset({*PARTS, "generations", "influence_of", "gradients"})
"""What the language model gives that is trained first where it is the reference."""

DERIVES: frozenset[Need] = frozenset({"influence_of", "gradients"})
"""What is made of gradients."""

_ALL_DOCUMENTS = "-"
"""In place of the snapshot, for a signal that depends on the document alone."""


@dataclass(frozen=True)
class ScoredSignal:
    """Where the values of a signal are stored, and what it took."""

    signal_id: str
    n_documents: int
    n_computed: int


def check_signals(warehouse: Warehouse, run: RunContext, snapshot_id: str) -> None:
    """Check that every signal can be computed on the labels there are, before anything costly.

    Raises:
        ConfigError: one cannot; names the signal and what to do.
    """
    documents = snapshot_documents(warehouse, run_id=run.run_id, snapshot_id=snapshot_id)
    bare = _bare_inputs(run, documents)
    for signal in configured_signals(run.config):
        model_fingerprint(signal.spec, signal.parameters, bare)
        if "retrainings" in signal.needs:
            check_retrainings(run, documents)


def _bare_inputs(run: RunContext, documents: pa.Table) -> SignalInputs:
    """Return what the version of a signal is told by: ids and labels."""
    return SignalInputs(
        document_ids=documents["document_id"].to_pylist(),
        seed=run.config.seed,
        labels=np.array(documents["label"].to_pylist(), dtype=np.object_),
    )


def score_signal(
    warehouse: Warehouse, run: RunContext, ids: SnapshotIds, *, name: str, advance: ProgressReport
) -> ScoredSignal:
    """Score the documents of a snapshot that have no value yet.

    Raises:
        InputError: the signal cannot be computed on this pool; names the signal and why.
    """
    signal = configured_signal(run.config, name)
    documents = snapshot_documents(warehouse, run_id=run.run_id, snapshot_id=ids.snapshot_id)
    bare = _bare_inputs(run, documents)
    fingerprint = model_fingerprint(signal.spec, signal.parameters, bare)
    signal_id = version_of(
        signal.spec,
        signal.parameters,
        model_fingerprint=fingerprint,
        input_ids=_input_ids(run, ids, signal, bare, documents),
    )
    snapshot_id = ids.snapshot_id if signal.spec.scope == "pool" else _ALL_DOCUMENTS
    missing = _missing(warehouse, signal_id, snapshot_id, ids.snapshot_id)
    if missing:
        if signal.spec.scope == "document":
            documents = documents.filter(
                pa.compute.is_in(documents["document_id"], value_set=pa.array(missing))
            )
        _compute_and_store(
            warehouse,
            run,
            ids,
            signal,
            documents,
            signal_id=signal_id,
            snapshot_id=snapshot_id,
            fingerprint=fingerprint,
            advance=advance,
        )
    return ScoredSignal(signal_id, bare.n_documents, len(missing))


def _missing(
    warehouse: Warehouse, signal_id: str, stored_under: str, snapshot_id: str
) -> list[str]:
    wanted = {"signal_id": signal_id, "stored_under": stored_under, "snapshot_id": snapshot_id}
    found: list[str] = warehouse.rows("stg_snapshot__unscored_documents", wanted)[
        "document_id"
    ].to_pylist()
    return found


def _input_ids(
    run: RunContext,
    ids: SnapshotIds,
    signal: ConfiguredSignal,
    bare: SignalInputs,
    documents: pa.Table,
) -> dict[str, str]:
    """Return the identity of everything that a signal reads beside the documents' texts.

    Neighbours are named by their encoder: how many were searched does not change the nearest k.
    """
    models = ids.models
    known: dict[str, str] = {
        "tokens": ids.tokenizer_id,
        "embeddings": ids.encoder_id,
        "neighbours": ids.encoder_id,
        "topics": ids.topics_id,
        **dict.fromkeys(PARTS, " ".join(models.losses)),
        "generations": " ".join(models.generations),
        "answers": f"{models.scorer} without {models.unanswered}",
        "targets": str(ids.targets_id),
        "gradients": " ".join(models.gradients),
        "steps": " ".join([*models.steps, *(f"{rate:.17g}" for rate in models.rates)]),
        "retrainings": f"{models.bank} {canonical_json(_subsets(run))}",
        **({"influence_of": influence_id(run, ids)} if "influence_of" in signal.needs else {}),
    }
    result: dict[str, str] = {need: known[need] for need in sorted(signal.needs) if need in known}
    if "labels" in signal.needs and bare.labels is not None:
        result["labels"] = labels_digest(bare.labels.tolist())
    if signal.needs & {"completion_losses", "conditioned_losses", "generations"}:
        result["prompts"] = prompts_digest(documents["prompt_characters"].to_pylist())
    if signal.spec.scope == "pool":
        result["seed"] = str(run.config.seed)
    return result


def _compute_and_store(
    warehouse: Warehouse,
    run: RunContext,
    ids: SnapshotIds,
    signal: ConfiguredSignal,
    documents: pa.Table,
    *,
    signal_id: str,
    snapshot_id: str,
    fingerprint: str,
    advance: ProgressReport,
) -> None:
    inputs = snapshot_inputs(warehouse, run, ids, documents, needs=signal.needs, advance=advance)
    started, cpu_started = time.perf_counter(), time.thread_time()
    result = compute_signal(signal.spec, signal.parameters, inputs)
    own = ModelCost(
        time.perf_counter() - started, time.thread_time() - cpu_started, result.model_calls
    )
    total = sum(_model_costs(warehouse, run, ids, signal), own)
    version = {
        "signal_id": signal_id,
        "signal": signal.spec.name,
        "scope": signal.spec.scope,
        "parameters": canonical_json(_parameters(run, signal)),
        "model_fingerprint": ", ".join(_models(run, ids, signal, fingerprint)),
        "orientation": signal.spec.orientation,
        "revision": signal.spec.revision,
        "seconds": total.seconds,
        "cpu_seconds": total.cpu_seconds,
        "gpu_seconds": 0.0,
        "model_calls": total.model_calls,
    }
    _store(warehouse, result, documents["document_id"], version, snapshot_id)


def _store(
    warehouse: Warehouse,
    result: SignalResult,
    document_ids: pa.ChunkedArray,
    version: dict[str, object],
    snapshot_id: str,
) -> None:
    rows = {
        "signal_id": pa.array([version["signal_id"]] * len(document_ids), pa.string()),
        "snapshot_id": pa.array([snapshot_id] * len(document_ids), pa.string()),
        "document_id": document_ids,
        "value": pa.array(result.values),
    }
    with warehouse.transaction() as cursor:
        known = cursor.execute(
            "select count(*) from signal_versions where signal_id = $signal_id",
            {"signal_id": version["signal_id"]},
        ).fetchall()[0][0]
        if not known:
            append(cursor, "signal_versions", pa.Table.from_pylist([version]))
        append(cursor, "signals", pa.table(rows))
        key = {"signal_id": version["signal_id"], "snapshot_id": snapshot_id}
        cursor.execute(
            "delete from signal_details "
            "where signal_id = $signal_id and snapshot_id = $snapshot_id",
            key,
        )
        details = {**key, "details": canonical_json(dict(result.details))}
        append(cursor, "signal_details", pa.Table.from_pylist([details]))


def _parameters(run: RunContext, signal: ConfiguredSignal) -> dict[str, object]:
    """Return a signal's parameters and, where a model was asked, who it was and the prompt."""
    parameters: dict[str, object] = signal.parameters.model_dump(mode="json")
    if "answers" in signal.needs and run.config.ask_llm is not None:
        parameters["asked"] = answering(run.config.ask_llm, root=Path(run.root)).described()
    return parameters


def _subsets(run: RunContext) -> dict[str, object]:
    """Return which part of a bank datamodels are fitted to."""
    chosen = run.config.influence.datamodels
    return {"subsets": chosen.subsets, "seeds": chosen.seeds}


def _models(run: RunContext, ids: SnapshotIds, signal: ConfiguredSignal, own: str) -> list[str]:
    """Return which models, and how, gave what a signal reads, and its own where it has one."""
    models = ids.models
    read = [
        *(models.losses if signal.needs & set(PARTS) else ()),
        *(models.generations if "generations" in signal.needs else ()),
        *([models.scorer] if "answers" in signal.needs else ()),
        *(model_ids(run, models.trained) if signal.needs & DERIVES else ()),
    ]
    return [*read, own] if own != NO_MODEL or not read else read


def _model_costs(
    warehouse: Warehouse, run: RunContext, ids: SnapshotIds, signal: ConfiguredSignal
) -> list[ModelCost]:
    """Return a signal's share of what models have cost: signals that read the same share evenly."""
    models = ids.models
    paid: dict[Need, tuple[Sequence[str], str]] = {
        **{need: (models.losses, part) for need, part in PARTS.items()},
        "generations": (models.generations, NO_PART),
        "answers": ([models.scorer], NO_PART),
        "gradients": (models.gradients, NO_PART),
        "steps": (models.steps, NO_PART),
        "retrainings": ([models.bank], NO_PART),
    }
    every = [each.needs for each in configured_signals(run.config)]
    shares = [
        cost_of(warehouse, measured_ids, part).shared(sum(need in needs for needs in every))
        for need, (measured_ids, part) in paid.items()
        if need in signal.needs
    ]
    if signal.needs & READS_MODEL:
        readers = sum(bool(needs & READS_MODEL) for needs in every)
        shares.append(training_cost(warehouse, models.trained).shared(readers))
    return shares
