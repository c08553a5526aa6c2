"""CSV: strict quoting, line ends inside quotes, a header line unless column names are given.

A record that breaks the rules is rejected with every line that it swallowed, never taken apart
again: text from inside quotes could pass for a row. Blank lines are no rows; an empty field is
an empty text, since CSV has no null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from databourse.errors import SourceError
from databourse.sources.columns import check_columns
from databourse.sources.rows import Row, RowShape, rejected_row, source_row, too_long
from databourse.sources.streams import is_whole_line
from databourse.sources.template import RowRejectedError

_HEAD_BYTES = 1024
_PIECE_BYTES = 1 << 18
_FIELD_LIMIT = 2**31 - 1
_QUOTE = ord('"')
_NO_HEADER = " (a file without header line needs its names in columns)"


def csv_rows(
    stream: io.BufferedReader,
    shape: RowShape,
    *,
    uri: str,
    columns: Sequence[str],
    delimiter: str,
    max_row_bytes: int,
    start_row: int,
) -> Iterator[Row]:
    """Yield the rows of a CSV stream from `start_row` on.

    Args:
        stream: UTF-8, without byte order mark.
        shape: what makes a row a document.
        uri: the file, for messages.
        columns: names of the columns if the file has no header line; else empty.
        delimiter: one character.
        max_row_bytes: longer records are rejected.
        start_row: the first row that is yielded.

    Raises:
        SourceError: the header is missing, unreadable, or lacks a column; or a quote swallows
            every line up to the end.
        DamagedStreamError: the stream is damaged; every row before that was yielded.
    """
    records = csv_records(stream, uri=uri, delimiter=delimiter, max_row_bytes=max_row_bytes)
    names = tuple(columns) or _header(uri, next(records, None))
    positions = _positions(uri, names, shape, is_given=bool(columns))
    for number, record in enumerate(records):
        if number == 0 and columns and record.fields == list(columns):
            raise SourceError(f"{uri} has a header line; remove columns from its source")
        if number < start_row:
            continue
        try:
            yield source_row(number, _values(record, len(names), positions), shape)
        except RowRejectedError as error:
            yield rejected_row(number, error, record.head)


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """A record, or why there is none.

    Attributes:
        fields: its values; empty when `error` says why it has none.
        error: why it is rejected.
        head: its first bytes.
    """

    fields: list[str]
    error: RowRejectedError | None
    head: bytes


def csv_records(
    stream: io.BufferedReader, *, uri: str, delimiter: str, max_row_bytes: int
) -> Iterator[CsvRecord]:
    """Yield every record of a stream, broken ones too.

    Raises:
        SourceError: a quote is opened and never closed, so that lines up to the end are swallowed.
    """
    csv.field_size_limit(_FIELD_LIMIT)  # process-wide; memory is bounded by _Lines
    lines = _Lines(stream, uri, delimiter, max_row_bytes)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = RowRejectedError("broken_csv", _csv_problem(error, lines))
            yield CsvRecord([], problem, lines.head)
        except RowRejectedError as error:
            yield CsvRecord([], error, lines.head)
        else:
            if fields:
                yield CsvRecord(fields, lines.encoding_error, lines.head)


class _Lines:
    """The lines of a stream as text; skips a record that grows too long without holding it."""

    def __init__(
        self, stream: io.BufferedReader, uri: str, delimiter: str, max_row_bytes: int
    ) -> None:
        self._stream = stream
        self._uri = uri
        self._delimiter = delimiter.encode("utf-8")
        self._max_row_bytes = max_row_bytes
        self._lines_before = 0
        self.n_lines = 0
        self.start_record()

    def start_record(self) -> None:
        self._lines_before += self.n_lines
        self.head = b""
        self.n_bytes = 0
        self.n_lines = 0
        self.encoding_error: RowRejectedError | None = None

    def never_closed(self) -> SourceError:
        return SourceError(
            f"{self._uri}: the quote opened in line {self._lines_before + 1:,} is never closed "
            f"and swallows {self.n_lines:,} lines; fix that line, or fetch the file again"
        )

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        room = self._max_row_bytes - self.n_bytes
        line = self._stream.readline(room + 2)  # room for the line end
        if not line:
            if self.n_lines > 1:  # the reader asks for more only inside quotes
                raise self.never_closed()
            raise StopIteration
        if not is_whole_line(line, room):
            self._skip_record(line)
            raise too_long(self.n_bytes, self._max_row_bytes)
        self._count(line)
        return self._decoded(line)

    def _count(self, line: bytes) -> None:
        if len(self.head) < _HEAD_BYTES:
            self.head = (self.head + line[:_HEAD_BYTES])[:_HEAD_BYTES]
        self.n_bytes += len(line)
        self.n_lines += 1

    def _skip_record(self, line: bytes) -> None:
        quotes = _Quotes(self._delimiter, is_inside=self.n_lines > 0)
        self._count(line)
        quotes.feed(line)
        while quotes.is_inside or not line.endswith(b"\n"):
            starts_line = line.endswith(b"\n")
            line = self._stream.readline(_PIECE_BYTES)
            if not line:
                if quotes.is_inside and self.n_lines > 1:
                    raise self.never_closed()
                return
            self.n_bytes += len(line)
            self.n_lines += starts_line
            quotes.feed(line)

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.encoding_error = RowRejectedError(
                "wrong_encoding",
                f"byte 0x{line[error.start]:02x} at position {error.start} of line "
                f"{self.n_lines} of the record is not UTF-8",
            )
            return line.decode("utf-8", errors="surrogateescape")


class _Quotes:
    """Whether a place in a record is inside quotes; fed with the record's bytes, piece by piece."""

    def __init__(self, delimiter: bytes, *, is_inside: bool) -> None:
        self._delimiter = delimiter
        self._unread = b""
        self._step = self._inside if is_inside else self._field_start

    @property
    def is_inside(self) -> bool:
        return self._step == self._inside

    def feed(self, data: bytes) -> None:
        data, position = self._unread + data, 0
        self._unread = b""
        while position < len(data):
            position = self._step(data, position)

    def _field_start(self, data: bytes, position: int) -> int:
        opens = data[position] == _QUOTE
        self._step = self._inside if opens else self._outside
        return position + opens

    def _inside(self, data: bytes, position: int) -> int:
        found = data.find(_QUOTE, position)
        if found < 0:
            return len(data)
        self._step = self._after_quote
        return found + 1

    def _after_quote(self, data: bytes, position: int) -> int:
        doubled = data[position] == _QUOTE
        self._step = self._inside if doubled else self._outside
        return position + doubled

    def _outside(self, data: bytes, position: int) -> int:
        found = data.find(self._delimiter, position)
        if found < 0:  # a delimiter of several bytes may be cut between two pieces
            self._unread = data[max(position, len(data) - len(self._delimiter) + 1) :]
            return len(data)
        self._step = self._field_start
        return found + len(self._delimiter)


