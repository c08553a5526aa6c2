"""A comparison of samplers as a folder: one self-contained HTML page, plots, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from databourse.comparison.grid import PICK
from databourse.errors import MissingExtraError
from databourse.reports.comparison import (
    BEST_COLUMNS,
    COLUMNS,
    METRIC_WORDS,
    PRIMARY,
    ComparisonResults,
    best_tables,
    budget_text,
    cells,
    comparison_markdown,
    groups,
    headline,
    metric_phrase,
    protocol_sentences,
    record,
)
from databourse.reports.comparison_plots import DrawnPlot, comparison_plots
from databourse.reports.wording import shown_label, shown_text

PAGE_FILE = "index.html"
MARKDOWN_FILE = "summary.md"
JSON_FILE = "summary.json"


def write_comparison(results: ComparisonResults, folder: Path) -> Path:
    """Write page, plots, Markdown and JSON into a folder, in place of earlier ones.

    Args:
        results: of a comparison.
        folder: that is there.

    Returns:
        The page.
    """
    plots = comparison_plots(results)
    text = json.dumps(record(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write(folder / JSON_FILE, text.encode())
    _write(folder / MARKDOWN_FILE, comparison_markdown(results).encode())
    for drawn in plots:
        _write(folder / f"{drawn.plot.name}.svg", drawn.svg.encode())
        _write(folder / f"{drawn.plot.name}.png", drawn.png)
    page = folder / PAGE_FILE
    _write(page, render_page(results, plots).encode())
    return page


def render_page(results: ComparisonResults, plots: Sequence[DrawnPlot]) -> str:
    """Return the page; the same results give the same bytes.

    Args:
        results: of a comparison.
        plots: of these.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "pipeline", "rendering the report") from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("databourse.reports").joinpath("comparison.html.j2")
    tables = [
        {
            "title": f"{METRIC_WORDS.get(metric, metric)} "
            f"{'of the pick' if target == PICK else f'on {target}'}, "
            f"budget {budget_text(results, budget)}",
            "is_first": metric in PRIMARY,
            "rows": cells(rows),
        }
        for (target, metric, budget), rows in groups(results)
    ]
    read = {row.sampler: row.signals for row in results.rows if row.signals}
    page = environment.from_string(source.read_text(encoding="utf-8")).render(
        title=f"databourse compare: {shown_label(results.pool)}, {results.proxy}",
        headline=headline(results),
        sentences=protocol_sentences(results),
        plots=[each.plot for each in plots],
        best=[
            {"title": f"Best by {metric_phrase(metric)} on {target}", "rows": rows}
            for target, metric, rows in best_tables(results)
        ],
        best_columns=BEST_COLUMNS,
        columns=COLUMNS,
        tables=tables,
        read=dict(sorted(read.items())),
        left_out=results.left_out,
        results=results,
    )
    return shown_text(page)


def _write(path: Path, content: bytes) -> None:
    staging = path.with_name(path.name + ".staging")
    staging.write_bytes(content)
    staging.replace(path)
