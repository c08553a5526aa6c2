"""What a person reads: aligned, within 100 columns, and safe to print."""

import dataclasses

import pytest

from databourse.explanations import described
from databourse.explanations.reasons import reason_in_words
from databourse.explanations.story import (
    Arrival,
    Change,
    DocumentFacts,
    Explanation,
    Price,
    Rejection,
    RunFacts,
    SignalPart,
    Topic,
)

DOCUMENT = DocumentFacts(
    document_id="3f" * 16,
    characters=1234,
    tokens=250,
    tokenizer_id="words@1",
    source="rows",
    locator="data/a.jsonl#7",
    label="weather",
    metadata={"number": 7, "tags": ["a", "b"]},
    prompt_characters=None,
    excerpt="storm " * 60,
    excerpt_problem=None,
)
ARRIVAL = Arrival(
    source="rows",
    locator="data/a.jsonl#7",
    label="weather",
    metadata=None,
    stage="budget",
    outcome="left",
    reason="did_not_fit",
    words="it cost more than the budget had left at its turn",
    similarity=None,
    representative_id=None,
    is_asked=False,
)
SIGNAL = SignalPart(
    signal="neighbour_agreement",
    signal_id="neighbour_agreement@1",
    scope="pool",
    value=0.9123456789,
    mean=0.5,
    spread=0.25,
    lowest=0.0,
    highest=0.94,
    z=1.649,
    shares_per_spread=0.2,
    log_price=0.604,
    factor=1.83,
    needed_value=0.95,
)
PRICE = Price(
    log_price=-8.0,
    share_of_pool=0.000335,
    times_average=3.35,
    topic_log_price=0.1,
    competition_log_price=-0.4,
    tokens=250,
    length_bias=1.0,
    log_price_per_token=-13.52,
    price_rank=63,
    n_documents=10_000,
    margin_log_price_per_token=-13.0,
    log_above_margin=-0.52,
    is_selected=False,
    weight=1.0,
    inclusion_probability=None,
)
CHANGE = Change(
    target_log_price_per_token=-12.9,
    log_rise=0.62,
    shares=0.125,
    tokens=1,
    left_at_turn=3,
    budget=1_000,
    budget_share=0.25,
    budget_unit="tokens",
    limit=900,
    remarks=("something else is true",),
)
STORY = Explanation(
    pool="tiny",
    asked="3f3f3f",
    outcome="left",
    reason="did_not_fit",
    summary="at its turn it cost 250 and 3 of 900 tokens were left",
    run=RunFacts("run-1", "completed", "2026-03-01T04:00:00Z", 1, is_latest=True),
    document=DOCUMENT,
    rejections=(),
    arrivals=(ARRIVAL,),
    representative=None,
    represents=None,
    topic=Topic("wind, rain", 100, 0.25, 0.4, 31.4, 0.87),
    signals=(SIGNAL,),
    price=PRICE,
    change=CHANGE,
    published=(),
    notes=("a note " * 30,),
)


def changed(**fields):
    return dataclasses.replace(STORY, **fields)


def test_the_fate_stands_in_the_second_line():
    first, second, *_ = described(STORY).splitlines()
    assert first == "3f" * 16
    assert second == "LEFT: at its turn it cost 250 and 3 of 900 tokens were left"


def test_no_line_is_wider_than_a_hundred_columns():
    assert max(map(len, described(STORY).splitlines())) <= 100


def test_a_value_of_many_digits_beyond_its_topic_still_fits():
    wide = dataclasses.replace(
        SIGNAL, needed_value=-0.123456789, value=-0.234567891, lowest=-0.0123456789, highest=1.0
    )
    text = described(changed(signals=(wide,)))
    assert "(lowest in its topic: -0.0123457)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_columns_of_the_signals_are_aligned_with_their_names():
    lines = described(STORY).splitlines()
    head = next(number for number, line in enumerate(lines) if "topic mean" in line)
    names, row = lines[head], lines[head + 1]
    for name, value in (("topic mean", "0.5"), ("spread", "0.25"), ("factor", "x1.83")):
        end = names.index(name) + len(name)
        assert row[:end].endswith(" " + value)


@pytest.mark.parametrize(
    "expected",
    [
        "must rise x1.86, to ln -12.9000: there the budget last had 250",
        "+0.125 shares, by whichever signal",
        "0.95 instead of 0.91234568 (highest in its topic: 0.94)",
        "length in tokens            at most 1 at its price, instead of 250",
        "1,000 tokens (a share of 0.25) or more buy it, instead of 900",
        "  - something else is true",
        "number=7, tags=",
        "published   in no version",
        "x0.595 of it",
    ],
)
def test_the_ways_to_be_bought_are_written_out(expected):
    assert expected in described(STORY)


def test_control_characters_of_a_document_do_not_reach_the_terminal():
    nasty = "red \x1b[31m text \x9b2J \u202e right \x07"
    story = changed(
        document=dataclasses.replace(DOCUMENT, excerpt=nasty, label=nasty, metadata={nasty: nasty}),
        arrivals=(dataclasses.replace(ARRIVAL, locator=nasty, label=nasty),),
        topic=dataclasses.replace(STORY.topic, name=nasty),
        rejections=(Rejection("rows", nasty, "broken_json", "words", nasty, nasty),),
        asked=nasty,
        summary=nasty,
        notes=(nasty,),
    )
    text = described(story)
    assert not any(ord(sign) < 32 and sign != "\n" for sign in text)
    assert not set(text) & {"\x9b", "\u202e", "\x7f"}


def test_many_rows_are_cut_and_the_asked_one_comes_first():
    rows = [dataclasses.replace(ARRIVAL, locator=f"data/a.jsonl#{n}") for n in range(40)]
    rows[33] = dataclasses.replace(rows[33], is_asked=True)
    lines = described(changed(arrivals=tuple(rows))).splitlines()
    head = next(number for number, line in enumerate(lines) if "that hold it: 40" in line)
    assert lines[head + 2].strip().startswith(">")
    assert "data/a.jsonl#33" in lines[head + 2]
    assert "and 32 more" in lines[head + 10]


def test_what_is_not_known_is_a_dash_and_not_a_number():
    unknown = dataclasses.replace(SIGNAL, value=None, mean=None, z=None, needed_value=None)
    row = next(
        line
        for line in described(changed(signals=(unknown,))).splitlines()
        if line.startswith("  neighbour_agreement")
    )
    assert row.split()[1:5] == ["-", "-", "0.25", "-"]


def test_the_run_is_named_when_nothing_was_published_and_when_there_is_none():
    unpublished = dataclasses.replace(STORY.run, version=None)
    assert "tiny run-1, completed, not published" in described(changed(run=unpublished))
    assert "tiny (no run)" in described(changed(run=None))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("topic_floor", "it was bought to fill the floor of its topic"),
        ("source_cap", "the cap on its source left no room for it"),
        ("longer_than_budget", "it costs more than the whole budget"),
        ("some_new_reason", "some new reason"),
    ],
)
def test_every_reason_has_words(reason, words):
    assert reason_in_words(reason) == words
