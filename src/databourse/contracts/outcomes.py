"""What judging one rule gave, before it is put beside the rule's name and severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from databourse.contracts.results import MAX_EXAMPLES


@dataclass(frozen=True)
class Outcome:
    """Violating rows of one rule; not judged means that nobody knows whether it holds."""

    failing_rows: int
    example_ids: tuple[str, ...] = ()
    observed: str = ""
    is_judged: bool = True

    @classmethod
    def passed(cls) -> Outcome:
        """Return that no row violates the rule."""
        return cls(0)

    @classmethod
    def unjudged(cls, problem: object) -> Outcome:
        """Return that the rule could not be judged, and why, in one line."""
        text = f"could not be judged: {' '.join(str(problem).split())}"[:500]
        return cls(0, (text,), text, is_judged=False)

    @classmethod
    def of_relation(cls, findings: Sequence[str]) -> Outcome:
        """Return what is wrong with a relation as a whole; no finding means that it holds."""
        return cls(len(findings), tuple(findings[:MAX_EXAMPLES]), "; ".join(findings)[:500])

    def plus(self, later: Outcome) -> Outcome:
        """Return the outcome over these rows and later ones in key order."""
        if not (self.is_judged and later.is_judged):
            return later if self.is_judged else self
        return Outcome(
            self.failing_rows + later.failing_rows,
            (*self.example_ids, *later.example_ids)[:MAX_EXAMPLES],
            self.observed or later.observed,
        )
