"""Reading a file: one stream of rows, good and rejected, whatever its format and packing.

Rows come in file order and are numbered from 0 without gaps, so reading can go on at any row: the
rows from `start_row` on are those that a reading from the start would give there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from databourse.errors import SourceError
from databourse.sources.delimited import csv_rows
from databourse.sources.files import FoundFile
from databourse.sources.json_blocks import LineRules, json_tables
from databourse.sources.json_lines import json_rows
from databourse.sources.parquet import opened_parquet, parquet_rows
from databourse.sources.row_tables import tables_of
from databourse.sources.rows import Row, RowShape
from databourse.sources.streams import DamagedStreamError, FileKind, kind_of, open_text


@dataclass(frozen=True, slots=True)
class ReadRules:
    """How the files of a source are read.

    Attributes:
        file_format: jsonl, csv, parquet, or auto to go by the name's ending.
        columns: names of the columns of CSV files without a header line.
        delimiter: of CSV files; a comma means a tab where the name ends in .tsv.
        max_row_bytes: longer rows are rejected and not held in memory.
    """

    file_format: Literal["auto", "jsonl", "csv", "parquet"] = "auto"
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    max_row_bytes: int = 16 * 2**20


def read_rows(
    file: FoundFile,
    shape: RowShape,
    rules: ReadRules,
    *,
    start_row: int = 0,
    state: tuple[str, ...] | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file from `start_row` on.

    Args:
        file: what to read.
        shape: what makes a row a document.
        rules: how the file is read.
        start_row: number of the first row that is yielded, from 0.
        state: `file.state()` when its digest was taken; None compares with nothing.

    Raises:
        SourceError: the file is not what its name or the rules say, lacks a column, is damaged
            (after every row before the damage was yielded), or changed while it was read.
        TransientError: a remote file system failed.
    """
    done = start_row
    _check_unchanged(file, state)
    try:
        for row in _rows(file, shape, rules, start_row):
            done = row.row_number + 1
            yield row
    except DamagedStreamError as error:
        raise _damaged(file, done, error) from None
    _check_unchanged(file, state)


def read_tables(
    file: FoundFile,
    shape: RowShape,
    rules: ReadRules,
    *,
    at_most: int,
    workers: int = 1,
    start_row: int = 0,
    state: tuple[str, ...] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows that `read_rows` would, as tables; large JSON lines files on many cores.

    Args:
        file: what to read.
        shape: what makes a row a document.
        rules: how the file is read.
        at_most: rows of a table, where they do not come from blocks of JSON lines.
        workers: processes that parse JSON lines; small files are parsed by this process.
        start_row: number of the first row that is yielded, from 0.
        state: `file.state()` when its digest was taken; None compares with nothing.

    Raises:
        SourceError: as `read_rows`.
        TransientError: a remote file system failed.
    """
    kind = kind_of(file.uri, rules.file_format)
    if kind.format != "jsonl":
        rows = read_rows(file, shape, rules, start_row=start_row, state=state)
        yield from tables_of(rows, at_most=at_most)
        return
    done = start_row
    _check_unchanged(file, state)
    line_rules = LineRules(shape, rules.max_row_bytes)
    try:
        with open_text(file, kind.packing) as stream:
            for table in json_tables(
                stream, line_rules, uri=file.uri, start_row=start_row, workers=workers
            ):
                done += table.num_rows
                yield table
    except DamagedStreamError as error:
        raise _damaged(file, done, error) from None
    _check_unchanged(file, state)


def check_file(file: FoundFile, shape: RowShape, rules: ReadRules) -> None:
    """Check that a file can be read and has the columns, from its header and first rows.

    Raises:
        SourceError: as `read_rows` would.
    """
    kind = kind_of(file.uri, rules.file_format)
    if kind.format == "parquet":
        with opened_parquet(file, shape):
            return
    rows = read_rows(file, shape, rules)
    next(rows, None)


def delimiter_of(kind: FileKind, rules: ReadRules) -> str:
    """Return the delimiter of a CSV file: that of the rules, or a tab for .tsv by default."""
    return "\t" if kind.ending == ".tsv" and rules.delimiter == "," else rules.delimiter


def _rows(file: FoundFile, shape: RowShape, rules: ReadRules, start_row: int) -> Iterator[Row]:
    kind = kind_of(file.uri, rules.file_format)
    limit = rules.max_row_bytes
    if kind.format == "parquet":
        yield from parquet_rows(file, shape, max_row_bytes=limit, start_row=start_row)
        return
    with open_text(file, kind.packing) as stream:
        if kind.format == "jsonl":
            yield from json_rows(
                stream, shape, uri=file.uri, max_row_bytes=limit, start_row=start_row
            )
        else:
            yield from csv_rows(
                stream,
                shape,
                uri=file.uri,
                columns=rules.columns,
                delimiter=delimiter_of(kind, rules),
                max_row_bytes=limit,
                start_row=start_row,
            )


def _damaged(file: FoundFile, done: int, error: DamagedStreamError) -> SourceError:
    place = f"after row {done - 1:,}" if done else "before its first row ends"
    return SourceError(f"{file.uri} is truncated or damaged {place}: {error}; fetch it again")


def _check_unchanged(file: FoundFile, state: tuple[str, ...] | None) -> None:
    if state is not None and file.state() != state:
        raise SourceError(
            f"{file.uri} changed after its digest was taken; run again when nothing writes it"
        )
