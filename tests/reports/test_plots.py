from __future__ import annotations

import base64
import dataclasses
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from databourse.reports import measures, plots


@pytest.fixture
def documents(tiny):
    return measures.candidates(tiny)


@pytest.fixture
def drawn(documents, request):
    """The plots of the tiny inputs, drawn once per session."""
    stash = request.config.stash
    if PLOTS not in stash:
        stash[PLOTS] = plots.report_plots(documents)
    return stash[PLOTS]


PLOTS = pytest.StashKey[dict]()


def drawing(svg):
    return ET.fromstring(svg)  # noqa: S314 - drawn by the code under test


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-")


def test_captions_hold_the_numbers_worked_out_by_hand(drawn):
    assert {name: plain(plot.caption) for name, plot in drawn.items()} == {
        "price_against_length": (
            "Every candidate is drawn (4 documents). The median bought document has 25 tokens, the "
            "median left one 75 tokens. The rank correlation of price per token and length is "
            "-1.00."
        ),
        "budget_curve": (
            "In strict order of price, the 50 tokens bought end at log price per token -6.19, the "
            "margin. 100.0 % of the bought documents (2 of 2) are at or above it; 1 document above "
            "it was left."
        ),
        # (e^-1 + e^-2.5) / (e^-1 + e^-3 + e^-2.5 + e^-3.5) = 0.849 for 50 of 200 tokens
        "price_mass": (
            "25.0 % of the candidates' tokens buy 84.9 % of the price mass, 3.40 times what as "
            "many tokens at random would buy."
        ),
        "tokens_by_topic": (
            "Topics bought from: 2 of 2. Largest gain: x, from 15.0 % to 20.0 % of the tokens. "
            "Largest loss: y, from 85.0 % to 80.0 % of the tokens."
        ),
        "length_distribution": (
            "Candidates: median 30 tokens, four in five documents between 13 and 103. Bought: "
            "median 25 tokens, four in five documents between 13 and 37."
        ),
        "trader_contributions": (
            "Line: 5th to 95th percentile; box: middle half; stroke: median. The groups differ "
            "most for rarity: on average +0.75 for bought and -0.75 for left documents."
        ),
        "signal_correlations": (
            "Spearman's rank correlation of raw signals over all candidates. Constant, so without "
            "a correlation: flat."
        ),
    }


def test_a_constant_signal_is_called_constant_and_never_nan(documents, drawn):
    names, matrix = plots.correlation_matrix(documents)
    assert names == ("rarity", "flat", "log price")
    # Ranks of rarity (3, 1, 4, 2) and log price (4, 2, 3, 1): 1 - 6 * 4 / (4 * 15)
    assert matrix[2][0] == pytest.approx(0.6)
    assert matrix[1] == [None, None, None]
    cells = [text.text for text in drawing(drawn["signal_correlations"].svg).iter("text")]
    assert cells.count("constant") == 2
    assert "+0.60" in cells
    assert not any("nan" in (cell or "").lower() for cell in cells)


def test_the_correlations_of_many_signals_have_one_decimal_each(documents):
    many = dataclasses.replace(
        documents,
        traders=tuple(f"signal_{n}" for n in range(12)),
        signals=np.random.default_rng(1).normal(size=(len(documents.log_price), 12)),
    )

    svg = plots.signal_correlations(many).svg

    cells = [text.text or "" for text in drawing(svg).iter("text")]
    numbers = [plain(cell) for cell in cells if cell[:1] in {"+", "\u2212"} or cell == "0.0"]
    assert len(numbers) == 12 * 13 / 2
    assert all(len(number.lstrip("+-")) == 3 for number in numbers)


