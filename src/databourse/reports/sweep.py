"""The sweep over budgets in print: a section of the report, a text table, and plain records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from databourse.errors import InputError
from databourse.reports.data import ExtraSection, Table
from databourse.reports.measures import FloatArray
from databourse.reports.plots import Plot, compact, drawing, legend_above
from databourse.reports.svg import ACCENT, BOUGHT, LEFT, page_svg
from databourse.reports.wording import (
    NONE,
    count,
    counted,
    decimal,
    percent,
)
from databourse.selection.sweep import SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Other budgets"
TEXT_COLUMNS = (
    "budget",
    "documents",
    "spent",
    "% of pool",
    "% of prices",
    "ESS",
    "topics",
    "balance",
    "marginal",
    "",
)


def sweep_section(rows: Sequence[SweepRow], *, budget: int, unit: str) -> ExtraSection:
    """Return a section that shows what the same selection buys with less and with more.

    Args:
        rows: ascending budgets, one of them `budget`.
        budget: the actual one.
        unit: what budgets count, "tokens" or "documents".

    Raises:
        InputError: no row has the actual budget, or budgets do not ascend.
    """
    actual = _actual_row(rows, budget)
    lead = (
        "The same prices and the same rule of selection, with less and with more to spend. Budgets "
        f"go from {rows[0].budget:,} to {rows[-1].budget:,} {unit}; those that floors and caps "
        "rule out are left out, and with diversity the sweep ends at this budget."
    )
    return ExtraSection(
        TITLE,
        (lead,),
        (_table(rows, actual, unit),),
        (_utility_plot(rows, actual, unit), _topic_plot(rows, actual, unit)),
    )


def sweep_cells(rows: Sequence[SweepRow], *, budget: int) -> list[tuple[str, ...]]:
    """Return the cells of a text table under `TEXT_COLUMNS`; the last marks the actual budget.

    Args:
        rows: as for `sweep_section`.
        budget: as for `sweep_section`.
    """
    _actual_row(rows, budget)
    return [
        (
            f"{row.budget:,}",
            f"{row.documents:,}",
            f"{row.spent:,}",
            f"{row.spent_share * 100:.2f}",
            f"{row.utility * 100:.2f}",
            f"{row.price_effective_sample_size:,.1f}",
            f"{row.topics_bought:,}",
            "none" if row.topic_balance is None else f"{row.topic_balance:.3f}",
            _text_log_price(row.marginal_log_price_per_token),
            "this budget" if row.budget == budget else "",
        )
        for row in rows
    ]


def sweep_records(rows: Sequence[SweepRow]) -> list[dict[str, int | float | None]]:
    """Return one record per budget for JSON; a marginal price that underflowed is null too."""
    return [
        {
            "budget": row.budget,
            "documents": row.documents,
            "spent": row.spent,
            "spent_share": row.spent_share,
            "utility": row.utility,
            "price_effective_sample_size": row.price_effective_sample_size,
            "topics_bought": row.topics_bought,
            "topic_coverage": row.topic_coverage,
            "topic_balance": row.topic_balance,
            "marginal_log_price_per_token": _finite(row.marginal_log_price_per_token),
        }
        for row in rows
    ]


def _actual_row(rows: Sequence[SweepRow], budget: int) -> SweepRow:
    budgets = [row.budget for row in rows]
    if budget not in budgets or sorted(set(budgets)) != budgets or budgets[0] < 1:
        raise InputError(
            f"a sweep needs ascending budgets >= 1 with the actual one, {budget:,}, among them; "
            f"got {budgets}"
        )
    return rows[budgets.index(budget)]


def _table(rows: Sequence[SweepRow], actual: SweepRow, unit: str) -> Table:
    return Table(
        "What each budget buys (→ this budget)",
        (
            f"budget, {unit}",
            "documents",
            "spent",
            "of all candidates",
            "of all prices",
            "effective sample size",
            "topics bought from",
            "topic balance",
            "margin, log price per token",
        ),
        tuple(
            (
                f"→ {count(row.budget)}" if row is actual else count(row.budget),
                count(row.documents),
                count(row.spent),
                percent(row.spent_share),
                percent(row.utility),
                decimal(row.price_effective_sample_size, 1),
                count(row.topics_bought),
                NONE if row.topic_balance is None else decimal(row.topic_balance),
                _shown_log_price(row.marginal_log_price_per_token),
            )
            for row in rows
        ),
        "rrrrrrrrr",
    )


def _utility_plot(rows: Sequence[SweepRow], actual: SweepRow, unit: str) -> Plot:
    budgets = _budgets(rows)
    with drawing(height=270) as (figure, axes):
        _mark_actual(axes, actual)
        axes.plot(
            budgets,
            [row.utility * 100 for row in rows],
            "-o",
            color=BOUGHT,
            markersize=4,
            label="this selection",
        )
        axes.plot(
            budgets,
            [row.spent_share * 100 for row in rows],
            "--",
            color=LEFT,
            label="at random",
        )
        axes.plot([actual.budget], [actual.utility * 100], "D", color=ACCENT, markersize=6)
        _percent_axis(axes)
        _budget_axis(axes, budgets, unit)
        axes.set_ylabel("% of all prices")
        legend_above(axes, columns=3)
        title = "What a budget buys of the market"
        svg = page_svg(figure, "sweep-utility", title)
    return Plot("sweep_utility", title, svg, _utility_caption(rows, actual, unit))


def _topic_plot(rows: Sequence[SweepRow], actual: SweepRow, unit: str) -> Plot:
    budgets = _budgets(rows)
    balanced = [row for row in rows if row.topic_balance is not None]
    with drawing(height=270) as (figure, axes):
        _mark_actual(axes, actual)
        axes.plot(
            budgets,
            [row.topic_coverage * 100 for row in rows],
            "-o",
            color=BOUGHT,
            markersize=4,
            label="coverage",
        )
        if balanced:
            axes.plot(
                _budgets(balanced),
                [(row.topic_balance or 0.0) * 100 for row in balanced],
                "--s",
                color=LEFT,
                markersize=4,
                label="balance",
            )
        _percent_axis(axes)
        _budget_axis(axes, budgets, unit)
        axes.set_ylabel("coverage and balance, %")
        legend_above(axes, columns=3)
        title = "How many topics a budget reaches"
        svg = page_svg(figure, "sweep-topics", title)
    return Plot("sweep_topics", title, svg, _topic_caption(rows, actual, unit))


def _utility_caption(rows: Sequence[SweepRow], actual: SweepRow, unit: str) -> str:
    bought = (
        f"This budget, {_amount(actual, unit)}, buys {percent(actual.utility)} of all prices with "
        f"{percent(actual.spent_share)} of what the candidates cost."
    )
    parts = [bought]
    at = rows.index(actual)
    if at > 0:
        parts.append(f"The next smaller one, {_bought_with(rows[at - 1], unit)}.")
    if at + 1 < len(rows):
        parts.append(f"The next larger one, {_bought_with(rows[at + 1], unit)}.")
    half = next((row for row in rows if row.utility >= 0.5), None)
    if half is not None:
        parts.append(f"Half of all prices is bought for {_amount(half, unit)} or less.")
    return " ".join(parts)


def _bought_with(row: SweepRow, unit: str) -> str:
    return f"{_amount(row, unit)}, buys {percent(row.utility)}"


def _topic_caption(rows: Sequence[SweepRow], actual: SweepRow, unit: str) -> str:
    reached = f"{count(actual.topics_bought)} of {count(actual.n_topics)}"
    parts = [f"Coverage: topics bought from, {reached} at this budget."]
    if actual.topic_balance is not None:
        parts.append(
            "Balance: 100\u00a0% where every topic gets as much of what is spent, "
            f"{percent(actual.topic_balance)} at this budget."
        )
    # the last budget that leaves a topic out: from the next one on, none does
    short = [at for at, row in enumerate(rows) if row.topics_bought < row.n_topics]
    if not short:
        parts.append("Every budget drawn reaches every topic.")
    elif short[-1] + 1 == len(rows):
        parts.append("Not even the largest budget drawn reaches every topic.")
    else:
        parts.append(f"Every topic is reached from {_amount(rows[short[-1] + 1], unit)} on.")
    return " ".join(parts)


def _amount(row: SweepRow, unit: str) -> str:
    return counted(row.budget, unit.removesuffix("s"))


def _budgets(rows: Sequence[SweepRow]) -> FloatArray:
    return np.array([row.budget for row in rows], dtype=np.float64)


def _mark_actual(axes: Axes, actual: SweepRow) -> None:
    axes.axvline(actual.budget, color=ACCENT, lw=1.2, ls=":", label="this budget")


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(0, 103)  # room for marks at 100
    axes.set_yticks(range(0, 101, 25))
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _budget_axis(axes: Axes, budgets: FloatArray, unit: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = float(budgets[0]), float(budgets[-1])
    axes.set_xscale("log")
    axes.set_xlim(low / 1.15, high * 1.15)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if high / low < 500 else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(compact)
    axes.set_xlabel(f"budget, {unit}")


def _shown_log_price(value: float | None) -> str:
    return NONE if value is None else decimal(value)


def _text_log_price(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
