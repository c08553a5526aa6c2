"""The story of one document: where it came from, what became of it, why, and what would change it.

`explain_document` gathers it from a warehouse that it opens for reading; `described` writes it for
people, `record` for programs.
"""

from databourse.explanations.gathering import explain_document
from databourse.explanations.story import Explanation, record
from databourse.explanations.wording import described

__all__ = ["Explanation", "described", "explain_document", "record"]
