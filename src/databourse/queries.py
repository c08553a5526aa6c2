"""Named SQL files and contracts: found in the checkout or inside the installed wheel."""

from __future__ import annotations

import functools
from pathlib import Path

from databourse.errors import UnknownNameError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def sql_root() -> Path:
    """Return the folder of the named SQL files."""
    return _first_existing(_PACKAGE / "_sql", _CHECKOUT / "sql")


def contracts_root() -> Path:
    """Return the folder of the data contracts."""
    return _first_existing(_PACKAGE / "_contracts", _CHECKOUT / "data_contracts")


@functools.cache
def query(name: str) -> str:
    """Return the text of `sql/*/NAME.sql`; its file name is the name of the relation it makes.

    Raises:
        UnknownNameError: there is no such file.
    """
    files = query_files()
    if name not in files:
        raise UnknownNameError("query", name, sorted(files), where=str(sql_root()))
    return files[name].read_text(encoding="utf-8")


@functools.cache
def query_files() -> dict[str, Path]:
    """Return every named SQL file by name, in order of name."""
    files = sorted(sql_root().glob("*/*.sql"), key=lambda path: path.stem)
    return {path.stem: path for path in files}


def _first_existing(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    return candidates[-1]
