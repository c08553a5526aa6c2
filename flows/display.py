"""Progress of stages in a terminal: bars on stderr, one line for each finished stage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from databourse.progress import ProgressReport
from databourse.refresh.context import StageReport


class TerminalDisplay:
    """Bars while stages run, if stderr is a terminal; a line for each stage that ended, always."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and leave the terminal as it was."""
        self._progress.stop()

    @contextlib.contextmanager
    def bar(self, stage: str, total: int | None) -> Iterator[ProgressReport]:
        """Draw a bar while the block runs."""
        bar = self._progress.add_task(stage, total=total)
        try:
            yield lambda done: self._progress.advance(bar, done)
        finally:
            self._progress.remove_task(bar)

    def done(self, report: StageReport) -> None:
        """Print the stage's line."""
        note = f"  {report.note}" if report.note else ""
        self._console.print(
            f"  {report.stage:<28} {report.rows_in:>9,} in  {report.rows_out:>9,} out "
            f"{report.seconds:>6.1f} s[dim]{note}[/dim]",
            highlight=False,
            soft_wrap=True,
        )
