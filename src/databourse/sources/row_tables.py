"""Rows as Arrow tables: the form in which they travel between processes and into the warehouse.

One line per row, good or rejected, in order of `row_number`. A good row has `document_id` and
`text` and a null `reason`; a rejected one has `reason`, `detail` and `excerpt` and a null text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from databourse.digests import canonical_json, document_id
from databourse.sources.rows import RejectedRow, Row

ROW_SCHEMA = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("document_id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("prompt_characters", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("excerpt", pa.string()),
    ]
)
"""`place` is what comes behind the uri in a locator; `metadata` is canonical JSON."""


def numbered_place(row: Row) -> str:
    """Return the place of a row of a file: `#` and its number."""
    return f"#{row.row_number}"


def row_table(rows: Sequence[Row], place_of: Callable[[Row], str] = numbered_place) -> pa.Table:
    """Return rows as a table; texts get their ids here."""
    if not rows:
        return ROW_SCHEMA.empty_table()
    columns = zip(*[_values(row, place_of(row)) for row in rows], strict=True)
    return pa.table(
        [pa.array(each, field.type) for each, field in zip(columns, ROW_SCHEMA, strict=True)],
        schema=ROW_SCHEMA,
    )


def _values(row: Row, place: str) -> tuple[object, ...]:
    """Return the values of a row, in the order of the schema."""
    if isinstance(row, RejectedRow):
        return (row.row_number, place, *[None] * 5, row.reason, row.detail, row.excerpt)
    metadata = canonical_json(row.metadata) if row.metadata else None
    parts = (row.text, row.prompt_characters, row.label, metadata)
    return (row.row_number, place, document_id(row.text), *parts, None, None, None)


def tables_of(
    rows: Iterable[Row],
    *,
    at_most: int,
    place_of: Callable[[Row], str] = numbered_place,
) -> Iterator[pa.Table]:
    """Yield rows as tables of `at_most` rows, the last one of fewer."""
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, at_most)):
        yield row_table(batch, place_of)


def rebatched(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of exactly `size` rows, the last one of fewer."""
    waiting: list[pa.Table] = []
    n_waiting = 0
    for table in tables:
        waiting.append(table)
        n_waiting += table.num_rows
        if n_waiting >= size:
            whole = pa.concat_tables(waiting)
            n_whole = n_waiting - n_waiting % size
            for first in range(0, n_whole, size):
                yield whole.slice(first, size)
            waiting, n_waiting = [whole.slice(n_whole)], n_waiting - n_whole
    if n_waiting:
        yield pa.concat_tables(waiting)


def joined(tables: Iterable[pa.Table], *, most: int, most_bytes: int) -> Iterator[pa.Table]:
    """Yield the same rows in fewer tables: up to `most` of these, and no more once they are large.

    Args:
        tables: in order.
        most: tables that become one, >= 1.
        most_bytes: that tables may have before one is added to them.
    """
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if len(waiting) == most or sum(each.nbytes for each in waiting) >= most_bytes:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
