"""Long parts of protected examples, matched with documents by shared n-grams.

The verdict on a document depends on the set of indexed n-grams that it holds and the set of its
indexed runs, and on nothing else (but for standing in it word for word). Documents of one template
hold the same n-grams that many parts have, so what these cover is remembered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.decontamination.ngram_index import NgramIndex
from databourse.decontamination.protected import Part
from databourse.decontamination.vocabulary import IntArray, WordArray, WordStream

FloatArray = npt.NDArray[np.float64]

_COMMON_PARTS = 64
_REMEMBERED_NUMBERS = 1 << 23  # of n-grams, runs, places and parts: about 128 MiB at most
_BOUND_SLACK = 1e-6  # shares are rounded to 6 decimals before they are compared
_NONE: IntArray = np.empty(0, np.int64)


@dataclass(frozen=True)
class PartMatch:
    """For which parts a document must go.

    Attributes:
        document: its position in the stream.
        parts: ascending, those whose n-grams or runs it holds; maybe none.
        overlaps: float64, share of each part's words inside shared n-grams, to 6 decimals.
        ngrams: numbers of the indexed n-grams that the document holds and that count.
        exact: the first of `parts` that stands in the document word for word; None if none does.
        bare: ascending, parts of nothing but template that stand in the document word for word.
    """

    document: int
    parts: IntArray
    overlaps: FloatArray
    ngrams: IntArray
    exact: int | None
    bare: tuple[int, ...]


class PartMatcher:
    """Parts, their n-grams, and what is worked out once for all documents."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        ngram: int,
        overlap: float,
        long_ngram: int | None,
        template_examples: int | None,
        hash_bits: int,
        masked_number: int | None = None,
    ) -> None:
        """Index the parts.

        Args:
            parts: of `ngram` words or more.
            ngram: as in `overlap.py`, like those that follow.
            overlap: see there.
            long_ngram: see there.
            template_examples: see there.
            hash_bits: see there.
            masked_number: the word that n-grams may not have in half of their places, or more.
        """
        texts = [part.words for part in parts]
        self.parts = tuple(parts)
        weights = [part.n_texts for part in parts]
        self.index = NgramIndex(texts, ngram=ngram, weights=weights, hash_bits=hash_bits)
        self._overlap = overlap
        self._most_parts = sum(weights) if template_examples is None else template_examples
        self._counts = self._counting(masked_number)
        self._run_index = None
        if long_ngram is not None:
            self._run_index = NgramIndex(texts, ngram=long_ngram, hash_bits=hash_bits)
            self._run_counts = self._counting_runs(self._run_index)
        self._weigh()
        self._n_remembered = 0
        self._common: dict[bytes, tuple[IntArray, IntArray, IntArray]] = {}
        self._run_parts: dict[bytes, IntArray] = {}

    def matches(self, stream: WordStream) -> Iterator[PartMatch]:
        """Yield the documents of a stream that must go, in order."""
        positions, ngrams = self.index.find(stream.words)
        if not len(positions):
            return
        owners = stream.documents_at(positions)
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))
        run_owners, runs = self._runs(stream, positions)
        is_open = np.add.reduceat(self._bounds[ngrams], firsts) >= self._overlap - _BOUND_SLACK
        is_open |= np.isin(owners[firsts], run_owners)
        is_open |= np.logical_or.reduceat(self._is_anchor[ngrams], firsts)
        ends = np.append(firsts[1:], len(ngrams))
        for first, end in zip(firsts[is_open].tolist(), ends[is_open].tolist(), strict=True):
            document = int(owners[first])
            left, right = np.searchsorted(run_owners, [document, document + 1])
            match = self._match(stream, document, ngrams[first:end], runs[left:right])
            if len(match.parts) or match.bare:
                yield match

    def _runs(self, stream: WordStream, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return indexed runs that count, and the documents that hold them, ascending.

        A run of long_ngram words is long_ngram - ngram + 1 n-grams at neighbouring positions.
        """
        if self._run_index is None:
            return _NONE, _NONE
        beyond = self._run_index.ngram - self.index.ngram
        if len(positions) <= beyond:
            return _NONE, _NONE
        begins = positions[: len(positions) - beyond]
        begins = begins[positions[beyond:] - begins == beyond]
        where, runs = self._run_index.find_at(stream.words, begins)
        counts = self._run_counts[runs]
        return stream.documents_at(where[counts]), runs[counts]

    def _match(
        self, stream: WordStream, document: int, ngrams: IntArray, runs: IntArray
    ) -> PartMatch:
        held = np.unique(ngrams)
        counted = held[self._counts[held]]
        parts, overlaps = self._verdict(counted, np.unique(runs))
        words = stream.of(document)
        exact = None
        for part in parts[overlaps == 1].tolist():
            if contains(words, self.parts[part].words):
                exact = part
                break
        bare = [
            part
            for anchor in held[self._is_anchor[held]].tolist()
            for part in self._anchored[anchor]
            if contains(words, self.parts[part].words)
        ]
        return PartMatch(document, parts, overlaps, counted, exact, tuple(sorted(bare)))

    def _verdict(self, ngrams: IntArray, runs: IntArray) -> tuple[IntArray, FloatArray]:
        """Return the parts for which a document with these n-grams and runs must go.

        What n-grams of many parts cover is remembered by the set of them; the parts that hold
        other n-grams besides, always few, are worked out anew.
        """
        is_common = self.index.n_texts[ngrams] > _COMMON_PARTS
        positions, touched, covered = self._covered_by_common(ngrams[is_common])
        rare = self.index.occurrences(ngrams[~is_common])
        if len(rare):
            own = np.unique(self.index.text_of(rare))
            begins = np.searchsorted(positions, self.index.starts[own])
            ends = np.searchsorted(positions, self.index.starts[own + 1])
            pieces = [positions[begin:end] for begin, end in zip(begins, ends, strict=True)]
            _, own_covered = self._covered(np.sort(np.concatenate([rare, *pieces])))
            is_other = ~self._marked(own)[touched]
            touched = np.concatenate([touched[is_other], own])
            covered = np.concatenate([covered[is_other], own_covered])
            order = np.argsort(touched, kind="stable")  # quick: two ascending runs
            touched, covered = touched[order], covered[order]
        overlaps: FloatArray = np.round(covered / np.maximum(self._own_words[touched], 1), 6)
        must_go = overlaps >= self._overlap
        if len(runs):
            must_go |= self._marked(self._parts_of_runs(runs))[touched]
        return touched[must_go], overlaps[must_go]

    def _marked(self, parts: IntArray) -> npt.NDArray[np.bool_]:
        marked = np.zeros(len(self.parts), dtype=bool)
        marked[parts] = True
        return marked

    def _covered_by_common(self, ngrams: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return where n-grams begin, in which parts, and how many words of them they cover."""
        key = ngrams.tobytes()
        if key not in self._common:
            positions = self.index.occurrences(ngrams)
            self._common[key] = (positions, *self._covered(positions))
            self._n_remembered += len(positions) + len(ngrams)
            self._forget_if_full()
        return self._common[key]

    def _parts_of_runs(self, runs: IntArray) -> IntArray:
        """Return parts that hold runs; one may come several times."""
        index = self._run_index
        if index is None:
            return _NONE
        is_common = index.n_texts[runs] > _COMMON_PARTS
        key = runs[is_common].tobytes()
        if key not in self._run_parts:
            parts = np.unique(index.text_of(index.occurrences(runs[is_common])))
            self._run_parts[key] = parts
            self._n_remembered += len(parts) + len(runs)
            self._forget_if_full()
        rare = index.text_of(index.occurrences(runs[~is_common]))
        return np.concatenate([self._run_parts[key], rare])

    def _forget_if_full(self) -> None:
        """Forget all but the newest once too much is remembered; it is worked out again."""
        if self._n_remembered > _REMEMBERED_NUMBERS:
            for remembered in (self._common, self._run_parts):
                for key in list(remembered)[:-1]:
                    del remembered[key]
            self._n_remembered = 0

    def _covered(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return the parts in which n-grams begin at positions, and their own words inside them."""
        if not len(positions):
            return _NONE, _NONE
        owners = self.index.text_of(positions)
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))
        ends = positions + self.index.ngram
        ends[:-1] = np.minimum(ends[:-1], positions[1:])  # the next one counts the rest
        own = self._own_before[ends] - self._own_before[positions]
        return owners[firsts], np.add.reduceat(own, firsts)

    def _counting(self, masked_number: int | None) -> npt.NDArray[np.bool_]:
        """Tell which n-grams count: no template, and not mainly numbers that were masked."""
        counts: npt.NDArray[np.bool_] = self.index.n_texts <= self._most_parts
        if masked_number is not None:
            counts &= 2 * self.index.times(masked_number) < self.index.ngram
        return counts

    def _counting_runs(self, runs: NgramIndex) -> npt.NDArray[np.bool_]:
        """Tell which runs count: those of n-grams that all do."""
        counts = np.ones(len(runs), dtype=bool)
        for offset in range(runs.ngram - self.index.ngram + 1):
            counts &= self._counts[self.index.numbers[runs.firsts + offset]]
        return counts

    def _weigh(self) -> None:
        """Work out the own words of each part, and what an n-gram can add to an overlap.

        Own words are inside an n-gram that counts and outside every template. An occurrence covers
        at most `ngram` words, so the sum over a document's n-grams of the largest share that each
        has in any part bounds every overlap from above.
        """
        index = self.index
        counting = index.occurrences(np.flatnonzero(self._counts))
        template = index.occurrences(np.flatnonzero(index.n_texts > self._most_parts))
        is_own = self._inside(counting) & ~self._inside(template)
        self._own_before: IntArray = np.concatenate([[0], np.cumsum(is_own)]).astype(np.int64)
        self._own_words = np.diff(self._own_before[index.starts])
        n_parts = max(len(self.parts), 1)
        pairs, times = np.unique(
            index.numbers[counting] * n_parts + index.text_of(counting), return_counts=True
        )
        numbers, owners = np.divmod(pairs, n_parts)
        self._bounds = np.zeros(len(index))
        shares = times * index.ngram / np.maximum(self._own_words[owners], 1)
        np.maximum.at(self._bounds, numbers, shares)
        self._is_anchor = np.zeros(len(index), dtype=bool)
        self._anchored: dict[int, list[int]] = defaultdict(list)
        for part in np.flatnonzero(self._own_words == 0).tolist():
            anchor = int(index.numbers[index.starts[part]])
            self._is_anchor[anchor] = True
            self._anchored[anchor].append(part)

    def _inside(self, positions: IntArray) -> npt.NDArray[np.bool_]:
        """Tell which words are inside n-grams that begin at positions."""
        steps = np.zeros(len(self.index.words) + 1, dtype=np.int64)
        np.add.at(steps, positions, 1)
        np.add.at(steps, positions + self.index.ngram, -1)
        return np.cumsum(steps[:-1]) > 0


def contains(words: WordArray, part: WordArray) -> bool:
    """Tell whether the words of a part stand in a document, in order and without a gap."""
    here, wanted = words.astype(np.int32).tobytes(), part.astype(np.int32).tobytes()
    size = words.itemsize
    at = here.find(wanted)
    while at >= 0 and at % size:  # bytes that straddle words
        at = here.find(wanted, at + 1)
    return at >= 0


def distinct_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts of equal words as one with all their owners, in order of first owner."""
    groups: dict[bytes, list[Part]] = defaultdict(list)
    for part in parts:
        groups[part.words.tobytes()].append(part)
    merged = [
        Part(
            group[0].words,
            tuple(sorted({owner for part in group for owner in part.owners})),
            n_texts=len(group),
        )
        for group in groups.values()
    ]
    return tuple(sorted(merged, key=lambda part: (part.owners, part.words.tobytes())))
