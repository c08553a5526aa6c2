"""Near dedup by datasketch's MinHash, in its own environment."""

from __future__ import annotations

from pathlib import Path

from datasketch import MinHash

from benchmarks.dedup.glue import PERMUTATIONS, grouped


def duplicates(documents: Path) -> list[tuple[str, str]]:
    """Return (dropped, kept) document ids."""
    return grouped(documents, _signature)


def _signature(shingles: list[str]) -> list[int]:
    minhash = MinHash(num_perm=PERMUTATIONS, seed=1)
    minhash.update_batch([each.encode() for each in shingles])
    values: list[int] = minhash.hashvalues.tolist()
    return values
