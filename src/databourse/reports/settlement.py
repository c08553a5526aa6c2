"""A settlement in words and tables: who foresaw what the oracle said, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("trader", "wealth before", "wealth", "alone", "without it", "regression")
COLUMN_HELP = (
    "alone: log score in nats if it alone had traded; without it: what the market's score loses "
    "if it stays away; regression: weight of the non-negative fit, with its standard deviation"
)

_LEAST_EXPLAINED = 0.1


def settlement_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return a row of text per trader, under `COLUMNS`.

    Args:
        record: of the settlement, as JSON types.
    """
    return [
        [
            str(each["trader"]),
            f"{each['wealth_before']:.3f}",
            f"{each['wealth']:.3f}",
            _nats(each["lone_log_score"]),
            _nats(each["marginal_log_score"]),
            ""
            if each["fitted_weight"] is None
            else f"{each['fitted_weight']:.3f} ({each['fitted_spread']:.3f})",
        ]
        for each in record["traders"]
    ]


def settlement_lines(record: Mapping[str, Any]) -> list[str]:
    """Return what happened, a sentence to a line.

    Args:
        record: of the settlement, as JSON types.
    """
    market = record["market"]
    topics, settled_topics = record["topics"]
    lines = [
        f"Oracle {record['oracle']} settled {record['contracts']:,} of {record['documents']:,} "
        f"documents in {settled_topics:,} of {topics:,} topics ({market['allocation']})"
        + (f"; it could not judge {record['unjudged']:,}." if record["unjudged"] else "."),
        (
            f"Log score of the market on contracts held out: {market['log_score_before']:+.4f} "
            f"with the wealth before, {market['log_score_after']:+.4f} with what is learnt "
            f"(no trade: 0, all foreseen: {market['best_log_score']:.4f} nats)."
        ),
        (
            f"Learning online over {market['rounds']:,} topics would have lost "
            f"{market['regret']:.4f} nats to the best fixed wealth; the bound is "
            f"{market['regret_bound']:.4f}."
        ),
    ]
    lines[1:1] = _markets_lines(market.get("remarks", {}))
    if not market["has_earned"]:
        lines.append(
            f"No trader beat the fee of {market['fee']:.4f} spreads, which is what luck would "
            "earn: wealth only decays towards even shares. Settle more contracts, or offer better "
            "signals."
        )
    if record["informed"]:
        lines.append(
            f"{', '.join(record['informed'])} have read the examples that the oracle measured on "
            "and look better than they are: give it others in settlement.targets."
        )
    if record["in_use"]:
        lines.append(f"The next refresh trades with it ({record['weights']}).")
    else:
        lines.append("The config sets its weights itself; write market.weights: settled to use it.")
    return lines


def _markets_lines(remarks: Mapping[str, Any]) -> list[str]:
    """Return what models that were trained on what random markets bought say, if they were."""
    if "explained" not in remarks:
        return []
    least = min(remarks["explained"])
    found = ", ".join(f"{max(each, 0.0):.0%}" for each in remarks["explained"])
    line = (
        f"What was bought explains {found} of the differences between {remarks['markets']:,} "
        "models, each trained on what a random market bought (leave-one-out, by target)."
    )
    if least < _LEAST_EXPLAINED:
        line += (
            " That is little: the other differences are luck. Train more of them "
            "(settlement.subsets.markets), or give them more heat."
        )
    return [line]


def settlement_markdown(record: Mapping[str, Any]) -> str:
    """Return the settlement as Markdown.

    Args:
        record: of the settlement, as JSON types.
    """
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    table = "\n".join([head, *(f"| {' | '.join(row)} |" for row in settlement_rows(record))])
    text = "\n".join(f"- {line}" for line in settlement_lines(record))
    return f"{text}\n\n{table}\n\n{COLUMN_HELP[0].upper()}{COLUMN_HELP[1:]}.\n"


def _nats(score: float) -> str:
    return f"{round(score, 4) + 0.0:+.4f}"  # no -0.0000
