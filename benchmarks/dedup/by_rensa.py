"""Near dedup by rensa's R-MinHash, in its own environment."""

from __future__ import annotations

from pathlib import Path

from rensa import RMinHash

from benchmarks.dedup.glue import PERMUTATIONS, grouped


def duplicates(documents: Path) -> list[tuple[str, str]]:
    """Return (dropped, kept) document ids."""
    return grouped(documents, _signature)


def _signature(shingles: list[str]) -> list[int]:
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=1)
    minhash.update(shingles)
    values: list[int] = minhash.digest()
    return values
