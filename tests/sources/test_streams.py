import gzip
import io
import tracemalloc
import zlib

import pytest

from databourse.errors import SourceError
from databourse.sources.files import FoundFile, find_files
from databourse.sources.reading import ReadRules, read_rows
from databourse.sources.rows import row_shape
from databourse.sources.streams import LongLine, bounded_lines, kind_of, open_text

LINES = b"".join(b'{"text": "%d"}\n' % number for number in range(5000))


def lines(path, packing=""):
    with open_text(FoundFile(path.name, str(path)), packing) as stream:
        return list(bounded_lines(stream, 100))


@pytest.mark.parametrize(
    ("uri", "file_format", "expected"),
    [
        ("a/b.jsonl", "auto", ("jsonl", "")),
        ("s3://b/c.x.ndjson.GZ", "auto", ("jsonl", "gzip")),
        ("b.tsv.zst", "auto", ("csv", "Zstandard")),
        ("b.snappy.parquet", "auto", ("parquet", "")),
        ("b.txt.gz", "csv", ("csv", "gzip")),
        ("noending", "jsonl", ("jsonl", "")),
    ],
)
def test_the_ending_says_format_and_packing(uri, file_format, expected):
    kind = kind_of(uri, file_format)

    assert (kind.format, kind.packing) == expected


def test_an_unknown_ending_and_a_packed_parquet_file_are_refused():
    with pytest.raises(SourceError, match=r"format of a\.txt\.gz is unknown: .*\.jsonl"):
        kind_of("a.txt.gz", "auto")
    with pytest.raises(SourceError, match="unpack it first"):
        kind_of("a.parquet.gz", "auto")


def test_lines_over_the_limit_are_counted_and_not_held():
    data = b"ab\n" + b"x" * 1_000_000 + b"\nabcd\nabcde\r\nabcdef\nab"

    found = list(bounded_lines(io.BufferedReader(io.BytesIO(data)), 5))

    assert found[0] == b"ab\n"
    assert (found[1].length, found[1].head[:7]) == (1_000_001, b"xxxxxxx")
    assert found[2:] == [b"abcd\n", b"abcde\r\n", LongLine(b"abcdef\n", 7), b"ab"]


def test_carriage_returns_do_not_hide_that_a_line_goes_on():
    stream = io.BufferedReader(io.BytesIO(b"abcde\r\rfgh\nab\n"))

    assert list(bounded_lines(stream, 5)) == [LongLine(b"abcde\r\r", 11), b"ab\n"]


@pytest.mark.parametrize("packing", ["", "gzip", "Zstandard"])
def test_unpacked_bytes_are_the_packed_ones(store, packing):
    name = {"": "x.jsonl", "gzip": "x.jsonl.gz", "Zstandard": "x.jsonl.zst"}[packing]

    assert b"".join(lines(store(name, LINES), packing)) == LINES


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst"])
def test_packed_members_one_after_the_other_are_all_read(store, read, name):
    path = store(name, '{"text": "a"}\n')
    path.write_bytes(path.read_bytes() * 3)

    assert len(read(name)) == 3


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.jsonl.gz", b'{"text": 1}\n', "should hold gzip by its ending, but it holds something"),
        ("x.jsonl.gz", b"\x28\xb5\x2f\xfd1234", "should hold gzip .* holds Zstandard"),
        ("x.csv.zst", gzip.compress(b"a", mtime=0), "should hold Zstandard .* holds gzip"),
        ("x.csv", gzip.compress(b"a", mtime=0), "should hold UTF-8 text .* holds gzip"),
        ("x.csv", b"PAR1\x15\x04", "should hold UTF-8 text .* holds Parquet"),
        ("x.csv.gz", gzip.compress(gzip.compress(b"a", mtime=0), mtime=0), "holds gzip"),
        ("x.jsonl", b"PK\x03\x04", "holds zip"),
        ("x.jsonl.gz", b"", "it has 0 bytes"),
        ("x.parquet", b"text\na\n", "should hold Parquet"),
        ("x.parquet", b"", "it has 0 bytes"),
        ("x.jsonl", '{"text": 1}'.encode("utf-16"), "iconv"),
        ("x.jsonl", '{"text": 1}'.encode("utf-16-le"), "iconv"),
        ("x.csv", "text\na".encode("utf-16-be"), "iconv"),
        ("x.csv", "text\na".encode("utf-32"), "iconv"),
        ("x.csv.gz", gzip.compress("text\na".encode("utf-16"), mtime=0), "iconv"),
    ],
)
def test_content_that_disagrees_with_the_ending_is_one_error(
    tmp_path, read, name, content, problem
):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SourceError, match=problem) as caught:
        read(name)

    assert str(caught.value).startswith(name)


