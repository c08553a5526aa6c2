"""A comparison of samplers as Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from databourse.comparison.summary import SummaryRow

_HEAD = (
    "| sampler | mean | 95 % interval | sd over seeds | against random | documents | CPU s |\n"
    "|---|---|---|---|---|---|---|"
)


def comparison_markdown(rows: Sequence[SummaryRow], left_out: Mapping[str, str]) -> str:
    """Return a table per test set, metric and budget, and what could not run.

    Args:
        rows: ordered by test set, metric and budget.
        left_out: samplers and why.
    """
    parts = []
    for (target, metric, budget), group in itertools.groupby(
        rows, key=lambda row: (row.target, row.metric, row.budget_tokens)
    ):
        lines = [f"### {metric} on {target}, budget {budget:,}\n", _HEAD, *map(_line, group)]
        parts.append("\n".join(lines))
    if left_out:
        parts.append("\n".join(["### Left out\n", *(f"- {k}: {v}" for k, v in left_out.items())]))
    return "\n\n".join(parts) + "\n"


def _line(row: SummaryRow) -> str:
    value, over = row.value, row.over_random
    against = "" if over is None else f"{over.mean:+.4f} [{over.low:+.4f}, {over.high:+.4f}]"
    return (
        f"| {row.sampler} | {value.mean:.4f} | {value.low:.4f} to {value.high:.4f} | "
        f"{value.deviation:.4f} | {against} | {row.documents:,.0f} | {row.select_cpu_seconds:.2f} |"
    )
