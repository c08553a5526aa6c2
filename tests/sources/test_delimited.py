import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from databourse.errors import SourceError
from databourse.sources.delimited import csv_records

FIELD = st.text(alphabet=st.sampled_from('ab,;"\n é'), max_size=12)


def records(data, *, max_row_bytes=1000, delimiter=","):
    stream = io.BufferedReader(io.BytesIO(data))
    return list(csv_records(stream, uri="x.csv", delimiter=delimiter, max_row_bytes=max_row_bytes))


def test_the_header_names_the_columns(store, read):
    store("x.csv", "y,text,m\n1,a,\n,b,2\n")

    first, second = read("x.csv", label="y", metadata=["m"])

    assert (first.text, first.label, first.metadata) == ("a", "1", {"m": ""})
    assert (second.text, second.label, second.metadata) == ("b", None, {"m": "2"})


def test_columns_name_the_fields_of_a_file_without_header(store, read, outcomes):
    store("x.csv", '"3","a"\n"4","b"\n')

    assert outcomes(read("x.csv", columns=("y", "text"), label="y")) == ["a", "b"]


def test_a_header_beside_given_columns_is_not_taken_for_a_row(store, read):
    store("x.csv", "y,text\n3,a\n")

    with pytest.raises(SourceError, match=r"x\.csv has a header line; remove columns"):
        read("x.csv", columns=("y", "text"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1,a,3", "<broken_csv>"),
        (b"1", "<broken_csv>"),
        (b'1,"a"b', "<broken_csv>"),
        (b'1,"a\nb"c', "<broken_csv>"),
        (b"1,a\rb", "<broken_csv>"),
        (b"1,caf\xe9", "<wrong_encoding>"),
        (b'1,"x\ncaf\xe9"', "<wrong_encoding>"),
        (b"1,a\x00b", "<nul_character>"),
        (b"1,", "<too_short>"),
        (b"1," + b"x" * 1000, "<row_too_long>"),
        (b'1,"' + b"x\n" * 600 + b'"', "<row_too_long>"),
        (b'1,"' + b"x,y\n" * 600 + b'"', "<row_too_long>"),
        (b'1,"a ""quoted"" word"', 'a "quoted" word'),
        (b'1,"two\r\nlines, and more"', "two\nlines, and more"),
        (b'1,5" pipe', '5" pipe'),
        ("1,日本".encode(), "日本"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_row_is_counted_and_the_rows_around_it_are_kept(
    store, read, outcomes, *, line, expected, end
):
    store("x.csv", end.join([b"n,text", b"0,before", line, b"2,after"]))

    assert outcomes(read("x.csv", max_row_bytes=1000)) == ["before", expected, "after"]


def test_quarantine_says_what_came(store, read):
    store("x.csv", b'n,text\n1,a,b\n1,"x\ny"z\n1,caf\xe9\n')

    fields, quote, encoding = read("x.csv")

    assert (fields.detail, fields.excerpt) == ("expected 2 fields, got 3", "1,a,b")
    assert quote.detail == "',' expected after '\"' (a record of 2 lines)"
    assert quote.excerpt == '1,"x\ny"z'
    assert encoding.detail == "byte 0xe9 at position 5 of line 1 of the record is not UTF-8"


def test_blank_lines_are_not_rows_and_a_header_is_not_one(store, read, outcomes):
    store("x.csv", "\ntext\n\na\r\n\nb\n\n")

    assert outcomes(read("x.csv")) == ["a", "b"]
    assert [row.text for row in read("x.csv", start_row=1)] == ["b"]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.zst"])
@pytest.mark.parametrize("header", ["text,y", '"text","y"'])
def test_byte_order_marks_and_packings_change_nothing(store, read, outcomes, name, header):
    store(name, f"\ufeff{header}\nä,1\n")

    assert outcomes(read(name, label="y")) == ["ä"]


def test_tsv_files_are_divided_by_tabs_unless_another_delimiter_is_set(store, read, outcomes):
    store("x.tsv", "text\ty\na,b\t1\n")
    store("semicolon.tsv", "text;y\na,b;1\n")

    assert outcomes(read("x.tsv", label="y")) == ["a,b"]
    assert outcomes(read("semicolon.tsv", label="y", delimiter=";")) == ["a,b"]


def test_a_column_that_the_header_lacks_is_one_error(store, read):
    store("x.csv", "txet,y\n" + "a,1\n" * 5)

    with pytest.raises(SourceError) as caught:
        read("x.csv")
    assert str(caught.value) == (
        "the header line of x.csv has no column 'text'; did you mean 'txet'? "
        "(a file without header line needs its names in columns)"
    )
    with pytest.raises(SourceError, match=r"the list columns, given for x\.csv, has no column"):
        read("x.csv", columns=("a", "b"))


def test_a_column_that_the_header_has_twice_is_refused_if_it_is_needed(store, read, outcomes):
    store("x.csv", "text,y,y\na,1,2\n")

    assert outcomes(read("x.csv")) == ["a"]
    with pytest.raises(SourceError, match="has the column 'y' twice"):
        read("x.csv", label="y")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty: it has no header line"),
        (b"\n\n", "is empty: it has no header line"),
        (b"te\xe9xt\na\n", "header line of x.csv cannot be read: byte 0xe9"),
        (b'"text"x\na\n', "header line of x.csv cannot be read"),
        (b"x" * 5000 + b"\na\n", "header line of x.csv cannot be read: expected at most"),
        (b"text,y\ra,1\rb,2\r", "line ends must be LF or CR LF"),
    ],
)
def test_an_unreadable_header_is_one_error(store, read, content, problem):
    store("x.csv", content)

    with pytest.raises(SourceError) as caught:
        read("x.csv", max_row_bytes=1000)

    assert problem in str(caught.value)


def test_an_empty_file_with_given_columns_has_no_rows(store, read):
    store("x.csv", "")

    assert read("x.csv", columns=("text",)) == []


def test_a_field_longer_than_the_csv_modules_own_limit_is_read(store, read):
    store("x.csv", "text\n" + "x" * 300_000 + "\n")

    assert len(read("x.csv")[0].text) == 300_000


@pytest.mark.parametrize("max_row_bytes", [1000, 10])
def test_a_quote_that_swallows_the_rest_of_the_file_is_one_error(store, read, max_row_bytes):
    store("x.csv", 'text\nfine\n"never closed\n' + "lost\n" * 20)

    with pytest.raises(SourceError, match=r"quote opened in line 3 is never closed .* 21 lines"):
        read("x.csv", max_row_bytes=max_row_bytes)


def test_a_last_line_that_is_cut_inside_quotes_is_a_bad_row(store, read, outcomes):
    store("x.csv", 'text\nfine\n"cut he')

    assert outcomes(read("x.csv")) == ["fine", "<broken_csv>"]


@settings(deadline=None)
@given(st.lists(st.lists(FIELD, min_size=2, max_size=3), max_size=8), st.sampled_from(",;é"))
def test_records_come_back_as_the_csv_module_wrote_them(rows, delimiter):
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows(rows)

    found = records(sink.getvalue().encode(), delimiter=delimiter)

    assert [record.fields for record in found] == rows


@settings(deadline=None)
@given(
    st.lists(st.lists(FIELD, min_size=2, max_size=3), max_size=8),
    st.integers(min_value=1, max_value=30),
    st.sampled_from(",;é"),
)
@example([["", "", "é"], ["a", "b"]], 1, "é")
@example([["", "", "\n"], ["a", "b"]], 1, "é")
def test_a_record_over_the_limit_is_skipped_to_its_end_and_no_further(rows, limit, delimiter):
    sink = io.StringIO()
    lengths = []
    for row in rows:
        before = sink.tell()
        csv.writer(sink, delimiter=delimiter, lineterminator="\n").writerow(row)
        sink.seek(before)
        lengths.append(len(sink.read().encode()) - 1)

    found = records(sink.getvalue().encode(), max_row_bytes=limit, delimiter=delimiter)

    assert len(found) == len(rows)
    for record, row, length in zip(found, rows, lengths, strict=True):
        if length <= limit:
            assert (record.fields, record.error) == (row, None)
        else:
            assert record.error.reason == "row_too_long"
