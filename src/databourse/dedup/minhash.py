"""MinHash signatures and bands (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3).

Notation: x = the upper 32 bits of a shingle hash, n = permutations, r = rows of a band, b = bands,
J = Jaccard of two shingle sets.

Hash family: h(x) = ((a * x + c) mod 2^64) >> 32 with a, c uniform over 64 bits. For 32-bit x this
is strongly universal (Dietzfelbinger 1996; Thorup, "High speed hashing for integers and strings",
section 3.3): the wrap-around modulo 2^64 is part of the scheme, unlike the overflow of a * x + b
before a prime modulus. Two shingles of one text share x with probability 2^-32, which moves an
estimate by less than its rounding.

A signature is the least h over a text's shingles for n functions; two texts agree in one entry with
probability J, so they share all r rows of some band with probability 1 - (1 - J^r)^b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.dedup.shingles import ShingleSets, mixed
from databourse.errors import InputError

_BLOCK_SHINGLES = 1 << 14  # 128 KiB of shingles: stays in a core's cache for all permutations
_UPPER = np.uint64(32)


@dataclass(frozen=True)
class HashFamily:
    """The multipliers and increments of n hash functions, uint64, shape (n,) each."""

    multipliers: npt.NDArray[np.uint64]
    increments: npt.NDArray[np.uint64]

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
    drawn = rng.integers(0, 1 << 64, size=(2, permutations), dtype=np.uint64)
    return HashFamily(drawn[0], drawn[1])


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
    result = np.empty((len(shingles), len(family)), dtype=np.uint32)
    keys = shingles.hashes >> _UPPER
    for first, last in _blocks(shingles.starts):
        begin, end = shingles.starts[first], shingles.starts[last]
        starts = shingles.starts[first:last] - begin
        result[first:last] = _block_signatures(keys[begin:end], starts, family)
    return result


def band_keys(signature: npt.NDArray[np.uint32], banding: Banding) -> npt.NDArray[np.uint64]:
    """Return one 64-bit key per text and band, shape (n_texts, bands); equal bands, equal keys.

    Different bands of the same text may share a key by accident (2^-64): keys are compared within
    a band only. Signature entries beyond bands * rows are not used.
    """
    used = signature[:, : banding.bands * banding.rows].astype(np.uint64)
    keys = np.zeros((len(signature), banding.bands), dtype=np.uint64)
    for row in range(banding.rows):
        keys = mixed(keys + used[:, row :: banding.rows] + np.uint64(row + 1))
    return keys


def _block_signatures(
    keys: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], family: HashFamily
) -> npt.NDArray[np.uint64]:
    """Return the least h per text and function; the shift is monotone, so it may follow the min."""
    least = np.empty((len(family), len(starts)), dtype=np.uint64)
    hashed = np.empty_like(keys)
    for entry in range(len(family)):
        np.multiply(keys, family.multipliers[entry], out=hashed)
        np.add(hashed, family.increments[entry], out=hashed)
        np.minimum.reduceat(hashed, starts, out=least[entry])
    return (least >> _UPPER).T


def _blocks(starts: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return ranges of texts of about `_BLOCK_SHINGLES` shingles each, one text at least."""
    blocks, first, n_texts = [], 0, len(starts) - 1
    while first < n_texts:
        full = int(np.searchsorted(starts, starts[first] + _BLOCK_SHINGLES, side="right")) - 1
        last = min(max(full, first + 1), n_texts)
        blocks.append((first, last))
        first = last
    return blocks
