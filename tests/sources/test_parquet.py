import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databourse.errors import SourceError


@pytest.fixture
def write(tmp_path):
    def run(columns, name="x.parquet", **options):
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, tmp_path / name, **options)
        return tmp_path / name

    return run


def not_utf8(texts):
    binary = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(texts), binary.buffers())


def test_rows_keep_label_and_metadata(write, read):
    write(
        {
            "text": ["a", "b"],
            "y": pa.array([1.0, None]),
            "when": [dt.date(2024, 1, 2), None],
            "price": [decimal.Decimal("1.50"), None],
            "nested": [{"k": [1, 2]}, None],
        }
    )

    first, second = read("x.parquet", label="y", metadata=["when", "price", "nested"])

    assert (first.text, first.label) == ("a", "1")
    assert first.metadata == {"when": "2024-01-02", "price": "1.50", "nested": {"k": [1, 2]}}
    assert (second.label, second.metadata["nested"]) == (None, None)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "c"], pa.string()),
        pa.array(["a", None, "c"], pa.large_string()),
        pa.array(["a", None, "c"]).dictionary_encode(),
    ],
)
def test_every_kind_of_text_column_is_read_and_null_is_rejected(write, read, outcomes, array):
    write({"text": array})

    assert outcomes(read("x.parquet")) == ["a", "<missing_value>", "c"]


def test_bad_values_are_counted_and_the_rows_around_them_are_kept(write, read, outcomes):
    texts = [b"a", b"caf\xe9", b"nul\0", b" ", b"x" * 200, b"z"]
    write({"text": not_utf8(texts), "m": [1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]})

    rows = read("x.parquet", max_row_bytes=100, metadata=["m"])

    assert outcomes(rows) == [
        "a",
        "<wrong_encoding>",
        "<nul_character>",
        "<too_short>",
        "<row_too_long>",
        "<not_text>",
    ]
    assert rows[1].detail == "column 'text' is not UTF-8"
    assert rows[4].excerpt.startswith('{"m":"5.0","text":"xxx')


def test_the_size_of_a_row_is_in_bytes_not_characters(write, read, outcomes):
    write({"text": ["é" * 50, "é" * 51]})

    assert outcomes(read("x.parquet", max_row_bytes=100)) == ["é" * 50, "<row_too_long>"]


def test_reading_goes_on_in_any_row_group(write, read):
    write({"text": [str(number) for number in range(100)]}, row_group_size=7)

    for start_row in (0, 1, 6, 7, 8, 50, 98, 99, 100, 1000):
        rows = read("x.parquet", start_row=start_row)
        assert [row.row_number for row in rows] == list(range(start_row, 100))
        assert [row.text for row in rows] == [str(number) for number in range(start_row, 100)]


def test_a_name_with_a_dot_is_a_column_not_a_path(write, read, outcomes):
    write({"a.b": ["yes"], "a": [{"b": "no"}]})

    assert outcomes(read("x.parquet", text="{a.b}")) == ["yes"]


def test_a_missing_or_repeated_column_is_one_error(write, read):
    write({"txet": ["a"], "y": ["1"]})
    with pytest.raises(SourceError, match=r"x\.parquet has no column 'text'; did you mean 'txet'"):
        read("x.parquet")

    write(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"]))
    with pytest.raises(SourceError, match="has the column 'text' twice"):
        read("x.parquet")


@pytest.mark.parametrize("value", [[["a"]], [{"a": 1}], [b"bytes"]])
def test_a_column_that_can_hold_no_text_is_one_error(write, read, value):
    write({"text": ["a"], "other": value})

    with pytest.raises(SourceError, match=r"column 'other' of x\.parquet holds .* cast it"):
        read("x.parquet", text="{other}")
    with pytest.raises(SourceError, match="column 'other'"):
        read("x.parquet", label="other")


def test_an_empty_table_has_no_rows(write, read):
    write({"text": pa.array([], pa.string())})

    assert read("x.parquet") == []


@pytest.mark.parametrize("keep", [0, 3, 8, 300, -1])
def test_a_truncated_file_is_one_clear_error(write, read, keep):
    path = write({"text": ["some text"] * 1000})
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(SourceError, match=r"x\.parquet (is no whole Parquet file|should hold)"):
        read("x.parquet")


def test_a_damaged_page_is_named_with_the_last_good_row(write, read, tmp_path):
    texts = [f"text {number} " * 20 for number in range(100)]
    path = write({"text": texts}, row_group_size=50, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"text 77")] ^= 0xFF
    path.write_bytes(content)

    with pytest.raises(SourceError, match=r"truncated or damaged after row 49: .*CRC"):
        read("x.parquet")
