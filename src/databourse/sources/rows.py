"""Rows of a source: what a record of a file becomes, a document or an entry in quarantine.

A row number counts the records of a file from 0, good and bad ones alike; a CSV header and blank
lines are no records. The n-th record keeps its number whatever the rows before it are like.

The text of a pair: `prompt`, cut at its start, and `completion`, cut at its end, joined as they
are; when neither has white space at the seam, a newline is added to the prompt. Both are made
canonical before (NFC, `\\n`), and white space composes with nothing, so the whole is canonical
too, and `text[:prompt_characters]` and `text[prompt_characters:]` are the two parts.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from databourse.digests import canonical_json, canonical_text, composed
from databourse.errors import ConfigError
from databourse.sources.template import (
    Reason,
    RowRejectedError,
    Template,
    parse_template,
    text_of,
)

EXCERPT_CHARACTERS = 200
_EXCERPT_BYTES = 4 * EXCERPT_CHARACTERS


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row that is a document.

    Attributes:
        row_number: position among the records of its file, from 0.
        text: canonical text; its hash is the document's id.
        prompt_characters: where the completion starts, for pairs.
        label: canonical text of the label; None when there is none.
        metadata: JSON values by column.
    """

    row_number: int
    text: str
    prompt_characters: int | None
    label: str | None
    metadata: dict[str, object]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that goes to quarantine.

    Attributes:
        row_number: position among the records of its file, from 0.
        reason: one of `databourse.sources.template.Reason`.
        detail: what was expected and what came.
        excerpt: at most 200 characters of what came.
    """

    row_number: int
    reason: Reason
    detail: str
    excerpt: str


Row = SourceRow | RejectedRow


@dataclass(frozen=True, slots=True)
class RowShape:
    """How the columns of a row make a document.

    Attributes:
        templates: one for plain text; two, prompt and completion, for pairs.
        label: the column that holds the label.
        metadata: columns that are kept beside the text.
        min_characters: shorter texts are rejected.
        labels: what labels are called instead, pairs of old and new name.
    """

    templates: tuple[Template, ...]
    label: str | None = None
    metadata: tuple[str, ...] = ()
    min_characters: int = 1
    labels: tuple[tuple[str, str], ...] = ()

    def template_columns(self) -> tuple[str, ...]:
        """Return the columns that every row must have, each once."""
        return tuple(dict.fromkeys(name for each in self.templates for name in each.columns()))

    def columns(self) -> tuple[str, ...]:
        """Return the columns that are read, each once."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys([*self.template_columns(), *label, *self.metadata]))


def row_shape(
    *,
    text: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
    metadata: Iterable[str] = (),
    min_characters: int = 1,
    labels: Mapping[str, str] | None = None,
) -> RowShape:
    """Return the shape that the config's words describe.

    Raises:
        ConfigError: a template is malformed, or it is neither `text` nor a whole pair.
    """
    if text is not None and prompt is None and completion is None:
        templates: tuple[Template, ...] = (parse_template(text, where="text"),)
    elif text is None and prompt is not None and completion is not None:
        templates = (
            parse_template(prompt, where="prompt"),
            parse_template(completion, where="completion"),
        )
    else:
        raise ConfigError('a source takes either text or prompt and completion, such as "{text}"')
    names = tuple(sorted((labels or {}).items()))
    if names and label is None:
        raise ConfigError("labels renames the values of a label column; add label, or remove it")
    return RowShape(templates, label, tuple(dict.fromkeys(metadata)), min_characters, names)


def source_row(row_number: int, values: Mapping[str, object], shape: RowShape) -> SourceRow:
    """Return the document that a row's values make.

    Raises:
        RowRejectedError: they make none; says why.
    """
    parts = [template.render(values) for template in shape.templates]
    if len(parts) == 1:
        text, prompt_characters = canonical_text(parts[0]), None
    else:
        text, prompt_characters = joined_pair(*parts)
    check_text(text, shape.min_characters)
    label = None if shape.label is None else label_of(values.get(shape.label), shape.label)
    if label is not None and shape.labels:
        label = dict(shape.labels).get(label, label)
    metadata = {name: json_value(values.get(name), name) for name in shape.metadata}
    if metadata:
        _check_unicode(canonical_json(metadata), "metadata")
    return SourceRow(row_number, text, prompt_characters, label, metadata)


def joined_pair(prompt: str, completion: str) -> tuple[str, int]:
    """Return the canonical text of a pair and where its completion starts.

    Raises:
        RowRejectedError: one of the two is blank.
    """
    start, end = composed(prompt).lstrip(), composed(completion).rstrip()
    for name, part in (("prompt", start), ("completion", end)):
        if not part:
            raise RowRejectedError("too_short", f"the {name} is blank")
    if not (start[-1].isspace() or end[0].isspace()):
        start += "\n"
    return start + end, len(start)


def check_text(text: str, min_characters: int) -> None:
    """Check that a canonical text can be stored and is long enough.

    Raises:
        RowRejectedError: wrong_encoding, nul_character or too_short.
    """
    _check_unicode(text, "text")
    if "\0" in text:
        raise RowRejectedError("nul_character", "the text holds a NUL character")
    if len(text) < min_characters:
        raise RowRejectedError(
            "too_short", f"expected at least {min_characters} characters, got {len(text)}"
        )


def label_of(value: object, column: str) -> str | None:
    """Return a label as canonical text; None for null and for blank text.

    Whole numbers are written without a point, so that 3, 3.0 and "3" are the same label.

    Raises:
        RowRejectedError: the value is no text, number or boolean.
    """
    if value is None:
        return None
    whole = isinstance(value, float) and value.is_integer()
    label = canonical_text(text_of(int(value) if whole else value, column))  # type: ignore[call-overload]
    _check_unicode(label, "label")
    if "\0" in label:
        raise RowRejectedError("nul_character", "the label holds a NUL character")
    return label or None


def json_value(value: object, column: str) -> object:
    """Return a value of a metadata column as JSON types, dates and decimals as text.

    Raises:
        RowRejectedError: NaN, infinity, bytes, or another value that JSON cannot hold.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [json_value(item, column) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item, column) for key, item in value.items()}
    if isinstance(value, decimal.Decimal | dt.date | dt.time):
        return text_of(value, column)
    kind = repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise RowRejectedError("not_text", f"metadata column {column!r} is {kind}, which is not JSON")


def excerpt_of(came: bytes | str) -> str:
    """Return the first 200 characters of what came, with undecodable and NUL bytes spelled out."""
    if isinstance(came, bytes):
        came = came[:_EXCERPT_BYTES].decode("utf-8", errors="backslashreplace")
    text = came[:EXCERPT_CHARACTERS].encode("utf-8", errors="backslashreplace").decode("utf-8")
    return text.replace("\0", "\\x00").strip()[:EXCERPT_CHARACTERS]


def too_long(n_bytes: int, max_row_bytes: int) -> RowRejectedError:
    """Return why a row that is too long is rejected."""
    return RowRejectedError(
        "row_too_long", f"expected at most {max_row_bytes:,} bytes (max_row_bytes), got {n_bytes:,}"
    )


def rejected_row(row_number: int, error: RowRejectedError, came: bytes | str) -> RejectedRow:
    """Return the quarantine entry of a row that was refused."""
    return RejectedRow(row_number, error.reason, excerpt_of(error.detail), excerpt_of(came))


def _check_unicode(text: str, what: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"\\u{ord(text[error.start]):04x}"
        raise RowRejectedError(
            "wrong_encoding", f"the {what} holds {code}, half of a surrogate pair"
        ) from None
