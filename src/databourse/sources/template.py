"""Text templates over columns: `"{title}. {body}"`.

Syntax: `{name}` stands for the column of exactly that name, `{{` and `}}` for braces. There is
nothing else: no formats, attributes or indexes, so a template can reach no more than the row. A
name is taken literally: `{a.b}` is the column called `a.b`.

Values: text as it is, whole numbers as digits, other numbers as Python's shortest `repr` (`0.1`,
`2.0`), booleans as `true` and `false`, decimals as digits, dates and times in ISO 8601. Null, NaN,
infinity, bytes, lists and objects are refused.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from databourse.errors import ConfigError

Reason = Literal[
    "broken_csv",
    "broken_json",
    "broken_python",
    "missing_column",
    "missing_value",
    "not_an_object",
    "not_text",
    "nul_character",
    "row_too_long",
    "too_short",
    "wrong_encoding",
]
"""Why a row cannot become a document; the words that the table `quarantine` holds."""


class RowRejectedError(Exception):
    """A row cannot become a document; caught by its reader, which puts the row in quarantine."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Column:
    """The place of a column's value in a template."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal text and columns, in order."""

    source: str
    pieces: tuple[str | Column, ...]

    def columns(self) -> tuple[str, ...]:
        """Return the columns it needs, each once, in order of first use."""
        names = (piece.name for piece in self.pieces if isinstance(piece, Column))
        return tuple(dict.fromkeys(names))

    def render(self, values: Mapping[str, object]) -> str:
        """Return the text of a row.

        Raises:
            RowRejectedError: a column is missing, null, or not text.
        """
        if len(self.pieces) == 1 and isinstance(self.pieces[0], Column):
            return _value_of(values, self.pieces[0].name)
        return "".join(
            _value_of(values, piece.name) if isinstance(piece, Column) else piece
            for piece in self.pieces
        )


def parse_template(source: str, *, where: str = "template") -> Template:
    """Return the parsed form of a template.

    Args:
        source: the template as the config has it.
        where: the config key, for the message.

    Raises:
        ConfigError: a brace has no partner, a name is empty, or no column is used; names the
            template and the position, in characters from 0.
    """
    pieces = tuple(_pieces(source, where))
    if not any(isinstance(piece, Column) for piece in pieces):
        raise ConfigError(
            f"{where} {source!r} uses no column, so every document would be the same; "
            'name one in braces, such as "{text}"'
        )
    return Template(source, pieces)


def text_of(value: object, column: str) -> str:
    """Return a value as text, by the rules on top of this module.

    Raises:
        RowRejectedError: the value is null (missing_value) or has no text (not_text).
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise RowRejectedError("missing_value", f"column {column!r} is null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | decimal.Decimal):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    kind = repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise RowRejectedError("not_text", f"column {column!r} is {kind}, not text or a number")


def _value_of(values: Mapping[str, object], column: str) -> str:
    if column not in values:
        raise RowRejectedError("missing_column", f"there is no column {column!r}")
    return text_of(values[column], column)


def _pieces(source: str, where: str) -> Iterator[str | Column]:
    position = 0
    while position < len(source):
        character = source[position]
        if character not in "{}":
            end = min(_find(source, "{", position), _find(source, "}", position))
            yield source[position:end]
            position = end
        elif source.startswith(character * 2, position):
            yield character
            position += 2
        elif character == "}":
            raise _syntax_error(source, position, "has no { before it", where)
        else:
            end = _find(source, "}", position)
            yield Column(_name(source, position, end, where))
            position = end + 1


def _name(source: str, start: int, end: int, where: str) -> str:
    name = source[start + 1 : end]
    if end == len(source) or "{" in name:
        raise _syntax_error(source, start, "is never closed", where)
    if not name.strip():
        raise _syntax_error(source, start, "names no column", where)
    return name


def _find(source: str, character: str, start: int) -> int:
    found = source.find(character, start)
    return len(source) if found < 0 else found


def _syntax_error(source: str, position: int, problem: str, where: str) -> ConfigError:
    return ConfigError(
        f"{where} {source!r}: the {source[position]} at position {position} {problem}; "
        "write {column} for a column, {{ and }} for braces"
    )
