"""The report's first answers: what was bought, three things to know, what to look at twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from databourse.reports import measures
from databourse.reports.captions import LEAST_CHANGE
from databourse.reports.data import Budget, ReportInputs
from databourse.reports.measures import Candidates, GroupShare
from databourse.reports.wording import (
    count,
    counted,
    decimal,
    duration,
    listed,
    percent,
    plain,
    shown_label,
    signed,
)

# Two signals that agree this far are nearly one: their common view counts twice.
REDUNDANT_CORRELATION = 0.9
# Below this the selection is visibly smaller than what was asked for.
FULL_BUDGET = 0.95


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing to know: a short title and one or two sentences."""

    title: str
    text: str


def headline(inputs: ReportInputs, documents: Candidates) -> str:
    """Return in one sentence what was bought, from what, under which budget."""
    pool = shown_label(inputs.pool)
    budget = budget_text(inputs.budget)
    if inputs.spent_documents == 0:
        return (
            f"Nothing was bought from the {counted(documents.n_documents, 'candidate')} of {pool} "
            f"under a budget of {budget}."
        )
    return (
        f"{counted(inputs.spent_documents, 'document')} with "
        f"{counted(inputs.spent_tokens, 'token')} {_was(inputs.spent_documents)} bought from "
        f"{counted(documents.n_documents, 'candidate')} of {pool}: "
        f"{percent(spent_share(inputs, documents))} of a budget of {budget}."
    )


def origin(inputs: ReportInputs) -> str:
    """Return in two sentences where the candidates come from and what it all cost."""
    read = ""
    if inputs.funnel:
        first = inputs.funnel[0]
        read = f"The candidates come from {count(first.count)} {first.unit} read. "
    cpu_seconds = sum(row.cpu_seconds for row in inputs.signal_versions)
    gpu_seconds = sum(row.gpu_seconds for row in inputs.signal_versions)
    gpu = f"{duration(gpu_seconds)} of GPU time" if gpu_seconds else "no GPU"
    cost = f"The signals cost {duration(cpu_seconds)} of CPU time and {gpu}"
    if not inputs.stages:
        return f"{read}{cost}."
    return f"{read}{cost}; all stages took {duration(sum(row.seconds for row in inputs.stages))}."


def length_rule(documents: Candidates) -> str:
    """Return in one sentence how the length enters the price per token."""
    bias = measures.length_bias(documents)
    if bias is None:
        return "The price is then set against the length in tokens."
    if bias == 0:
        return "The length is ignored (length bias 0): the price per token is the price."
    return (
        f"The price is divided by the length in tokens to the power {plain(bias)} (the "
        "length bias): twice as long, a document must be "
        f"{plain(round(2**bias, 2))} times as dear to rank the same."
    )


def budget_text(budget: Budget) -> str:
    """Return a budget in words."""
    if budget.kind == "share":
        return f"{percent(budget.limit)} of the candidates' tokens"
    return counted(int(budget.limit), budget.kind.removesuffix("s"))


def spent_share(inputs: ReportInputs, documents: Candidates) -> float:
    """Return which part of the budget was spent."""
    if inputs.budget.kind == "documents":
        return inputs.spent_documents / inputs.budget.limit
    if inputs.budget.kind == "share":
        return inputs.spent_tokens / (inputs.budget.limit * float(documents.tokens.sum()))
    return inputs.spent_tokens / inputs.budget.limit


def tiles(inputs: ReportInputs, documents: Candidates) -> tuple[Tile, ...]:
    """Return the numbers at the top of the page."""
    n_dropped = sum(row.count for row in inputs.dropped)
    n_topics = len(set(documents.topic[documents.is_selected].tolist()))
    shown = [
        Tile(count(inputs.spent_documents), "documents bought"),
        Tile(count(documents.n_documents - inputs.spent_documents), "candidates left"),
        Tile(count(n_dropped), "dropped before pricing"),
        Tile(percent(spent_share(inputs, documents)), "of the budget spent"),
        Tile(f"{count(n_topics)} of {count(len(inputs.topics))}", "topics bought from"),
        Tile(_cost(inputs), "CPU time of the signals"),
    ]
    return tuple(shown)


def three_things(inputs: ReportInputs, documents: Candidates) -> tuple[Thing, ...]:
    """Return what decided, what changed, and where the line is."""
    return (
        Thing("What decided", _what_decided(documents)),
        Thing("What changed", _what_changed(documents)),
        Thing("Where the line is", _where_the_line_is(inputs, documents)),
    )


def watch_list(inputs: ReportInputs, documents: Candidates) -> tuple[str, ...]:
    """Return what a careful reader would look at twice, gravest first; may be empty."""
    checks: Sequence[Callable[[ReportInputs, Candidates], Sequence[str]]] = (
        _failed_contracts,
        _count_gap,
        _budget_use,
        _topics_left_out,
        _constant_signals,
        _redundant_signals,
        _contrary_traders,
    )
    found = [sentence for check in checks for sentence in check(inputs, documents)]
    return (*inputs.warnings, *found)


def _cost(inputs: ReportInputs) -> str:
    return duration(sum(row.cpu_seconds for row in inputs.signal_versions))


