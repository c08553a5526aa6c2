"""A hashing encoder: cheap and deterministic, for tests and smoke runs. It knows no meaning.

Texts are alike here when they share words, pairs of words or letter triples; synonyms are
strangers. Each such feature adds +1 or -1, by one bit of its hash, to the entry that the other bits
choose (Weinberger et al. 2009, "Feature hashing", equation 2); the vector is scaled to norm 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from databourse.dedup.shingles import WordHashes, words_of
from databourse.errors import InputError
from databourse.progress import ProgressReport, silent

_REVISION = 1
_TEXTS_PER_REPORT = 256


@dataclass(frozen=True)
class HashingEncoder:
    """Signed feature hashing of words, word pairs and letter triples; see the module."""

    dimension: int = 256
    max_tokens: int | None = None
    _hashes: WordHashes = field(default_factory=WordHashes, repr=False)

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise InputError(f"dimension must be >= 1, got {self.dimension!r}")

    @property
    def encoder_id(self) -> str:
        """Return the id: nothing but the dimension decides the vectors."""
        return f"hashing-{self.dimension}/r{_REVISION}"

    def encode(
        self, texts: Sequence[str], *, progress: ProgressReport = silent
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of texts; see `Encoder.encode`."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for first in range(0, len(texts), _TEXTS_PER_REPORT):
            part = texts[first : first + _TEXTS_PER_REPORT]
            for row, text in enumerate(part, start=first):
                vectors[row] = self._vector(text)
            progress(len(part))
        return vectors

    def _vector(self, text: str) -> npt.NDArray[np.float64]:
        hashes = np.array([self._hashes[each] for each in _features(text)], dtype=np.uint64)
        signs = 1.0 - 2.0 * (hashes >> np.uint64(63))
        entries = ((hashes << np.uint64(1)) >> np.uint64(1)) % np.uint64(self.dimension)
        sums = np.bincount(entries.astype(np.int64), weights=signs, minlength=self.dimension)
        if not sums.any():  # every feature met its opposite
            sums[0] = 1.0
        unit: npt.NDArray[np.float64] = sums / np.sqrt(sums @ sums)  # whole numbers: exact
        return unit


def _features(text: str) -> list[str]:
    """Return the features of a text; marks keep the kinds apart, and no text is without one."""
    words = words_of(text)
    pairs = [f"{one} {other}" for one, other in itertools.pairwise(words)]
    triples = [
        f"#{marked[at : at + 3]}"
        for marked in (f"^{word}$" for word in words)
        for at in range(len(marked) - 2)
    ]
    return [*words, *pairs, *triples] or ["#"]
