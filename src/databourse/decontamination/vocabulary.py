"""Words as numbers: those of the protected texts are known, and nothing else can match them.

So an n-gram is a tuple of small integers that can be compared exactly, and a window of a document
with an unknown word is out at once. The masked form of words (each run of digits as 0) is known
beside the word itself, and a run of masked numbers counts as one word: `1,200`, `1200` and `9.5`
then are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.decontamination.normalisation import mask_numbers

IntArray = npt.NDArray[np.int64]
WordArray = npt.NDArray[np.int32]

UNKNOWN = -1
_FIRST_MASKED = -2  # an unknown word whose masked form is known as number k is -2 - k
_NUMBER = "0"
_UNKNOWN_REMEMBERED = 1 << 20  # about 100 MB; forgetting changes nothing


@dataclass(frozen=True)
class WordStream:
    """The words of documents one after the other, each document followed by one unknown word.

    Attributes:
        words: int32; >= 0 is a known word, below is an unknown one.
        starts: int64, shape (n_documents + 1,); document i is words[starts[i]:starts[i + 1] - 1].
    """

    words: WordArray
    starts: IntArray

    @classmethod
    def of_all(cls, texts: Sequence[WordArray]) -> WordStream:
        """Return texts of known words as a stream."""
        end = np.array([UNKNOWN], dtype=np.int32)
        words = np.concatenate([np.empty(0, np.int32), *(a for t in texts for a in (t, end))])
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)], dtype=np.int64)
        return cls(words, starts)

    def of(self, document: int) -> WordArray:
        """Return the words of one document."""
        return self.words[self.starts[document] : self.starts[document + 1] - 1]

    def documents_at(self, positions: IntArray) -> IntArray:
        """Return which documents hold the words at positions."""
        return np.searchsorted(self.starts, positions, side="right") - 1


class Vocabulary(dict[str, int]):
    """Numbers of known words, from 0; unknown words get negative ones, as the module says.

    All protected texts are learned before the first document is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._masked: list[int] = []  # of each known word, the number of its masked form
        self._n_remembered = 0

    @property
    def masked_number(self) -> int:
        """Return what a run of masked numbers is; below all others if no number is known."""
        return self.get(_NUMBER, _FIRST_MASKED)

    def learn(self, words: Sequence[str]) -> WordArray:
        """Return the numbers of words that are known from now on."""
        for word in words:
            if word not in self:
                self._learn(word)
        return np.array([self[word] for word in words], dtype=np.int32)

    def stream(self, texts: Iterable[Sequence[str]]) -> WordStream:
        """Return the words of documents as numbers."""
        numbers: list[int] = []
        starts = [0]
        for words in texts:
            numbers.extend(map(self.__getitem__, words))
            numbers.append(UNKNOWN)
            starts.append(len(numbers))
        return WordStream(np.array(numbers, dtype=np.int32), np.array(starts, dtype=np.int64))

    def masked(self, stream: WordStream) -> WordStream:
        """Return a stream with numbers masked, each run of them as one word."""
        words = stream.words
        masked = np.where(words <= _FIRST_MASKED, _FIRST_MASKED - words, UNKNOWN)
        is_known = words >= 0
        masked[is_known] = np.array(self._masked, dtype=np.int32)[words[is_known]]
        is_number = masked == self.masked_number
        is_kept = np.ones(len(words), dtype=bool)
        is_kept[1:] = ~(is_number[1:] & is_number[:-1])
        kept_before = np.concatenate([[0], np.cumsum(is_kept)]).astype(np.int64)
        return WordStream(masked[is_kept].astype(np.int32), kept_before[stream.starts])

    def known_words(self) -> list[str]:
        """Return the known words in order of their numbers."""
        return [word for word, number in self.items() if number >= 0]

    def __missing__(self, word: str) -> int:
        masked = mask_numbers(word)
        known = UNKNOWN if masked == word else self.get(masked, UNKNOWN)
        value = _FIRST_MASKED - known if known >= 0 else UNKNOWN
        if self._n_remembered >= _UNKNOWN_REMEMBERED:
            self._forget_unknown()
        self[word] = value
        self._n_remembered += 1
        return value

    def _learn(self, word: str) -> None:
        number = self[word] = len(self._masked)
        self._masked.append(number)
        masked = mask_numbers(word)
        if masked not in self:
            self._learn(masked)
        self._masked[number] = self[masked]

    def _forget_unknown(self) -> None:
        for word in [word for word, number in self.items() if number < 0]:
            del self[word]
        self._n_remembered = 0
