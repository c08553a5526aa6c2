"""What the UI shows of a run beside its summary: tables and pictures, as plain values.

The content is that of the report; the page has all of it, these are what a run's page has room for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from databourse.contracts.results import ContractResult
from databourse.reports import measures, plots
from databourse.reports.data import ReportInputs
from databourse.reports.markdown import markdown_table, markdown_text
from databourse.reports.measures import GroupShare
from databourse.reports.svg import svg_uri
from databourse.reports.wording import count, shown_label

Cell = str | int | float | None
Row = dict[str, Cell]

MAX_PICTURE_BYTES = 200_000
SHOWN_TOPICS = 50
_SHARE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """One table or picture.

    Attributes:
        name: lower case with dashes; with the pool it is the key of its history.
        title: one line.
        rows: of a table; all have the same keys.
        picture: of a picture, a `data:` URI; empty for a table.
    """

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    picture: str = ""


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version as the history shows it; `weights` by trader sum to 1."""

    version: str
    published_at: str
    documents: int
    tokens: int
    margin: float | None
    weights: Mapping[str, float]


def run_tables(inputs: ReportInputs, history: Sequence[PublishedVersion] = ()) -> list[Shown]:
    """Return tables and pictures of one run.

    Args:
        inputs: as for the page.
        history: versions that were published before, oldest first.
    """
    documents = measures.candidates(inputs)
    topics = measures.group_shares(documents, documents.topic)
    sources = measures.group_shares(documents, documents.source)
    versions = (*history, _this_run(inputs))
    shown = [
        Shown("funnel", "From rows read to documents bought", funnel_rows(inputs)),
        Shown("tokens-by-topic", "Tokens by topic", share_rows("topic", topics)),
        Shown("tokens-by-source", "Tokens by source", share_rows("source", sources)),
        Shown("prices-by-topic", "How the market of each topic stood", price_rows(inputs)),
        Shown("versions", "Prices and wealth over versions", version_rows(versions)),
    ]
    pictures = [
        plots.tokens_by_topic(topics),
        plots.budget_curve(documents),
        plots.price_mass_curve(documents),
    ]
    if len(versions) > 1:
        pictures.append(_weights_plot(versions))
    for plot in pictures:
        uri = svg_uri(plot.svg)
        if len(uri) <= MAX_PICTURE_BYTES:
            shown.append(Shown(f"plot-{plot.name.replace('_', '-')}", plot.title, picture=uri))
    return shown


def funnel_rows(inputs: ReportInputs) -> tuple[Row, ...]:
    """Return a row per stage: what was left after it, and what it took out."""
    before = inputs.funnel[0].count if inputs.funnel else 0
    rows: list[Row] = []
    for stage in inputs.funnel:
        rows.append(
            {
                "stage": stage.stage,
                "left": stage.count,
                "unit": stage.unit,
                "taken out": before - stage.count,
                "why": stage.note,
            }
        )
        before = stage.count
    return tuple(rows)


def share_rows(what: str, groups: Sequence[GroupShare]) -> tuple[Row, ...]:
    """Return a row per group: documents and tokens for sale and bought, most tokens first."""
    return tuple(
        {
            what: shown_label(group.name, 60),
            "documents": group.documents,
            "bought": group.selected_documents,
            "tokens": group.tokens,
            "tokens bought": group.selected_tokens,
            "share of tokens": round(group.share, _SHARE_DIGITS),
            "share of bought": round(group.selected_share, _SHARE_DIGITS),
        }
        for group in groups[:SHOWN_TOPICS]
    )


def price_rows(inputs: ReportInputs) -> tuple[Row, ...]:
    """Return a row per topic: mass, liquidity, how concentrated its prices are, its last price."""
    ordered = sorted(inputs.topics, key=lambda row: (-row.mass, row.topic))
    return tuple(
        {
            "topic": shown_label(row.topic, 60),
            "words": shown_label(row.description, 80),
            "mass": round(row.mass, _SHARE_DIGITS),
            "liquidity": _rounded(row.liquidity),
            "effective sample size": round(row.effective_sample_size, 1),
            "last log price per token bought": _rounded(row.marginal_log_price_per_token),
        }
        for row in ordered[:SHOWN_TOPICS]
    )


def version_rows(versions: Sequence[PublishedVersion]) -> tuple[Row, ...]:
    """Return a row per version, newest first: what it bought, its margin, each trader's wealth."""
    traders = sorted({trader for each in versions for trader in each.weights})
    return tuple(
        {
            "version": each.version,
            "published": each.published_at,
            "documents": each.documents,
            "tokens": each.tokens,
            "last log price per token": _rounded(each.margin),
            **{trader: _rounded(each.weights.get(trader)) for trader in traders},
        }
        for each in reversed(versions)
    )


def failed_contract(result: ContractResult, rows: Sequence[Mapping[str, str]]) -> str:
    """Return Markdown that says which rules of a contract fail, and shows rows that break them.

    Args:
        result: of the contract; at least one rule fails.
        rows: of the relation, all with the same columns; may be none.
    """
    failed = [*result.failed("critical"), *result.failed("warning")]
    rules = [
        (
            rule.rule,
            rule.severity,
            count(rule.failing_rows),
            ", ".join(rule.example_ids),
            rule.observed,
        )
        for rule in failed
    ]
    verdict = "passes, with warnings" if result.success else "fails: nothing was published"
    blocks = [
        f"# Contract {markdown_text(result.contract)} {verdict}",
        (
            f"{count(len(failed))} of {count(len(result.rules))} rules fail; the relation has "
            f"{count(result.rows)} rows."
        ),
        markdown_table(("rule", "severity", "failing rows", "for example", "observed"), rules),
        *(f"**{markdown_text(rule.rule)}.** {markdown_text(rule.description)}" for rule in failed),
    ]
    if rows:
        columns = tuple(rows[0])
        cells = [tuple(row[name] for name in columns) for row in rows]
        blocks += ["## Rows that break a rule", markdown_table(columns, cells)]
    blocks.append(
        f"What to do: docs/operations.md, When a contract fails; the rules themselves: "
        f"data\\_contracts/{markdown_text(result.contract)}.odcs.yaml."
    )
    return "\n\n".join(blocks) + "\n"


def _this_run(inputs: ReportInputs) -> PublishedVersion:
    margins = [each.marginal_log_price_per_token for each in inputs.topics]
    return PublishedVersion(
        version="this run",
        published_at=inputs.created_at,
        documents=inputs.spent_documents,
        tokens=inputs.spent_tokens,
        margin=lowest(margins),
        weights={trader.name: trader.weight for trader in inputs.traders},
    )


def lowest(margins: Sequence[float | None]) -> float | None:
    """Return the lowest log price per token at which any topic bought; None if none did."""
    known = [each for each in margins if each is not None]
    return min(known, default=None)


def _weights_plot(versions: Sequence[PublishedVersion]) -> plots.Plot:
    """Return the wealth of the four richest traders of this run over the versions."""
    latest = versions[-1].weights
    richest = sorted(latest, key=lambda trader: (-latest[trader], trader))[:4]
    x = np.arange(1, len(versions) + 1, dtype=np.float64)
    return plots.line_plot(
        "wealth_over_versions",
        title="Wealth over versions",
        caption="",
        series={
            trader: (x, np.array([each.weights.get(trader, np.nan) for each in versions]))
            for trader in richest
        },
        x_label="versions, oldest first; the last is this run",
        y_label="share of the order flow",
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _SHARE_DIGITS)
