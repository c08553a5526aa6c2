"""Wealth over time in the report."""

from datetime import datetime

from databourse.reports.wealth import SHOWN_SETTLEMENTS, wealth_section


def history(*settlements):
    """Return rows, newest first, of settlements given as {trader: wealth}, oldest first."""
    return [
        {
            "settlement_id": f"s{number}",
            "settled_at": datetime(2026, 1, 1 + number, 5),  # noqa: DTZ001 - tables hold UTC
            "trader": trader,
            "wealth": wealth,
        }
        for number, owned in reversed(list(enumerate(settlements)))
        for trader, wealth in owned.items()
    ]


def test_the_richest_trader_of_the_settlement_in_use_comes_first():
    rows = history({"rarity": 0.9, "length": 0.1}, {"rarity": 0.2, "length": 0.5, "new": 0.3})
    table = wealth_section(rows, settlement_id="s1").tables[0]
    assert table.columns == ("trader", "2026-01-02 05:00", "2026-01-01 05:00")
    assert table.rows == (
        ("length", "0.500", "0.100"),
        ("new", "0.300", ""),
        ("rarity", "0.200", "0.900"),
    )


def test_settlements_after_the_one_in_use_are_not_shown():
    rows = history({"rarity": 1.0}, {"rarity": 0.5}, {"rarity": 0.25})
    section = wealth_section(rows, settlement_id="s1")
    assert section.tables[0].rows == (("rarity", "0.500", "1.000"),)
    assert "(settlement s1)" in section.paragraphs[0]


def test_no_more_settlements_are_shown_than_fit_a_page():
    rows = history(*({"rarity": number / 10} for number in range(10)))
    table = wealth_section(rows, settlement_id="s9").tables[0]
    assert len(table.columns) == 1 + SHOWN_SETTLEMENTS
    assert table.rows[0][1] == "0.900"
