"""The plots of a report: each with a caption that says in numbers what is seen.

Drawn with `Figure` objects, without the state of pyplot; the same input gives the same bytes.
Bought documents are always drawn in blue, left ones in grey; shape, position or line style says the
same again, for print and for colour-blind readers.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from databourse.errors import MissingExtraError
from databourse.reports import captions, measures
from databourse.reports.measures import BoolArray, Candidates, FloatArray, GroupShare, IntArray
from databourse.reports.svg import ACCENT, BOUGHT, INK, LEFT, LINE, MUTED, image_uri, page_svg
from databourse.reports.wording import NONE, decimal, shown_label, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_NAMES = (
    "price_against_length",
    "budget_curve",
    "price_mass",
    "tokens_by_topic",
    "length_distribution",
    "trader_contributions",
    "signal_correlations",
)
MAX_POINTS = 4000
MAX_CURVE_POINTS = 400
N_BARS = 14

_WIDTH_INCHES = 420 / 72  # 420 units wide: at 360 pixels its 12 unit letters are still read
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
    "font.size": 12,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "path.simplify": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a topic named "$x$" is not a formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 11.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 11.5,
}
_LEGEND_LETTERS = 36  # of four names side by side
_ROOMY_CELLS = 7  # in a row of correlations; more of them get one decimal each
_LINE_STYLES = ((BOUGHT, "-", "o"), (ACCENT, "--", "s"), (LEFT, "-.", "^"), (INK, ":", "D"))


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing for the page: `svg` is trusted markup, `caption` is plain text."""

    name: str
    title: str
    svg: str
    caption: str


def report_plots(documents: Candidates) -> dict[str, Plot]:
    """Return every plot of the report by name, in the order of `PLOT_NAMES`."""
    plots = (
        price_against_length(documents),
        budget_curve(documents),
        price_mass_curve(documents),
        tokens_by_topic(measures.group_shares(documents, documents.topic)),
        length_distribution(documents),
        trader_contributions(documents),
        signal_correlations(documents),
    )
    return {plot.name: plot for plot in plots}


def price_against_length(documents: Candidates) -> Plot:
    """Return the log price per token of documents against their tokens (log axis).

    More than `MAX_POINTS` documents are sampled, bought and left ones to the same number where
    there are enough; the sample depends on the document ids alone.
    """
    drawn = _sample(documents)
    picked = documents.is_selected
    with drawing(height=270) as (figure, axes):
        for group, colour, shape, name in (
            (drawn & ~picked, LEFT, "dots-left", "left"),
            (drawn & picked, BOUGHT, "triangles-bought", "bought"),
        ):
            if group.any():
                marker = "o" if shape.startswith("dots") else "^"
                axes.plot(
                    documents.tokens[group],
                    documents.log_price_per_token[group],
                    marker,
                    markersize=3.4,
                    color=colour,
                    alpha=0.75,
                    markeredgewidth=0,
                    gid=shape,
                )
                axes.plot([], [], marker, color=colour, label=name, markersize=6)
        _draw_margin(axes, documents)
        _token_axis(axes, documents.tokens)
        axes.set_ylabel("log price per token")
        legend_above(axes)
        title = "Price per token against length"
        svg = page_svg(figure, "price-against-length", title)
    return Plot("price_against_length", title, svg, captions.price_against_length(documents, drawn))


def budget_curve(documents: Candidates) -> Plot:
    """Return the log price per token while all candidates are walked, dearest first."""
    spent = np.cumsum(documents.tokens).astype(np.float64)
    rows = _curve_rows(documents.n_documents)
    limit = measures.margin(documents)
    with drawing(height=270) as (figure, axes):
        starts = np.concatenate([[0.0], spent[rows]])
        prices = documents.log_price_per_token[rows]
        axes.plot(
            starts, np.concatenate([prices[:1], prices]), color=INK, drawstyle="steps-pre", lw=1.4
        )
        if limit is not None:
            bought = int(documents.tokens[documents.is_selected].sum())
            axes.axvspan(0, bought, color=BOUGHT, alpha=0.16, lw=0, label="tokens bought")
            _draw_margin(axes, documents)
            axes.plot([bought], [limit.log_price_per_token], "D", color=ACCENT, markersize=6)
            legend_above(axes)
        axes.set_xlim(0, float(spent[-1]))
        _few_ticks(axes)
        axes.xaxis.set_major_formatter(compact)
        axes.grid(visible=True)
        axes.set_xlabel("tokens of all candidates, dearest first")
        axes.set_ylabel("log price per token")
        title = "Where the budget ends"
        svg = page_svg(figure, "budget-curve", title)
    return Plot("budget_curve", title, svg, captions.budget_curve(documents))


