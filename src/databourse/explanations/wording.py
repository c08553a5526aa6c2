"""The story of a document as text for a terminal of 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from pydantic import JsonValue

from databourse.digests import canonical_json
from databourse.explanations.story import (
    Arrival,
    Change,
    DocumentFacts,
    Explanation,
    Price,
    Rejection,
    Represents,
    RunFacts,
    SignalPart,
    Topic,
)
from databourse.reports.wording import shown_text

WIDTH_COLUMNS = 100

_INDENT = "  "
_NAME_COLUMNS = 12
_SHOWN_ARRIVALS = 8
_NONE = "-"
_HELD_FIXED = "each alone, all other orders held fixed"
_HELD_TOO = "its mean and spread too"


def described(story: Explanation) -> str:
    """Return the story as text; control characters of documents are made visible."""
    parts = [_head(story)]
    if story.document is not None:
        parts.append(_facts(story.document, story.run, story.pool))
    parts += [_rejection(each, story) for each in story.rejections]
    if story.arrivals:
        parts.append(_arrivals(story.arrivals))
    if story.represents is not None:
        parts.append(_represents(story.represents))
    if story.topic is not None:
        parts.append(_topic(story.topic))
    if story.price is not None:
        parts.append(_price(story.price, story.signals))
    if story.change is not None and story.price is not None:
        parts.append(_change(story.change, story.price, story.signals))
    if story.document is not None:
        parts.append(_published(story))
    parts += [_wrapped("note", note) for note in story.notes]
    return "\n\n".join(part for part in parts if part)


def _head(story: Explanation) -> str:
    what = story.document.document_id if story.document else f"row {_shown(story.asked)}"
    became = story.outcome.upper()
    summary = textwrap.fill(
        f"{became}: {_shown(story.summary)}", WIDTH_COLUMNS, subsequent_indent=_INDENT
    )
    return f"{what}\n{summary}"


def _facts(document: DocumentFacts, run: RunFacts | None, pool: str) -> str:
    tokens = "tokens not counted" if document.tokens is None else f"{document.tokens:,} tokens"
    tokenizer = f" ({document.tokenizer_id})" if document.tokenizer_id else ""
    lines = [
        _named("run", f"{pool} {_run(run)}"),
        _named("size", f"{document.characters:,} characters, {tokens}{tokenizer}"),
    ]
    if document.source is not None:
        lines.append(_named("source", f"{document.source}  {_shown(document.locator or '')}"))
    if document.label is not None:
        lines.append(_named("label", _shown(document.label)))
    if document.metadata:
        lines.append(_wrapped("metadata", _json(document.metadata)))
    if document.excerpt is None:
        lines.append(_wrapped("text", f"cannot be shown: {document.excerpt_problem}"))
    else:
        cut = "..." if len(document.excerpt) < document.characters else ""
        lines.append(_wrapped("text", f'"{document.excerpt.strip()}{cut}"'))
    return "\n".join(lines)


def _run(run: RunFacts | None) -> str:
    if run is None:
        return "(no run)"
    version = f", version {run.version}" if run.version is not None else ", not published"
    return f"{run.run_id}, {run.status}{version}"


def _rejection(rejection: Rejection, story: Explanation) -> str:
    return "\n".join(
        [
            _named("run", f"{story.pool} {_run(story.run)}"),
            _named("source", rejection.source),
            _wrapped("reason", f"{rejection.reason}: {rejection.detail}"),
            _wrapped("what came", f'"{rejection.excerpt}"'),
        ]
    )


def _arrivals(arrivals: Sequence[Arrival]) -> str:
    asked = [each for each in arrivals if each.is_asked]
    shown = [*asked, *(each for each in arrivals if not each.is_asked)][:_SHOWN_ARRIVALS]
    rows = [
        [
            ">" if each.is_asked else "",
            each.stage or _NONE,
            each.outcome or "undecided",
            each.reason or _NONE,
            _NONE if each.similarity is None else f"{each.similarity:.3f}",
            _shown(each.label or _NONE),
            f"{each.source}  {_shown(each.locator)}",
        ]
        for each in shown
    ]
    names = ["", "stage", "outcome", "reason", "similarity", "label", "source and row"]
    lines = [f"Rows of this run that hold it: {len(arrivals):,}", *_table(names, rows, "<<<<><<")]
    if len(arrivals) > len(shown):
        lines.append(f"{_INDENT}and {len(arrivals) - len(shown):,} more (all of them: --json)")
    return "\n".join(lines)


def _represents(represents: Represents) -> str:
    if not (represents.exact_rows or represents.near_documents):
        return ""
    exact, near = represents.exact_rows, represents.near_documents
    lines = [
        (
            f"Stands for {_counted(exact, 'more row')} of the same text and "
            f"{_counted(near, 'document')} that says nearly the same"
        )
    ]
    lines += [
        f"{_INDENT}{each.document_id}  similarity {_value(each.similarity)}"
        for each in represents.first
    ]
    if represents.near_documents > len(represents.first):
        lines.append(f"{_INDENT}and {represents.near_documents - len(represents.first):,} more")
    return "\n".join(lines)


def _topic(topic: Topic) -> str:
    known = []
    if topic.n_documents is not None:
        known.append(f"{topic.n_documents:,} documents")
    if topic.mass is not None:
        known.append(f"{topic.mass:.2%} of all prices")
    if topic.liquidity is not None:
        known.append(f"liquidity {topic.liquidity:.4g} shares")
    if topic.effective_sample_size is not None:
        known.append(f"prices as wide as {topic.effective_sample_size:.1f} equal ones (ESS)")
    if topic.similarity is not None:
        known.append(f"similarity to its centroid {topic.similarity:.3f}")
    body = textwrap.fill(
        ", ".join(known), WIDTH_COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT
    )
    return f"Topic {_shown(topic.name)}\n{body}"


def _price(price: Price, signals: Sequence[SignalPart]) -> str:
    rows = [
        [
            each.signal,
            _value(each.value),
            _value(each.mean),
            _value(each.spread),
            _signed(each.z, 2),
            _value(each.shares_per_spread),
            _signed(each.log_price, 3),
            _times(each.log_price),
        ]
        for each in signals
    ]
    blank = [""] * 5
    rows.append(["topic", *blank, *_part(price.topic_log_price)])
    rows.append(["opening and others", *blank, *_part(price.competition_log_price)])
    average = price.log_price + math.log(price.n_documents)
    rows.append(["price", *blank, *_part(average)])
    names = ["", "value", "topic mean", "spread", "z", "shares/spread", "ln price", "factor"]
    lines = [
        "Price against an average document of the pool",
        *_table(names, rows, "<>>>>>>>"),
        f"{_INDENT}{price.share_of_pool:.3g} of the pool's prices (ln {price.log_price:.4f})",
        _per_token(price),
    ]
    return "\n".join(lines)


def _per_token(price: Price) -> str:
    bias = price.length_bias
    divided = "" if bias in {None, 1.0} else f" to the power of {bias:g}"
    line = (
        f"{_INDENT}over {price.tokens:,} tokens{divided}: ln {price.log_price_per_token:.4f}, "
        f"rank {price.price_rank:,} of {price.n_documents:,}"
    )
    if price.margin_log_price_per_token is not None:
        above = price.log_above_margin
        line += f"; margin ln {price.margin_log_price_per_token:.4f}, {_times(above)} of it"
    if price.inclusion_probability is not None:
        line += f"\n{_INDENT}chance to be drawn {price.inclusion_probability:.2%}"
        line += f", weight {price.weight:.4g}" if price.is_selected else ""
    return line


def _change(change: Change, price: Price, signals: Sequence[SignalPart]) -> str:
    lines = [_change_head(change, price)]
    ways = []
    if change.shares is not None:
        ways.append(("orders", f"{change.shares:+.6g} shares, by whichever signal"))
        ways += [
            (f"signal {each.signal}", _needed_value(each))
            for each in signals
            if each.needed_value is not None
        ]
    if change.tokens is not None:
        bound = "more than" if price.is_selected else "at most"
        ways.append(
            (
                "length in tokens",
                f"{bound} {change.tokens:,} at its price, instead of {price.tokens:,}",
            )
        )
    if change.budget is not None:
        ways.append(("budget", _budget(change)))
    width = max((len(name) for name, _ in ways), default=0)
    lines += [f"{_INDENT}{name:<{width}}  {text}" for name, text in ways]
    lines += [
        textwrap.fill(remark, WIDTH_COLUMNS, initial_indent="  - ", subsequent_indent="    ")
        for remark in change.remarks
    ]
    return "\n".join(lines)


def _change_head(change: Change, price: Price) -> str:
    if change.log_rise is None:
        title = "What would change it" if price.is_selected else "What would have it bought"
        return f"{title} ({_HELD_FIXED})"
    if price.is_selected:
        head = (
            f"Bought at {_times(-change.log_rise)} of the margin's price per token. It would fall "
            "to the margin with"
        )
    elif change.left_at_turn is None:  # more than the price decides
        head = (
            f"To reach the margin, its price per token must rise {_times(change.log_rise)}, "
            f"to ln {change.target_log_price_per_token:.4f}"
        )
    else:
        noun = change.budget_unit.removesuffix("s")
        cost = 1 if change.budget_unit == "documents" else price.tokens
        head = (
            f"To be bought, its price per token must rise {_times(change.log_rise)}, to ln "
            f"{change.target_log_price_per_token:.4f}: there the budget last had "
            f"{_counted(cost, noun)} left"
        )
    lines = [*textwrap.wrap(head, WIDTH_COLUMNS), f"({_HELD_FIXED}; of a signal, {_HELD_TOO})"]
    return "\n".join(lines)


def _needed_value(signal: SignalPart) -> str:
    needed, beyond = signal.needed_value, ""
    if needed is not None and signal.lowest is not None and signal.highest is not None:
        if needed > signal.highest:
            beyond = f" (highest in its topic: {signal.highest:.6g})"
        elif needed < signal.lowest:
            beyond = f" (lowest in its topic: {signal.lowest:.6g})"
    return f"{_exact(needed)} instead of {_exact(signal.value)}{beyond}"


def _budget(change: Change) -> str:
    noun = change.budget_unit.removesuffix("s")
    share = "" if change.budget_share is None else f" (a share of {change.budget_share:g})"
    budget = f"{_counted(change.budget or 0, noun)}{share}"
    return f"{budget} or more buy it, instead of {change.limit:,}"


def _published(story: Explanation) -> str:
    if not story.published:
        return _named("published", "in no version")
    versions = ", ".join(
        f"{each.version} ({each.published_at[:10]}, rank {each.price_rank:,}"
        f"{'' if each.status == 'published' else ', ' + each.status})"
        for each in story.published
    )
    return _wrapped("published", f"in version {versions}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _part(log_price: float | None) -> list[str]:
    return [_signed(log_price, 3), _times(log_price)]


def _value(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"


def _exact(value: float | None) -> str:
    return _NONE if value is None else f"{value:.8g}"


def _signed(value: float | None, decimals: int) -> str:
    return _NONE if value is None else f"{value:+.{decimals}f}"


def _times(log_ratio: float | None) -> str:
    """Return exp of a log ratio, such as x1.83; as a power of e where it has no readable size."""
    if log_ratio is None:
        return _NONE
    if not abs(log_ratio) < 13:
        return f"xe^{log_ratio:.1f}"
    return f"x{math.exp(log_ratio):.3g}"


def _json(value: JsonValue) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_json(each)}" for key, each in value.items())
    return value if isinstance(value, str) else canonical_json(value)


def _shown(text: str) -> str:
    """Return a text on one line, its control characters made visible."""
    return " ".join(shown_text(text).split())


def _named(name: str, text: str) -> str:
    return f"{_INDENT}{name:<{_NAME_COLUMNS}}{text}"


def _wrapped(name: str, text: str) -> str:
    return textwrap.fill(
        _shown(text),
        WIDTH_COLUMNS,
        initial_indent=_named(name, ""),
        subsequent_indent=_INDENT + " " * _NAME_COLUMNS,
        break_long_words=True,
        break_on_hyphens=False,
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Return aligned lines; `align` has < or > for each column."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = []
    for row in [names, *rows]:
        cells = [
            f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)
        ]
        lines.append(f"{_INDENT}{'  '.join(cells)}".rstrip())
    return lines
