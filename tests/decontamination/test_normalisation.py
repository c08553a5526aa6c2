import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.decontamination.normalisation import mask_numbers, words_of, words_or_marks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's 2 hats!", ["the", "cat", "s", "2", "hats"]),
        ("a_b-c\tD\nE", ["a", "b", "c", "d", "e"]),
        ("Stra\u00dfe STRASSE", ["strasse", "strasse"]),
        ("\ufb01ne \uff21\uff22 \u2460", ["fine", "ab", "1"]),  # ligature, full width, circled
        ("cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        ("zero\u200bwidth soft\u00adhyphen \u2764\ufe0f", ["zerowidth", "softhyphen"]),
        ("1\ufe0f\u20e3 one", ["1", "one"]),  # a keycap
        ("don\u00b4t don\u2019t", ["don", "t", "don", "t"]),  # spacing accent, curly quote
        ("\u6211\u5f88\u597d ok", ["\u6211", "\u5f88", "\u597d", "ok"]),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", ["\u0928\u092e\u0938\u094d\u0924\u0947"]),
        ("", []),
        ("?! \u2603", []),
    ],
)
def test_words_are_runs_of_letters_marks_and_digits_whatever_their_spelling(text, words):
    assert words_of(text) == words


def test_a_text_of_marks_alone_is_one_word_that_no_text_of_words_has():
    assert words_or_marks("\u2603 !") == words_or_marks(" \u2603!")
    assert len(words_or_marks("\u2603 !")) == 1
    assert words_or_marks("\u2603") != words_or_marks("!")
    assert words_or_marks(" \n") == []
    assert words_or_marks("a!") == ["a"]


def test_each_run_of_digits_is_one_zero():
    assert [mask_numbers(word) for word in ("17", "3rd", "h2o4", "word", "0")] == [
        "0",
        "0rd",
        "h0o0",
        "word",
        "0",
    ]


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_unicode_form_case_and_added_punctuation_change_no_word(text):
    words = words_of(text)
    for form in ("NFC", "NFD"):
        assert words_of(unicodedata.normalize(form, text)) == words
    assert words_of(f"\u201c {text} \u201d \u2026") == words


@given(st.text("aB\u00e9\u00df\u0130\u03a3\u01f0\u0390 .9", max_size=20))
def test_upper_case_changes_no_word(text):
    assert words_of(text.upper()) == words_of(words_of_text_without_dotted_i(text).upper())
    assert words_of(text.casefold()) == words_of(text)


def words_of_text_without_dotted_i(text):
    return unicodedata.normalize("NFD", text)
