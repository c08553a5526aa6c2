"""Tables and pictures for the UI: their numbers are those of the report."""

import base64
import itertools
import xml.etree.ElementTree as ET

import pytest

from databourse.contracts.results import ContractResult, RuleResult
from databourse.reports.watching import (
    MAX_PICTURE_BYTES,
    PublishedVersion,
    failed_contract,
    run_tables,
)


def shown(inputs, history=()):
    return {each.name: each for each in run_tables(inputs, history)}


def version(name, weights, margin=-4.0):
    return PublishedVersion(name, "2026-01-01 00:00 UTC", 10, 100, margin, weights)


def test_the_funnel_says_what_each_stage_took_out(tiny):
    rows = shown(tiny)["funnel"].rows
    assert rows[0]["left"] == tiny.funnel[0].count
    assert rows[-1]["left"] == tiny.spent_documents
    lefts = [row["left"] for row in rows]
    assert [row["taken out"] for row in rows[1:]] == [
        before - after for before, after in itertools.pairwise(lefts)
    ]
    assert sum(row["taken out"] for row in rows) == rows[0]["left"] - rows[-1]["left"]


def test_tokens_are_counted_by_topic_and_by_source(tiny):
    tables = shown(tiny)
    # a and c were bought: 10 of the 30 tokens of x, 40 of the 170 of y; both are of s1
    topics = {row["topic"]: row for row in tables["tokens-by-topic"].rows}
    assert (topics["x"]["tokens"], topics["x"]["tokens bought"]) == (30, 10)
    assert (topics["y"]["tokens"], topics["y"]["tokens bought"]) == (170, 40)
    assert topics["y"]["share of tokens"] == 0.85
    assert topics["y"]["share of bought"] == 0.8
    sources = {row["source"]: row for row in tables["tokens-by-source"].rows}
    assert (sources["s1"]["bought"], sources["s2"]["bought"]) == (2, 0)


def test_versions_come_newest_first_with_every_trader(tiny):
    history = [
        version("1", {"gone": 1.0}),
        version("2", {"gone": 0.25, tiny.traders[0].name: 0.75}),
    ]
    rows = shown(tiny, history)["versions"].rows
    assert [row["version"] for row in rows] == ["this run", "2", "1"]
    assert [row["gone"] for row in rows] == [None, 0.25, 1.0]
    for trader in tiny.traders:
        assert rows[0][trader.name] == pytest.approx(trader.weight, abs=1e-4)
    assert len({frozenset(row) for row in rows}) == 1


def test_wealth_is_drawn_once_there_is_a_history(tiny):
    assert "plot-wealth-over-versions" not in shown(tiny)
    drawn = shown(tiny, [version("1", {tiny.traders[0].name: 1.0})])
    assert drawn["plot-wealth-over-versions"].picture


def test_pictures_are_svg_that_stands_alone(tiny):
    pictures = [each for each in shown(tiny).values() if each.picture]
    assert len(pictures) == 3
    for each in pictures:
        head, data = each.picture.split(",", 1)
        assert head == "data:image/svg+xml;base64"
        assert len(each.picture) <= MAX_PICTURE_BYTES
        root = ET.fromstring(base64.b64decode(data))  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.get("width")) > 0


def rule(name, severity, failing, ids=(), observed=""):
    return RuleResult(name, severity, failing == 0, failing, ids, observed, f"{name} must hold")


def test_a_failed_contract_names_rules_and_shows_rows():
    result = ContractResult(
        "topics",
        "1.0.0",
        160,
        (
            rule("rows", "critical", 0),
            rule("named", "critical", 2, ("doc|1", "doc2"), "topic=None"),
            rule("close", "warning", 1, ("doc3",)),
        ),
    )
    text = failed_contract(result, [{"document_id": "doc|1", "topic": "<b>x</b>"}])
    assert "# Contract topics fails: nothing was published" in text
    assert "2 of 3 rules fail; the relation has 160 rows" in text
    assert "| named | critical | 2 | doc\\|1, doc2 | topic=None |" in text
    assert "close must hold" in text
    assert "rows must hold" not in text
    assert "| doc\\|1 | \\<b\\>x\\</b\\> |" in text


def test_a_contract_with_failed_warnings_alone_passes():
    result = ContractResult("topics", "1.0.0", 1, (rule("close", "warning", 1, ("d",)),))
    assert "passes, with warnings" in failed_contract(result, [])
    assert "Rows that break" not in failed_contract(result, [])
