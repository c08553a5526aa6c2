"""A comparison of samplers in words, tables and plots."""

import itertools
import json
import re
import xml.etree.ElementTree as ET

import pytest

from databourse.comparison.signal_costs import SignalCost
from databourse.comparison.summary import summarised
from databourse.reports.comparison import (
    BEST_COLUMNS,
    COLUMNS,
    ComparisonResults,
    best_tables,
    cells,
    comparison_markdown,
    headline,
    record,
    seconds_text,
)
from databourse.reports.comparison_page import write_comparison
from databourse.reports.comparison_plots import (
    MOST_NAMED,
    comparison_plots,
    named_samplers,
    spread_apart,
)

SAMPLERS = {
    "random": 0.80,
    "market": 0.85,
    "rarity:top": 0.83,
    "age:top": 0.70,
    "<b>odd</b>": 0.81,
    **{f"other {number}": 0.6 + number / 100 for number in range(8)},
}
COSTS = {
    "market": SignalCost(("age", "rarity"), 9.0, 8.0),
    "rarity:top": SignalCost(("rarity",), 5.0, 4.0),
    "age:top": SignalCost(("age",), 4.0, 4.0),
}


def stored(sampler, budget, seed, *, metric, value, target="exam"):
    return {
        "sampler": sampler,
        "budget_tokens": budget,
        "seed": seed,
        "target": target,
        "metric": metric,
        "value": value,
        "documents": budget // 2,
        "tokens": budget,
        "select_seconds": 0.02,
        "select_cpu_seconds": 0.01,
    }


@pytest.fixture(name="results", scope="module")
def _results():
    rows = [
        stored("all", 1_000, seed, metric="accuracy", value=0.84 + 0.001 * seed)
        for seed in range(3)
    ]
    for budget in (50, 100):
        for seed in range(3):
            for name, value in SAMPLERS.items():
                own = value + budget / 10_000 + 0.002 * seed
                rows.append(stored(name, budget, seed, metric="accuracy", value=own))
                rows.append(stored(name, budget, seed, metric="loss", value=1 - own))
                noise = {"metric": "label_noise", "value": 0.1 * seed, "target": "pick"}
                rows.append(stored(name, budget, seed, **noise))
    return ComparisonResults(
        pool="news",
        comparison_id="c" * 32,
        run_id="run-1",
        proxy="linear",
        proxy_says="Trained is softmax regression",
        examples={"exam": 20},
        n_documents=400,
        whole_pool=1_000,
        unit="tokens",
        seeds=3,
        pool_share=0.9,
        truth="gt",
        rows=summarised(rows, seed=1, costs=COSTS),
        left_out={"ask_llm_top": "it needs the measure 'p_yes'"},
    )


def test_the_headline_says_who_is_best_at_which_budget(results):
    said = headline(results).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Best by accuracy on exam: market at 5.0 % and 10.0 %."


def test_the_best_is_told_with_its_distance_from_every_baseline(results):
    target, metric, rows = best_tables(results)[0]
    assert (target, metric) == ("exam", "accuracy")
    first = dict(zip(BEST_COLUMNS, rows[0], strict=True))
    assert first["best"] == "market"
    assert first["against random"].startswith("+0.0500")
    assert first["against all"].startswith("+0.0160")
    assert first["against best single"].startswith("rarity:top: +0.0200")


def test_a_table_has_a_cell_for_each_column_and_marks_what_is_missing(results):
    rows = [row for row in results.rows if (row.metric, row.budget_tokens) == ("accuracy", 1_000)]
    (everything,) = cells(rows)
    assert len(everything) == len(COLUMNS)
    assert dict(zip(COLUMNS, everything, strict=True))["against random"] == "\N{EN DASH}"


def test_markdown_escapes_names_and_names_what_was_left_out(results):
    text = comparison_markdown(results)
    assert "<b>" not in text
    assert "### Left out" in text
    assert "ask" in text


def test_at_most_eight_are_drawn_in_colour_and_the_baselines_always(results):
    rows = [row for row in results.rows if row.metric == "accuracy"]
    named = named_samplers(rows)
    assert len(named) == MOST_NAMED
    assert named[:4] == ["random", "all", "market", "rarity:top"]
    assert "other 0" not in named


def test_names_that_are_far_apart_stay_and_others_share_the_room():
    assert spread_apart([0.0, 5.0, 2.0], 1.0) == [0.0, 5.0, 2.0]
    assert spread_apart([1.0, 1.0, 1.0], 1.0) == pytest.approx([0.0, 1.0, 2.0])
    found = spread_apart([0.5, 0.4, 0.45, 0.9], 0.2)
    ordered = sorted(found)
    assert all(b - a >= 0.2 - 1e-12 for a, b in itertools.pairwise(ordered))
    assert found[1] < found[2] < found[0] < found[3]  # the order is kept
    # the last two push each other apart into the second, and that one into the first
    assert spread_apart([0.0, 1.0, 1.05], 1.0) == pytest.approx(
        [-0.31667, 0.68333, 1.68333], abs=1e-4
    )
    assert spread_apart([], 1.0) == []


def test_a_folder_holds_page_plots_and_numbers_and_is_the_same_again(results, tmp_path):
    page = write_comparison(results, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="https?:', text)
    assert "<b>odd" not in text
    assert "&lt;b&gt;odd" in text
    assert "ask_llm_top" in text
    names = {drawn.plot.name for drawn in comparison_plots(results)}
    assert names == {
        "accuracy-exam-against-budget",
        "accuracy-exam-against-cost-50",
        "accuracy-exam-against-cost-100",
        "loss-exam-against-budget",
        "label-noise-pick-against-budget",
    }
    for name in names:
        ET.fromstring((tmp_path / f"{name}.svg").read_text(encoding="utf-8"))  # noqa: S314
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(record(results)))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    write_comparison(results, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.00"), (0.0004, "0.0004"), (1.234, "1.23"), (4321.0, "4,321")]
)
def test_seconds_have_the_digits_that_tell_something(seconds, text):
    assert seconds_text(seconds) == text