def price_mass_curve(documents: Candidates) -> Plot:
    """Return the share of all prices that a share of all tokens buys, dearest first."""
    tokens = np.cumsum(documents.tokens) / documents.tokens.sum()
    mass = np.minimum(np.cumsum(measures.price_mass(documents)), 1.0)
    rows = _curve_rows(documents.n_documents)
    token_share, mass_share = captions.bought_shares(documents)
    with drawing(height=270) as (figure, axes):
        axes.plot(
            np.concatenate([[0.0], tokens[rows]]) * 100,
            np.concatenate([[0.0], mass[rows]]) * 100,
            color=INK,
            lw=1.4,
            label="dearest first",
        )
        axes.plot([0, 100], [0, 100], color=LEFT, lw=1.1, ls="--", label="at random")
        if documents.is_selected.any():
            axes.plot(
                [token_share * 100],
                [mass_share * 100],
                "^",
                color=BOUGHT,
                markersize=8,
                label="this selection",
                clip_on=False,
            )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("% of the candidates' tokens")
        axes.set_ylabel("% of the price mass")
        legend_above(axes, columns=3)
        title = "Price mass that the budget buys"
        svg = page_svg(figure, "price-mass", title)
    return Plot("price_mass", title, svg, captions.price_mass(documents))


def tokens_by_topic(topics: Sequence[GroupShare]) -> Plot:
    """Return each topic's share of the tokens, of the candidates and of the selection."""
    bars = _topic_bars(topics, N_BARS)
    with drawing(height=92 + 28 * len(bars)) as (figure, axes):
        _draw_topic_bars(axes, bars)
        title = "Tokens by topic, before and after"
        svg = page_svg(figure, "tokens-by-topic", title)
    return Plot("tokens_by_topic", title, svg, captions.tokens_by_topic(topics))


def topic_image(topics: Sequence[GroupShare], n_bars: int = 8) -> str:
    """Return the plot of tokens by topic, shorter, as a `data:` URI in fixed colours."""
    bars = _topic_bars(topics, n_bars)
    with drawing(height=92 + 28 * len(bars)) as (figure, axes):
        _draw_topic_bars(axes, bars)
        return image_uri(figure, "Tokens by topic, before and after")


def length_distribution(documents: Candidates) -> Plot:
    """Return how long documents are before and after the selection (log axis)."""
    edges = _length_bins(documents.tokens)
    with drawing(height=270) as (figure, axes):
        before = _histogram(documents.tokens, edges)
        axes.stairs(before, edges, fill=True, color=LEFT, alpha=0.55, label="candidates")
        if documents.is_selected.any():
            after = _histogram(documents.tokens[documents.is_selected], edges)
            axes.stairs(after, edges, color=BOUGHT, lw=1.8, label="bought")
        _token_axis(axes, documents.tokens)
        axes.set_ylabel("% of documents")
        axes.set_ylim(bottom=0)
        legend_above(axes)
        title = "Length before and after"
        svg = page_svg(figure, "length-distribution", title)
    return Plot("length_distribution", title, svg, captions.length_distribution(documents))


