from __future__ import annotations

import dataclasses
import re

from databourse.reports import markdown
from databourse.reports.data import Dropped
from databourse.reports.markdown import summary_markdown


def lines(text):
    return text.replace("\u00a0", " ").replace("\u2013", "none").splitlines()


def test_the_tables_say_what_was_bought_left_and_dropped(tiny):
    found = lines(summary_markdown(tiny))
    assert "| bought | 2 | 50 | 25.0 % |" in found
    assert "| left | 2 | 150 | 75.0 % |" in found
    assert "| dropped before pricing | 3 | none | none |" in found
    assert "| dedup | same\\_text | 2 |" in found


def test_paths_are_printed_and_addresses_linked(tiny):
    paths = {"report": "out/a_b.html", "manifest": "https://host.example/v000003"}
    found = lines(summary_markdown(tiny, paths))
    assert "- report: `out/a_b.html`" in found
    assert "- manifest: [https://host.example/v000003](<https://host.example/v000003>)" in found


def test_a_path_cannot_leave_its_code_span(tiny):
    found = lines(summary_markdown(tiny, {"report": "a`b ![x](http://evil)"}))
    assert "- report: `` a`b ![x](http://evil) ``" in found


def test_text_cannot_break_out_of_its_cell(tiny):
    bad = "a|b\n<img src=x> [l](http://e) `c`"
    text = summary_markdown(dataclasses.replace(tiny, dropped=(Dropped(bad, bad, 3),)))
    row = next(line for line in text.splitlines() if "a\\|b" in line)
    assert "\\<img src=x\\>" in row
    assert "\\[l\\]\\(http" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 4


def test_the_image_is_small_and_inside_the_page(make_inputs):
    text = summary_markdown(make_inputs(3000, n_topics=50))
    (uri,) = re.findall(r"!\[[^]]*\]\((data:image/svg\+xml;base64,[^)]+)\)", text)
    assert len(uri) < 60_000
    assert len(text) < 64_000


def test_an_image_that_is_too_large_is_left_out_with_a_word(tiny, monkeypatch):
    monkeypatch.setattr(markdown, "MAX_IMAGE_BYTES", 100)
    text = summary_markdown(tiny)
    assert "data:" not in text
    assert "too large for this page" in text


def test_the_same_inputs_give_the_same_text_in_any_row_order(tiny, shuffled):
    assert summary_markdown(tiny) == summary_markdown(shuffled(tiny))


def test_nothing_bought_is_said(make_inputs):
    text = " ".join(lines(summary_markdown(make_inputs(20, share=0.0))))
    assert "Nothing was bought from the 20 candidates of news" in text
    assert "| bought | 0 | 0 | 0.0 % |" in text
    assert "nan" not in text.lower().split()
