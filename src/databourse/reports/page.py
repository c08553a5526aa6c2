"""The report: one self-contained HTML page about one manifest.

For a reader who must defend or understand a training set and did not run the pipeline. It loads
nothing: styles and drawings are inside, there is no script, and a content policy says so.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from databourse.errors import InputError, MissingExtraError
from databourse.reports import findings, measures
from databourse.reports.data import (
    ContractResult,
    Detail,
    ExtraSection,
    FunnelStage,
    ReportInputs,
    SignalVersion,
    StageTiming,
    Table,
    TopicRow,
)
from databourse.reports.measures import Candidates, FloatArray, GroupShare, IntArray
from databourse.reports.plots import PLOT_NAMES, report_plots
from databourse.reports.wording import (
    NONE,
    count,
    counted,
    decimal,
    duration,
    excerpt,
    percent,
    shown_label,
    shown_text,
    signed,
    significant,
    times,
)

if TYPE_CHECKING:
    from jinja2 import Template

EXCERPT_CHARACTERS = 1200
WORDS = (
    ("document", "one training example; the same text has the same id everywhere"),
    ("candidate", "a document that survived dedup and decontamination and was priced"),
    ("topic", "a part of the candidates: a cluster of similar documents, or a given label"),
    (
        "signal, trader",
        "a number per document, larger is more useful; in the market its owner is a trader",
    ),
    ("price", "what the market of all traders asks for a document, as a share of all prices"),
    ("price per token", "the price divided by a power of the length: what the budget is spent by"),
    (
        "part of the log price",
        "what one trader adds to the natural log of a price; +0.69 doubles the price",
    ),
    ("price mass", "the sum of prices; all candidates together have 100\u00a0%"),
    (
        "margin",
        "the log price per token at which the tokens bought run out in strict order of price",
    ),
    ("liquidity", "how many shares it takes to move a price: the larger, the flatter the prices"),
    (
        "effective sample size",
        "how many equally priced documents would be as concentrated as the prices of a topic",
    ),
    ("budget", "tokens (or documents, or a share) that a selection may spend"),
    ("selection", "the documents bought; a manifest is a published selection"),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A small bar from zero; `zero`, `start` and `width` are percentages of its track."""

    label: str
    value: str
    zero: float
    start: float
    width: float
    kind: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the funnel; `width` is a percentage of the largest."""

    stage: str
    count: str
    width: float
    note: str


@dataclass(frozen=True, slots=True)
class Example:
    """One document as the report shows it."""

    rank: str
    document_id: str
    source: str
    topic: str
    tokens: str
    price: str
    against_margin: str
    is_selected: bool
    text: str
    bars: tuple[Bar, ...]


def render_report(inputs: ReportInputs) -> str:
    """Return the page, as UTF-8 ready text; the same inputs give the same bytes.

    Raises:
        InputError: two plots of the page have the same name.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    _check_plot_names(inputs.sections)
    documents = measures.candidates(inputs)
    plots = report_plots(documents)
    page = _template().render(
        inputs=inputs,
        title=page_title(inputs),
        headline=findings.headline(inputs, documents),
        origin=findings.origin(inputs),
        length_rule=findings.length_rule(documents),
        tiles=findings.tiles(inputs, documents),
        things=findings.three_things(inputs, documents),
        watch=findings.watch_list(inputs, documents),
        funnel=funnel_steps(inputs.funnel),
        dropped=dropped_table(inputs),
        plots=plots,
        sources=group_table("Sources", measures.group_shares(documents, documents.source)),
        topics=topic_table(inputs.topics),
        traders=trader_table(inputs, documents),
        variance=variance_bars(documents),
        dearest=example_cards(inputs, documents, measures.example_rows(documents.rank)[0]),
        cheapest=example_cards(inputs, documents, measures.example_rows(documents.rank)[1]),
        signals=signal_table(inputs.signal_versions),
        details=detail_table(inputs.signal_versions),
        parameters=parameter_table(inputs.signal_versions),
        stages=stage_table(inputs.stages),
        contracts=contract_table(inputs.contracts),
        words=WORDS,
    )
    return shown_text(page)


