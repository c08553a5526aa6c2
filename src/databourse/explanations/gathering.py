"""The story of a document, gathered from the tables of a warehouse."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

from databourse.config import RefreshConfig
from databourse.errors import (
    ConfigError,
    IntegrityError,
    ManifestError,
    UnknownNameError,
    nearest_names,
)
from databourse.explanations.counterfactual import signal_to_order
from databourse.explanations.outlook import Market, Position, Spending, change_of
from databourse.explanations.reasons import reason_in_words
from databourse.explanations.story import (
    Arrival,
    Change,
    DocumentFacts,
    Explanation,
    Price,
    PublishedIn,
    Rejection,
    Representative,
    Represented,
    Represents,
    RunFacts,
    SignalPart,
    Topic,
)
from databourse.manifests.folders import withdrawal_name
from databourse.warehouse.reading import WarehouseReader, open_for_reading

EXCERPT_CHARACTERS = 400

_ID_CHARACTERS = 32
_LEAST_ID_CHARACTERS = 6
_LISTED_IDS = 5
_LISTED_DUPLICATES = 5

_STOOD_FOR = {"near_duplicate", "semantic_duplicate"}

Row = dict[str, Any]


def explain_document(
    config: RefreshConfig,
    warehouse_path: Path,
    asked: str,
    *,
    version: int | None = None,
    manifests_path: Path | None = None,
) -> Explanation:
    """Return the story of a document of a pool.

    Args:
        config: of the pool; says which pool, and what DuckDB may use.
        warehouse_path: folder of the warehouse.
        asked: a document_id, the beginning of one (at least 6 hex digits), or a locator.
        version: published version whose run is spoken of; None for the latest completed run that
            priced the document, else the latest that saw it.
        manifests_path: folder of the published manifests, where what was withdrawn since the last
            run is seen; None believes the tables.

    Raises:
        ConfigError: nothing, or more than one document, answers to `asked`; or there is no
            warehouse or no such pool.
        ManifestError: there is no such version.
        WarehouseLockedError: a refresh is writing the warehouse.
        IntegrityError: the warehouse is damaged or of another layout.
    """
    compute = config.compute
    with open_for_reading(
        warehouse_path, threads=compute.threads, memory_limit=compute.memory_limit
    ) as reader:
        runs = _runs(reader, config.pool)
        run = None if version is None else _run_of_version(runs, config.pool, version)
        found = _find(reader, config.pool, asked, runs, run)
        story = _story(reader, config.pool, asked, runs, found)
    if manifests_path is None:
        return story
    return replace(story, published=_as_of_now(story.published, manifests_path / config.pool))


@dataclass(frozen=True)
class _Found:
    """What was asked for, and the run to speak of."""

    document_id: str | None
    locator: str | None
    run: Row | None


def _runs(reader: WarehouseReader, pool: str) -> list[Row]:
    """Return the runs of the pool, the latest first."""
    runs = reader.rows("stg_pool__runs", pool=pool)
    if not runs:
        pools = [row["pool"] for row in reader.rows("stg_runs__pools")]
        raise UnknownNameError("pool", pool, pools, where=f"the warehouse {reader.root}")
    return runs


def _run_of_version(runs: Sequence[Row], pool: str, version: int) -> Row:
    """Return the run that published a version: the first that held it."""
    of_version = [run for run in runs if run["version"] == version]
    if not of_version:
        known = sorted({run["version"] for run in runs if run["version"] is not None})
        there = f"it has {', '.join(map(str, known))}" if known else "nothing was published yet"
        raise ManifestError(f"pool {pool} has no version {version}; {there}")
    return of_version[-1]


def _find(
    reader: WarehouseReader, pool: str, asked: str, runs: Sequence[Row], run: Row | None
) -> _Found:
    if re.fullmatch(rf"[0-9a-fA-F]{{{_LEAST_ID_CHARACTERS},{_ID_CHARACTERS}}}", asked):
        document_id = _starting_with(reader, asked.lower())
        if document_id is not None:
            return _Found(document_id, None, run or _run_to_tell(reader, pool, runs, document_id))
    return _at_place(reader, pool, asked, runs, run)


def _starting_with(reader: WarehouseReader, prefix: str) -> str | None:
    if reader.rows("stg_document__facts", document_id=prefix):
        return prefix
    rows = reader.rows("stg_documents__starting", prefix=prefix, most_rows=_LISTED_IDS + 1)
    if len(rows) > 1:
        ids = [row["document_id"] for row in rows]
        more = " and more" if len(ids) > _LISTED_IDS else ""
        raise ConfigError(
            f"{prefix!r} begins several document ids: {', '.join(ids[:_LISTED_IDS])}{more}; "
            "give more digits"
        )
    return rows[0]["document_id"] if rows else None


def _run_to_tell(
    reader: WarehouseReader, pool: str, runs: Sequence[Row], document_id: str
) -> Row | None:
    """Return the latest completed run that priced a document, else the latest that saw it."""
    latest = next((run for run in runs if run["status"] == "completed"), None)
    if latest is not None and reader.rows(  # the usual case, without a pass over all runs
        "stg_document__prices",
        run_id=latest["run_id"],
        document_id=document_id,
        topics_id=None,
    ):
        return latest
    seen = reader.rows("stg_document__runs", document_id=document_id)
    here = {row["run_id"]: row["is_priced"] for row in seen if row["pool"] == pool}
    if seen and not here:
        pools = sorted({row["pool"] for row in seen})
        raise ConfigError(
            f"document {document_id} was never seen in pool {pool}, but in {', '.join(pools)}; "
            "give the config of that pool"
        )
    in_pool = [run for run in runs if run["run_id"] in here]
    # Stable: among equals the latest stays first.
    in_pool.sort(key=lambda run: (run["status"] != "completed", not here[run["run_id"]]))
    return in_pool[0] if in_pool else None


def _at_place(
    reader: WarehouseReader, pool: str, asked: str, runs: Sequence[Row], run: Row | None
) -> _Found:
    decided = reader.rows("stg_locator__decisions", pool=pool, locator=asked)
    if not decided:
        raise ConfigError(_nothing_answers(reader, pool, asked, runs))
    run_id = decided[0]["run_id"] if run is None else run["run_id"]
    here = [row for row in decided if row["run_id"] == run_id]
    if not here:
        raise ConfigError(
            f"run {run_id} did not read {asked}; the latest that did is {decided[0]['run_id']}: "
            "ask without --version"
        )
    ids = list(dict.fromkeys(row["document_id"] for row in here if row["document_id"] is not None))
    if len(ids) > 1:
        raise ConfigError(
            f"sources read different documents from {asked}: {', '.join(ids[:_LISTED_IDS])}; "
            "ask for one of these"
        )
    told = next(each for each in runs if each["run_id"] == run_id)
    return _Found(ids[0] if ids else None, asked, told)


def _nothing_answers(reader: WarehouseReader, pool: str, asked: str, runs: Sequence[Row]) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{1,5}", asked):
        return f"{asked!r} is too short for a document id; give at least 6 of its 32 digits"
    uris = [row["uri"] for row in reader.rows("stg_run__files", run_id=runs[0]["run_id"])]
    file = asked.rpartition("#")[0]
    if file in uris:
        return f"no row {asked} was decided on in pool {pool}; rows of a file count from #0"
    if re.fullmatch(r"[0-9a-fA-F]+", asked):
        return (
            f"document {asked} was never seen in pool {pool}; ids are in the documents-*.parquet "
            "of its manifests, and a row that was read answers to its place, such as "
            f"{uris[0] if uris else 'data/a.jsonl'}#0"
        )
    near = nearest_names(file or asked, uris) if uris else "no file was read yet"
    return (
        f"nothing in pool {pool} answers to {asked!r}: it is neither a document_id (6 to 32 hex "
        f"digits) nor the place of a row (file#number); among the files read: {near}"
    )


def _story(
    reader: WarehouseReader, pool: str, asked: str, runs: Sequence[Row], found: _Found
) -> Explanation:
    run_id = None if found.run is None else found.run["run_id"]
    latest = next((run for run in runs if run["status"] == "completed"), None)
    run = None if found.run is None else _run_facts(found.run, latest)
    if found.document_id is None:
        return _story_of_rejection(reader, pool, asked, run, str(found.locator))
    document_id = found.document_id
    arrivals: tuple[Arrival, ...] = ()
    if run_id is not None:
        arrivals = _arrivals(reader, run_id, document_id, found.locator)
    speaking = _speaking(arrivals)
    asked_row = next((each for each in arrivals if each.is_asked), speaking)
    tale = _market_tale(reader, found.run, document_id, speaking)
    outcome, reason = _outcome(asked_row)
    representative = _representative(reader, run_id, speaking)
    return Explanation(
        pool=pool,
        asked=asked,
        outcome=outcome,
        reason=reason,
        summary=_summary(run, asked_row, speaking, tale, representative),
        run=run,
        document=_document_facts(reader, found.run, document_id, arrivals, tale),
        rejections=(),
        arrivals=arrivals,
        representative=representative,
        represents=_represents(reader, run_id, document_id, arrivals, speaking),
        topic=tale.topic,
        signals=tale.signals,
        price=tale.price,
        change=tale.change,
        published=_published(reader, pool, document_id),
        notes=_notes(reader, run, latest, document_id, tale),
    )


def _story_of_rejection(
    reader: WarehouseReader, pool: str, asked: str, run: RunFacts | None, locator: str
) -> Explanation:
    rows = reader.rows("stg_locator__rejections", run_id=run.run_id if run else "", locator=locator)
    rejections = tuple(
        Rejection(
            source=row["source"],
            locator=locator,
            reason=row["reason"],
            words=reason_in_words(row["reason"]),
            detail=row["detail"],
            excerpt=row["excerpt"],
        )
        for row in rows
    )
    reason = rejections[0].reason if rejections else None
    why = f": {reason_in_words(reason)}" if reason else ""
    return Explanation(
        pool=pool,
        asked=asked,
        outcome="quarantined",
        reason=reason,
        summary=f"never became a document{why}",
        run=run,
        document=None,
        rejections=rejections,
        arrivals=(),
        representative=None,
        represents=None,
        topic=None,
        signals=(),
        price=None,
        change=None,
        published=(),
        notes=(),
    )


def _run_facts(run: Row, latest: Row | None) -> RunFacts:
    return RunFacts(
        run_id=run["run_id"],
        status=run["status"],
        started_at=_moment(run["started_at"]),
        version=run["version"],
        is_latest=latest is None or latest["started_at"] <= run["started_at"],
    )


def _moment(value: datetime) -> str:
    return f"{value.isoformat(timespec='seconds')}Z"


def _arrivals(
    reader: WarehouseReader, run_id: str, document_id: str, locator: str | None
) -> tuple[Arrival, ...]:
    rows = reader.rows("stg_document__arrivals", run_id=run_id, document_id=document_id)
    return tuple(
        Arrival(
            source=row["source"],
            locator=row["locator"],
            label=row["label"],
            metadata=_json(row["metadata"]),
            stage=row["stage"],
            outcome=row["outcome"],
            reason=row["reason"],
            words=reason_in_words(row["reason"]) if row["reason"] else "the run ended before",
            similarity=row["value"] if row["representative_id"] else None,
            representative_id=row["representative_id"],
            is_asked=row["locator"] == locator,
        )
        for row in rows
    )


def _json(text: str | None) -> JsonValue:
    value: JsonValue = None if text is None else json.loads(text)
    return value


def _speaking(arrivals: Sequence[Arrival]) -> Arrival | None:
    """Return the row that speaks for the document: what became of it became of the document."""
    return next(
        (each for each in arrivals if each.reason not in {"exact_duplicate", "no_tokens"}),
        arrivals[0] if arrivals else None,
    )


def _outcome(row: Arrival | None) -> tuple[str, str | None]:
    if row is None:
        return "absent", None
    return row.outcome or "undecided", row.reason


@dataclass(frozen=True)
class _Tale:
    """What the market of the run said; all empty where the document was not priced."""

    tokenizer_id: str | None = None
    topic: Topic | None = None
    signals: tuple[SignalPart, ...] = ()
    price: Price | None = None
    change: Change | None = None


def _market_tale(
    reader: WarehouseReader, run: Row | None, document_id: str, speaking: Arrival | None
) -> _Tale:
    if run is None:
        return _Tale()
    run_id = run["run_id"]
    selections = reader.rows("stg_run__selections", run_id=run_id)
    selection = selections[0] if selections else None
    tokenizer_id = selection["tokenizer_id"] if selection else None
    topics_id = selection["topics_id"] if selection else None
    priced = reader.rows(
        "stg_document__prices", run_id=run_id, document_id=document_id, topics_id=topics_id
    )
    if not priced or selection is None:
        return _Tale(tokenizer_id)
    row = priced[0]
    pool = reader.rows(
        "int_prices_ranked",
        run_id=run_id,
        price_rank=row["price_rank"],
        budget_kind=selection["budget_kind"],
    )[0]
    spending = _spending(run, selection)
    position = _position(row, speaking)
    walked = _walked(reader, run_id, position, spending) if spending.is_plain else {}
    market = Market(
        mass=row["mass"],
        liquidity=row["liquidity"],
        total_tokens=pool["tokens"],
        cost_to_rank=pool["cost_to_rank"],
        needed_log_price_per_token=walked.get("needed_log_price_per_token"),
        left_at_turn=walked.get("left_at_turn"),
        longest_tokens=walked.get("longest_tokens"),
    )
    change = change_of(position, market, spending)
    return _Tale(
        tokenizer_id=tokenizer_id,
        topic=_topic(row),
        signals=_signals(reader, run_id, selection, row, change),
        price=_price(row, selection, pool["n_documents"]),
        change=change,
    )


def _spending(run: Row, selection: Row) -> Spending:
    """Return how the run spent its budget, from the config that it ran under."""
    config = yaml.safe_load(run["config_text"]) or {}
    chosen = config.get("selection") or {}
    prior = (config.get("market") or {}).get("prior", "uniform")
    return Spending(
        kind=selection["budget_kind"],
        limit=selection["limit_cost"],
        length_bias=selection["length_bias"],
        margin=selection["marginal_log_price_per_token"],
        rule=chosen.get("rule", "skip"),
        is_sample=chosen.get("method", "greedy") == "sample",
        is_guarded=bool(chosen.get("best_single")),
        diversity=float(chosen.get("diversity") or 0.0),
        has_limits=any(
            chosen.get(key) for key in ("topic_floor", "topic_cap", "source_floor", "source_cap")
        ),
        opens_by_tokens=prior == "tokens",
    )


def _position(row: Row, speaking: Arrival | None) -> Position:
    return Position(
        log_price=row["log_price"],
        log_price_per_token=row["log_price_per_token"],
        tokens=row["tokens"],
        price_rank=row["price_rank"],
        is_selected=row["is_selected"],
        reason=(speaking.reason if speaking else None) or "",
        inclusion_probability=row["inclusion_probability"],
    )


def _walked(reader: WarehouseReader, run_id: str, position: Position, spending: Spending) -> Row:
    rows = reader.rows(
        "int_purchases_walked",
        run_id=run_id,
        rule=spending.rule,
        budget_kind=spending.kind,
        limit_cost=spending.limit,
        price_rank=position.price_rank,
        tokens=position.tokens,
        log_price=position.log_price,
        length_bias=spending.length_bias,
    )
    return rows[0] if rows else {}


def _topic(row: Row) -> Topic:
    return Topic(
        name=row["topic"],
        n_documents=row["n_documents"],
        mass=row["mass"],
        liquidity=row["liquidity"],
        effective_sample_size=row["effective_sample_size"],
        similarity=row["similarity"],
    )


def _signals(
    reader: WarehouseReader, run_id: str, selection: Row, priced: Row, change: Change
) -> tuple[SignalPart, ...]:
    contributions = dict(priced["contributions"])
    rows = reader.rows(
        "stg_document__signals",
        run_id=run_id,
        snapshot_id=selection["snapshot_id"],
        document_id=priced["document_id"],
        topic=priced["topic"],
        signal_ids=selection["signal_ids"],
    )
    ranges = {
        row["signal_id"]: row
        for row in reader.rows(
            "stg_document__signal_ranges",
            topics_id=selection["topics_id"],
            topic=priced["topic"],
            snapshot_id=selection["snapshot_id"],
            signal_ids=selection["signal_ids"],
        )
    }
    return tuple(
        _signal(row | ranges.get(row["signal_id"], {}), contributions, change) for row in rows
    )


def _signal(row: Row, contributions: Mapping[str, float], change: Change) -> SignalPart:
    value, mean, spread = row["signal_value"], row["mean"], row["spread"]
    is_known = value is not None and spread is not None
    log_price = contributions.get(row["signal"])
    needed = None
    if is_known and change.shares is not None:
        needed = signal_to_order(
            change.shares, value=value, spread=spread, shares_per_spread=row["shares_per_spread"]
        )
    return SignalPart(
        signal=row["signal"],
        signal_id=row["signal_id"],
        scope=row["scope"],
        value=value,
        mean=mean,
        spread=spread,
        lowest=row.get("lowest"),
        highest=row.get("highest"),
        z=((value - mean) / spread if spread > 0 else 0.0) if is_known else None,
        shares_per_spread=row["shares_per_spread"],
        log_price=log_price,
        factor=None if log_price is None else _factor(log_price),
        needed_value=needed,
    )


def _factor(log_ratio: float) -> float:
    """Return exp of a log ratio; infinite where that overflows."""
    return math.exp(log_ratio) if log_ratio < 709 else math.inf


def _price(row: Row, selection: Row, n_documents: int) -> Price:
    log_price = row["log_price"]
    topic_part = competition = None
    if row["mass"]:
        topic_part = math.log(row["mass"] * n_documents / row["n_documents"])
        average = -math.log(n_documents)
        signals = math.fsum(value for _, value in row["contributions"])
        competition = log_price - average - topic_part - signals
    margin = selection["marginal_log_price_per_token"]
    return Price(
        log_price=log_price,
        share_of_pool=math.exp(log_price),
        times_average=_factor(log_price + math.log(n_documents)),
        topic_log_price=topic_part,
        competition_log_price=competition,
        tokens=row["tokens"],
        length_bias=selection["length_bias"],
        log_price_per_token=row["log_price_per_token"],
        price_rank=row["price_rank"],
        n_documents=n_documents,
        margin_log_price_per_token=margin,
        log_above_margin=None if margin is None else row["log_price_per_token"] - margin,
        is_selected=row["is_selected"],
        weight=row["weight"],
        inclusion_probability=row["inclusion_probability"],
    )


def _representative(
    reader: WarehouseReader, run_id: str | None, speaking: Arrival | None
) -> Representative | None:
    """Return what became of the document that stands for a near or semantic duplicate."""
    if run_id is None or speaking is None or speaking.reason not in _STOOD_FOR:
        return None
    document_id = str(speaking.representative_id)
    row = _speaking(_arrivals(reader, run_id, document_id, None))
    priced = reader.rows(
        "stg_document__prices", run_id=run_id, document_id=document_id, topics_id=None
    )
    return Representative(
        document_id=document_id,
        similarity=speaking.similarity,
        outcome=row.outcome if row else None,
        reason=row.reason if row else None,
        words=row.words if row else "the run ended before",
        price_rank=priced[0]["price_rank"] if priced else None,
    )


def _represents(
    reader: WarehouseReader,
    run_id: str | None,
    document_id: str,
    arrivals: Sequence[Arrival],
    speaking: Arrival | None,
) -> Represents | None:
    if run_id is None or speaking is None or speaking.outcome not in {"selected", "left"}:
        return None
    rows = reader.rows(
        "stg_document__duplicates",
        run_id=run_id,
        document_id=document_id,
        most_rows=_LISTED_DUPLICATES,
    )
    return Represents(
        exact_rows=sum(each.reason == "exact_duplicate" for each in arrivals),
        near_documents=rows[0]["n_documents"] if rows else 0,
        first=tuple(Represented(row["document_id"], row["similarity"]) for row in rows),
    )


def _document_facts(
    reader: WarehouseReader,
    run: Row | None,
    document_id: str,
    arrivals: Sequence[Arrival],
    tale: _Tale,
) -> DocumentFacts:
    facts = reader.rows("stg_document__facts", document_id=document_id)[0]
    rows = []
    if run is not None:
        rows = reader.rows("stg_document__pool_rows", run_id=run["run_id"], document_id=document_id)
    speaking = _speaking(arrivals)
    row: Row = rows[0] if rows else {}
    excerpt = problem = None
    try:
        excerpt = reader.text(document_id)[:EXCERPT_CHARACTERS]
    except IntegrityError as error:
        problem = str(error)
    return DocumentFacts(
        document_id=document_id,
        characters=facts["characters"],
        tokens=row.get("tokens"),
        tokenizer_id=tale.tokenizer_id,
        source=row.get("source", speaking.source if speaking else None),
        locator=row.get("locator", speaking.locator if speaking else None),
        label=row.get("label", speaking.label if speaking else None),
        metadata=_json(row.get("metadata")),
        prompt_characters=row.get("prompt_characters"),
        excerpt=excerpt,
        excerpt_problem=problem,
    )


def _published(reader: WarehouseReader, pool: str, document_id: str) -> tuple[PublishedIn, ...]:
    rows = reader.rows("stg_document__versions", pool=pool, document_id=document_id)
    return tuple(
        PublishedIn(
            version=row["version"],
            manifest_id=row["manifest_id"],
            status=row["status"],
            run_id=row["run_id"],
            price_rank=row["price_rank"],
            published_at=_moment(row["published_at"]),
        )
        for row in rows
    )


def _notes(
    reader: WarehouseReader,
    run: RunFacts | None,
    latest: Row | None,
    document_id: str,
    tale: _Tale,
) -> tuple[str, ...]:
    notes = []
    if run is not None and run.status != "completed" and run.version is None:
        notes.append(f"run {run.run_id} is {run.status}: it decided on part of its rows at most")
    if run is not None and latest is not None and not run.is_latest:
        then = _speaking(_arrivals(reader, latest["run_id"], document_id, None))
        if then is None:
            became = "its sources no longer hold the document"
        else:
            became = f"there it was {then.outcome or 'undecided'}: {then.words}"
        notes.append(f"the latest completed run is {latest['run_id']}; {became}")
    if tale.topic is not None and tale.topic.mass is None:
        notes.append("the books of this run's market were not kept, so its parts cannot be shown")
    return tuple(notes)


def _summary(
    run: RunFacts | None,
    asked: Arrival | None,
    speaking: Arrival | None,
    tale: _Tale,
    representative: Representative | None,
) -> str:
    if run is None:
        return "read, but no run that read it went on to decide on it"
    if asked is None or speaking is None:
        return "not among the rows that this run read"
    if asked.outcome is None:
        return f"the run ({run.status}) ended before anything was decided on it"
    if asked is not speaking and asked.reason == "exact_duplicate":
        return (
            f"this row repeats {speaking.locator} word for word; the document was "
            f"{speaking.outcome}: {_fate(speaking, tale, representative)}"
        )
    return _fate(speaking, tale, representative)


def _fate(row: Arrival, tale: _Tale, representative: Representative | None) -> str:
    if representative is not None:
        became = representative.outcome or "undecided"
        rank = f" at rank {representative.price_rank:,}" if representative.price_rank else ""
        return (
            f"{representative.document_id} stands for it "
            f"(similarity {representative.similarity:.3f}), which was {became}{rank}"
        )
    price, change = tale.price, tale.change
    if price is None or change is None:
        return row.words
    place = f"rank {price.price_rank:,} of {price.n_documents:,}"
    if row.reason == "did_not_fit" and change.left_at_turn is not None:
        cost = 1 if change.budget_unit == "documents" else price.tokens
        return (
            f"at its turn, {place}, it cost {cost:,} and {change.left_at_turn:,} of "
            f"{change.limit:,} {change.budget_unit} were left"
        )
    return f"{row.words}, {place}"


def _as_of_now(published: Sequence[PublishedIn], pool: Path) -> tuple[PublishedIn, ...]:
    """Return the versions with what the folder says of them: the tables follow at the next run."""
    return tuple(
        replace(each, status="withdrawn")
        if (pool / withdrawal_name(each.version)).exists()
        else each
        for each in published
    )
