"""Ways to deduplicate a file of documents, each from Parquet to (dropped, kept) pairs of ids.

A module imports its package, so it is imported in the environment of the candidate alone.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Candidate:
    """One way.

    Attributes:
        package: whose environment it runs in; None for the product's own.
        module: has the function `duplicates`, of a Parquet file.
        kind: a library with glue in Python, a whole tool, or the product.
        largest: documents beyond which it is left out, being too slow.
    """

    package: str | None
    module: str
    kind: Literal["product", "library", "tool"]
    largest: int

    def duplicates(self, documents: Path) -> list[tuple[str, str]]:
        """Return (dropped, kept) ids."""
        found: list[tuple[str, str]] = importlib.import_module(self.module).duplicates(documents)
        return found


YARDSTICK = "databourse"
CANDIDATES: dict[str, Candidate] = {
    YARDSTICK: Candidate(None, "benchmarks.dedup.by_product", "product", 10_000_000),
    "rensa": Candidate("rensa", "benchmarks.dedup.by_rensa", "library", 1_000_000),
    "datasketch": Candidate("datasketch", "benchmarks.dedup.by_datasketch", "library", 200_000),
    "datatrove": Candidate("datatrove", "benchmarks.dedup.by_datatrove", "tool", 20_000),
}
