"""The report of a staged manifest: what the warehouse knows, in the form that pages are made of."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.config import config_yaml
from databourse.manifests import StagedManifest, add_file, next_version, recent_manifests
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.enforcement import contract_results
from databourse.refresh.ledger import dropped_by_stage, funnel
from databourse.refresh.pricing import MarketReport
from databourse.refresh.stage_profile import stage_timings
from databourse.reports import data
from databourse.reports.decontamination import (
    ComparedSet,
    FoundLeaks,
    decontamination_section,
)
from databourse.reports.markdown import summary_markdown
from databourse.reports.measures import example_ids
from databourse.reports.page import render_report
from databourse.reports.sweep import sweep_section
from databourse.reports.training import FoldTraining, LossPoint, training_section
from databourse.reports.watching import PublishedVersion, lowest
from databourse.reports.wealth import wealth_section
from databourse.topics.keywords import topic_keywords
from databourse.warehouse.store import Warehouse

REPORT_FILE = "report.html"
_EXAMPLE_BATCH = 100
_KEYWORD_DOCUMENTS = 100
_SHOWN_VERSIONS = 30


def report_inputs(
    warehouse: Warehouse,
    run: RunContext,
    staged: StagedManifest,
    market: MarketReport,
    *,
    signal_ids: Sequence[str],
    snapshot_id: str,
    stages: Sequence[StageReport],
    created_at: datetime,
    trained: Sequence[str] = (),
) -> data.ReportInputs:
    """Return everything that the report of a staged manifest shows.

    Args:
        warehouse: that the run has written.
        run: the run.
        staged: its manifest.
        market: what was traded and bought.
        signal_ids: of the traders.
        snapshot_id: of the candidates.
        stages: that are done.
        created_at: printed on the page.
        trained: fingerprints of the reference models; none if no such model scored documents.
    """
    priced = warehouse.rows("stg_run__prices", {"run_id": run.run_id})
    traders = tuple(market.weights)
    budget = run.config.budget
    return data.ReportInputs(
        pool=run.pool,
        version=next_version(staged),
        manifest_id=staged.draft.manifest_id,
        run_id=run.run_id,
        created_at=f"{created_at:%Y-%m-%d %H:%M} UTC",
        config_text=config_yaml(run.config),
        budget=data.Budget(budget.kind, budget.amount),
        spent_tokens=staged.draft.spent.tokens,
        spent_documents=staged.draft.spent.documents,
        funnel=funnel(warehouse, run.run_id),
        dropped=dropped_by_stage(warehouse, run.run_id),
        priced=priced.rename_columns({"price_rank": "rank"}),
        traders=tuple(data.Trader(name, market.weights[name]) for name in traders),
        contributions=_contributions(priced, traders),
        signals=_signals(warehouse, priced, traders, signal_ids, snapshot_id),
        topics=_topics(staged, market, _keywords(warehouse, priced)),
        texts=_example_texts(warehouse, priced),
        signal_versions=signal_versions(warehouse, signal_ids, snapshot_id),
        stages=stage_timings(stages),
        contracts=_contracts(stages),
        sections=(
            sweep_section(market.sweep, budget=market.limit, unit=_unit(run)),
            *_wealth_sections(warehouse, run, market),
            *decontamination_sections(staged),
            *training_sections(warehouse, run, trained),
        ),
    )


def _unit(run: RunContext) -> str:
    return "documents" if run.config.budget.kind == "documents" else "tokens"


def write_page(staged: StagedManifest, inputs: data.ReportInputs) -> None:
    """Write the page into the staging folder; it is published and sealed with the manifest."""
    add_file(staged, REPORT_FILE, render_report(inputs).encode("utf-8"))


def write_summary(inputs: data.ReportInputs) -> str:
    """Return the Markdown that the run's artifact shows."""
    return summary_markdown(inputs)


def published_versions(run: RunContext) -> list[PublishedVersion]:
    """Return the last versions of the run's pool, oldest first."""
    return [
        PublishedVersion(
            version=f"{info.version}",
            published_at=f"{info.created_at:%Y-%m-%d %H:%M} UTC",
            documents=info.spent.documents,
            tokens=info.spent.tokens,
            margin=lowest([topic.marginal_log_price_per_token for topic in info.topics]),
            weights=info.market.weights,
        )
        for info in recent_manifests(run.manifests_path / run.pool, _SHOWN_VERSIONS)
    ]


def _contributions(priced: pa.Table, traders: Sequence[str]) -> NDArray[np.float64]:
    columns = [
        pa.compute.map_lookup(priced["contributions"], query_key=name, occurrence="first")
        for name in traders
    ]
    return np.column_stack([column.to_numpy() for column in columns])


def _signals(
    warehouse: Warehouse,
    priced: pa.Table,
    traders: Sequence[str],
    signal_ids: Sequence[str],
    snapshot_id: str,
) -> NDArray[np.float64]:
    """Return raw signals, one row per priced document, one column per trader."""
    wanted = {"signal_ids": list(signal_ids), "snapshot_id": snapshot_id}
    table = warehouse.rows("stg_signals__values", wanted)
    rows = pa.compute.index_in(table["document_id"], value_set=priced["document_id"])
    columns = pa.compute.index_in(table["trader"], value_set=pa.array(traders))
    result = np.empty((priced.num_rows, len(traders)))
    result[rows.to_numpy(), columns.to_numpy()] = table["signal_value"].to_numpy()
    return result


