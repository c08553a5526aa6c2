"""Blocks parsed by many are the rows read one by one."""

import gzip
import io
import json
import random
import subprocess
import sys

import pyarrow as pa
import pytest

from databourse.errors import SourceError
from databourse.sources.json_blocks import LineRules, json_tables, line_blocks
from databourse.sources.json_lines import json_rows
from databourse.sources.row_tables import ROW_SCHEMA, joined, rebatched, row_table
from databourse.sources.rows import row_shape
from databourse.sources.streams import DamagedStreamError, LongLine, bounded_lines

SHAPE = row_shape(text="{text}: {n}", label="label", metadata=["note"])
STRANGE = [
    b'{"text": "plain", "n": 1, "label": "a", "note": null}',
    b'{"text": "caf\xc3\xa9 cafe\xcc\x81", "n": 2.50, "label": 3.0, "note": "x"}',
    b'{"text": "big", "n": 123456789012345678901234567890, "label": 1e300}',
    b'{"text": "zeros", "n": -0.0, "label": -0, "note": 0.0}',
    b'{"text": "inside", "n": 1, "note": {"b": [1, 2.0, {"a": null}], "a": 1e-999}}',
    b'{"text": "twice", "n": 1, "text": "the last one", "n": 2}',
    b'{"text": "not a number", "n": NaN}',
    b'{"text": "too large", "n": 1, "other": 1e999}',
    b'{"text": "half a pair \\ud800", "n": 1}',
    b'{"text": "a nul \\u0000", "n": 1}',
    b'{"text": "wrong byte \xff", "n": 1}',
    b'{"text": "cut off", "n": 1',
    b'{"text": "two", "n": 1}{}',
    b'{"text": null, "n": 1}',
    b'{"n": 1}',
    b"[1, 2]",
    b"3",
    b"   ",
    b"",
    b"\x0b",
    b'{"text": "true", "n": true, "label": false}',
    b'{"text": "control \t inside", "n": 1}',
    b'{"text": "line end", "n": 1}\r',
    b'{"text": "' + b"long " * 100 + b'", "n": 1}',
    b'{"deep": ' + b"[" * 300 + b"]" * 300 + b', "text": "deep", "n": 1}',
    b'\xef\xbb\xbf{"text": "mark", "n": 1}',
    b'{"text": "digits", "n": 1, "other": ' + b"1" * 5_000 + b"}",
]
LIMIT = 450


def expected(data, start_row=0, limit=LIMIT):
    stream = io.BufferedReader(io.BytesIO(data))
    return list(json_rows(stream, SHAPE, uri="x", max_row_bytes=limit, start_row=start_row))


def tables(data, *, start_row=0, workers=1, block_bytes=64, limit=LIMIT):
    stream = io.BufferedReader(io.BytesIO(data))
    rules = LineRules(SHAPE, limit)
    return json_tables(
        stream, rules, uri="x", start_row=start_row, workers=workers, block_bytes=block_bytes
    )


def whole(found):
    return pa.concat_tables([ROW_SCHEMA.empty_table(), *found]).combine_chunks()


def messy(n, seed):
    rng = random.Random(seed)  # noqa: S311 - no secret
    ends = [b"\n", b"\n", b"\r\n", b"\n\n"]
    lines = [STRANGE[0], *rng.choices(STRANGE, k=n)]
    return b"".join(line + rng.choice(ends) for line in lines) + rng.choice(STRANGE)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("block_bytes", [1, 64, 700, 1 << 20])
def test_rows_are_those_of_reading_line_by_line_whatever_the_blocks(seed, block_bytes):
    data = messy(60, seed)
    for limit in (40, LIMIT, 10_000):
        rows = expected(data, limit=limit) if limit > 60 else None
        if rows is None:
            rows = expected(data, start_row=1, limit=limit)
            found = tables(data, start_row=1, block_bytes=block_bytes, limit=limit)
        else:
            found = tables(data, block_bytes=block_bytes, limit=limit)
        assert whole(found) == whole([row_table(rows)])


@pytest.mark.parametrize("start_row", [1, 7, 30, 59, 1_000])
def test_reading_goes_on_at_any_row(start_row):
    data = messy(60, 3)
    assert whole(tables(data, start_row=start_row)) == whole(
        [row_table(expected(data, start_row=start_row))]
    )


def test_workers_change_no_row():
    data = messy(400, 5)
    one, three = (whole(tables(data, workers=n, block_bytes=2_000)) for n in (1, 3))
    assert one == three == whole([row_table(expected(data))])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_comes_before_damage_is_yielded(workers):
    packed = gzip.compress(messy(2_000, 1))[:-200]

    class Damaged(io.RawIOBase):
        def __init__(self):
            self._stream = gzip.GzipFile(fileobj=io.BytesIO(packed))

        def readable(self):
            return True

        def readinto(self, buffer):
            try:
                data = self._stream.read1(min(len(buffer), 1_000))
            except EOFError as error:
                raise DamagedStreamError(str(error)) from None
            buffer[: len(data)] = data
            return len(data)

    def rows_before(read):
        found = []
        with pytest.raises(DamagedStreamError):
            found.extend(read())
        return found

    rules = LineRules(SHAPE, LIMIT)
    blocks = rows_before(
        lambda: json_tables(
            io.BufferedReader(Damaged()),
            rules,
            uri="x",
            start_row=0,
            workers=workers,
            block_bytes=3_000,
        )
    )
    singly = []
    with pytest.raises(DamagedStreamError):
        for row in json_rows(
            io.BufferedReader(Damaged()), SHAPE, uri="x", max_row_bytes=LIMIT, start_row=0
        ):
            singly.append(row)  # noqa: PERF402 - it ends with an error
    assert sum(table.num_rows for table in blocks) == len(singly) > 1_000


