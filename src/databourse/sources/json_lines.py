"""JSON lines: one object per line, strict UTF-8, no NaN or Infinity.

A key that is written twice keeps its last value, as JSON parsers do. Blank lines are no rows.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

from databourse.errors import SourceError
from databourse.sources.columns import known_columns
from databourse.sources.rows import (
    RejectedRow,
    Row,
    RowShape,
    SourceRow,
    rejected_row,
    source_row,
    too_long,
)
from databourse.sources.streams import DamagedStreamError, LongLine, bounded_lines
from databourse.sources.template import RowRejectedError

PROBED_ROWS = 1_000
"""A column that none of so many first objects has is an error of the config, not of the rows."""

_PROBED_CHARACTERS = 1 << 26
_MAX_DEPTH = 256
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def json_rows(
    stream: io.BufferedReader,
    shape: RowShape,
    *,
    uri: str,
    max_row_bytes: int,
    start_row: int,
) -> Iterator[Row]:
    """Yield the rows of a JSON lines stream from `start_row` on.

    A row without a column of a template is rejected; a missing label or metadata column is null.

    Raises:
        SourceError: the file is one JSON document, or none of its first 1,000 objects has a column.
        DamagedStreamError: the stream is damaged; every row before that was yielded.
    """
    probe = ColumnProbe(uri, shape.columns() if start_row == 0 else ())
    held: list[Row] = []
    try:
        for number, line in _numbered(bounded_lines(stream, max_row_bytes)):
            if number < start_row:
                continue
            row = json_row(number, line, shape, probe, max_row_bytes)
            if isinstance(row, RejectedRow) and number == 0:
                refuse_whole_document(uri, line)
            held.append(row)
            probe.check(held)
            if probe.is_settled or len(held) >= PROBED_ROWS:
                yield from held
                held.clear()
    except DamagedStreamError:
        yield from held
        raise
    probe.finish()
    yield from held


class ColumnProbe:
    """Which wanted columns no object had so far; rows are held back until each was seen once."""

    def __init__(self, uri: str, wanted: Iterable[str]) -> None:
        self._uri = uri
        self._unseen = dict.fromkeys(wanted)
        self._seen: dict[str, None] = {}
        self._objects = 0

    @property
    def is_settled(self) -> bool:
        """Tell whether every wanted column was seen."""
        return not self._unseen

    def observe(self, keys: Iterable[str]) -> None:
        """Take note of the keys of an object."""
        if self._unseen:
            self._objects += 1
            for key in keys:
                self._unseen.pop(key, None)
                self._seen[key] = None

    def check(self, held: list[Row]) -> None:
        """Stop waiting when enough rows, or enough text, were held back in vain."""
        if self._unseen and (
            self._objects >= PROBED_ROWS
            or sum(len(row.text) for row in held if isinstance(row, SourceRow)) > _PROBED_CHARACTERS
        ):
            self._fail(f"none of the first {self._objects:,} rows of {self._uri} has")

    def finish(self) -> None:
        """Check at the end of the file."""
        if self._unseen and self._objects:
            self._fail(f"no row of {self._uri} has")

    def _fail(self, problem: str) -> NoReturn:
        column = next(iter(self._unseen))
        raise SourceError(f"{problem} the column {column!r}; {known_columns(column, self._seen)}")


def _numbered(lines: Iterable[bytes | LongLine]) -> Iterator[tuple[int, bytes | LongLine]]:
    records = (line for line in lines if isinstance(line, LongLine) or line.strip())
    return enumerate(records)


def json_row(
    number: int,
    line: bytes | LongLine,
    shape: RowShape,
    probe: ColumnProbe | None,
    max_row_bytes: int,
) -> Row:
    """Return the row that a line is, good or rejected; the probe, if any, sees its keys."""
    if isinstance(line, LongLine):
        return rejected_row(number, too_long(line.length, max_row_bytes), line.head)
    try:
        values = _object_of(line)
        if probe is not None:
            probe.observe(values)
        return source_row(number, values, shape)
    except RowRejectedError as error:
        return rejected_row(number, error, line)


def _object_of(line: bytes) -> dict[str, object]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowRejectedError(
            "wrong_encoding",
            f"byte 0x{line[error.start]:02x} at position {error.start} is not UTF-8",
        ) from None
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowRejectedError("broken_json", f"{error.msg} at character {error.pos}") from None
    except ValueError as error:  # a number that is out of range
        raise RowRejectedError("broken_json", str(error)) from None
    if not isinstance(value, dict):
        raise RowRejectedError(
            "not_an_object", f"expected an object, got {_JSON_WORDS[type(value)]}"
        )
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting at a fixed depth; the parser's own limit depends on who calls it."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for character in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if character in "[{" else -1
        if depth > _MAX_DEPTH:
            raise RowRejectedError("broken_json", f"nested deeper than {_MAX_DEPTH} levels")


def refuse_whole_document(uri: str, line: bytes | LongLine) -> None:
    """Refuse a file whose first line shows that the file is one JSON document."""
    head = line.head if isinstance(line, LongLine) else line
    start = head.strip()
    if start.startswith(b"["):
        is_document = isinstance(line, LongLine) or _is_start_of_objects(start)
    else:
        is_document = start == b"{"
    if is_document:
        raise SourceError(
            f"{uri} must hold one JSON object per line, but it is one JSON document; "
            "convert it, for example with: jq -c '.[]'"
        )


def _is_start_of_objects(line: bytes) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        raise ValueError(f"number {digits[:40]} is out of range")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_JSON_WORDS = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
