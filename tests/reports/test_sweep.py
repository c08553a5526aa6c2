"""The sweep over budgets in print."""

from __future__ import annotations

import dataclasses
import json
import math
import xml.etree.ElementTree as ET

import pytest

from databourse.errors import InputError
from databourse.reports.page import render_report
from databourse.reports.sweep import TEXT_COLUMNS, sweep_cells, sweep_records, sweep_section
from databourse.selection.sweep import SweepRow

NOTHING = SweepRow(10, 0, 0, 0.0, 0.0, 0.0, 0, 4, None, None)
LESS = SweepRow(100, 5, 96, 0.096, 0.4, 3.25, 2, 4, 0.5, -3.25)
THIS = SweepRow(300, 20, 300, 0.3, 0.625, 9.0, 3, 4, 0.75, -4.5)
ALL = SweepRow(1000, 1234, 1000, 1.0, 1.0, 456.0, 4, 4, 0.9, -math.inf)
ROWS = [NOTHING, LESS, THIS, ALL]


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-").replace("\u2013", "none")


def captions(rows, budget=300, unit="tokens"):
    return [plain(plot.caption) for plot in sweep_section(rows, budget=budget, unit=unit).plots]


def labels(plot):
    root = ET.fromstring(plot.svg)  # noqa: S314 - drawn by the code under test
    return [text.text for text in root.iter("text")]


def test_captions_say_what_this_budget_and_its_neighbours_buy():
    assert captions(ROWS) == [
        (
            "This budget, 300 tokens, buys 62.5 % of all prices with 30.0 % of what the candidates "
            "cost. The next smaller one, 100 tokens, buys 40.0 %. The next larger one, 1,000 "
            "tokens, buys 100.0 %. Half of all prices is bought for 300 tokens or less."
        ),
        (
            "Coverage: topics bought from, 3 of 4 at this budget. Balance: 100 % where every topic "
            "gets as much of what is spent, 75.0 % at this budget. Every topic is reached from "
            "1,000 tokens on."
        ),
    ]


def test_captions_at_the_ends_name_no_neighbour_that_is_not_there():
    utility, topics = captions([THIS], unit="documents")
    assert utility == (
        "This budget, 300 documents, buys 62.5 % of all prices with 30.0 % of what the candidates "
        "cost. Half of all prices is bought for 300 documents or less."
    )
    assert topics.endswith("Not even the largest budget drawn reaches every topic.")


def test_a_topic_that_is_lost_again_does_not_count_as_reached():
    early = dataclasses.replace(LESS, topics_bought=4)
    assert captions([early, THIS, ALL])[1].endswith("reached from 1,000 tokens on.")
    late = dataclasses.replace(THIS, topics_bought=4)
    assert captions([early, late, ALL])[1].endswith("Every budget drawn reaches every topic.")


def test_captions_of_a_budget_that_buys_nothing_claim_nothing():
    utility, topics = captions([NOTHING, LESS], budget=10)
    assert utility == (
        "This budget, 10 tokens, buys 0.0 % of all prices with 0.0 % of what the candidates cost. "
        "The next larger one, 100 tokens, buys 40.0 %."
    )
    assert topics == (
        "Coverage: topics bought from, 0 of 4 at this budget. Not even the largest budget drawn "
        "reaches every topic."
    )


def test_the_table_marks_this_budget_alone():
    (table,) = sweep_section(ROWS, budget=300, unit="tokens").tables
    assert table.columns[0] == "budget, tokens"
    assert [tuple(map(plain, row)) for row in table.rows] == [
        ("10", "0", "0", "0.0 %", "0.0 %", "0.0", "0", "none", "none"),
        ("100", "5", "96", "9.6 %", "40.0 %", "3.2", "2", "0.50", "-3.25"),
        ("→ 300", "20", "300", "30.0 %", "62.5 %", "9.0", "3", "0.75", "-4.50"),
        ("1,000", "1,234", "1,000", "100.0 %", "100.0 %", "456.0", "4", "0.90", "-inf"),
    ]


