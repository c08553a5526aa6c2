"""The short form of the report: Markdown for a Prefect artifact."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from databourse.reports import findings, measures, plots
from databourse.reports.data import ReportInputs
from databourse.reports.measures import Candidates
from databourse.reports.wording import NONE, count, percent, shown_label

MAX_IMAGE_BYTES = 60_000
N_TOPICS = 8

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def summary_markdown(inputs: ReportInputs, paths: Mapping[str, str] | None = None) -> str:
    """Return what was bought, left and dropped, where the files are, and one small plot.

    Args:
        inputs: as for the page.
        paths: path or address by what lies there, such as `manifest` and `report`; an http
            address becomes a link, anything else is printed as it is.
    """
    documents = measures.candidates(inputs)
    blocks = [
        f"# {markdown_text(_title(inputs))}",
        markdown_text(findings.headline(inputs, documents)),
        _outcome_table(inputs, documents),
        *(_bullets("Look at this twice", findings.watch_list(inputs, documents))),
        *(
            f"**{thing.title}.** {markdown_text(thing.text)}"
            for thing in findings.three_things(inputs, documents)
        ),
        *_image(documents),
        *_dropped_table(inputs),
        *_links(paths or {}),
    ]
    return "\n\n".join(blocks) + "\n"


def markdown_text(text: str) -> str:
    """Return a text that Markdown prints as it is, on one line and inside a table too."""
    return _SPECIAL.sub(r"\\\1", shown_label(text, limit_characters=2000))


def _title(inputs: ReportInputs) -> str:
    version = "not yet numbered" if inputs.version is None else f"version {inputs.version}"
    return f"{shown_label(inputs.pool)}, {version}"


def _outcome_table(inputs: ReportInputs, documents: Candidates) -> str:
    left = ~documents.is_selected
    n_dropped = sum(row.count for row in inputs.dropped)
    all_tokens = int(documents.tokens.sum())
    left_tokens = int(documents.tokens[left].sum())
    rows = [
        (
            "bought",
            count(inputs.spent_documents),
            count(inputs.spent_tokens),
            percent(inputs.spent_tokens / all_tokens),
        ),
        ("left", count(int(left.sum())), count(left_tokens), percent(left_tokens / all_tokens)),
        ("dropped before pricing", count(n_dropped), NONE, NONE),
    ]
    return markdown_table(("outcome", "documents", "tokens", "of the candidates' tokens"), rows)


def _dropped_table(inputs: ReportInputs) -> list[str]:
    if not inputs.dropped:
        return []
    ordered = sorted(inputs.dropped, key=lambda row: (-row.count, row.stage, row.reason))
    rows = [(row.stage, row.reason, count(row.count)) for row in ordered]
    return ["## Dropped before pricing", markdown_table(("stage", "reason", "dropped"), rows)]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are printed as they are, headings are trusted."""
    lines = [columns, ["---"] * len(columns)]
    lines += [[markdown_text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bullets(title: str, sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    items = "\n".join(f"- {markdown_text(sentence)}" for sentence in sentences)
    return [f"**{title}**\n\n{items}"]


def _image(documents: Candidates) -> list[str]:
    topics = measures.group_shares(documents, documents.topic)
    uri = plots.topic_image(topics, N_TOPICS)
    if len(uri) >= MAX_IMAGE_BYTES:
        return ["The plot of tokens by topic is in the report; it is too large for this page."]
    return [f"![Tokens by topic, before and after]({uri})"]


def _links(paths: Mapping[str, str]) -> list[str]:
    if not paths:
        return []
    items = "\n".join(
        f"- {markdown_text(name)}: {_address(path)}" for name, path in sorted(paths.items())
    )
    return [f"## Where it is\n\n{items}"]


def _address(path: str) -> str:
    shown = shown_label(path, limit_characters=2000)
    if shown.startswith(("http://", "https://")) and not re.search(r"[\s<>]", shown):
        return f"[{markdown_text(shown)}](<{shown}>)"
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"