def test_every_drawing_scales_and_is_told_to_screen_readers(drawn):
    for plot in drawn.values():
        root = drawing(plot.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == plot.title
        assert root.get("viewBox")
        assert root.get("width") is None


def test_drawings_use_the_colours_of_the_page_and_no_outside_reference(drawn):
    for plot in drawn.values():
        assert "var(--" in plot.svg
        assert "http" not in plot.svg
        assert "font-family" not in plot.svg
        styles = [part.get("style", "") for part in drawing(plot.svg).iter()]
        loose = [style for style in styles if "#" in style.replace(", #", "")]
        assert not [style for style in loose if "url(#" not in style]


def test_the_names_of_the_plots_are_those_announced(drawn):
    assert tuple(drawn) == plots.PLOT_NAMES


def test_ids_are_unique_over_all_drawings(drawn):
    ids = [
        part.get("id")
        for plot in drawn.values()
        for part in drawing(plot.svg).iter()
        if part.get("id")
    ]
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_drawing_has_its_target(drawn):
    for plot in drawn.values():
        root = drawing(plot.svg)
        ids = {part.get("id") for part in root.iter()}
        targets = {part.get("href")[1:] for part in root.iter() if part.get("href")}
        assert targets <= ids


def test_bought_and_left_differ_in_shape_and_colour(drawn):
    root = drawing(drawn["price_against_length"].svg)
    paths = [path for path in root.iter("path") if path.get("d", "").count("M") == 2]
    dots = [path for path in paths if "a1.6" in path.get("d")]
    triangles = [path for path in paths if "l2.2 4h-4.4z" in path.get("d")]
    assert (len(dots), len(triangles)) == (1, 1)
    assert "var(--left" in dots[0].get("style")
    assert "var(--bought" in triangles[0].get("style")


def test_the_users_own_matplotlib_settings_change_nothing(documents, drawn):
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert plots.report_plots(documents) == drawn
        assert mpl.rcParams["font.size"] == 30


def test_many_documents_are_sampled_and_the_caption_says_so(make_inputs):
    documents = measures.candidates(make_inputs(9000, share=0.4))
    plot = plots.price_against_length(documents)
    assert plot.caption.startswith("A fixed sample is drawn: 2,000 of 3,600 bought and 2,000 of")
    drawn = [path.get("d").count("M") for path in drawing(plot.svg).iter("path")]
    assert sorted(drawn)[-2:] == [2000, 2000]


def test_a_small_group_is_drawn_whole(make_inputs):
    plot = plots.price_against_length(measures.candidates(make_inputs(9000, share=0.01)))
    assert plot.caption.startswith("A fixed sample is drawn: all 90 bought and 3,910 of 8,910")


def test_topics_beyond_the_largest_are_one_bar_that_keeps_the_total(make_inputs):
    documents = measures.candidates(make_inputs(2000, n_topics=50))
    topics = measures.group_shares(documents, documents.topic)
    bars = plots._topic_bars(topics, 14)
    assert len(bars) == 14
    assert bars[-1].name == "37 other topics"
    assert sum(bar.tokens for bar in bars) == documents.tokens.sum()
    assert sum(bar.selected_share for bar in bars) == pytest.approx(1.0)


def test_a_topic_name_is_neither_formula_nor_markup(documents):
    name = "$x_1$ <script> 機械学習"
    hostile = dataclasses.replace(documents, topic=np.array([name] * 4, dtype=object))
    svg = plots.tokens_by_topic(measures.group_shares(hostile, hostile.topic)).svg
    assert "<script" not in svg
    assert name in [text.text for text in drawing(svg).iter("text")]


def test_the_image_is_a_whole_svg_with_fixed_colours(documents):
    topics = measures.group_shares(documents, documents.topic)
    uri = plots.topic_image(topics)
    svg = base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()
    root = drawing(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in svg
    assert "#0063a5" in svg


def test_a_later_section_can_draw_curves():
    steps = np.arange(3.0)
    plot = plots.line_plot(
        "loss_curve",
        title="Loss",
        caption="Falls.",
        series={"market": (steps, 3 - steps), "random": (steps, 3 - steps / 2)},
        x_label="steps",
        y_label="loss",
    )
    texts = [text.text for text in drawing(plot.svg).iter("text")]
    assert {"market", "random", "steps", "loss"} <= set(texts)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (500, "500"), (20000, "20k"), (1.5e6, "1.5M"), (2e9, "2G")]
)
def test_axis_counts_are_short(value, text):
    assert plots.compact(value) == text