def test_text_cells_are_numbers_without_signs_of_their_own():
    cells = sweep_cells(ROWS, budget=300)
    assert cells == [
        ("10", "0", "0", "0.00", "0.00", "0.0", "0", "none", "none", ""),
        ("100", "5", "96", "9.60", "40.00", "3.2", "2", "0.500", "-3.2500", ""),
        ("300", "20", "300", "30.00", "62.50", "9.0", "3", "0.750", "-4.5000", "this budget"),
        ("1,000", "1,234", "1,000", "100.00", "100.00", "456.0", "4", "0.900", "-inf", ""),
    ]
    assert {len(row) for row in cells} == {len(TEXT_COLUMNS)}


def test_records_are_strict_json_with_every_number():
    records = json.loads(json.dumps(sweep_records(ROWS), allow_nan=False))
    assert records[2] == {
        "budget": 300,
        "documents": 20,
        "spent": 300,
        "spent_share": 0.3,
        "utility": 0.625,
        "price_effective_sample_size": 9.0,
        "topics_bought": 3,
        "topic_coverage": 0.75,
        "topic_balance": 0.75,
        "marginal_log_price_per_token": -4.5,
    }
    assert records[0]["topic_balance"] is records[0]["marginal_log_price_per_token"] is None
    assert records[3]["marginal_log_price_per_token"] is None


def test_drawings_name_their_curves_and_mark_this_budget():
    utility, topics = sweep_section(ROWS, budget=300, unit="documents").plots
    named = {"this budget", "this selection", "at random", "budget, documents", "% of all prices"}
    assert named <= set(labels(utility))
    assert {"this budget", "coverage", "balance", "budget, documents"} <= set(labels(topics))
    for plot in (utility, topics):
        assert {"0", "25", "50", "75", "100"} <= set(labels(plot))
        assert "var(--accent" in plot.svg
        assert "nan" not in plot.svg.lower()


@pytest.mark.parametrize(
    ("budgets", "ticks"),
    [
        ((300,), {"300"}),
        ((10, 100, 300, 1000), {"10", "20", "50", "100", "200", "500", "1k"}),
        ((300, 10**9), {"1k", "10k", "100k", "1M", "10M", "100M", "1G"}),
    ],
)
def test_the_axis_of_budgets_has_short_ticks(budgets, ticks):
    rows = [dataclasses.replace(THIS, budget=budget) for budget in budgets]
    plot = sweep_section(rows, budget=300, unit="tokens").plots[0]
    shown = [text for text in labels(plot) if text not in {"0", "25", "50", "75", "100"}]
    assert ticks - {"100", "50"} <= set(shown)
    assert sum(text[0].isdigit() for text in shown) <= 8


def test_equal_ratios_of_budgets_are_equally_far_apart():
    rows = [dataclasses.replace(THIS, budget=budget) for budget in (300, 10**9)]
    plot = sweep_section(rows, budget=300, unit="tokens").plots[0]
    root = ET.fromstring(plot.svg)  # noqa: S314 - drawn by the code under test
    at = {text.text: float(text.get("x")) for text in root.iter("text")}
    # positions are written with two decimals
    assert at["10k"] - at["1k"] == pytest.approx(at["1M"] - at["100k"], abs=0.03)


def test_no_topic_balance_draws_no_curve_of_it():
    alone = [dataclasses.replace(row, n_topics=1, topic_balance=None) for row in (LESS, THIS)]
    topics = sweep_section(alone, budget=300, unit="tokens").plots[1]
    assert "balance" not in labels(topics)
    assert "Balance" not in topics.caption


def test_the_section_stands_in_the_page(tiny):
    section = sweep_section(ROWS, budget=300, unit="tokens")
    page = render_report(dataclasses.replace(tiny, sections=(section,)))
    assert "Other budgets" in page
    assert "→ 300" in page
    assert page.count('aria-label="What a budget buys of the market"') == 1


@pytest.mark.parametrize(
    ("rows", "budget"),
    [([], 300), (ROWS, 299), ([ALL, THIS], 300), ([THIS, THIS], 300), ([THIS], 1000)],
)
def test_rows_without_this_budget_or_out_of_order_are_refused(rows, budget):
    with pytest.raises(InputError, match="ascending budgets >= 1 with the actual one"):
        sweep_section(rows, budget=budget, unit="tokens")
    with pytest.raises(InputError, match="ascending budgets"):
        sweep_cells(rows, budget=budget)


def test_a_budget_of_nothing_has_no_place_on_the_axis():
    with pytest.raises(InputError, match="ascending budgets >= 1"):
        sweep_section([dataclasses.replace(NOTHING, budget=0)], budget=0, unit="tokens")