def rows_until_error(root, name):
    (file,) = find_files([name], root=root, data_roots=["."])
    rows = []
    with pytest.raises(SourceError) as caught:
        for row in read_rows(file, row_shape(text="{text}"), ReadRules()):
            rows.append(row)  # noqa: PERF402 - keeps what came before the error
    return rows, str(caught.value)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst", "x.csv.gz", "x.csv.zst"])
def test_a_truncated_file_gives_its_rows_up_to_there_and_then_one_error(store, tmp_path, name):
    content = LINES if "json" in name else b"text\n" + b"".join(b"%d\n" % n for n in range(9_999))
    path = store(name, content)
    path.write_bytes(path.read_bytes()[:-9])

    rows, message = rows_until_error(tmp_path, name)

    assert [row.text for row in rows] == [str(number) for number in range(len(rows))]
    assert len(rows) > 1000 or name.endswith(".zst")
    last = f"after row {len(rows) - 1:,}:" if rows else "before its first row ends:"
    assert message.startswith(f"{name} is truncated or damaged {last}")


def test_every_row_before_a_lost_checksum_is_given(store, tmp_path):
    path = store("x.jsonl.gz", LINES)
    path.write_bytes(path.read_bytes()[:-4])

    rows, message = rows_until_error(tmp_path, "x.jsonl.gz")

    assert len(rows) == 5000
    assert "after row 4,999:" in message


def test_rows_that_wait_for_a_column_are_given_before_the_damage(store, tmp_path):
    broken = "".join(f"broken {number}\n" for number in range(900))
    path = store("x.jsonl.gz", broken)
    path.write_bytes(path.read_bytes()[:-4])

    rows, message = rows_until_error(tmp_path, "x.jsonl.gz")

    assert len(rows) == 900
    assert "after row 899:" in message


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst"])
@pytest.mark.parametrize("keep", [3, 12])
def test_a_file_cut_in_its_first_bytes_is_one_clear_error(store, read, name, keep):
    path = store(name, LINES)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(SourceError, match=rf"{name} (is truncated or damaged before its|should)"):
        read(name)


def test_a_flipped_bit_is_found_by_the_checksum(store, tmp_path):
    path = store("x.jsonl.gz", "")
    stored = bytearray(gzip.compress(LINES, compresslevel=0, mtime=0))
    stored[stored.index(b'"4000"') + 1] ^= 1
    path.write_bytes(stored)

    rows, message = rows_until_error(tmp_path, "x.jsonl.gz")

    assert rows
    assert "CRC" in message


def test_rubbish_behind_the_packed_bytes_is_found(store, tmp_path):
    for name in ("x.jsonl.gz", "x.jsonl.zst"):
        path = store(name, LINES)
        path.write_bytes(path.read_bytes() + b"rubbish")

        _, message = rows_until_error(tmp_path, name)

        assert message.startswith(f"{name} is truncated or damaged after row")


@pytest.mark.parametrize(
    ("name", "head", "tail"),
    [
        ("x.jsonl.gz", b'{"text": "', b'"}\n{"text": "after"}\n'),
        ("x.csv.gz", b'text\n"', b'"\nafter\n'),
    ],
)
@pytest.mark.parametrize("filler", [b"x" * 999_999 + b"y", b"x," * 499_999 + b"x\n"])
def test_a_row_of_100_megabytes_is_counted_and_never_held(
    tmp_path, read, outcomes, *, name, head, tail, filler
):
    if name == "x.jsonl.gz":
        filler = filler.replace(b"\n", b" ")
    packer = zlib.compressobj(1, wbits=31)
    with (tmp_path / name).open("wb") as stream:
        stream.write(packer.compress(head))
        for _ in range(100):
            stream.write(packer.compress(filler))
        stream.write(packer.compress(tail) + packer.flush())

    tracemalloc.start()
    rows = read(name, max_row_bytes=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert outcomes(rows) == ["<row_too_long>", "after"]
    assert peak < 3_000_000
