"""From the documents bought to a published manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, JsonValue, TypeAdapter

from databourse import __version__, manifests
from databourse.config import RefreshConfig, config_digest
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.enforcement import contract_results
from databourse.refresh.ledger import dropped_by_reason
from databourse.refresh.pricing import MarketReport
from databourse.refresh.versions import register_versions
from databourse.warehouse.store import Warehouse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


def stage_selection(
    warehouse: Warehouse,
    run: RunContext,
    ids: SnapshotIds,
    market: MarketReport,
    *,
    signal_ids: Sequence[str],
    now: datetime,
) -> manifests.StagedManifest:
    """Write what was bought as a manifest that no reader sees yet."""
    manifests.sweep_staging(run.manifests_path, run.pool, before=now)
    documents = warehouse.rows("mart_manifest_documents", {"run_id": run.run_id})
    documents = documents.rename_columns({"price_rank": "rank"})
    if run.config.selection.method != "sample":
        documents = documents.drop_columns(["inclusion_probability"])
    if run.config.manifest.include_text:
        documents = _with_text(warehouse, documents, run.config.compute.batch_documents)
    return manifests.stage(
        run.manifests_path,
        _facts(warehouse, run, ids, market, signal_ids=signal_ids, now=now),
        documents,
        shard_rows=run.config.manifest.shard_documents,
    )


def contract_parameters(run: RunContext, staged: manifests.StagedManifest) -> dict[str, object]:
    """Return what the contract of a staged manifest needs to know."""
    budget = staged.draft.budget
    return {
        "path": str(staged.path / "documents-*.parquet"),
        "run_id": run.run_id,
        "limit_tokens": budget.limit_tokens,
        "limit_documents": budget.limit_documents,
    }


def publish_selection(
    warehouse: Warehouse,
    path: str,
    *,
    stages: Sequence[StageReport],
    signing_key: Ed25519PrivateKey | None = None,
    now: datetime,
) -> manifests.Publication:
    """Make a staged manifest the latest version of its pool, if its content is new."""
    staged = manifests.load_staged(Path(path))
    results = contract_results(stages)
    publication = manifests.publish(
        staged,
        contracts=[_contract(result) for result in results],
        validation={"contracts": _json_value(results)},
        published_at=now,
        signing_key=signing_key,
    )
    register_versions(warehouse, publication.path.parent)
    return publication


def abandon_staged(path: str) -> None:
    """Remove a staged manifest that was not published."""
    folder = Path(path)
    if folder.is_dir():
        manifests.abandon(manifests.load_staged(folder))


@dataclass(frozen=True)
class Outcome:
    """What a refresh came to; what `--json` prints."""

    pool: str
    run_id: str
    published: bool
    manifest_id: str
    version: int
    path: str
    report: str
    budget: str
    tokens: int
    documents: int
    candidates: int
    dropped: dict[str, int]


def outcome_of(
    warehouse: Warehouse, run: RunContext, publication: manifests.Publication, *, candidates: int
) -> Outcome:
    """Return what the run came to, for people and programs."""
    amount = run.config.budget.amount
    kind = run.config.budget.kind
    return Outcome(
        pool=run.pool,
        run_id=run.run_id,
        published=publication.published,
        manifest_id=publication.manifest_id,
        version=publication.version,
        path=str(publication.path),
        report=str(publication.path / "report.html"),
        budget=f"{amount:.0%} of the tokens" if kind == "share" else f"{amount:,.0f} {kind}",
        tokens=publication.tokens,
        documents=publication.documents,
        candidates=candidates,
        dropped=dropped_by_reason(warehouse, run.run_id),
    )


def _with_text(warehouse: Warehouse, documents: pa.Table, batch_documents: int) -> pa.Table:
    """Add the texts; both are in key order."""
    wanted = documents["document_id"].combine_chunks()
    batches = warehouse.texts_of(wanted, batch_documents=batch_documents)
    texts = [text for batch in batches for text in batch["text"].to_pylist()]
    return documents.append_column("text", pa.array(texts, pa.large_string()))


def _facts(
    warehouse: Warehouse,
    run: RunContext,
    ids: SnapshotIds,
    market: MarketReport,
    *,
    signal_ids: Sequence[str],
    now: datetime,
) -> manifests.ManifestFacts:
    priced = warehouse.rows("stg_run__prices", {"run_id": run.run_id})
    config = run.config
    return manifests.ManifestFacts(
        pool=run.pool,
        created_at=now,
        run_id=run.run_id,
        databourse_version=__version__,
        config=config.model_dump(mode="json"),
        config_digest=config_digest(config),
        snapshot_id=ids.snapshot_id,
        encoder_id=ids.encoder_id,
        tokenizer=manifests.Tokenizer(id=ids.tokenizer_id, name=config.tokenizer),
        budget=_budget(run, market),
        candidates=manifests.Counts(
            documents=priced.num_rows, tokens=pa.compute.sum(priced["tokens"]).as_py()
        ),
        dropped=dropped_by_reason(warehouse, run.run_id),
        market=manifests.MarketRecord(
            topic_mass=config.model_dump(mode="json")["market"]["topic_mass"],
            liquidity=market.liquidity,
            length_bias=config.selection.length_bias,
            weights=market.weights,
            settlement_id=market.settlement_id,
            prior=_as_configured(config.market.prior),
            traders=_as_configured(config.market.traders),
        ),
        selection=_selection(config),
        board_id=market.board_id,
        signals=_signals(warehouse, signal_ids, market),
        topics=_topics(priced, market),
        sources=_sources(priced, market),
        marginal_log_price_per_token=market.marginal_log_price_per_token,
        decontamination=json.loads(ids.decontamination),
    )


def _selection(config: RefreshConfig) -> manifests.SelectionRecord:
    settings = config.selection.model_dump(mode="json", exclude={"length_bias"})
    return manifests.SelectionRecord(**settings)


def _as_configured(setting: str | BaseModel) -> JsonValue:
    return setting if isinstance(setting, str) else setting.model_dump(mode="json")


def _budget(run: RunContext, market: MarketReport) -> manifests.Budget:
    kind = run.config.budget.kind
    limit = "limit_documents" if kind == "documents" else "limit_tokens"
    return manifests.Budget(kind=kind, amount=run.config.budget.amount, **{limit: market.limit})


def _signals(
    warehouse: Warehouse, signal_ids: Sequence[str], market: MarketReport
) -> tuple[manifests.SignalRecord, ...]:
    rows = warehouse.rows("stg_run__signal_versions", {"signal_ids": list(signal_ids)}).to_pylist()
    return tuple(
        manifests.SignalRecord(
            **{**row, "parameters": json.loads(row["parameters"])},
            weight=market.weights[row["signal"]],
        )
        for row in rows
    )


def _supply(priced: pa.Table, column: str) -> dict[str, tuple[int, int]]:
    """Return documents and tokens for each value of a column."""
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for name, length in zip(priced[column].to_pylist(), priced["tokens"].to_pylist(), strict=True):
        documents[name] += 1
        tokens[name] += length
    return {name: (documents[name], tokens[name]) for name in sorted(documents)}


def _topics(priced: pa.Table, market: MarketReport) -> tuple[manifests.TopicMarket, ...]:
    supply = _supply(priced, "topic")
    return tuple(
        manifests.TopicMarket(
            topic=each.topic,
            candidate_documents=supply[each.topic][0],
            candidate_tokens=supply[each.topic][1],
            mass=each.mass,
            liquidity=each.liquidity,
            effective_sample_size=each.effective_sample_size,
            marginal_log_price_per_token=market.marginal_by_topic[each.topic],
            floor=market.topic_floors.get(each.topic),
            cap=market.topic_caps.get(each.topic),
            cost=each.cost,
            worst_case_loss=each.worst_case_loss,
            entropy=each.entropy,
        )
        for each in market.topics
    )


def _sources(priced: pa.Table, market: MarketReport) -> tuple[manifests.SourceSupply, ...]:
    return tuple(
        manifests.SourceSupply(
            source=name,
            candidate_documents=documents,
            candidate_tokens=tokens,
            floor=market.source_floors.get(name),
            cap=market.source_caps.get(name),
        )
        for name, (documents, tokens) in _supply(priced, "source").items()
    )


def _contract(result: dict[str, Any]) -> manifests.ContractResult:
    warnings = [r for r in result["rules"] if r["severity"] == "warning" and not r["success"]]
    return manifests.ContractResult(
        contract=result["contract"],
        version=result["version"],
        success=result["success"],
        rules=len(result["rules"]),
        failed_warnings=len(warnings),
    )


def _json_value(value: Any) -> JsonValue:  # noqa: ANN401 - what json.loads gave
    return _JSON.validate_python(value)
