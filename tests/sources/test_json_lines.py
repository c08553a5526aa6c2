import io
import json

import pytest

from databourse.errors import SourceError
from databourse.sources.json_lines import PROBED_ROWS, json_rows
from databourse.sources.rows import row_shape


def test_good_rows_keep_label_and_metadata(store, read):
    store("x.jsonl", [{"text": "a", "y": 3, "m": [1, {"k": None}]}, {"text": "b", "y": None}])

    first, second = read("x.jsonl", label="y", metadata=["m"])

    assert (first.label, first.metadata) == ("3", {"m": [1, {"k": None}]})
    assert (second.label, second.metadata) == (None, {"m": None})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"text": "cut', "<broken_json>"),
        (b'{"text": "a"} {"text": "b"}', "<broken_json>"),
        (b"{'text': 'a'}", "<broken_json>"),
        (b'{"text": NaN}', "<broken_json>"),
        (b'{"text": "a", "n": -Infinity}', "<broken_json>"),
        (b'{"text": 1e999}', "<broken_json>"),
        (b'{"text": ' + b"9" * 5000 + b"}", "<broken_json>"),
        (b'{"text": "a\tb"}', "<broken_json>"),
        (b'{"text": "a", "n": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "<broken_json>"),
        (b'["text"]', "<not_an_object>"),
        (b'"text"', "<not_an_object>"),
        (b"null", "<not_an_object>"),
        (b'{"text": "caf\xe9"}', "<wrong_encoding>"),
        (b'{"text": "\\ud83d"}', "<wrong_encoding>"),
        (b'{"text": "\\u0000"}', "<nul_character>"),
        (b'{"txt": "a"}', "<missing_column>"),
        (b'{"text": null}', "<missing_value>"),
        (b'{"text": ["a"]}', "<not_text>"),
        (b'{"text": "  "}', "<too_short>"),
        (b'{"text": "' + b"x" * 200_000 + b'"}', "<row_too_long>"),
        (b'{"text": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"text": 7}', "7"),
        (b'{"text": "first", "text": "last"}', "last"),
        (b'{"text": "a", "n": ' + b"[" * 200 + b"]" * 200 + b"}", "a"),
        (b'{"text": "' + b"[" * 1000 + b'"}', "[" * 1000),
        ('{"text": "\u2028é"}'.encode(), "é"),
    ],
)
def test_a_bad_row_is_counted_and_the_rows_around_it_are_kept(
    store, read, outcomes, line, expected
):
    store("x.jsonl", b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')

    rows = read("x.jsonl", max_row_bytes=200_000)

    assert outcomes(rows) == ["before", expected, "after"]


def test_quarantine_says_what_came_and_where(store, read):
    store("x.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": }\n{"text": [1]}\n')

    _, encoding, broken, listed = read("x.jsonl")

    assert encoding.detail == "byte 0xe9 at position 13 is not UTF-8"
    assert encoding.excerpt == '{"text": "caf\\xe9"}'
    assert broken.detail == "Expecting value at character 9"
    assert listed.detail == "column 'text' is a list, not text or a number"


def test_blank_lines_are_not_rows(store, read, outcomes):
    store("x.jsonl", '\n\n{"text": "a"}\n  \r\n{"text": "b"}\n\n')

    assert outcomes(read("x.jsonl")) == ["a", "b"]
    assert [row.text for row in read("x.jsonl", start_row=1)] == ["b"]


@pytest.mark.parametrize(
    "name", ["x.jsonl", "x.ndjson", "x.json", "X.JSONL", "x.jsonl.gz", "x.json.zst"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_byte_order_marks_and_packings_change_nothing(
    store, read, outcomes, *, name, end, start
):
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in ("é", "日本", "z")]

    store(name, start + end.join(lines))

    assert outcomes(read(name)) == ["é", "日本", "z"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_an_empty_file_has_no_rows(store, read, name):
    store(name, "")

    assert read(name) == []


def test_a_line_of_exactly_the_limit_is_read(store, read, outcomes):
    line = '{"text": "abc"}'
    store("x.jsonl", f"{line}\r\n{line} \r\n{line}\n{line} \n{line}")

    rows = read("x.jsonl", max_row_bytes=len(line))

    assert outcomes(rows) == ["abc", "<row_too_long>", "abc", "<row_too_long>", "abc"]
    assert rows[1].detail == "expected at most 15 bytes (max_row_bytes), got 18"


def test_a_column_that_no_row_has_is_one_error(store, read):
    store("x.jsonl", [{"txet": "a", "id": 1}] * 5)

    with pytest.raises(SourceError) as caught:
        read("x.jsonl")

    assert str(caught.value) == "no row of x.jsonl has the column 'text'; did you mean 'txet'?"


@pytest.mark.parametrize("settings", [{"label": "y"}, {"metadata": ["m"]}, {"text": "{t}{text}"}])
def test_a_column_that_none_of_the_first_rows_has_stops_early(store, read, settings):
    rows = [{"text": "a"}] * PROBED_ROWS
    store("x.jsonl", [*rows, {"text": "a", "y": "1", "m": 1, "t": ""}])

    with pytest.raises(SourceError, match=r"none of the first 1,000 rows of x\.jsonl has"):
        read("x.jsonl", **settings)

    store("x.jsonl", [*rows[1:], {"text": "a", "y": "1", "m": 1, "t": ""}])
    assert len(read("x.jsonl", **settings)) == PROBED_ROWS


def test_a_wrong_template_syntax_is_explained_where_its_column_is_missing(store, read):
    store("x.jsonl", [{"text": "a"}])

    with pytest.raises(SourceError, match="no formats, attributes or indexes"):
        read("x.jsonl", text="{text.upper}")


def test_many_broken_lines_before_the_first_object_are_all_counted(store, read, outcomes):
    store("x.jsonl", "broken\n" * 2500 + '{"text": "a"}\n')

    assert outcomes(read("x.jsonl")) == ["<broken_json>"] * 2500 + ["a"]


def test_rows_do_not_pile_up_while_no_object_comes():
    stream = io.BufferedReader(io.BytesIO(b"broken\n" * 1_000_000))
    rows = json_rows(
        stream, row_shape(text="{text}"), uri="x.jsonl", max_row_bytes=100, start_row=0
    )

    next(rows)

    assert stream.tell() < 10 * PROBED_ROWS


@pytest.mark.parametrize(
    "document",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '[\n {"text": "a"}\n]',
        '{\n "text": "a"\n}',
        '[{"text": "' + "x" * 5000 + '"}]',
    ],
)
def test_one_json_document_is_told_from_json_lines(store, read, document):
    store("x.json", document)

    with pytest.raises(SourceError, match=r"x\.json must hold one JSON object per line.*jq"):
        read("x.json", max_row_bytes=1000)


def test_a_list_in_the_first_line_alone_is_only_a_bad_row(store, read, outcomes):
    store("x.jsonl", '[1, 2]\n{"text": "a"}\n')

    assert outcomes(read("x.jsonl")) == ["<not_an_object>", "a"]


def test_how_deep_a_row_may_be_nested_does_not_depend_on_the_caller(store, read, outcomes):
    def at_depth(depth):
        return outcomes(read("x.jsonl")) if depth == 0 else at_depth(depth - 1)

    nested = [f'{{"text": "a", "n": {"[" * depth}{"]" * depth}}}\n' for depth in (255, 256)]
    store("x.jsonl", "".join(nested))

    assert at_depth(0) == at_depth(400) == ["a", "<broken_json>"]