def trader_contributions(documents: Candidates) -> Plot:
    """Return the spread of every trader's part of the log price, for bought and for left ones.

    Line: 5th to 95th percentile; box: middle half; stroke: median.
    """
    n_traders = len(documents.traders)
    with drawing(height=96 + 46 * n_traders) as (figure, axes):
        axes.axvline(0, color=MUTED, lw=0.8)
        for group, colour, offset, name in (
            (documents.is_selected, BOUGHT, -0.18, "bought"),
            (~documents.is_selected, LEFT, 0.18, "left"),
        ):
            if group.any():
                _draw_boxes(axes, documents.contributions[group], colour, offset)
                axes.barh([-9], [0], color=colour, label=name)
        axes.set_yticks(range(n_traders), [shown_label(name, 22) for name in documents.traders])
        axes.set_ylim(n_traders - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("part of the log price")
        _few_ticks(axes)
        legend_above(axes)
        title = "What each trader adds to the log price"
        svg = page_svg(figure, "trader-contributions", title)
    return Plot("trader_contributions", title, svg, captions.trader_contributions(documents))


def signal_correlations(documents: Candidates) -> Plot:
    """Return Spearman's correlations of the raw signals, and of each with the log price."""
    names, matrix = correlation_matrix(documents)
    n_rows = len(names) - 1
    with drawing(height=124 + 36 * n_rows) as (figure, axes):
        for row in range(n_rows):
            for at in range(row + 1):
                _draw_cell(axes, at, row, matrix[row + 1][at], crowded=n_rows > _ROOMY_CELLS)
        axes.set_xlim(-0.5, n_rows - 0.5)
        axes.set_ylim(n_rows - 0.5, -0.5)
        labels = [shown_label(name, 22) for name in names]
        axes.set_yticks(range(n_rows), labels[1:])
        rotation = 0 if n_rows < 3 else 35
        axes.set_xticks(
            range(n_rows), labels[:-1], rotation=rotation, ha="right" if rotation else "center"
        )
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        title = "How far the signals agree"
        svg = page_svg(figure, "signal-correlations", title)
    return Plot("signal_correlations", title, svg, captions.signal_correlations(names, matrix))


def line_plot(
    name: str,
    *,
    title: str,
    caption: str,
    series: Mapping[str, tuple[FloatArray, FloatArray]],
    x_label: str,
    y_label: str,
) -> Plot:
    """Return a plot of up to four named curves, for sections that later stages add.

    Args:
        name: unique among the plots of a page; lower case with underscores.
        series: x and y by name, both of shape (n_points,).
    """
    with drawing(height=270) as (figure, axes):
        for (label, (x, y)), (colour, line, marker) in zip(
            series.items(), _LINE_STYLES, strict=False
        ):
            marks = marker if len(x) <= 30 else ""
            axes.plot(x, y, color=colour, ls=line, marker=marks, markersize=4, label=label)
        _few_ticks(axes)
        axes.xaxis.set_major_formatter(compact)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        legend_above(axes, columns=4 if sum(map(len, series)) <= _LEGEND_LETTERS else 2)
        svg = page_svg(figure, name.replace("_", "-"), title)
    return Plot(name, title, svg, caption)


def correlation_matrix(
    documents: Candidates,
) -> tuple[tuple[str, ...], list[list[float | None]]]:
    """Return names (signals, then `log price`) and their rank correlations; None: constant."""
    columns = [documents.signals[:, k] for k in range(len(documents.traders))]
    columns.append(documents.log_price)
    names = (*documents.traders, "log price")
    return names, [[measures.rank_correlation(a, b) for b in columns] for a in columns]


# Drawing


@contextmanager
def drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Give an empty figure in the report's own style, whatever the user's matplotlib settings."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "pipeline", "drawing the report") from error
    with mpl.rc_context(), warnings.catch_warnings():
        # Letters that the measuring font lacks are drawn by the reader's own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(_WIDTH_INCHES, height / 72))
        yield figure, figure.add_subplot()


def _sample(documents: Candidates) -> BoolArray:
    """Return which documents to draw: of each kind those with the smallest digests of their id."""
    picked = documents.is_selected
    n_picked, n_left = int(picked.sum()), int((~picked).sum())
    half = MAX_POINTS // 2
    room_picked = max(half, MAX_POINTS - n_left)
    room_left = max(half, MAX_POINTS - n_picked)
    if n_picked <= room_picked and n_left <= room_left:
        return np.ones(documents.n_documents, dtype=np.bool_)
    digests = np.array(
        [
            hashlib.blake2b(str(name).encode("utf-8", "replace"), digest_size=8).digest()
            for name in documents.document_id
        ]
    )
    drawn = np.zeros(documents.n_documents, dtype=np.bool_)
    for group, room in ((picked, room_picked), (~picked, room_left)):
        rows = np.flatnonzero(group)
        drawn[rows[np.lexsort((rows, digests[rows]))][:room]] = True
    return drawn


def _curve_rows(n_documents: int) -> IntArray:
    rows = np.linspace(0, n_documents - 1, min(n_documents, MAX_CURVE_POINTS))
    return np.unique(np.round(rows).astype(np.int64))


def _draw_margin(axes: Axes, documents: Candidates) -> None:
    limit = measures.margin(documents)
    if limit is not None:
        axes.axhline(limit.log_price_per_token, color=ACCENT, lw=1.2, ls="--", label="margin")


def _draw_boxes(axes: Axes, values: FloatArray, colour: str, offset: float) -> None:
    for row, trader in enumerate(values.T):
        low, first, median, third, high = np.quantile(trader, [0.05, 0.25, 0.5, 0.75, 0.95])
        at = row + offset
        axes.plot([low, high], [at, at], color=colour, lw=1.4, solid_capstyle="butt")
        axes.barh([at], [third - first], left=[first], height=0.26, color=colour, alpha=0.55)
        axes.plot([median, median], [at - 0.15, at + 0.15], color=INK, lw=1.8)


def _draw_cell(axes: Axes, column: int, row: int, value: float | None, *, crowded: bool) -> None:
    from matplotlib.patches import Rectangle

    strength = 0.0 if value is None else abs(value)
    colour = BOUGHT if (value or 0) >= 0 else ACCENT
    corner = (column - 0.48, row - 0.46)
    axes.add_patch(Rectangle(corner, 0.96, 0.92, color=colour, alpha=0.08 + 0.5 * strength, lw=0))
    if crowded:
        text, size = NONE if value is None else signed(value, 1), 8.5
    else:
        text, size = "constant" if value is None else signed(value), 11.5
    axes.text(column, row, text, ha="center", va="center", fontsize=size)


def _draw_topic_bars(axes: Axes, bars: Sequence[GroupShare]) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = np.arange(len(bars))
    has_selection = any(bar.selected_tokens for bar in bars)
    for offset, colour, name, shares in (
        (-0.2, LEFT, "candidates", [bar.share for bar in bars]),
        (0.2, BOUGHT, "bought", [bar.selected_share for bar in bars]),
    ):
        if name == "bought" and not has_selection:
            continue
        widths = np.array(shares) * 100
        axes.barh(rows + offset, widths, height=0.36, color=colour, label=name)
        for row, width in zip(rows, widths, strict=True):
            axes.annotate(
                decimal(float(width), 1),
                (width, row + offset),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
                color=MUTED,
            )
    axes.set_yticks(rows, [shown_label(bar.name, 20) for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("% of tokens")
    legend_above(axes)


def _topic_bars(topics: Sequence[GroupShare], n_bars: int) -> list[GroupShare]:
    """Return the topics with the largest share before or after; the others as one bar."""
    if len(topics) <= n_bars:
        return sorted(topics, key=lambda row: (-row.share, row.name))
    by_size = sorted(topics, key=lambda row: (-max(row.share, row.selected_share), row.name))
    shown, rest = by_size[: n_bars - 1], by_size[n_bars - 1 :]
    shown.sort(key=lambda row: (-row.share, row.name))
    other = GroupShare(
        name=f"{len(rest)} other topics",
        documents=sum(row.documents for row in rest),
        tokens=sum(row.tokens for row in rest),
        selected_documents=sum(row.selected_documents for row in rest),
        selected_tokens=sum(row.selected_tokens for row in rest),
        share=sum(row.share for row in rest),
        selected_share=sum(row.selected_share for row in rest),
    )
    return [*shown, other]


def _length_bins(tokens: IntArray) -> FloatArray:
    low, high = float(tokens.min()), float(tokens.max())
    n_bins = 1 if low == high else min(30, max(6, int(np.sqrt(len(tokens)))))
    edges: FloatArray = np.geomspace(low / 1.02, high * 1.02, n_bins + 1)
    return edges


def _histogram(tokens: IntArray, edges: FloatArray) -> FloatArray:
    counts, _ = np.histogram(tokens, edges)
    shares: FloatArray = counts / len(tokens) * 100
    return shares


def _token_axis(axes: Axes, tokens: IntArray) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = float(tokens.min()), float(tokens.max())
    axes.set_xscale("log")
    axes.set_xlim(low / 1.15, high * 1.15)
    few = high / low < 50
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if low == high:
        axes.set_xticks([low])
    axes.set_xlabel("tokens of a document")
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _few_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)


def compact(value: float, _position: float = 0) -> str:
    """Return a count for an axis, such as 500, 20k or 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def legend_above(axes: Axes, columns: int = 4) -> None:
    """Put the legend above the axes, in columns, where it hides nothing."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=columns,
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.4,
        )
