"""A comparison of samplers in tables and words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from databourse.comparison.differences import DeviationChange, Interval
from databourse.comparison.grid import PICK
from databourse.comparison.proxies import LARGER_IS_BETTER
from databourse.comparison.summary import SummaryRow, best_of
from databourse.reports.markdown import markdown_text
from databourse.reports.wording import NONE, count, counted, decimal, listed, percent, signed

COLUMNS = (
    "sampler",
    "mean",
    "95 % interval",
    "against random",
    "against all",
    "sd over seeds",
    "sd against random",
    "documents",
    "CPU s to choose",
    "CPU s of signals",
)
BEST_COLUMNS = ("budget", "best", "mean", "against random", "against all", "against best single")
_INTERVALS = (
    "Intervals are 95 % percentile bootstraps over seeds; differences are paired by seed. With few "
    "seeds they are too narrow, those of deviations most. They say how far another seed may lead, "
    "not another pool."
)
_COSTS = (
    "CPU seconds of signals are those of the whole pool; what a model that several signals read "
    "has cost is split evenly between them. The best single sampler reads one signal alone and was "
    "chosen on the same seeds."
)
PRIMARY = ("accuracy", "bits_per_token")
"""Metrics by which a sampler is called the best first."""

METRIC_WORDS = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "loss": "Loss, nats per example",
    "bits_per_token": "Bits per token",
    "label_noise": "Wrong labels bought",
    "topic_coverage": "Topics with a document",
    "topic_balance": "Balance over topics",
    "topic_effective_share": "Effective share of topics",
    "ess_equal_weights": "Effective documents, equal weights",
    "ess_token_weights": "Effective documents, weighted by tokens",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonResults:
    """The summary of a comparison and how it was measured.

    Attributes:
        pool: name.
        comparison_id: of all that decides its numbers.
        run_id: of the refresh whose documents were for sale.
        proxy: linear, encoder or causal_lm.
        proxy_says: the proxy in words.
        examples: of each test set.
        n_documents: of the pool.
        whole_pool: its cost, in `unit`.
        unit: tokens or documents.
        seeds: how many.
        pool_share: documents that a seed leaves in the pool.
        truth: the column that says which labels are wrong; None where none does.
        rows: of the summary.
        left_out: samplers that cannot run here, and why.
    """

    pool: str
    comparison_id: str
    run_id: str
    proxy: str
    proxy_says: str
    examples: Mapping[str, int]
    n_documents: int
    whole_pool: int
    unit: str
    seeds: int
    pool_share: float
    truth: str | None
    rows: Sequence[SummaryRow]
    left_out: Mapping[str, str] = field(default_factory=dict)


def record(results: ComparisonResults) -> dict[str, Any]:
    """Return everything as JSON types."""
    found = asdict(results)
    found["best"] = [
        {key: asdict(row)[key] for key in ("target", "metric", "budget_tokens", "sampler")}
        for row in best_of(results.rows)
    ]
    return found


def groups(
    results: ComparisonResults,
) -> list[tuple[tuple[str, str, int], list[SummaryRow]]]:
    """Return the rows by test set, metric and budget: test sets first, then what picks are like."""
    found = [
        (key, list(rows))
        for key, rows in itertools.groupby(
            results.rows, key=lambda row: (row.target, row.metric, row.budget_tokens)
        )
    ]
    order = list(METRIC_WORDS)
    return sorted(
        found,
        key=lambda each: (
            each[0][0] == PICK,
            each[0][0],
            order.index(each[0][1]) if each[0][1] in order else len(order),
            each[0][2],
        ),
    )


def best_tables(
    results: ComparisonResults,
) -> list[tuple[str, str, list[tuple[str, ...]]]]:
    """Return per test set and metric the best sampler at each budget, under `BEST_COLUMNS`."""
    tables: list[tuple[str, str, list[tuple[str, ...]]]] = []
    for (target, metric), rows in itertools.groupby(
        best_of([row for _, own in groups(results) for row in own]),
        key=lambda row: (row.target, row.metric),
    ):
        if target == PICK:
            continue
        lines: list[tuple[str, ...]] = [
            (
                percent(row.budget_tokens / results.whole_pool),
                row.sampler,
                decimal(row.value.mean, 4),
                difference_text(row.over_random),
                difference_text(row.over_all),
                _over_single(row),
            )
            for row in rows
        ]
        tables.append((target, metric, lines))
    return tables


def cells(rows: Sequence[SummaryRow]) -> list[tuple[str, ...]]:
    """Return a table under `COLUMNS`."""
    return [
        (
            row.sampler,
            decimal(row.value.mean, 4),
            f"{decimal(row.value.low, 4)} to {decimal(row.value.high, 4)}",
            difference_text(row.over_random),
            difference_text(row.over_all),
            decimal(row.value.deviation, 4),
            deviation_text(row.deviation_over_random),
            count(round(row.documents)),
            seconds_text(row.select_cpu_seconds),
            seconds_text(row.signal_cpu_seconds),
        )
        for row in rows
    ]


def headline(results: ComparisonResults) -> str:
    """Return who is best at each budget, by the first metric of the first test set."""
    tables = best_tables(results)
    if not tables:
        return "Nothing was measured that has a better end."
    target, metric, rows = next((each for each in tables if each[1] in PRIMARY), tables[0])
    said = [
        f"{name} at {listed([row[0] for row in rows if row[1] == name])}"
        for name in dict.fromkeys(row[1] for row in rows)
    ]
    return f"Best by {metric_phrase(metric)} on {target}: {'; '.join(said)}."


def protocol_sentences(results: ComparisonResults) -> tuple[str, ...]:
    """Return how it was measured."""
    share = (
        ""
        if results.pool_share == 1
        else f", each with another {percent(results.pool_share)} of the documents for sale"
    )
    sets = listed([f"{name} ({counted(n, 'example')})" for name, n in results.examples.items()])
    offered = (
        f"{counted(results.n_documents, 'document')} of {count(results.whole_pool)} "
        f"{results.unit} were for sale; {counted(results.seeds, 'seed')}{share}. "
        f"{results.proxy_says}. Measured on {sets}, which no sampler has seen."
    )
    sentences = [offered, _INTERVALS, _COSTS]
    if results.truth is not None:
        sentences.append(
            f"Wrong labels are counted by the column {results.truth}, which no signal and no "
            "sampler reads."
        )
    return tuple(sentences)


def comparison_markdown(results: ComparisonResults) -> str:
    """Return the headline, who is best, every table, and what was left out."""
    parts = [
        f"# {markdown_text(results.pool)}: samplers compared",
        markdown_text(headline(results)),
        *(markdown_text(each) for each in protocol_sentences(results)),
    ]
    for target, metric, rows in best_tables(results):
        title = f"### Best by {metric_phrase(metric)} on {target}"
        parts.append(f"{title}\n\n{_table(BEST_COLUMNS, rows)}")
    for (target, metric, budget), own in groups(results):
        words = METRIC_WORDS.get(metric, metric)
        where = "of the pick" if target == PICK else f"on {target}"
        parts.append(
            f"### {words} {where}, budget {budget_text(results, budget)}\n\n"
            f"{_table(COLUMNS, cells(own))}"
        )
    if results.left_out:
        lines = [
            f"- {markdown_text(name)}: {markdown_text(why)}"
            for name, why in results.left_out.items()
        ]
        parts.append("\n".join(["### Left out\n", *lines]))
    return "\n\n".join(parts) + "\n"


def metric_phrase(metric: str) -> str:
    """Return a metric's words as they stand within a sentence."""
    words = METRIC_WORDS.get(metric, metric)
    return words[0].lower() + words[1:]


