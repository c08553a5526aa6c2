from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.reports.data import (
    ContractResult,
    Dropped,
    ExtraSection,
    FunnelStage,
    SignalVersion,
    StageTiming,
    Table,
    Trader,
)
from databourse.reports.page import page_title, render_report, topic_table
from databourse.reports.plots import line_plot

PAGE = pytest.StashKey[str]()
VOID = {"meta", "br", "hr", "img", "link", "input", "col"}


def plain(text):
    """One line, with the signs of a keyboard."""
    return " ".join(text.replace("\u2212", "-").replace("\u2013", "none").split())


class Outline(HTMLParser):
    """Ids, references, tags and visible text of a page; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack, self.ids, self.references, self.tags, self.headings = [], [], [], [], []
        self.attributes, self.texts = [], []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def note(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.references += [found[key] for key in ("href", "src") if key in found]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] in {"h1", "h2"}:
            self.headings.append(data)
        if "style" not in self.stack:
            self.texts.append(data)

    @property
    def text(self):
        return plain(" ".join(self.texts))


@pytest.fixture
def page(tiny, request):
    """The page of the tiny inputs, rendered once per session."""
    stash = request.config.stash
    if PAGE not in stash:
        stash[PAGE] = render_report(tiny)
    return stash[PAGE]


@pytest.fixture
def outline(page):
    return Outline(page)


def test_every_section_is_there_in_order(outline):
    assert outline.headings == [
        "databourse report: news, version 3",
        "From rows to documents",
        "Price and budget",
        "Topics, sources, lengths",
        "Traders",
        "Dearest and cheapest documents",
        "Signals and cost",
        "Contracts",
        "Identity and config",
        "Words",
    ]
    assert outline.tags.count("svg") == 7
    assert outline.tags.count("article") == 4


def test_the_page_is_well_formed_and_every_link_leads_inside_it(outline, page):
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert ("html", {"lang": "en"}) in outline.attributes
    assert outline.tags.count("title") == outline.tags.count("h1") == 1
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.references
    assert all(reference.startswith("#") for reference in outline.references)
    assert {reference[1:] for reference in outline.references} <= set(outline.ids)


def test_nothing_is_loaded_from_outside(page, outline):
    assert not re.search(r"https?://|//[a-z]|@import|url\((?!#)", page, re.IGNORECASE)
    assert not {"script", "link", "iframe", "object", "img"} & set(outline.tags)
    assert "default-src 'none'" in page


def test_the_headline_says_what_was_bought_from_what_under_which_budget(outline):
    assert (
        "2 documents with 50 tokens were bought from 4 candidates of news: 100.0 % of a budget of "
        "50 tokens."
    ) in outline.text
    assert (
        "The candidates come from 7 rows read. The signals cost 4.5 s of CPU time" in outline.text
    )


def test_the_three_things_hold_computed_numbers(outline):
    assert (
        "Bought documents are shorter: a median of 25 tokens against 30 among all candidates."
    ) in outline.text
    assert (
        "Topic x gains most, from 15.0 % to 20.0 % of the tokens; y loses most, from 85.0 % to "
        "80.0 %. Source s1 gains most, from 25.0 % to 100.0 % of the tokens"
    ) in outline.text
    assert (
        "The margin is at log price per token -6.19. 0 documents below it were bought and 1 above"
    ) in outline.text


def test_tables_hold_the_numbers_of_traders_topics_and_drops(outline):
    text = outline.text
    assert "rarity 75.0 % +0.750 -0.750 +0.80" in text
    assert "flat 25.0 % 0.000 0.000 constant" in text
    assert "x 2 1 30 10 15.0 % 20.0 % none 0.500 50.0 % 1.5 0.69 1.25 0.75" in text
    assert "dedup same_text 2 28.6 %" in text
    assert "s1 2 2 50 50 25.0 % 100.0 %" in text
    assert "power 1 (the length bias): twice as long, a document must be 2 times as dear" in text


def test_examples_show_text_price_and_every_part(outline):
    text = outline.text
    assert "bought rank 1 x s1 10 tokens log price per token -3.30 (18 times the margin)" in text
    assert "left rank 4 y s2 130 tokens log price per token -8.37 (0.11 of the margin)" in text
    assert "fourth text" in text
    # ln tokens: 2.303, 2.996, 3.689, 4.868; mean 3.464, so +1.16 for the shortest
    assert "rarity +1.00 2.00 flat 0.00 1.00 length bias +1.16 topic mass +0.50" in text


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\x00\x1b[31m\u202e\ud800'\"&{{7*7}}"


@pytest.fixture
def hostile(tiny):
    bad = HOSTILE
    column = [bad, bad + "2", "c", "d"]
    priced = tiny.priced
    names = {"document_id": column, "source": column, "topic": column}
    arrays = {name: priced[name].to_numpy() for name in priced.column_names}
    arrays |= {name: np.array(values, dtype=object) for name, values in names.items()}
    topics = tuple(
        dataclasses.replace(tiny.topics[0], topic=name, documents=1, description=bad)
        for name in column
    )
    return dataclasses.replace(
        tiny,
        pool=bad,
        manifest_id=bad,
        run_id=bad,
        created_at=bad,
        config_text=bad,
        priced=arrays,
        topics=topics,
        texts={bad: bad},
        traders=(Trader(bad, 0.5), Trader(bad + "2", 0.5)),
        funnel=(FunnelStage(bad, 7, bad, bad), FunnelStage(bad, 2, bad)),
        dropped=(Dropped(bad, bad, 3),),
        signal_versions=(SignalVersion(bad, bad, bad, bad, bad, 1, 1, 0, 0, bad),),
        stages=(StageTiming(bad, 1, 1, 1, 1),),
        contracts=(ContractResult(bad, bad, bad, False, 1, bad),),
        dedup_notes=(bad,),
        warnings=(bad,),
        sections=(ExtraSection(bad, (bad,), (Table(bad, (bad,), ((bad,),), "l"),)),),
    )


def test_untrusted_text_is_escaped_and_shown_wherever_it_appears(hostile):
    page = render_report(hostile)
    outline = Outline(page)
    assert not {"script", "img"} & set(outline.tags)
    assert not [name for _, found in outline.attributes for name in found if name.startswith("on")]
    assert page.count("&lt;script&gt;alert(1)") > 20
    assert "{{7*7}}" in page
    assert not re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    page.encode("utf-8")  # no lone surrogate is left


def test_what_a_signal_says_of_its_values_is_shown_in_readable_numbers(tiny):
    details = {
        "held_out_spearman": 0.62345,
        "n_labelled": 1000,
        "uses_labels": True,
        "entropy_low_nats": -0.0000012,
        "not_a_number": float("nan"),
        "lowest_fold_spearman": None,
        "model": "<b>k</b> 10",
    }
    told = dataclasses.replace(tiny.signal_versions[0], details=details)
    page = render_report(dataclasses.replace(tiny, signal_versions=(told, tiny.signal_versions[1])))
    outline = Outline(page)

    assert (
        "How the values came about signal what it found rarity held out spearman 0.623, n labelled "
        "1,000, uses labels yes, entropy low nats -1.20e-6, not a number nan, lowest fold spearman "
        "none, model <b>k</b> 10 Parameters of the signals"
    ) in outline.text
    assert "<b>k</b>" not in page


def test_signals_that_say_nothing_have_no_table_of_it(outline):
    assert "How the values came about" not in outline.text


def test_a_long_text_is_cut(tiny):
    page = render_report(dataclasses.replace(tiny, texts={"a": "word " * 100_000}))
    assert len(page) < 400_000
    assert "word…" in page
    assert "(text not given to the report)" in page


def test_the_same_inputs_give_the_same_bytes_in_any_row_order(make_inputs, shuffled):
    inputs = make_inputs(300)
    assert render_report(inputs) == render_report(shuffled(inputs))


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(
        "import hashlib, numpy as np\n"
        "from databourse.reports import plots\n"
        "x = np.arange(5.0)\n"
        "plot = plots.line_plot('l', title='t', caption='c', series={'a': (x, x)},"
        " x_label='x', y_label='y')\n"
        "print(hashlib.sha256(plot.svg.encode()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONHASHSEED": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    x = np.arange(5.0)
    here = line_plot("l", title="t", caption="c", series={"a": (x, x)}, x_label="x", y_label="y")
    assert done.stdout.strip() == hashlib.sha256(here.svg.encode()).hexdigest()


def test_one_document_and_one_trader_make_a_page(make_inputs):
    text = Outline(render_report(make_inputs(1, n_topics=1, n_traders=1, share=1.0))).text
    assert "1 document with" in text
    assert "was bought from 1 candidate of news" in text
    assert "There are no further candidates." in text
    assert "nan" not in text.lower().split()


def test_nothing_bought_makes_a_page_that_says_so(make_inputs):
    text = Outline(render_report(make_inputs(30, share=0.0))).text
    assert "Nothing was bought from the 30 candidates of news under a budget of 1 token." in text
    assert "Nothing was bought from any of 3 topics." in text
    assert "nan" not in text.lower().split()


def test_every_topic_has_its_row_however_many_there_are(make_inputs):
    table = topic_table(make_inputs(500, n_topics=50).topics)
    assert sorted(row[0] for row in table.rows) == sorted(f"topic {k}" for k in range(50))
    assert {row[1] for row in table.rows} == {"10"}


def test_a_hundred_thousand_documents_stay_small_and_quick(make_inputs):
    inputs = make_inputs(100_000, n_topics=20, n_traders=4, share=0.1)
    started = time.perf_counter()
    page = render_report(inputs)
    assert time.perf_counter() - started < 20  # takes 4 s on two shared cores
    assert len(page.encode("utf-8")) < 3_000_000


def test_what_deserves_a_second_look_is_said_at_the_top(tiny):
    inputs = dataclasses.replace(tiny, warnings=("The run was resumed twice.",))
    top = Outline(render_report(inputs)).text.partition("Manifest mmm")[0]
    assert "The run was resumed twice. Signal flat is constant" in top


def test_a_manifest_without_a_number_is_said_to_have_none(tiny):
    numberless = dataclasses.replace(tiny, version=None)
    assert page_title(numberless) == "databourse report: news, not yet numbered"


def curve(name):
    x = np.arange(4.0)
    return line_plot(
        name, title="Loss", caption="It falls.", series={"a": (x, -x)}, x_label="x", y_label="y"
    )


def test_a_later_section_is_linked_and_shown(tiny):
    table = Table("Final loss", ("sampler", "loss"), (("market", "3.11"),), "lr")
    section = ExtraSection("Training on it", ("Less is better.",), (table,), (curve("loss"),))
    outline = Outline(render_report(dataclasses.replace(tiny, sections=(section,))))
    assert "Training on it" in outline.headings
    assert "#extra-1" in outline.references
    assert "It falls." in outline.text
    assert "market 3.11" in outline.text


def test_two_plots_of_one_name_are_refused(tiny):
    section = ExtraSection("again", plots=(curve("budget_curve"),))
    with pytest.raises(InputError, match=r"\['budget_curve'\] more than once"):
        render_report(dataclasses.replace(tiny, sections=(section,)))