def _keywords(warehouse: Warehouse, priced: pa.Table) -> dict[str, str]:
    """Return a few words that tell each topic from the others, from a sample in key order."""
    topics = dict(zip(priced["document_id"].to_pylist(), priced["topic"].to_pylist(), strict=True))
    seen: Counter[str] = Counter()
    sample = []
    for document_id, topic in topics.items():
        seen[topic] += 1
        if seen[topic] <= _KEYWORD_DOCUMENTS:
            sample.append(document_id)
    texts: dict[str, list[str]] = defaultdict(list)
    for batch in warehouse.texts_of(pa.array(sample), batch_documents=_EXAMPLE_BATCH):
        for row in batch.to_pylist():
            texts[topics[row["document_id"]]].append(row["text"])
    return {topic: ", ".join(words) for topic, words in topic_keywords(texts).items()}


def _topics(
    staged: StagedManifest, market: MarketReport, descriptions: dict[str, str]
) -> tuple[data.TopicRow, ...]:
    books = {topic.topic: topic for topic in market.topics}
    return tuple(
        data.TopicRow(
            topic=each.topic,
            documents=each.candidate_documents,
            tokens=each.candidate_tokens,
            selected_documents=each.selected_documents,
            selected_tokens=each.selected_tokens,
            liquidity=each.liquidity,
            mass=each.mass,
            effective_sample_size=each.effective_sample_size,
            entropy=books[each.topic].entropy,
            cost=books[each.topic].cost,
            worst_case_loss=books[each.topic].worst_case_loss,
            marginal_log_price_per_token=each.marginal_log_price_per_token,
            description=descriptions.get(each.topic, ""),
        )
        for each in staged.draft.topics
    )


def _example_texts(warehouse: Warehouse, priced: pa.Table) -> dict[str, str]:
    document_ids = priced["document_id"].to_numpy()
    wanted = example_ids(document_ids, priced["price_rank"].to_numpy())
    batches = warehouse.texts_of(pa.array(sorted(wanted)), batch_documents=_EXAMPLE_BATCH)
    return {row["document_id"]: row["text"] for batch in batches for row in batch.to_pylist()}


def _wealth_sections(
    warehouse: Warehouse, run: RunContext, market: MarketReport
) -> tuple[data.ExtraSection, ...]:
    if market.settlement_id is None:
        return ()
    history = warehouse.rows("stg_pool__wealth", {"pool": run.pool}).to_pylist()
    return (wealth_section(history, settlement_id=market.settlement_id),)


def decontamination_sections(staged: StagedManifest) -> tuple[data.ExtraSection, ...]:
    """Return the section about what was kept out of the pool, if anything was protected."""
    proof = staged.draft.decontamination
    if proof is None:
        return ()
    kinds = proof.self_test.kinds if proof.self_test else ()
    section = decontamination_section(
        [
            ComparedSet(each.name, each.examples, each.examples_found, each.documents_dropped)
            for each in proof.sets
        ],
        [FoundLeaks(each.kind, each.leaks, each.found) for each in kinds],
        documents=proof.documents,
        dropped=proof.dropped,
    )
    return (section,)


def training_sections(
    warehouse: Warehouse, run: RunContext, trained: Sequence[str]
) -> tuple[data.ExtraSection, ...]:
    """Return the section about the reference models, if there are any.

    Args:
        warehouse: that remembers how they were trained.
        run: that shows them; tells what it trained itself.
        trained: their fingerprints.
    """
    if not trained:
        return ()
    table = warehouse.rows("stg_models__curves", {"fingerprints": list(trained)})
    section = training_section([_fold_training(run, row) for row in table.to_pylist()])
    return () if section is None else (section,)


def _fold_training(run: RunContext, row: dict[str, Any]) -> FoldTraining:
    settings = json.loads(row["settings"])
    return FoldTraining(
        fold=row["fold"],
        folds=row["folds"],
        documents=row["documents"],
        curve=tuple(
            LossPoint(point["tokens"], point["train_loss"], point["held_out_loss"])
            for point in json.loads(row["curve"])
        ),
        evaluations=settings["evaluations"],
        patience=settings["patience"],
        seconds=row["seconds"],
        cpu_seconds=row["cpu_seconds"],
        # a model that a killed run left without a record is recorded later, without its time
        is_new=row["run_id"] == run.run_id and row["seconds"] > 0,
    )


def signal_versions(
    warehouse: Warehouse, signal_ids: Sequence[str], snapshot_id: str
) -> tuple[data.SignalVersion, ...]:
    """Return how signals were computed, and what they told about their values."""
    wanted = {"signal_ids": list(signal_ids)}
    table = warehouse.rows("stg_run__signal_versions", wanted)
    found = warehouse.rows(
        "stg_snapshot__signal_details", {**wanted, "snapshot_id": snapshot_id}
    ).to_pylist()
    details = {row["signal_id"]: json.loads(row["details"]) for row in found}
    return tuple(
        _signal_version(row, details.get(row["signal_id"], {})) for row in table.to_pylist()
    )


def _signal_version(row: dict[str, Any], details: Mapping[str, data.Detail]) -> data.SignalVersion:
    parameters = json.loads(row["parameters"])
    return data.SignalVersion(
        signal=row["signal"],
        signal_id=row["signal_id"],
        scope=row["scope"],
        orientation=row["orientation"],
        model=row["model_fingerprint"],
        seconds=row["seconds"],
        cpu_seconds=row["cpu_seconds"],
        gpu_seconds=row["gpu_seconds"],
        model_calls=row["model_calls"],
        parameters=", ".join(f"{key} {value}" for key, value in sorted(parameters.items())),
        details=details,
    )


def _contracts(stages: Sequence[StageReport]) -> tuple[data.ContractResult, ...]:
    return tuple(
        data.ContractResult(
            contract=result["contract"],
            rule=rule["rule"],
            severity=rule["severity"],
            is_passed=rule["success"],
            failing_rows=rule["failing_rows"],
            detail=rule["description"],
        )
        for result in contract_results(stages)
        for rule in result["rules"]
    )
