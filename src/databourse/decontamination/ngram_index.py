"""The n-grams of protected texts, found in streams of words without a single false match.

Distinct n-grams are told apart exactly (ranks of halves combined into ranks of wholes, by sorting).
Each has a 64-bit hash of its words, sum_j w_j * c^j mod 2^64 through the splitmix64 finaliser; a
window of a stream is looked up by its hash, first in a table of bits that turns most windows away,
then among the sorted hashes, and then its words are compared with those of every n-gram of that
hash. So colliding hashes cost time and never change a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from databourse.decontamination.vocabulary import IntArray, WordArray
from databourse.dedup.shingles import mixed
from databourse.errors import InputError

_BASE = 0x9E3779B97F4A7C15  # odd: the splitmix64 increment
_SLOTS_PER_NGRAM = 16  # a window that is no n-gram passes the table with probability 1/16
_SLOT_BITS = (10, 26)  # 1 KiB to 64 MiB
_HASH_BITS = 64


class NgramIndex:
    """The n-grams of texts, numbered from 0 without gaps.

    Attributes:
        ngram: words in an n-gram.
        words: int32, all texts one after the other.
        starts: int64, shape (n_texts + 1,); text i is words[starts[i]:starts[i + 1]].
        numbers: int64, number of the n-gram that begins at each word; -1 too near its text's end.
        firsts: int64, shape (n_ngrams,), where each n-gram begins first.
        n_texts: int64, shape (n_ngrams,), different texts that hold each n-gram.
    """

    def __init__(
        self,
        texts: Sequence[WordArray],
        *,
        ngram: int,
        weights: Sequence[int] | None = None,
        hash_bits: int = _HASH_BITS,
    ) -> None:
        """Index the texts.

        Args:
            texts: known words as numbers >= 0; a text shorter than `ngram` has no n-gram.
            ngram: words in an n-gram, >= 1.
            weights: how many texts each one counts for in `n_texts`; by default one.
            hash_bits: of 64; fewer make hashes collide and change no result.

        Raises:
            InputError: `ngram` is below 1, or `hash_bits` is outside [1, 64].
        """
        if ngram < 1 or not 1 <= hash_bits <= _HASH_BITS:
            raise InputError(
                f"ngram must be >= 1 and hash_bits in [1, 64], got {ngram!r} and {hash_bits!r}"
            )
        lengths = [len(text) for text in texts]
        self.ngram = ngram
        self.words: WordArray = np.concatenate([np.empty(0, np.int32), *texts])
        self.starts: IntArray = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._discard = np.uint64(_HASH_BITS - hash_bits)
        self._word_hashes = mixed(
            np.arange(1, int(self.words.max(initial=-1)) + 2, dtype=np.uint64)
        )
        self._number_ngrams()
        self._count_texts(np.ones(len(texts)) if weights is None else np.array(weights, float))
        self._open_slots(hash_bits)

    def __len__(self) -> int:
        return len(self._hashes)

    def text_of(self, positions: IntArray) -> IntArray:
        """Return which texts hold the words at positions of `words`."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def words_of(self, number: int) -> list[int]:
        """Return the words of an n-gram."""
        first = int(self.firsts[number])
        return cast("list[int]", self.words[first : first + self.ngram].tolist())

    def times(self, word: int) -> IntArray:
        """Return how often each n-gram has a word, shape (n_ngrams,)."""
        times = np.zeros(len(self), dtype=np.int64)
        for offset in range(self.ngram):
            times += self.words[self.firsts + offset] == word
        return times

    def most_frequent(self, counts: IntArray, *, at_most: int) -> list[int]:
        """Return the n-grams of the largest counts above 0; among equals, the first in the texts.

        Args:
            counts: shape (n_ngrams,).
            at_most: n-grams.
        """
        found = np.flatnonzero(counts > 0)
        order = np.lexsort((self.firsts[found], -counts[found]))[:at_most]
        return cast("list[int]", found[order].tolist())

    def occurrences(self, numbers: IntArray) -> IntArray:
        """Return where n-grams begin in `words`, ascending; each of `numbers` is named once."""
        sizes = self._bounds[numbers + 1] - self._bounds[numbers]
        ends = np.cumsum(sizes)
        if not len(ends):
            return np.empty(0, np.int64)
        offsets = np.arange(ends[-1]) + np.repeat(self._bounds[numbers] - (ends - sizes), sizes)
        return np.sort(self._places[offsets])

    def find(self, stream: WordArray) -> tuple[IntArray, IntArray]:
        """Return where in a stream an indexed n-gram begins, ascending, and which one it is.

        Args:
            stream: words as numbers; a negative one is unknown and matches nothing.
        """
        if len(stream) < self.ngram or not len(self):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        is_strange = (stream < 0) | (stream >= len(self._word_hashes))
        strange_before = np.concatenate([[0], np.cumsum(is_strange)])
        is_known = strange_before[self.ngram :] == strange_before[: -self.ngram]
        return self.find_at(stream, np.flatnonzero(is_known))

    def find_at(self, stream: WordArray, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return those of `positions` where an indexed n-gram begins, and which one it is.

        Args:
            stream: words as numbers.
            positions: ascending; the windows that begin there have known words of texts alone.
        """
        hashes = self._hash(stream, positions)
        passes = self._slots[hashes >> self._slot_shift]
        positions, hashes = positions[passes], hashes[passes]
        found = np.full(len(positions), -1, dtype=np.int64)
        left, candidates = np.arange(len(positions)), np.searchsorted(self._hashes, hashes)
        while len(left):
            is_inside = candidates < len(self)
            is_inside[is_inside] = self._hashes[candidates[is_inside]] == hashes[left[is_inside]]
            left, candidates = left[is_inside], candidates[is_inside]
            is_equal = self._equal(stream, positions[left], self.firsts[candidates])
            found[left[is_equal]] = candidates[is_equal]
            left, candidates = left[~is_equal], candidates[~is_equal] + 1
        return positions[found >= 0], found[found >= 0]

    def _equal(self, stream: WordArray, there: IntArray, here: IntArray) -> npt.NDArray[np.bool_]:
        """Tell which windows of a stream have the words of windows of the texts."""
        is_equal = np.ones(len(there), dtype=bool)
        for offset in range(self.ngram):
            is_equal &= stream[there + offset] == self.words[here + offset]
        return is_equal

    def _hash(self, stream: WordArray, positions: IntArray) -> npt.NDArray[np.uint64]:
        total = np.zeros(len(positions), dtype=np.uint64)
        for offset in range(self.ngram):
            factor = np.uint64(pow(_BASE, offset, 1 << 64))
            total += self._word_hashes[stream[positions + offset]] * factor
        return mixed(total) >> self._discard

    def _number_ngrams(self) -> None:
        """Number the distinct n-grams in order of their hash; equal hashes in order of words."""
        lengths = np.diff(self.starts)
        places = np.arange(len(self.words))
        has_room = places + self.ngram <= np.repeat(self.starts[1:], lengths)
        places = places[has_room]
        ranks = _ngram_ranks(self.words, self.ngram)[places]
        _, first, ranks = np.unique(ranks, return_index=True, return_inverse=True)
        hashes = self._hash(self.words, places[first])
        order = np.argsort(hashes, kind="stable")
        self._hashes: npt.NDArray[np.uint64] = hashes[order]
        self.firsts: IntArray = places[first][order]
        number_of = np.empty(len(order), dtype=np.int64)
        number_of[order] = np.arange(len(order))
        self.numbers: IntArray = np.full(len(self.words), -1, dtype=np.int64)
        self.numbers[places] = number_of[ranks]
        self._places: IntArray = places[np.argsort(self.numbers[places], kind="stable")]
        sizes = np.bincount(self.numbers[places], minlength=len(order))
        self._bounds: IntArray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def _count_texts(self, weights: npt.NDArray[np.float64]) -> None:
        owners, numbers = self.text_of(self._places), self.numbers[self._places]
        is_new = np.ones(len(owners), dtype=bool)
        is_new[1:] = (numbers[1:] != numbers[:-1]) | (owners[1:] != owners[:-1])
        counts = np.bincount(numbers[is_new], weights[owners[is_new]], minlength=len(self))
        self.n_texts: IntArray = counts.astype(np.int64)

    def _open_slots(self, hash_bits: int) -> None:
        wanted = math.ceil(math.log2(_SLOTS_PER_NGRAM * max(len(self), 1)))
        bits = min(max(wanted, _SLOT_BITS[0]), _SLOT_BITS[1], hash_bits)
        self._slot_shift = np.uint64(hash_bits - bits)
        self._slots = np.zeros(1 << bits, dtype=bool)
        self._slots[self._hashes >> self._slot_shift] = True


def _ngram_ranks(words: WordArray, ngram: int) -> IntArray:
    """Return a number for the n-gram at each word, equal for equal n-grams; those near the end of
    the array, where no n-gram fits, get one as well.
    """
    ranks = np.zeros(len(words), dtype=np.int64)
    power, span, covered, left = words.astype(np.int64), 1, 0, ngram
    while left:
        if left & 1:
            ranks = _combined(ranks, power, covered)
            covered += span
        left >>= 1
        if left:
            power = _combined(power, power, span)
            span *= 2
    return ranks


def _combined(one: IntArray, other: IntArray, shift: int) -> IntArray:
    """Return ranks of pairs: `one` at a word, `other` so many words later."""
    later = np.zeros_like(one)
    later[: max(len(one) - shift, 0)] = other[shift:]
    pairs = one * (int(later.max(initial=0)) + 1) + later
    ranks: IntArray = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    return ranks
