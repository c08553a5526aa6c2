"""Ways to compute DSIR's log weights, each from texts to one number per document of the pool.

A module imports its package, so it is imported in the environment of the candidate alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One way.

    Attributes:
        package: whose environment it runs in; None for the product's own.
        module: has the function `weigh`.
        hash_name: of the n-grams.
    """

    package: str | None
    module: str
    hash_name: str

    def weigh(self, pool: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Return ln w of each document of the pool."""
        weights: list[float] = importlib.import_module(self.module).weigh(
            pool, targets, self.hash_name
        )
        return weights


YARDSTICK = "databourse, splitmix64"
SAME_HASH = "databourse, sha256"
CANDIDATES: dict[str, Candidate] = {
    YARDSTICK: Candidate(None, "benchmarks.importance.weights_of_product", "splitmix64"),
    SAME_HASH: Candidate(None, "benchmarks.importance.weights_of_product", "sha256"),
    "data-selection": Candidate(
        "data-selection", "benchmarks.importance.weights_of_library", "sha256"
    ),
}
