import decimal
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.digests import canonical_text
from databourse.errors import ConfigError
from databourse.sources.rows import (
    excerpt_of,
    joined_pair,
    json_value,
    label_of,
    row_shape,
    source_row,
)
from databourse.sources.template import RowRejectedError

WHITE_SPACE = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]


def reason(call, *args):
    with pytest.raises(RowRejectedError) as caught:
        call(*args)
    return caught.value.reason


def test_text_is_canonical():
    row = source_row(7, {"text": "  e\u0301 a\r\nb\rc \n"}, row_shape(text="{text}"))

    assert (row.row_number, row.text, row.prompt_characters) == (7, "\u00e9 a\nb\nc", None)


def test_a_newline_joins_a_pair_without_white_space_between():
    assert joined_pair("Question", "Answer") == ("Question\nAnswer", 9)


def test_white_space_at_the_seam_is_kept_as_it_is():
    assert joined_pair("  Q: ", "A  ") == ("Q: A", 3)
    assert joined_pair("Q:", "\n\nA") == ("Q:\n\nA", 2)


def test_a_blank_part_of_a_pair_is_refused():
    assert reason(joined_pair, " \n", "answer") == "too_short"
    assert reason(joined_pair, "question", "\t") == "too_short"


@settings(deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab \n\r\t\u0301\u0327\u2001\u00e9\u1100\u1161\u11a8")),
    st.text(alphabet=st.sampled_from("ab \n\r\t\u0301\u0327\u2001\u00e9\u1100\u1161\u11a8")),
)
def test_a_pair_is_canonical_and_both_parts_can_be_cut_out_again(prompt, completion):
    def normal(text):
        return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))

    start, end = normal(prompt).lstrip(), normal(completion).rstrip()
    if not start or not end:
        assert reason(joined_pair, prompt, completion) == "too_short"
        return

    text, cut = joined_pair(prompt, completion)

    assert text == canonical_text(text)
    assert text[cut:] == end
    assert text[:cut] in {start, start + "\n"}


def test_white_space_composes_with_no_mark():
    marks = [chr(code) for code in range(0x300, sys.maxunicode) if unicodedata.combining(chr(code))]
    joined = [f"{space}{mark}" for space in WHITE_SPACE for mark in marks]

    assert all(
        unicodedata.normalize("NFC", pair)
        == unicodedata.normalize("NFC", pair[0]) + unicodedata.normalize("NFC", pair[1:])
        for pair in joined
    )


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, "3"),
        (3.0, "3"),
        (" 3 ", "3"),
        (3.5, "3.5"),
        (True, "true"),
        (None, None),
        ("", None),
        ("  ", None),
        (1e300, str(int(1e300))),
        (decimal.Decimal(3), "3"),
    ],
)
def test_equal_labels_of_different_types_are_the_same_text(value, label):
    assert label_of(value, "y") == label


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1], "not_text"),
        (float("nan"), "not_text"),
        ("\ud800", "wrong_encoding"),
        ("a\0", "nul_character"),
    ],
)
def test_labels_that_are_no_text_are_refused(value, expected):
    assert reason(label_of, value, "y") == expected


def test_metadata_becomes_json():
    value = {"a": [1, 2.5, None, True], "b": decimal.Decimal("1.5")}

    assert json_value(value, "m") == {"a": [1, 2.5, None, True], "b": "1.5"}
    assert reason(json_value, [float("nan")], "m") == "not_text"
    assert reason(json_value, b"x", "m") == "not_text"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": "abc\ud800def"}, "wrong_encoding"),
        ({"text": "long enough", "m": "\udfff"}, "wrong_encoding"),
        ({"text": "abc\0def"}, "nul_character"),
        ({"text": " abc "}, "too_short"),
    ],
)
def test_texts_that_cannot_be_documents_are_refused(values, expected):
    shape = row_shape(text="{text}", metadata=["m"], min_characters=4)

    assert reason(source_row, 0, values, shape) == expected


def test_a_text_of_exactly_the_least_length_is_kept():
    assert source_row(0, {"text": " abcd "}, row_shape(text="{text}", min_characters=4))


@pytest.mark.parametrize("came", ["x" * 500, "\ud800\0" * 300, b"\xff\x00" * 400, "é" * 999])
def test_an_excerpt_is_short_and_can_always_be_stored(came):
    excerpt = excerpt_of(came)

    assert 0 < len(excerpt) <= 200
    assert "\0" not in excerpt
    excerpt.encode("utf-8")


@pytest.mark.parametrize(
    "words", [{}, {"text": "{a}", "prompt": "{b}"}, {"prompt": "{b}"}, {"completion": "{b}"}]
)
def test_a_shape_is_either_a_text_or_a_whole_pair(words):
    with pytest.raises(ConfigError, match="either text or prompt and completion"):
        row_shape(**words)


def test_a_shape_lists_the_columns_that_are_read_once():
    shape = row_shape(prompt="{q}", completion="{a}{q}", label="y", metadata=["y", "m", "m"])

    assert shape.template_columns() == ("q", "a")
    assert shape.columns() == ("q", "a", "y", "m")