def _csv_problem(error: csv.Error, lines: _Lines) -> str:
    text = str(error)
    if text.startswith("new-line character"):
        return "a carriage return outside of quotes; line ends must be LF or CR LF"
    if text == "unexpected end of data":
        text = "a quote is opened and never closed"
    return text if lines.n_lines < 2 else f"{text} (a record of {lines.n_lines:,} lines)"


def _header(uri: str, record: CsvRecord | None) -> tuple[str, ...]:
    if record is None:
        raise SourceError(
            f"{uri} is empty: it has no header line; remove it, or name its columns with columns"
        )
    if record.error is not None:
        raise SourceError(f"the header line of {uri} cannot be read: {record.error.detail}")
    return tuple(record.fields)


def _positions(
    uri: str, names: Sequence[str], shape: RowShape, *, is_given: bool
) -> list[tuple[str, int]]:
    place = f"the list columns, given for {uri}," if is_given else f"the header line of {uri}"
    check_columns(place, names, shape.columns(), hint="" if is_given else _NO_HEADER)
    return [(column, names.index(column)) for column in shape.columns()]


def _values(
    record: CsvRecord, n_columns: int, positions: Sequence[tuple[str, int]]
) -> dict[str, object]:
    if record.error is not None:
        raise record.error
    if len(record.fields) != n_columns:
        raise RowRejectedError(
            "broken_csv", f"expected {n_columns} fields, got {len(record.fields)}"
        )
    return {column: record.fields[position] for column, position in positions}
