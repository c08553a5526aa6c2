"""Great Expectations Data Docs of the contracts of one run: a page per contract, and an index.

The library renders what it judged itself; here it is given every rule of a contract, also those
that DuckDB judged, as an expectation about unexpected rows. Its pages load styles, scripts and a
picture from eight other hosts: that is taken out, a style of ours put in, and a policy forbids the
rest, so a page shows the same without a network and tells nobody that it was opened.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from databourse.contracts.expectations import deprecations_ignored

INDEX = "index.html"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1.5rem }
th, td { border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left }
td { vertical-align: top }
form, nav.navbar, .modal, button { display: none }
.collapse { display: block }
"""
_OUTSIDE = (
    re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"<link\b[^>]*>", re.IGNORECASE),
    re.compile(r"<footer\b.*?</footer\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"<img\b[^>]*>", re.IGNORECASE),
    re.compile(r"<a\b[^>]*href=\"https?://[^>]*>.*?</a\s*>", re.DOTALL | re.IGNORECASE),
)
_LINKS = (
    (re.compile(r'href="(?:\.\./)*index\.html"'), f'href="{INDEX}"'),
    (re.compile(r'href="(?:\.\./)+expectations/[^"]*"'), 'href="#"'),
)


def data_docs_pages(
    results: Sequence[Mapping[str, Any]], *, run_id: str, judged_at: datetime
) -> dict[str, str]:
    """Return the pages of a run's contracts, by file name.

    Args:
        results: of contracts, as `ContractResult.to_dict` gives them, in the order of judging.
        run_id: shown on each page.
        judged_at: likewise, with a time zone.
    """
    with deprecations_ignored():
        from great_expectations.render import view
        from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    page: Any = view.DefaultJinjaPageView()  # type: ignore[attr-defined]  # untyped library
    pages = {INDEX: _index(results, run_id=run_id, judged_at=judged_at)}
    for result in results:
        document = ValidationResultsPageRenderer().render(_suite_result(result, run_id, judged_at))
        pages[f"{result['contract']}.html"] = _local(page.render(document))
    return pages


def _suite_result(result: Mapping[str, Any], run_id: str, judged_at: datetime) -> Any:  # noqa: ANN401 - untyped library
    """Return a contract's result as the library's own."""
    import great_expectations
    from great_expectations.core import ExpectationSuiteValidationResult

    rules = result["rules"]
    kept = sum(rule["success"] for rule in rules)
    return ExpectationSuiteValidationResult(
        success=result["success"],
        results=[_expectation_result(rule, rows=result["rows"]) for rule in rules],
        suite_name=f"{result['contract']} {result['version']}",
        statistics={
            "evaluated_expectations": len(rules),
            "successful_expectations": kept,
            "unsuccessful_expectations": len(rules) - kept,
            "success_percent": 100.0 * kept / len(rules) if rules else None,
        },
        meta={
            "great_expectations_version": great_expectations.__version__,
            "run_id": {"run_name": run_id, "run_time": judged_at.isoformat()},
            "active_batch_definition": None,
        },
    )


def _expectation_result(rule: Mapping[str, Any], *, rows: int) -> Any:  # noqa: ANN401 - untyped library
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    failing = rule["failing_rows"]
    told = html.escape(f"{rule['rule']} ({rule['severity']}): {rule['description']}")
    return ExpectationValidationResult(
        success=rule["success"],
        expectation_config=ExpectationConfiguration(
            type="unexpected_rows_expectation",
            kwargs={"unexpected_rows_query": f"{rule['rule']} over {{batch}}"},
            description=told,
        ),
        result={
            "observed_value": html.escape(rule["observed"]) or f"{failing:,} failing rows",
            "element_count": rows,
            "unexpected_count": failing,
            "unexpected_percent": 100.0 * failing / rows if rows else 0.0,
            "partial_unexpected_list": [html.escape(each) for each in rule["example_ids"]],
        },
        exception_info={
            "raised_exception": False,
            "exception_message": None,
            "exception_traceback": None,
        },
    )


def _local(page: str) -> str:
    """Return a page that loads nothing from elsewhere."""
    for pattern in _OUTSIDE:
        page = pattern.sub("", page)
    for pattern, link in _LINKS:
        page = pattern.sub(link, page)
    head = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style>'
    return re.sub(r"<head>", lambda found: found[0] + head, page, count=1)


def _index(results: Sequence[Mapping[str, Any]], *, run_id: str, judged_at: datetime) -> str:
    rows = "".join(
        f'<tr><td><a href="{html.escape(each["contract"])}.html">{html.escape(each["contract"])}'
        f"</a></td><td>{'holds' if each['success'] else 'fails'}</td><td>{each['rows']:,}</td>"
        f"<td>{sum(rule['success'] for rule in each['rules'])} of {len(each['rules'])}</td></tr>"
        for each in results
    )
    return (
        "<!DOCTYPE html><html><head>"
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Data Docs of {html.escape(run_id)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Contracts of run {html.escape(run_id)}</h1><p>{judged_at:%Y-%m-%d %H:%M} UTC</p>"
        "<table><tr><th>contract</th><th></th><th>rows</th><th>rules that hold</th></tr>"
        f"{rows}</table></body></html>"
    )
