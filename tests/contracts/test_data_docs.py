"""Data Docs: every rule is on its page, and no page loads anything from elsewhere."""

import re
from datetime import UTC, datetime

import pytest

from databourse.contracts.data_docs import data_docs_pages
from databourse.contracts.results import ContractResult, RuleResult


def rule(name, **changes):
    own = {
        "severity": "critical",
        "success": True,
        "failing_rows": 0,
        "example_ids": (),
        "observed": "",
        "description": f"What {name} asks for costs $5.",
    }
    return RuleResult(rule=name, **{**own, **changes})


@pytest.fixture(scope="module")
def pages():
    failing = {
        "success": False,
        "severity": "warning",
        "failing_rows": 3,
        "example_ids": ("doc-1", "<script>alert(1)</script>"),
        "observed": "value 7",
    }
    results = [
        ContractResult("documents", "1.0.0", 12, (rule("rows"), rule("registered", **failing))),
        ContractResult("drift", "1.0.0", 12, ()),
    ]
    now = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
    return data_docs_pages([each.to_dict() for each in results], run_id="run-1", judged_at=now)


def test_there_is_a_page_per_contract_and_an_index_that_links_to_each(pages):
    assert sorted(pages) == ["documents.html", "drift.html", "index.html"]
    assert re.findall(r'href="([^"]+)"', pages["index.html"]) == ["documents.html", "drift.html"]
    assert "1 of 2" in pages["index.html"]


def test_a_page_shows_each_rule_with_what_was_found(pages):
    page = pages["documents.html"]
    assert "rows (critical): What rows asks for costs $5." in page
    assert "registered (warning)" in page
    assert "value 7" in page
    assert "doc-1" in page
    assert "run-1" in page


def test_no_page_loads_or_runs_anything(pages):
    for page in pages.values():
        assert re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page) == []
        assert "<script" not in page.lower()
        assert "default-src 'none'" in page.split("</head>")[0]


def test_every_link_leads_to_a_page(pages):
    for page in pages.values():
        targets = set(re.findall(r'href="([^"#]+)', page))
        assert targets <= set(pages)
