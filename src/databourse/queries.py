"""Named SQL files and contracts: found in the checkout or inside the installed wheel, and run.

The number of traders is known at run time only, and the market has one column for each. So a line
of SQL that ends in `-- per trader` stands for one line per trader: `_k` at the end of a name
becomes `_0`, `_1` and so on. The file as it stands is valid SQL for a market with one trader.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from databourse.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent
_PER_TRADER = "-- per trader"


def sql_root() -> Path:
    """Return the folder of the named SQL files."""
    return _first_existing(_PACKAGE / "_sql", _CHECKOUT / "sql")


def contracts_root() -> Path:
    """Return the folder of the data contracts."""
    return _first_existing(_PACKAGE / "_contracts", _CHECKOUT / "data_contracts")


@functools.cache
def query(name: str, *, n_traders: int | None = None) -> str:
    """Return the text of `sql/*/NAME.sql`; its file name is the name of the relation it makes.

    Args:
        name: of the file, without its ending.
        n_traders: how often to write each line that stands for all traders, >= 1; None leaves the
            text as it is.

    Raises:
        UnknownNameError: there is no such file.
        InputError: `n_traders` is not >= 1.
    """
    files = query_files()
    if name not in files:
        raise UnknownNameError("query", name, sorted(files), where=str(sql_root()))
    text = files[name].read_text(encoding="utf-8")
    return text if n_traders is None else _for_each_trader(text, n_traders)


@functools.cache
def query_files() -> dict[str, Path]:
    """Return every named SQL file by name, in order of name."""
    files = sorted(sql_root().glob("*/*.sql"), key=lambda path: path.stem)
    return {path.stem: path for path in files}


def query_rows(
    cursor: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None
) -> pa.Table:
    """Return what a named query selects on a cursor, as Arrow."""
    return cursor.sql(query(name), params=used_parameters(name, parameters)).to_arrow_table()


def materialise(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    n_traders: int | None = None,
) -> None:
    """Make a named query a temporary table of its own name, for the cursor alone.

    `n_traders` is needed by queries that have one column per trader; see `query`.
    """
    statement = f"create or replace temp table {name} as {query(name, n_traders=n_traders)}"
    cursor.execute(statement, used_parameters(name, parameters)).fetchall()


def used_parameters(name: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that a query names: DuckDB refuses the others."""
    named = set(re.findall(r"\$([a-z_]+)", query(name)))
    return {key: value for key, value in (parameters or {}).items() if key in named}


def _for_each_trader(text: str, n_traders: int) -> str:
    if n_traders < 1:
        raise InputError(f"a market needs at least 1 trader, got {n_traders}")
    lines = []
    for line in text.splitlines():
        if line.endswith(_PER_TRADER):
            lines += [re.sub(r"_k\b", f"_{trader}", line) for trader in range(n_traders)]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _first_existing(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    return candidates[-1]
