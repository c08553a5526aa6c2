from __future__ import annotations

import pytest

from databourse.reports import wording


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0\u00a0%"),
        (0.00001, "<\u00a00.1\u00a0%"),
        (0.5, "50.0\u00a0%"),
        (0.99999, ">\u00a099.9\u00a0%"),
        (1.0, "100.0\u00a0%"),
        (1.2, "120.0\u00a0%"),
    ],
)
def test_a_percentage_never_rounds_to_none_or_all(share, text):
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.694, "+0.69"), (-0.694, "\u22120.69"), (0.001, "0.00"), (-0.001, "0.00")]
)
def test_zero_has_no_sign(value, text):
    assert wording.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1,230"),
        (0.99951, "1.00"),
        (0.004123, "0.00412"),
        (-2.5, "\u22122.50"),
        (3.2e-9, "3.20e\u22129"),
        (4.5e12, "4.50e12"),
    ],
)
def test_significant_digits_suit_any_size(value, text):
    assert wording.significant(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(3.21, "25 times"), (-0.5, "0.61 of"), (-5.3, "1/200 of"), (20.0, "e^20.0 times")],
)
def test_log_ratios_are_told_as_factors(ratio, text):
    assert wording.times(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (76.4, "1 min 16 s"), (7260, "2 h 1 min")],
)
def test_durations_use_the_largest_units(seconds, text):
    assert wording.duration(seconds).replace("\u00a0", " ") == text


def test_control_characters_are_made_visible():
    assert wording.shown_text("a\x00b\x1b[31m\tc\nd\u202ee\ud800") == "a␀b␛[31m\tc\nd\ufffde\ufffd"


def test_a_label_is_one_line_with_its_beginning_and_its_end():
    assert wording.shown_label(" a\n b ") == "a b"
    assert wording.shown_label("") == "(empty)"
    label = wording.shown_label("abcdefghij" * 10, 20)
    assert label == "abcdefghijabc…efghij"
    assert len(label) == 20


def test_lists_read_as_phrases():
    assert [wording.listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
