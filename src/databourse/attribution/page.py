"""The report of a check of attributions: one self-contained HTML page, and its short form."""

from __future__ import annotations

from importlib import resources

from databourse.attribution.results import (
    COLUMNS,
    AttributionResults,
    ceiling_sentence,
    cells,
    headline,
    in_order,
    protocol_sentence,
    random_sentence,
)
from databourse.errors import MissingExtraError
from databourse.reports.markdown import markdown_text
from databourse.reports.plots import Plot, drawing, legend_above
from databourse.reports.svg import ACCENT, BOUGHT, INK, LEFT, LINE, MUTED, page_svg
from databourse.reports.wording import shown_label, shown_text

_MARKERS = {"attribution": (BOUGHT, "o"), "baseline": (ACCENT, "s"), "control": (LEFT, "^")}


def render_page(results: AttributionResults) -> str:
    """Return the page; the same results give the same bytes.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "pipeline", "rendering the report") from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("databourse.attribution").joinpath("attribution.html.j2")
    page = environment.from_string(source.read_text(encoding="utf-8")).render(
        title=f"databourse attribution: {shown_label(results.pool)}, {results.proxy}",
        headline=headline(results),
        sentences=(
            ceiling_sentence(results),
            protocol_sentence(results),
            random_sentence(results),
        ),
        plot=scores_plot(results),
        columns=COLUMNS,
        rows=cells(results),
        scored=in_order(results),
        by_set=len(results.examples) > 1,
        sets=list(results.examples),
        left_out=results.left_out,
        results=results,
    )
    return shown_text(page)


def summary_markdown(results: AttributionResults) -> str:
    """Return the headline, the table and the ceiling, for a Prefect artifact."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [tuple(markdown_text(cell) if cell else "" for cell in row) for row in cells(results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    words = (headline(results), ceiling_sentence(results), protocol_sentence(results))
    blocks = [
        f"# {markdown_text(results.pool)}, {markdown_text(results.proxy)}",
        markdown_text(words[0]),
        table,
        *(markdown_text(each) for each in words[1:]),
    ]
    return "\n\n".join(blocks) + "\n"


def scores_plot(results: AttributionResults) -> Plot:
    """Return the LDS of each attribution with its interval, the ceiling, and what chance does."""
    ordered = in_order(results)
    spread = ordered[0].lds.random_sd_by_target
    ceiling = results.ceiling
    with drawing(height=110 + 26 * len(ordered)) as (figure, axes):
        axes.axvspan(-spread, spread, color=LINE, alpha=0.8, lw=0, label="chance")
        axes.axvline(0, color=MUTED, lw=0.8)
        for kind, (colour, marker) in _MARKERS.items():
            rows = [place for place, each in enumerate(ordered) if each.kind == kind]
            for row in rows:
                lds = ordered[row].lds
                axes.plot([lds.low, lds.high], [row, row], color=colour, lw=2)
                axes.plot([lds.score], [row], marker, color=colour, markersize=6)
            if rows:
                axes.plot([], [], marker, color=colour, label=kind, markersize=6)
        if ceiling is not None:
            axes.axvspan(ceiling.low, ceiling.high, color=ACCENT, alpha=0.12, lw=0)
            axes.axvline(ceiling.agreement, color=ACCENT, ls="--", lw=1.4, label="two seeds")
            axes.axvline(ceiling.attainable, color=INK, ls=":", lw=1.4, label="attainable")
        elif not results.is_drawn:
            axes.axvline(1.0, color=ACCENT, ls="--", lw=1.4, label="ceiling")
        axes.set_yticks(range(len(ordered)), [shown_label(each.name, 24) for each in ordered])
        axes.set_ylim(len(ordered) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(right=1.02)
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("LDS")
        legend_above(axes, columns=3)
        title = "LDS of every attribution"
        svg = page_svg(figure, "attribution-scores", title)
    caption = (
        "Points with 95 % intervals over subsets and examples. The grey band is one standard "
        f"deviation, {spread:.2f}, of the score that random values have at one example. "
        f"{ceiling_sentence(results)}"
    )
    return Plot("attribution_scores", title, svg, caption)