def _what_decided(documents: Candidates) -> str:
    shares = measures.variance_shares(documents)
    if shares is None:
        return (
            "All candidates have the same price per token, so ties were broken by document id: "
            "no trader decided anything."
        )
    ordered = sorted(enumerate(shares), key=lambda item: (-item[1][1], item[0]))
    (_, (first, most)), *others = ordered
    parts = [f"{shown_label(name)} for {percent(share)}" for _, (name, share) in others[:2]]
    rest = f"; {listed(parts)}" if parts else ""
    return (
        f"{_capitalised(shown_label(first))} accounts for {percent(most)} of the differences in "
        f"log price per token{rest}. {_lengths(documents)}"
    ).strip()


def _lengths(documents: Candidates) -> str:
    bought = measures.median_or_none(documents.tokens[documents.is_selected])
    if bought is None:
        return ""
    every = float(np.median(documents.tokens))
    if bought == every:
        return f"The median length stays at {plain(every)} tokens."
    direction = "shorter" if bought < every else "longer"
    return (
        f"Bought documents are {direction}: a median of {plain(bought)} tokens against "
        f"{plain(every)} among all candidates."
    )


def _what_changed(documents: Candidates) -> str:
    if not documents.is_selected.any():
        return "Nothing was bought, so the mix of topics and sources cannot be compared."
    sentences = []
    for kind, names in (("topic", documents.topic), ("source", documents.source)):
        groups = measures.group_shares(documents, names)
        if len(groups) > 1:
            sentences.append(_shift(kind, groups))
    return " ".join(sentences) or "There is one topic and one source, so the mix cannot change."


def _shift(kind: str, groups: Sequence[GroupShare]) -> str:
    up = max(groups, key=lambda row: (row.change, row.name))
    down = min(groups, key=lambda row: (row.change, row.name))
    if up.change < LEAST_CHANGE:
        return f"The shares of the {kind}s stay as they were."
    return (
        f"{_capitalised(kind)} {shown_label(up.name)} gains most, from {percent(up.share)} to "
        f"{percent(up.selected_share)} of the tokens; {shown_label(down.name)} loses most, from "
        f"{percent(down.share)} to {percent(down.selected_share)}."
    )


def _where_the_line_is(inputs: ReportInputs, documents: Candidates) -> str:
    limit = measures.margin(documents)
    if limit is None:
        return f"Nothing was bought under a budget of {budget_text(inputs.budget)}."
    if documents.is_selected.all():
        return "Every candidate was bought: the budget did not have to choose."
    line = f"The margin is at log price per token {decimal(limit.log_price_per_token)}."
    if limit.bought_below == limit.left_above == 0:
        return f"{line} Everything dearer was bought and everything cheaper was left."
    return (
        f"{line} {_capitalised(counted(limit.bought_below, 'document'))} below it "
        f"{_was(limit.bought_below)} bought and {count(limit.left_above)} above it "
        f"{_was(limit.left_above)} left: near the end, the budget takes what still fits."
    )


def _failed_contracts(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    del documents
    return [
        f"Contract {row.contract}: the {row.severity} rule “{row.rule}” fails on "
        f"{counted(row.failing_rows, 'row')}."
        for row in sorted(inputs.contracts, key=lambda row: (row.severity, row.contract, row.rule))
        if not row.is_passed
    ]


def _count_gap(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    if not inputs.funnel:
        return []
    read = inputs.funnel[0].count
    kept = read - sum(row.count for row in inputs.dropped)
    if kept == documents.n_documents:
        return []
    priced = f"{counted(documents.n_documents, 'candidate')} {_was(documents.n_documents)} priced"
    return [
        f"The counts do not add up: {count(read)} read less the dropped is {count(kept)}, {priced}."
    ]


def _budget_use(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    share = spent_share(inputs, documents)
    if share > 1:
        return [f"More was spent than the budget allows: {percent(share)} of it."]
    if share < FULL_BUDGET and not documents.is_selected.all():
        return [f"Only {percent(share)} of the budget was spent although candidates were left."]
    return []


def _topics_left_out(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    del documents
    empty = [row.topic for row in inputs.topics if row.selected_documents == 0]
    if not empty or len(empty) == len(inputs.topics):
        return []
    names = sorted(shown_label(name) for name in empty)
    shown = listed(names) if len(names) <= 5 else f"{', '.join(names[:5])} and others"
    return [f"Nothing was bought from {counted(len(empty), 'topic')}: {shown}."]


def _constant_signals(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    del inputs
    return [
        f"Signal {shown_label(name)} is constant: its trader had no influence on any price."
        for name, values in zip(documents.traders, documents.signals.T, strict=True)
        if values.min() == values.max() and documents.n_documents > 1
    ]


def _redundant_signals(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    del inputs
    sentences = []
    for other in range(len(documents.traders)):
        for one in range(other):
            value = measures.rank_correlation(
                documents.signals[:, one], documents.signals[:, other]
            )
            if value is not None and value >= REDUNDANT_CORRELATION:
                names = (shown_label(documents.traders[at]) for at in (one, other))
                sentences.append(
                    f"Signals {' and '.join(names)} nearly say the same (rank correlation "
                    f"{signed(value)}): their view counts twice."
                )
    return sentences


def _contrary_traders(inputs: ReportInputs, documents: Candidates) -> Sequence[str]:
    del inputs
    sentences = []
    for name, part in zip(documents.traders, documents.contributions.T, strict=True):
        value = measures.rank_correlation(part, documents.log_price)
        if value is not None and value < 0:
            sentences.append(
                f"Trader {shown_label(name)} pulls against the final prices (rank correlation "
                f"{signed(value)})."
            )
    return sentences


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
