"""The rows under judgement: a SELECT with parameters, read through DuckDB as `contract_rows`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from databourse.contracts.results import MAX_EXAMPLES
from databourse.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_FETCHED_ROWS = 10_000
_SHOWN_CHARACTERS = 120
_VECTOR_ROWS = 2048  # DuckDB hands out rows in vectors of this size


@dataclass(frozen=True)
class Violations:
    """Rows that break a rule: their number, the smallest ids, and what the first of them shows."""

    failing_rows: int
    example_ids: tuple[str, ...]
    observed: str


@dataclass(frozen=True)
class Relation:
    """A SELECT on somebody's cursor; every statement finds its rows as `contract_rows`.

    The cursor is the caller's, so uncommitted rows of its transaction are judged too. Each method
    leaves it without an open result, and raises InputError if a text is not one SELECT.
    """

    cursor: duckdb.DuckDBPyConnection
    select: str
    parameters: Mapping[str, Any]

    def types(self) -> dict[str, str]:
        """Return the columns with their types as DuckDB spells them."""
        self._execute("select * from contract_rows limit 0").fetchall()
        return {name: str(kind) for name, kind, *_ in self.cursor.description or ()}

    def row_count(self) -> int:
        """Return the number of rows."""
        return int(self._execute("select count(*) from contract_rows").fetchall()[0][0])

    def frames(
        self, columns: Mapping[str, bool], key: Sequence[str], *, chunk_rows: int | None
    ) -> Iterator[pd.DataFrame]:
        """Yield some columns in key order, as one frame or in frames of at most `chunk_rows`.

        Args:
            columns: column to whether it is nested; of nested ones only their presence is told.
            key: columns to order by.
            chunk_rows: most rows of a frame, >= 1; None for one frame of everything.
        """
        shown = [
            f"case when {_quoted(name)} is not null then true end as {_quoted(name)}"
            if is_nested
            else _quoted(name)
            for name, is_nested in columns.items()
        ]
        order = f" order by {_list(key)}" if key else ""
        self._execute(f"select {', '.join(shown)} from contract_rows{order}")  # noqa: S608 - quoted names
        if chunk_rows is None:
            yield self.cursor.df()
            return
        vectors = max(1, chunk_rows // _VECTOR_ROWS)
        while len(frame := self.cursor.fetch_df_chunk(vectors)):
            for start in range(0, len(frame), chunk_rows):
                yield frame.iloc[start : start + chunk_rows].reset_index(drop=True)

    def violations(self, query: str) -> Violations:
        """Return what a query of violating rows finds; its first column is their id."""
        self._execute(f"select * from (\n{query}\n) as violations")  # noqa: S608 - a rule's own text
        return self._tallied(1)

    def rows_named(
        self, ids: Sequence[str], key: Sequence[str], *, most_rows: int
    ) -> list[dict[str, str]]:
        """Return rows whose key, or a column of it, is one of these ids; values cut, as text."""
        if not key:
            return []
        texts = [f"coalesce(cast({_quoted(name)} as varchar), 'null')" for name in key]
        parts = [f"concat_ws('/', {', '.join(texts)})", *(texts if len(texts) > 1 else [])]
        wanted = " or ".join(f"list_contains($wanted_ids, {part})" for part in parts)
        held = Relation(self.cursor, self.select, {**self.parameters, "wanted_ids": list(ids)})
        held._execute(
            f"select * from contract_rows where {wanted} "  # noqa: S608 - quoted names
            f"order by {_list(key)} limit {most_rows:d}"
        )
        names = [name for name, *_ in self.cursor.description or ()]
        return [
            {name: str(value)[:_SHOWN_CHARACTERS] for name, value in zip(names, row, strict=True)}
            for row in self.cursor.fetchall()
        ]

    def repeats(self, columns: Sequence[str], key: Sequence[str]) -> Violations:
        """Return the rows that share their values of `columns` with another row; nulls do not."""
        some_value = " or ".join(f"{_quoted(name)} is not null" for name in columns)
        names = [*key, *(name for name in columns if name not in key)]
        self._execute(
            f"select {_list(names)} from contract_rows where {some_value} "  # noqa: S608 - quoted names
            f"qualify count(*) over (partition by {_list(columns)}) > 1"
        )
        return self._tallied(len(key))

    def _tallied(self, n_id_columns: int) -> Violations:
        names = [name for name, *_ in self.cursor.description or ()]
        failing_rows = 0
        smallest: list[tuple[Any, ...]] = []
        while batch := self.cursor.fetchmany(_FETCHED_ROWS):
            failing_rows += len(batch)
            smallest = heapq.nsmallest(MAX_EXAMPLES, [*smallest, *batch], key=_order)
        ids = tuple(id_text(row[:n_id_columns]) for row in smallest)
        first = smallest[0] if smallest else ()
        shown = list(zip(names, first, strict=False))[n_id_columns:]
        return Violations(failing_rows, ids, ", ".join(shown_value(*pair) for pair in shown))

    def _execute(self, statement: str) -> duckdb.DuckDBPyConnection:
        text = f"with contract_rows as (\n{self.select}\n)\n{statement}"
        statements = self.cursor.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise InputError(f"expected one SELECT, got {len(statements)} statements: {text}")
        named = statements[0].named_parameters
        used = {name: value for name, value in self.parameters.items() if name in named}
        return self.cursor.execute(statements[0], used)


def id_text(values: Iterable[object]) -> str:
    """Return the id of a row as text: the values of its key, joined by slashes."""
    import pandas as pd

    return "/".join("null" if pd.isna(value) else str(value) for value in values)  # type: ignore[call-overload]


def shown_value(name: str, value: object) -> str:
    """Return a value with its name, short enough for a line."""
    return f"{name}={str(value)[:200]}"


def _order(row: tuple[Any, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((value is None, str(value)) for value in row)


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
