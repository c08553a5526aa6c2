"""MinHash signatures and bands (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3).

Notation: x = the upper 32 bits of a shingle hash, n = permutations, r = rows of a band, b = bands,
J = Jaccard of two shingle sets.

Hash family: h(x) = (a * x + c) mod 2^32 with a, c uniform over 32 bits, a odd: a permutation of the
32-bit numbers, universal but for a factor of two (Dietzfelbinger, Hagerup, Katajainen & Penttonen
1997). Min-wise independence is not proved for it; x is the mixed hash of a shingle already, and the
tests hold the estimate to its standard error and the bands to their curve. 32-bit lanes are eight
times as fast as 64-bit ones where the processor cannot multiply the latter. Two shingles of one
text share x with probability 2^-32, which moves an estimate by less than its rounding.

A signature is the least h over a text's shingles for n functions; two texts agree in one entry with
probability J, so they share all r rows of some band with probability 1 - (1 - J^r)^b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.dedup.shingles import ShingleSets
from databourse.errors import InputError

RECALL_AT_THRESHOLD = 0.99
"""How likely a pair at the threshold is to be compared, at least, when a pool is deduplicated."""
REVISION = 2
"""Raised when the same shingles begin to give other signatures or keys."""


@dataclass(frozen=True)
class HashFamily:
    """The odd multipliers and the increments of n hash functions, uint32, shape (n,) each."""

    multipliers: npt.NDArray[np.uint32]
    increments: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.multipliers)


@dataclass(frozen=True)
class Banding:
    """How signatures are cut: `bands` bands of `rows` entries."""

    bands: int
    rows: int


def draw_hash_family(permutations: int, rng: np.random.Generator) -> HashFamily:
    """Return n hash functions drawn from the family of the module.

    Raises:
        InputError: `permutations` is below 1.
    """
    if permutations < 1:
        raise InputError(f"permutations must be >= 1, got {permutations!r}")
    drawn = rng.integers(0, 1 << 32, size=(2, permutations), dtype=np.uint32)
    return HashFamily(drawn[0] | np.uint32(1), drawn[1])


def candidate_probability(similarity: float, *, bands: int, rows: int) -> float:
    """Return 1 - (1 - J^r)^b: how likely a pair of this Jaccard shares a band.

    Raises:
        InputError: `similarity` is outside [0, 1], or `bands` or `rows` is below 1.
    """
    if not 0 <= similarity <= 1:
        raise InputError(f"similarity must be in [0, 1], got {similarity!r}")
    if bands < 1 or rows < 1:
        raise InputError(f"bands and rows must be >= 1, got {bands!r} and {rows!r}")
    return float(1 - (1 - similarity**rows) ** bands)


def choose_banding(threshold: float, *, permutations: int, recall: float) -> Banding:
    """Return the longest rows whose bands still find a pair at the threshold with `recall`.

    Candidates are verified, so a false one costs time and a missed one is lost: recall is fixed
    first, and longer rows then only save work. More rows mean fewer bands, so recall falls as rows
    grow and the first failure ends the search.

    Args:
        threshold: Jaccard in (0, 1].
        permutations: entries of a signature; bands = permutations // rows.
        recall: least candidate probability at the threshold, in (0, 1).

    Raises:
        InputError: an argument is outside its domain, or even bands of one row miss the recall.
    """
    if not 0 < threshold <= 1 or not 0 < recall < 1:
        raise InputError(
            f"threshold must be in (0, 1] and recall in (0, 1), got {threshold!r} and {recall!r}"
        )
    chosen = None
    for rows in range(1, permutations + 1):
        bands = permutations // rows
        if candidate_probability(threshold, bands=bands, rows=rows) < recall:
            break
        chosen = Banding(bands, rows)
    if chosen is None:
        raise InputError(
            f"{permutations} permutations cannot find pairs at threshold {threshold} with recall "
            f"{recall}; raise permutations or the threshold"
        )
    return chosen


def signatures(shingles: ShingleSets, family: HashFamily) -> npt.NDArray[np.uint32]:
    """Return the MinHash signatures of texts, shape (n_texts, n)."""
    from databourse.dedup import kernels  # compiled

    result = np.empty((len(shingles), len(family)), dtype=np.uint32)
    kernels.sketch_sets(
        shingles.hashes, shingles.starts, family.multipliers, family.increments, result
    )
    return result


def band_keys(signature: npt.NDArray[np.uint32], banding: Banding) -> npt.NDArray[np.uint64]:
    """Return one 64-bit key per text and band, shape (n_texts, bands); equal bands, equal keys.

    Different bands of the same text may share a key by accident (2^-64): keys are compared within
    a band only. Signature entries beyond bands * rows are not used.
    """
    from databourse.dedup import kernels  # compiled

    keys = np.empty((len(signature), banding.bands), dtype=np.uint64)
    kernels.cut_bands(np.ascontiguousarray(signature), banding.rows, keys)
    return keys
