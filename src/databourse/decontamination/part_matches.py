"""Long parts of protected examples, matched with documents by shared n-grams.

The verdict on a document depends on the set H of indexed n-grams that it holds and the set L of its
indexed runs, and on nothing else (but for standing in it word for word). Documents of one template
hold the same few sets, so verdicts are remembered by them.
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

_VERDICTS_REMEMBERED = 4_096
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
        self._masked_number = masked_number
        self._counts = self._counting(self.index)
        self._run_index = None
        if long_ngram is not None:
            self._run_index = NgramIndex(
                texts, ngram=long_ngram, weights=weights, hash_bits=hash_bits
            )
            self._run_counts = self._counting(self._run_index)
        self._weigh()
        self._verdicts: dict[tuple[bytes, bytes], tuple[IntArray, FloatArray]] = {}

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
        """Return the parts for which a document with these n-grams and runs must go."""
        key = (ngrams.tobytes(), runs.tobytes())
        known = self._verdicts.get(key)
        if known is not None:
            return known
        touched, covered = self._covered(self.index.occurrences(ngrams))
        overlaps: FloatArray = np.round(covered / self._counted_words[touched], 6)
        must_go = overlaps >= self._overlap
        if self._run_index is not None:
            must_go |= np.isin(touched, self._run_index.text_of(self._run_index.occurrences(runs)))
        if len(self._verdicts) >= _VERDICTS_REMEMBERED:
            self._verdicts.clear()
        verdict = self._verdicts[key] = (touched[must_go], overlaps[must_go])
        return verdict

    def _covered(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return the parts in which n-grams begin at positions, and how many words they cover."""
        if not len(positions):
            return _NONE, _NONE
        owners = self.index.text_of(positions)
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))
        reach = np.full(len(positions), self.index.ngram, dtype=np.int64)
        is_last = np.append(np.diff(owners) > 0, True)
        reach[~is_last] = np.minimum(reach[~is_last], np.diff(positions)[~is_last[:-1]])
        return owners[firsts], np.add.reduceat(reach, firsts)

    def _counting(self, index: NgramIndex) -> npt.NDArray[np.bool_]:
        """Tell which n-grams count: no template, and not mainly numbers that were masked."""
        counts: npt.NDArray[np.bool_] = index.n_texts <= self._most_parts
        if self._masked_number is not None:
            counts &= 2 * index.times(self._masked_number) < index.ngram
        return counts

    def _weigh(self) -> None:
        """Work out the words of each part that count, and what an n-gram can add to an overlap.

        Every occurrence covers at most `ngram` words, so the sum over a document's n-grams of
        the largest share that each has in any part bounds every overlap from above.
        """
        index = self.index
        counted = np.flatnonzero(self._counts)
        positions = index.occurrences(counted)
        touched, covered = self._covered(positions)
        self._counted_words = np.zeros(len(self.parts), dtype=np.int64)
        self._counted_words[touched] = covered
        self._bounds = np.zeros(len(index))
        n_parts = max(len(self.parts), 1)
        pairs, times = np.unique(
            index.numbers[positions] * n_parts + index.text_of(positions), return_counts=True
        )
        numbers, owners = np.divmod(pairs, n_parts)
        np.maximum.at(self._bounds, numbers, times * index.ngram / self._counted_words[owners])
        self._is_anchor = np.zeros(len(index), dtype=bool)
        self._anchored: dict[int, list[int]] = defaultdict(list)
        for part in np.flatnonzero(self._counted_words == 0).tolist():
            anchor = int(index.numbers[index.starts[part]])
            self._is_anchor[anchor] = True
            self._anchored[anchor].append(part)


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
