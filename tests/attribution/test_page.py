"""The report of a check: its words and numbers are those of the results, and it is safe."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from databourse.attribution.page import render_page, scores_plot, summary_markdown
from databourse.attribution.results import (
    AttributionResults,
    ceiling_sentence,
    cells,
    headline,
    record,
)
from databourse.attribution.scoring import Ceiling, ScoredAttribution
from databourse.influence.lds import LdsDifference, LdsResult


def lds(score, low, high):
    return LdsResult(
        score=score,
        low=low,
        high=high,
        level=0.95,
        n_resamples=1_000,
        by_target=np.array([score, score]),
        output="loss",
        n_documents=200,
        n_subsets=26,
        n_targets=2,
        n_seeds=2,
        subset_share=0.5,
        seed_agreement=0.4,
        n_constant_predictions=0,
    )


def scored(name, score, low, high, over=None, **changes):
    given = {
        "name": name,
        "kind": "attribution",
        "says": f"what {name} is",
        "setting": "",
        "tuning": {},
        "lds": lds(score, low, high),
        "by_set": {"dev": score, "test": score - 0.01},
        "over_baseline": None
        if over is None
        else LdsDifference(
            difference=over[0],
            low=over[1],
            high=over[2],
            level=0.95,
            n_resamples=1_000,
            first=score,
            second=score - over[0],
        ),
    }
    return ScoredAttribution(**{**given, **changes})


@pytest.fixture(name="results")
def _results():
    return results()


def results(**changes):
    given = {
        "pool": "notes",
        "bank_id": "b" * 32,
        "run_id": "20260101T000000-abcdef",
        "proxy": "causal_lm",
        "proxy_id": "causal-lm-0123",
        "proxy_says": "A causal transformer",
        "output_says": "Foretold is a loss",
        "examples": {"dev": 2, "test": 2},
        "scored": (
            scored("tfidf", 0.11, 0.02, 0.2, kind="baseline"),
            scored(
                "trak",
                0.31,
                0.21,
                0.41,
                (0.2, 0.05, 0.35),
                setting="damping 0.1",
                tuning={"damping 0.1": 0.3, "damping 1": 0.25},
            ),
            scored("random", -0.01, -0.1, 0.09, (-0.12, -0.3, 0.05), kind="control"),
        ),
        "ceiling": Ceiling(agreement=0.4, low=0.3, high=0.5, n_seeds=2),
        "is_drawn": True,
        "baseline": "tfidf",
        "left_out": {"ekfac": "no <model>"},
    }
    return AttributionResults(**{**given, **changes})


def test_the_table_gives_the_best_first_with_what_it_is_above_the_baseline(results):
    assert cells(results) == [
        (
            "trak",
            "0.310",
            "0.210 to 0.410",
            "+0.200",
            "0.050 to 0.350",
            "damping 0.1 (edge)",
            "attribution",
        ),
        ("tfidf", "0.110", "0.020 to 0.200", "", "", "", "baseline"),
        ("random", "-0.010", "-0.100 to 0.090", "-0.120", "-0.300 to 0.050", "", "control"),
    ]


def test_the_headline_claims_no_more_than_the_interval_does(results):
    assert "trak foretells" in headline(results)
    assert "above tfidf by +0.200 (0.050 to 0.350, paired)" in headline(results)
    assert "not surely" not in headline(results)
    unsure = (results.scored[0], scored("trak", 0.31, 0.21, 0.41, (0.2, -0.01, 0.35)))
    assert "not surely above tfidf" in headline(make(scored=unsure))
    alone = make(scored=results.scored[:1])
    assert "nothing is above the baseline" in headline(alone)


make = results


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "agree to 0.40 (0.30 to 0.50)"),
        ({"ceiling": None}, "unknown with one seed"),
        ({"ceiling": None, "is_drawn": False}, "Noise ceiling: 1,"),
    ],
)
def test_the_ceiling_is_said_and_where_it_is_not_known_that_too(changes, expected):
    assert expected in ceiling_sentence(make(**changes))


def test_the_ceiling_says_what_perfect_knowledge_would_reach(results):
    # sqrt(2 * 0.4 / 1.4) = 0.756
    assert "about 0.76 against the mean of 2" in ceiling_sentence(results)


def test_the_record_is_json_and_holds_what_the_table_does(results):
    found = json.loads(json.dumps(record(results), allow_nan=False))
    assert found["orientation"] == "larger_is_better"
    assert [each["name"] for each in found["attributions"]] == ["trak", "tfidf", "random"]
    trak, tfidf, _ = found["attributions"]
    assert trak["over_baseline"] == {"difference": 0.2, "low": 0.05, "high": 0.35}
    assert trak["tuning"] == {"damping 0.1": 0.3, "damping 1": 0.25}
    assert (trak["setting_at_edge"], tfidf["setting_at_edge"]) == (True, False)
    assert tfidf["over_baseline"] is None
    assert found["ceiling"]["seed_agreement"] == 0.4
    assert found["random_sd_by_example"] == pytest.approx(0.2)  # 1 / sqrt(26 - 1)
    assert record(make(ceiling=None))["ceiling"] is None


def test_the_page_is_one_file_without_scripts_and_escapes_what_it_is_given():
    page = render_page(make(pool="<script>notes</script>"))
    assert "<script" not in page
    assert "no &lt;model&gt;" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    for text in ("0.310", "0.210 to 0.410", "damping 1: 0.250", "what trak is", "b" * 32):
        assert text in page
    assert page == render_page(make(pool="<script>notes</script>"))


def test_the_plot_draws_every_attribution_both_ceilings_and_chance(results):
    plot = scores_plot(results)
    ET.fromstring(plot.svg)  # noqa: S314 - our own
    for text in ("trak", "tfidf", "random", "two seeds", "attainable", "chance"):
        assert f">{text}<" in plot.svg
    assert "0.20," in plot.caption
    exact = scores_plot(make(ceiling=None, is_drawn=False))
    assert ">ceiling<" in exact.svg
    assert ">two seeds<" not in exact.svg


def test_the_summary_is_markdown_with_a_row_per_attribution(results):
    lines = summary_markdown(results).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    assert rows[2].split(" | ")[0] == "| trak"
