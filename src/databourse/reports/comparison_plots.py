"""The plots of a comparison: quality against budget, and against what it took to select.

At most eight samplers are drawn in colour and named beside the plot, the others in grey: random,
everything, the market, the best that reads one signal, and then the best on average. The axis is
that of the named ones; grey ones may lie outside.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from databourse.comparison.grid import ALL
from databourse.comparison.proxies import LARGER_IS_BETTER
from databourse.comparison.summary import BASELINE, SummaryRow
from databourse.reports.comparison import (
    METRIC_WORDS,
    PRIMARY,
    ComparisonResults,
    budget_text,
    is_quality,
)
from databourse.reports.plots import Plot, compact, drawing
from databourse.reports.svg import ACCENT, BOUGHT, INK, LEFT, MUTED, image_svg, page_svg
from databourse.reports.wording import counted, listed, shown_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 8
LEAST_SECONDS = 1e-3
"""Where the axis of CPU seconds begins: less is drawn there."""

_MARKET = "market"
_COLOURS = (BOUGHT, ACCENT, "#2f9e63", "#9a5cc6", "#b58900", "#d6487e", "#1699a8")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DOTS_PER_INCH = 200
_LETTERS = 24
_GAP = 0.062  # of the height of the axes, between names
_PLOT_HEIGHT = 290

Style = tuple[str, str, str]


@dataclass(frozen=True)
class DrawnPlot:
    """A plot for the page and as files.

    Attributes:
        plot: for the page.
        svg: a drawing of its own, on white.
        png: the same in pixels.
    """

    plot: Plot
    svg: str
    png: bytes


def comparison_plots(results: ComparisonResults) -> list[DrawnPlot]:
    """Return every plot: per test set and metric against budget, then against cost per budget."""
    drawn = []
    named = _named_everywhere(results)
    keys = dict.fromkeys(
        (row.target, row.metric)
        for row in results.rows
        if is_quality(row) or row.metric == "label_noise"
    )
    for target, metric in sorted(keys, key=lambda key: (_rank(key[1]), key[0])):
        rows = [row for row in results.rows if (row.target, row.metric) == (target, metric)]
        drawn.append(quality_against_budget(results, rows, named=named))
        if metric in PRIMARY:
            budgets = sorted({row.budget_tokens for row in rows if row.sampler != ALL})
            drawn += [
                quality_against_cost(results, rows, budget=budget, named=named)
                for budget in budgets
            ]
    return drawn


def named_samplers(rows: Sequence[SummaryRow]) -> list[str]:
    """Return which samplers are drawn in colour, those that are always among them first.

    Args:
        rows: of one metric of one test set.
    """
    sign = 1.0 if LARGER_IS_BETTER.get(rows[0].metric, True) else -1.0
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row.sampler, []).append(sign * row.value.mean)
    by_mean = sorted(values, key=lambda name: (-float(np.mean(values[name])), name))
    last = max((row.budget_tokens for row in rows if row.sampler != ALL), default=0)
    singles = [row.best_single for row in rows if row.budget_tokens == last and row.best_single]
    wanted = [BASELINE, ALL, _MARKET, *singles[:1], *by_mean]
    return [name for name in dict.fromkeys(wanted) if name in values][:MOST_NAMED]


def quality_against_budget(
    results: ComparisonResults, rows: Sequence[SummaryRow], *, named: Sequence[str]
) -> DrawnPlot:
    """Return a metric of a test set against the share of the pool that was bought, with bands.

    Args:
        results: that the rows are of.
        rows: of one metric of one test set.
        named: samplers in colour.
    """
    target, metric = rows[0].target, rows[0].metric
    styles = _styles(named)
    bought = [row for row in rows if row.sampler != ALL]
    ends: dict[str, float] = {}

    def draw(axes: Axes) -> None:
        for name in sorted({row.sampler for row in bought}, key=lambda each: each in named):
            own = sorted(
                (row for row in bought if row.sampler == name), key=lambda row: row.budget_tokens
            )
            x = [100 * row.budget_tokens / results.whole_pool for row in own]
            y = [row.value.mean for row in own]
            if name not in named:
                axes.plot(x, y, color=LEFT, lw=0.8, alpha=0.6, marker=".", markersize=2, zorder=1)
                continue
            colour, line, marker = styles[name]
            low, high = ([getattr(row.value, end) for row in own] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0, zorder=2)
            axes.vlines(x, low, high, color=colour, lw=0.9, zorder=2)
            axes.plot(x, y, color=colour, ls=line, marker=marker, markersize=4.5, lw=1.6, zorder=3)
            ends[name] = y[-1]
        for row in rows:
            if row.sampler == ALL:
                axes.axhspan(row.value.low, row.value.high, color=MUTED, alpha=0.12, lw=0, zorder=0)
                axes.axhline(row.value.mean, color=MUTED, ls=":", lw=1.6, zorder=1)
                ends[ALL] = row.value.mean
        _limit(axes, [row for row in rows if row.sampler in named])
        shares = [100 * row.budget_tokens / results.whole_pool for row in bought]
        reach = max(shares) - min(shares) or max(shares)
        axes.set_xlim(max(0.0, min(shares) - 0.06 * reach), max(shares) + 0.04 * reach)
        ticks = sorted({round(share, 1) for share in shares})
        if len(ticks) <= 8:
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(f"% of the pool's {results.unit} bought")
        _finish(axes, metric)
        _name_at_the_side(axes, ends, styles, {name: max(shares) for name in ends})

    caption = (
        f"Mean and 95 % interval over {counted(results.seeds, 'seed')}. "
        f"{_grey_sentence(rows, named)}"
    )
    words = METRIC_WORDS.get(metric, metric)
    where = "of picks" if metric == "label_noise" else f"on {target}"
    return _drawn(f"{metric}_{target}_against_budget", f"{words} {where}, by budget", caption, draw)


def quality_against_cost(
    results: ComparisonResults,
    rows: Sequence[SummaryRow],
    *,
    budget: int,
    named: Sequence[str],
) -> DrawnPlot:
    """Return a metric of a test set at a budget against CPU seconds of signals and of choosing.

    Args:
        results: that the rows are of.
        rows: of one metric of one test set.
        budget: one of theirs.
        named: samplers in colour.
    """
    target, metric = rows[0].target, rows[0].metric
    styles = _styles(named)
    own = [row for row in rows if row.budget_tokens == budget and row.sampler != ALL]
    places: dict[str, float] = {}
    seconds = {row.sampler: max(row.total_cpu_seconds, LEAST_SECONDS) for row in own}

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        axes.set_xscale("log")
        for row in own:
            at = seconds[row.sampler]
            if row.sampler not in named:
                axes.plot([at], [row.value.mean], "o", color=LEFT, markersize=3.5, alpha=0.8)
                continue
            colour, _, marker = styles[row.sampler]
            axes.vlines([at], row.value.low, row.value.high, color=colour, lw=1.2)
            axes.plot([at], [row.value.mean], marker, color=colour, markersize=6.5, zorder=3)
            places[row.sampler] = row.value.mean
        shown = [row for row in own if row.sampler in named]
        for row in rows:
            if row.sampler == ALL:
                axes.axhline(row.value.mean, color=MUTED, ls=":", lw=1.6, zorder=1)
                places[ALL] = row.value.mean
                shown.append(row)
        _limit(axes, shown)
        most = max(seconds.values())
        axes.set_xlim(LEAST_SECONDS / 1.6, max(most, 10 * LEAST_SECONDS) * 2.2)
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=5))
        axes.xaxis.set_major_formatter(compact)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("CPU seconds of its signals and of choosing")
        _finish(axes, metric)
        _name_at_the_side(axes, places, styles, seconds)

    caption = (
        "Signals of the whole pool, computed once, and one choice; less than "
        f"{LEAST_SECONDS:g} s is drawn at {LEAST_SECONDS:g} s. {_grey_sentence(own, named)}"
    )
    share = f"{100 * budget / results.whole_pool:g}"
    words = METRIC_WORDS.get(metric, metric)
    return _drawn(
        f"{metric}_{target}_against_cost_{budget}",
        f"{words} on {target} at {budget_text(results, budget)}, by cost",
        caption,
        draw,
        label=f"{words} against CPU seconds at {share} %",
    )


def spread_apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places as near as may be to those wanted, in their order, at least a gap apart.

    Neighbours that are too close form a block around their mean, which grows while blocks touch.

    Args:
        wanted: any numbers.
        gap: >= 0.
    """
    order = sorted(range(len(wanted)), key=lambda place: (wanted[place], place))
    blocks: list[list[int]] = []
    for place in order:
        blocks.append([place])
        while len(blocks) > 1 and _start(blocks[-1], wanted, gap) < (
            _start(blocks[-2], wanted, gap) + gap * len(blocks[-2])
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    found = [0.0] * len(wanted)
    for block in blocks:
        first = _start(block, wanted, gap)
        for step, place in enumerate(block):
            found[place] = first + step * gap
    return found


def _start(block: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    centre = sum(wanted[place] for place in block) / len(block)
    return centre - gap * (len(block) - 1) / 2


def _named_everywhere(results: ComparisonResults) -> list[str]:
    """Return the samplers in colour, by the first metric, so that a colour is the same all over."""
    rows = [row for row in results.rows if is_quality(row)]
    first = min(rows, key=lambda row: (row.metric not in PRIMARY, _rank(row.metric), row.target))
    key = (first.target, first.metric)
    return named_samplers([row for row in rows if (row.target, row.metric) == key])


def _styles(named: Sequence[str]) -> dict[str, Style]:
    styles: dict[str, Style] = {BASELINE: (INK, "--", "o"), ALL: (MUTED, ":", "")}
    others = [name for name in named if name not in styles]
    for name, colour, marker in zip(others, _COLOURS, _MARKERS, strict=False):
        styles[name] = (colour, "-", marker)
    return styles


def _limit(axes: Axes, shown: Sequence[SummaryRow]) -> None:
    """Set the height of the axes by what is named."""
    low = min(row.value.low for row in shown)
    high = max(row.value.high for row in shown)
    room = 0.06 * (high - low) or 0.01 * abs(high) or 0.01
    axes.set_ylim(low - room, high + room)


def _finish(axes: Axes, metric: str) -> None:
    better = LARGER_IS_BETTER.get(metric)
    note = "" if better is None or better else " (lower is better)"
    axes.set_ylabel(f"{METRIC_WORDS.get(metric, metric)}{note}")
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _name_at_the_side(
    axes: Axes,
    ends: Mapping[str, float],
    styles: Mapping[str, Style],
    starts: Mapping[str, float],
) -> None:
    """Write each name right of the axes at the height of its end, and a thin line to it."""
    bottom, top = axes.get_ylim()
    shown = [name for name in ends if bottom <= ends[name] <= top]
    heights = [(ends[name] - bottom) / (top - bottom) for name in shown]
    right = axes.get_xlim()[1]
    for name, height in zip(shown, spread_apart(heights, _GAP), strict=True):
        colour = styles[name][0]
        at = bottom + height * (top - bottom)
        axes.plot(
            [starts.get(name, right), right], [ends[name], at], color=colour, lw=0.6, alpha=0.45
        )
        axes.annotate(
            shown_label(name, _LETTERS),
            (1.0, height),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=11,
            va="center",
            annotation_clip=False,
        )


def _grey_sentence(rows: Sequence[SummaryRow], named: Sequence[str]) -> str:
    grey = sorted({row.sampler for row in rows} - set(named))
    return f"Grey, where inside: {listed(grey)}." if grey else ""


def _drawn(
    name: str, title: str, caption: str, draw: Callable[[Axes], None], *, label: str | None = None
) -> DrawnPlot:
    slug = "".join(each if each.isalnum() else "-" for each in name)
    with drawing(height=_PLOT_HEIGHT) as (figure, axes):
        draw(axes)
        plot = Plot(slug, title, page_svg(figure, slug, label or title), caption.strip())
        return DrawnPlot(plot, image_svg(figure, title), _png(figure))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=_DOTS_PER_INCH,
        facecolor="#ffffff",
        metadata={"Software": None},
    )
    return buffer.getvalue()


def _rank(metric: str) -> int:
    order = list(METRIC_WORDS)
    return order.index(metric) if metric in order else len(order)
