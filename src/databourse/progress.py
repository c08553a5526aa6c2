"""Progress of long work: algorithms report units done; whoever runs them decides what is shown."""

from __future__ import annotations

from typing import Protocol


class ProgressReport(Protocol):
    """Where a long computation says how far it is."""

    def __call__(self, done: int) -> None:
        """Add `done` finished units."""


def silent(done: int) -> None:
    """Show nothing."""
    del done
