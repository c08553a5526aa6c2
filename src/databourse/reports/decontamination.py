"""Decontamination in print: what the pool was compared with, and what the rule finds of leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from databourse.reports.data import ExtraSection, Table
from databourse.reports.wording import NONE, count, decimal

TITLE = "Decontamination"


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """A protected set: its examples, those found in the pool, and documents dropped for them."""

    name: str
    examples: int
    examples_found: int
    documents_dropped: int


@dataclass(frozen=True, slots=True)
class FoundLeaks:
    """Planted leaks of one kind, and how many of them the rule finds."""

    kind: str
    leaks: int
    found: int


def decontamination_section(
    sets: Sequence[ComparedSet], leaks: Sequence[FoundLeaks], *, documents: int, dropped: int
) -> ExtraSection:
    """Return the section about what was kept out of the pool, and how well the rule does that."""
    compared = tuple(
        (each.name, count(each.examples), count(each.examples_found), count(each.documents_dropped))
        for each in sets
    )
    planted = tuple(
        (
            each.kind.replace("_", " "),
            count(each.leaks),
            count(each.found),
            decimal(each.found / each.leaks, 3) if each.leaks else NONE,
        )
        for each in leaks
    )
    tables = [
        Table(
            "Protected sets",
            ("set", "examples", "found in the pool", "documents dropped"),
            compared,
            "lrrr",
        )
    ]
    paragraphs = [
        f"{count(dropped)} of {count(documents)} documents repeat protected text and were dropped."
    ]
    if planted:
        paragraphs.append(
            "Protected examples, drawn at random and changed as leaks are, were run through the "
            "same index: what the rule would have found of them."
        )
        tables.append(
            Table("Planted leaks", ("kind", "planted", "found", "recall"), planted, "lrrr")
        )
    return ExtraSection(TITLE, tuple(paragraphs), tuple(tables))
