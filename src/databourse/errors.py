"""Every error that databourse raises on purpose: one tree, one clear line each.

A message says what was expected, what came, where, and what to do next. `exit_code` is what the
command line returns: 2 for wrong usage (arguments, config), 1 for everything else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class DatabourseError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line."""

    exit_code = 1


class InputError(DatabourseError, ValueError):
    """An argument of an algorithm is outside its domain."""


class ConfigError(DatabourseError):
    """The config cannot be read, or asks for something that does not exist."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name that is not in a closed list was asked for; lists the nearest valid ones."""

    def __init__(self, kind: str, name: str, known: Sequence[str], where: str = "") -> None:
        super().__init__(kind, name, tuple(known), where)
        self.kind, self.name, self.known, self.where = kind, name, tuple(known), where

    def __str__(self) -> str:
        """Return the line that is printed."""
        place = f" in {self.where}" if self.where else ""
        return f"unknown {self.kind} {self.name!r}{place}; {nearest_names(self.name, self.known)}"


class SourceError(DatabourseError):
    """A source cannot be read, lacks a column, or yields no document at all."""


class DedupError(DatabourseError):
    """Deduplication would remove more of a source than its config allows."""


class IntegrityError(DatabourseError):
    """A file or table does not match its digest: it was truncated, edited or half-written."""


class StorageError(DatabourseError):
    """The disk of a warehouse is full, or its folder may not be written."""


class WarehouseLockedError(DatabourseError):
    """Another process writes this warehouse."""


class ManifestError(DatabourseError):
    """A manifest cannot be found, opened, or built."""


class MissingExtraError(DatabourseError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, extra, purpose)
        self.package, self.extra, self.purpose = package, extra, purpose

    def __str__(self) -> str:
        """Return the line that is printed."""
        return (
            f"{self.purpose} needs the package {self.package}, which is not installed; "
            f"run: pip install -c constraints.txt 'databourse[{self.extra}]'"
        )


class TransientError(DatabourseError):
    """An outside system failed; a later try may not: the only error that is retried."""


class ContractViolation(DatabourseError):  # noqa: N818 - the domain's word
    """Rows of a dataset break a critical rule of its contract: retrying cannot help."""

    def __init__(
        self, contract: str, rule: str, failing_rows: int, example_ids: Sequence[str]
    ) -> None:
        super().__init__(contract, rule, failing_rows, tuple(example_ids))
        self.contract, self.rule = contract, rule
        self.failing_rows, self.example_ids = failing_rows, tuple(example_ids)

    def __str__(self) -> str:
        """Return the line that is printed."""
        examples = f", for example {', '.join(self.example_ids)}" if self.example_ids else ""
        rows = "row" if self.failing_rows == 1 else "rows"
        return (
            f"contract {self.contract}: rule {self.rule!r} fails on {self.failing_rows:,} {rows}"
            f"{examples}. Nothing was published. Fix what writes {self.contract}, or change "
            f"data_contracts/{self.contract}.odcs.yaml on purpose."
        )


class DriftViolation(ContractViolation):
    """A pool moved farther from its last published version than its config allows."""

    def __str__(self) -> str:
        """Return the line that is printed."""
        return (
            f"the pool has drifted: {self.rule}: {'; '.join(self.example_ids)}. Nothing was "
            f"published. Look at what came in; if it is right, raise the limit under drift, or run "
            f"once with --set drift.{self.rule}=warn"
        )


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says, or what kind of error it is if it is silent."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" with the nearest of `known`, or the whole list if none is near."""
    choices = sorted(set(known))
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(choice) for choice in near)}?"
    return f"valid: {', '.join(choices)}" if choices else "there is none to choose from"