def page_title(inputs: ReportInputs) -> str:
    """Return what the page is about, such as "databourse report: news, version 3"."""
    version = "not yet numbered" if inputs.version is None else f"version {inputs.version}"
    return f"databourse report: {shown_label(inputs.pool)}, {version}"


def funnel_steps(funnel: Sequence[FunnelStage]) -> tuple[Step, ...]:
    """Return the funnel with the length of each bar."""
    largest = max((stage.count for stage in funnel), default=0) or 1
    return tuple(
        Step(
            stage=stage.stage,
            count=counted(stage.count, stage.unit.removesuffix("s")),
            width=round(100 * stage.count / largest, 2),
            note=stage.note,
        )
        for stage in funnel
    )


def dropped_table(inputs: ReportInputs) -> Table:
    """Return what was dropped before pricing, most first, by stage and reason."""
    read = inputs.funnel[0].count if inputs.funnel else 0
    ordered = sorted(inputs.dropped, key=lambda row: (-row.count, row.stage, row.reason))
    rows = tuple(
        (row.stage, row.reason, count(row.count), percent(row.count / read) if read else NONE)
        for row in ordered
    )
    return Table(
        "Dropped before pricing", ("stage", "reason", "dropped", "of all read"), rows, "llrr"
    )


def group_table(caption: str, groups: Sequence[GroupShare]) -> Table:
    """Return documents and tokens per group, before and after."""
    rows = tuple(
        (
            shown_label(row.name, 60),
            count(row.documents),
            count(row.selected_documents),
            count(row.tokens),
            count(row.selected_tokens),
            percent(row.share),
            percent(row.selected_share),
        )
        for row in groups
    )
    columns = (
        "source",
        "candidates",
        "bought",
        "tokens",
        "tokens bought",
        "share before",
        "share after",
    )
    return Table(caption, columns, rows, "lrrrrrr")


def topic_table(topics: Sequence[TopicRow]) -> Table:
    """Return one row per topic, most tokens first."""
    before = sum(row.tokens for row in topics) or 1
    after = sum(row.selected_tokens for row in topics) or 1
    ordered = sorted(topics, key=lambda row: (-row.tokens, row.topic))
    columns = (
        "topic",
        "candidates",
        "bought",
        "tokens",
        "tokens bought",
        "share before",
        "share after",
        "marginal log price per token",
        "liquidity",
        "mass",
        "effective sample size",
        "entropy (nats)",
        "cost",
        "worst-case loss",
    )
    rows = tuple(_topic_cells(row, before, after) for row in ordered)
    return Table(counted(len(topics), "topic").capitalize(), columns, rows, "lrrrrrrrrrrrrr")


def trader_table(inputs: ReportInputs, documents: Candidates) -> Table:
    """Return what each trader weighs and what it did to the price."""
    rows = tuple(
        (
            shown_label(trader.name),
            percent(trader.weight),
            _mean_part(documents.contributions[documents.is_selected, at]),
            _mean_part(documents.contributions[~documents.is_selected, at]),
            _correlation_with_price(documents, at),
        )
        for at, trader in enumerate(inputs.traders)
    )
    columns = (
        "trader",
        "weight",
        "mean part, bought",
        "mean part, left",
        "rank correlation with the log price",
    )
    return Table("Traders", columns, rows, "lrrrr")


def variance_bars(documents: Candidates) -> tuple[Bar, ...]:
    """Return which parts make the differences in price per token, largest first."""
    shares = measures.variance_shares(documents)
    if shares is None:
        return ()
    low = min(0.0, *(share for _, share in shares))
    high = max(0.0, *(share for _, share in shares))
    ordered = sorted(enumerate(shares), key=lambda item: (-item[1][1], item[0]))
    return tuple(
        _bar(name, share, (low, high), _signed_percent(share)) for _, (name, share) in ordered
    )