_UNGUARDED = """
import io
from databourse.errors import SourceError
from databourse.sources.json_blocks import LineRules, json_tables
from databourse.sources.rows import row_shape
lines = b'{"text": "a"}\\n' * 9
try:
    list(json_tables(io.BufferedReader(io.BytesIO(lines)), LineRules(row_shape(text="{text}"), 99),
                     uri="x", start_row=0, workers=2, block_bytes=20))
except SourceError as error:
    print(error)
"""


def test_a_script_whose_workers_cannot_start_is_told_why(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_UNGUARDED)
    done = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True)
    assert "a process that parsed x was stopped" in done.stdout
    assert "__main__" in done.stdout


def test_a_column_that_no_row_has_and_a_whole_document_are_errors_of_the_file():
    with pytest.raises(SourceError, match="no row of x has the column 'text'"):
        list(tables(b'{"body": "x", "n": 1}\n' * 3))
    with pytest.raises(SourceError, match="none of the first 1,000 rows of x has the column"):
        list(tables(b'{"body": "x", "n": 1}\n' * 1_500))
    with pytest.raises(SourceError, match="one JSON document"):
        list(tables(b'[{"text": "x", "n": 1},\n{"text": "y", "n": 2}]\n'))


def test_blocks_are_whole_lines_and_nothing_is_lost():
    data = b"".join(b"%d\n" % n for n in range(1_000)) + b"the end"
    blocks = list(line_blocks(io.BufferedReader(io.BytesIO(data)), 100, block_bytes=50))
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert len(blocks) > 10


def test_a_line_beyond_the_limit_is_counted_and_not_held():
    data = b"a\n" + b"x" * 10_000 + b"\nb\n"
    pieces = list(line_blocks(io.BufferedReader(io.BytesIO(data), 64), 100, block_bytes=50))
    assert [piece for piece in pieces if isinstance(piece, LongLine)] == [
        LongLine(b"x" * 102, 10_001)
    ]
    lines = list(bounded_lines(io.BufferedReader(io.BytesIO(data)), 100))
    assert lines[1] == LongLine(b"x" * 102, 10_001)


def test_tables_are_cut_anew_without_losing_order():
    rows = [row_table(expected(messy(n, n), start_row=1)) for n in (3, 20, 1, 9)]
    cut = list(rebatched(rows, 7))
    assert {table.num_rows for table in cut[:-1]} == {7}
    assert 0 < cut[-1].num_rows <= 7
    assert whole(cut) == whole(rows)
    assert list(rebatched([], 7)) == []


def test_tables_are_joined_up_to_a_number_and_until_they_are_large():
    pieces = [pa.table({"n": list(range(4 * each, 4 * each + 4))}) for each in range(7)]
    size = pieces[0].nbytes
    cut = list(joined(pieces, most=3, most_bytes=100 * size))
    assert [each.num_rows for each in cut] == [12, 12, 4]
    assert pa.concat_tables(cut)["n"].to_pylist() == list(range(28))
    assert [each.num_rows for each in joined(pieces, most=3, most_bytes=2 * size)] == [8, 8, 8, 4]
    assert [each.num_rows for each in joined(pieces, most=3, most_bytes=1)] == [4] * 7
    assert list(joined([], most=3, most_bytes=1)) == []


_PEAK = """
import json, sys
from databourse.sources.json_blocks import LineRules, json_tables
from databourse.sources.rows import row_shape

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(each for each in lines if each.startswith("VmHWM")).split()[1]) / 1024

def read(path, limit):
    rules = LineRules(row_shape(text="{text}"), limit)
    with open(path, "rb") as file:
        found = json_tables(file, rules, uri="x", start_row=0, workers=1)
        return [row for table in found for row in table.select(["reason", "detail"]).to_pylist()]

read(sys.argv[1], 16 * 2**20)
before = peak()
rows = read(sys.argv[2], 16 * 2**20)
print(json.dumps([rows, peak() - before]))
"""


def test_memory_is_bounded_with_a_line_of_100_megabytes(tmp_path):
    short, long = tmp_path / "short.jsonl", tmp_path / "long.jsonl"
    short.write_text('{"text": "before"}\n[]\n{"text": "after"}\n')
    with long.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "after"}\n')
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(short), str(long)],
        check=True,
        capture_output=True,
        text=True,
    )
    found, megabytes = json.loads(done.stdout)
    assert [row["reason"] for row in found] == [None, "row_too_long", None]
    assert found[1]["detail"] == (
        "expected at most 16,777,216 bytes (max_row_bytes), got 100,000,013"
    )
    assert megabytes < 40  # the limit of a row, the room in which it grows, and a block
