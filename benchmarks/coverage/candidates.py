"""Ways to choose documents by facility location; each module has `prepare` and `choose`.

    prepare: from unit vectors, shape (n, d), to whatever it chooses by
    choose:  from that and a number of documents to their positions, in the order of choice

All maximise the sum over documents of the largest similarity to a chosen one, max(0, cosine), and
choose documents at equal cost. A module imports its package, so it is imported in the environment
of that package alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One way: its module, and the package whose environment it runs in, None for the product's."""

    module: str
    package: str | None


YARDSTICK = "databourse, all pairs"
"""The candidate that all are compared with."""
CANDIDATES = {
    YARDSTICK: Candidate("benchmarks.coverage.by_all_pairs", None),
    "databourse, 64 nearest": Candidate("benchmarks.coverage.by_nearest", None),
    "submodlib-py": Candidate("benchmarks.coverage.by_submodlib", "submodlib-py"),
    "apricot-select": Candidate("benchmarks.coverage.by_apricot", "apricot-select"),
}
