"""Tables on stdout, for commands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_FILES = 120  # columns of text that goes to a file or a pipe


def print_section(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a title and a table below it, or that there is none."""
    rows = list(rows)
    typer.echo(f"\n{title}" + ("" if rows else ": none"))
    if rows:
        print_table(columns, rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers are right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, cells in zip(columns, zip(*rows, strict=True), strict=True):
        table.add_column(name, justify="right" if _are_numbers(cells) else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(not cell.strip("0123456789,.-+e%") for cell in cells if cell != "none")


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
