"""Columns: what to say when a file has not those that the config names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from databourse.errors import SourceError, nearest_names

_LISTED_COLUMNS = 30
_SHOWN_CHARACTERS = 40


def check_columns(
    place: str, names: Sequence[str], wanted: Iterable[str], *, hint: str = ""
) -> None:
    """Check that a file has each wanted column once.

    Args:
        place: the file, for the message.
        names: the columns it has.
        wanted: the columns that are read.
        hint: what else may be wrong, for the message.

    Raises:
        SourceError: it lacks one, or has it twice; names the file, the column and the nearest.
    """
    for column in wanted:
        if column not in names:
            known = known_columns(column, names)
            raise SourceError(f"{place} has no column {column!r}; {known}{hint}")
        if names.count(column) > 1:
            raise SourceError(f"{place} has the column {column!r} twice; rename one of them")


def known_columns(column: str, known: Iterable[str]) -> str:
    """Return the columns that a wrong one may have meant."""
    names = sorted({name[:_SHOWN_CHARACTERS] for name in known})
    if not names:
        return "its rows have no column at all"
    more = f" and {len(names) - _LISTED_COLUMNS} more" if len(names) > _LISTED_COLUMNS else ""
    line = nearest_names(column, names[:_LISTED_COLUMNS])
    syntax = any(character in column for character in ".:![")
    hint = " (templates take plain names: no formats, attributes or indexes)" if syntax else ""
    return f"{line}{more if line.startswith('valid') else ''}{hint}"