def example_cards(
    inputs: ReportInputs, documents: Candidates, rows: IntArray
) -> tuple[Example, ...]:
    """Return the documents of some rows, with each part of their price as a bar."""
    limit = measures.margin(documents)
    shown = np.concatenate(measures.example_rows(documents.rank))
    parts = _parts(documents)
    scale = float(np.abs(parts[shown]).max()) or 1.0
    return tuple(
        Example(
            rank=count(int(documents.rank[row])),
            document_id=str(documents.document_id[row]),
            source=shown_label(str(documents.source[row]), 60),
            topic=shown_label(str(documents.topic[row]), 60),
            tokens=counted(int(documents.tokens[row]), "token"),
            price=decimal(float(documents.log_price_per_token[row])),
            against_margin=_against(float(documents.log_price_per_token[row]), limit),
            is_selected=bool(documents.is_selected[row]),
            text=_text_of(inputs, str(documents.document_id[row])),
            bars=_example_bars(documents, parts, int(row), scale),
        )
        for row in rows
    )


def signal_table(versions: Sequence[SignalVersion]) -> Table:
    """Return every signal's version and cost, with a total."""
    rows: list[tuple[str, ...]] = [
        (
            shown_label(row.signal),
            row.signal_id,
            row.scope,
            row.orientation,
            row.model or NONE,
            duration(row.seconds),
            duration(row.cpu_seconds),
            duration(row.gpu_seconds) if row.gpu_seconds else NONE,
            count(row.model_calls),
        )
        for row in versions
    ]
    if len(versions) > 1:
        rows.append(_signal_total(versions))
    columns = (
        "signal",
        "version",
        "scope",
        "orientation",
        "model",
        "time",
        "CPU time",
        "GPU time",
        "model calls",
    )
    return Table("Signals and their cost", columns, tuple(rows), "lllllrrrr")


def detail_table(versions: Sequence[SignalVersion]) -> Table:
    """Return what every signal that has something to say tells about its values."""
    rows = tuple(
        (
            shown_label(row.signal),
            ", ".join(
                f"{_in_words(key)}\u00a0{_detail(value)}" for key, value in row.details.items()
            ),
        )
        for row in versions
        if row.details
    )
    return Table("How the values came about", ("signal", "what it found"), rows, "ll")


def parameter_table(versions: Sequence[SignalVersion]) -> Table:
    """Return the parameters of every signal that has some."""
    rows = tuple((shown_label(row.signal), row.parameters) for row in versions if row.parameters)
    return Table("Parameters of the signals", ("signal", "parameters"), rows, "ll")


def stage_table(stages: Sequence[StageTiming]) -> Table:
    """Return rows in, rows out and time of every stage, and the time between them."""
    rows = tuple(
        (
            row.stage,
            NONE if row.rows_in is None else count(row.rows_in),
            NONE if row.rows_out is None else count(row.rows_out),
            duration(row.seconds),
            NONE if row.cpu_seconds is None else duration(row.cpu_seconds),
        )
        for row in stages
    )
    return Table("Stages", ("stage", "rows in", "rows out", "time", "CPU time"), rows, "lrrrr")


def contract_table(contracts: Sequence[ContractResult]) -> Table:
    """Return every rule that was checked, failed ones first."""
    ordered = sorted(
        contracts, key=lambda row: (row.is_passed, row.severity, row.contract, row.rule)
    )
    rows = tuple(
        (
            "passed" if row.is_passed else "FAILED",
            row.contract,
            row.rule,
            row.severity,
            count(row.failing_rows),
            row.detail or NONE,
        )
        for row in ordered
    )
    columns = ("result", "contract", "rule", "severity", "failing rows", "detail")
    return Table("Contracts", columns, rows, "llllrl")


