"""The section of a report on what settlements have taught: wealth of the traders over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from databourse.reports.data import ExtraSection, Table
from databourse.reports.wording import shown_label

SHOWN_SETTLEMENTS = 6


def wealth_section(history: Sequence[Mapping[str, Any]], *, settlement_id: str) -> ExtraSection:
    """Return wealth after each settlement up to the one that a market used, newest first.

    Args:
        history: a row per settlement and trader, the newest settlement first: settlement_id,
            settled_at, trader, wealth.
        settlement_id: whose wealth the market used; later ones are left out.
    """
    wealth: dict[str, dict[str, float]] = {}
    settled_at: dict[str, datetime] = {}
    for row in history:
        wealth.setdefault(row["settlement_id"], {})[row["trader"]] = row["wealth"]
        settled_at[row["settlement_id"]] = row["settled_at"]
    order = list(wealth)
    shown = order[order.index(settlement_id) :][:SHOWN_SETTLEMENTS]
    traders = sorted(
        {trader for each in shown for trader in wealth[each]},
        key=lambda trader: (-wealth[shown[0]].get(trader, 0.0), trader),
    )
    rows = tuple(
        (
            shown_label(trader),
            *(_share(wealth[each].get(trader)) for each in shown),
        )
        for trader in traders
    )
    columns = ("trader", *(f"{settled_at[each]:%Y-%m-%d %H:%M}" for each in shown))
    return ExtraSection(
        title="Wealth",
        paragraphs=(
            (
                "Traders whose signals foresaw what an oracle said of a sample of documents have "
                "earned wealth, and the orders of this market were divided by it (settlement "
                f"{settlement_id[:12]}). A new trader starts with an even share; one that is not "
                "in a settlement has no number."
            ),
        ),
        tables=(
            Table("Wealth after each settlement (UTC)", columns, rows, "l" + "r" * len(shown)),
        ),
    )


def _share(wealth: float | None) -> str:
    return "" if wealth is None else f"{wealth:.3f}"