def budget_text(results: ComparisonResults, budget: int) -> str:
    """Return a budget as a share of the pool, and in its unit."""
    return f"{percent(budget / results.whole_pool)} ({count(budget)} {results.unit})"


def difference_text(found: Interval | None) -> str:
    """Return a difference with its interval."""
    if found is None:
        return NONE
    return f"{signed(found.mean, 4)} [{signed(found.low, 4)}, {signed(found.high, 4)}]"


def deviation_text(found: DeviationChange | None) -> str:
    """Return how many times as much a sampler varies, and the difference's interval."""
    if found is None:
        return NONE
    times = "" if found.ratio is None else f"{decimal(found.ratio, 2)} times, "
    return f"{times}{signed(found.difference, 4)} [{signed(found.low, 4)}, {signed(found.high, 4)}]"


def seconds_text(seconds: float) -> str:
    """Return seconds with as many digits as there is something to tell."""
    return decimal(seconds, 0 if seconds >= 100 else 2 if seconds >= 0.01 or not seconds else 4)


def is_quality(row: SummaryRow) -> bool:
    """Tell a metric of a trained proxy."""
    return row.target != PICK and row.metric in LARGER_IS_BETTER


def _over_single(row: SummaryRow) -> str:
    if row.best_single is None:
        return NONE
    if row.best_single == row.sampler:
        return "itself"
    return f"{row.best_single}: {difference_text(row.over_best_single)}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ("---",) * len(columns)]
    lines += [tuple(markdown_text(cell) for cell in row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