@functools.cache
def _template() -> Template:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "pipeline", "rendering the report") from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("databourse.reports").joinpath("report.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _check_plot_names(sections: Sequence[ExtraSection]) -> None:
    names = Counter(plot.name for section in sections for plot in section.plots)
    repeated = [
        name for name, times_used in (names + Counter(PLOT_NAMES)).items() if times_used > 1
    ]
    if repeated:
        raise InputError(f"every plot of a page needs its own name, got {repeated} more than once")


def _in_words(key: str) -> str:
    return shown_label(key.replace("_", " "))


def _detail(value: Detail) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case int():
            return count(value)
        case float():
            return significant(value) if math.isfinite(value) else decimal(value)
        case _:
            return shown_label(value, 80)


def _topic_cells(row: TopicRow, before: int, after: int) -> tuple[str, ...]:
    name = shown_label(row.topic, 60)
    marginal = row.marginal_log_price_per_token
    return (
        f"{name}: {shown_label(row.description, 80)}" if row.description else name,
        count(row.documents),
        count(row.selected_documents),
        count(row.tokens),
        count(row.selected_tokens),
        percent(row.tokens / before),
        percent(row.selected_tokens / after),
        NONE if marginal is None else decimal(marginal),
        significant(row.liquidity),
        percent(row.mass),
        decimal(row.effective_sample_size, 1),
        decimal(row.entropy),
        decimal(row.cost),
        decimal(row.worst_case_loss),
    )


def _mean_part(values: FloatArray) -> str:
    mean = measures.mean_or_none(values)
    return NONE if mean is None else signed(mean, 3)


def _correlation_with_price(documents: Candidates, trader: int) -> str:
    value = measures.rank_correlation(documents.contributions[:, trader], documents.log_price)
    return "constant" if value is None else signed(value)


def _signed_percent(share: float) -> str:
    return f"\u2212{percent(-share)}" if share < 0 else percent(share)


def _bar(label: str, value: float, ends: tuple[float, float], text: str, note: str = "") -> Bar:
    low, high = ends
    span = (high - low) or 1.0
    zero = 100 * -low / span
    width = 100 * abs(value) / span
    return Bar(
        label=shown_label(label, 24),
        value=text,
        zero=round(zero, 2),
        start=round(zero if value >= 0 else zero - width, 2),
        width=round(width, 2),
        kind="up" if value >= 0 else "down",
        note=note,
    )


def _parts(documents: Candidates) -> FloatArray:
    """Return every part of the log price per token, shape (n, K + 2), the last two centred.

    A trader's part is shown as the manifest has it; length and topic only mean something against
    the average candidate.
    """
    length, topic = documents.length_part, documents.topic_part
    return np.column_stack([documents.contributions, length - length.mean(), topic - topic.mean()])


def _example_bars(
    documents: Candidates, parts: FloatArray, row: int, scale: float
) -> tuple[Bar, ...]:
    notes = [significant(float(value)) for value in documents.signals[row]] + ["", ""]
    names = [*documents.traders, measures.TOKENS_PART, measures.TOPIC_PART]
    return tuple(
        _bar(name, float(part), (-scale, scale), signed(float(part)), note)
        for name, part, note in zip(names, parts[row], notes, strict=True)
    )


def _against(value: float, limit: measures.Margin | None) -> str:
    return "" if limit is None else f"{times(value - limit.log_price_per_token)} the margin"


def _text_of(inputs: ReportInputs, document_id: str) -> str:
    text = inputs.texts.get(document_id)
    if text is None:
        return "(text not given to the report)"
    return excerpt(text, EXCERPT_CHARACTERS)


def _signal_total(versions: Sequence[SignalVersion]) -> tuple[str, ...]:
    gpu_seconds = sum(row.gpu_seconds for row in versions)
    return (
        "all",
        "",
        "",
        "",
        "",
        duration(sum(row.seconds for row in versions)),
        duration(sum(row.cpu_seconds for row in versions)),
        duration(gpu_seconds) if gpu_seconds else NONE,
        count(sum(row.model_calls for row in versions)),
    )
