"""Shingles: the overlapping runs of words by which texts are compared.

A text is lower-cased and cut into words: runs of letters and digits. Punctuation only separates,
with one exception: an arithmetic sign before a number or a one-letter name is a word of its own, so
that `3 + 4` and `3 - 4`, or `x = -5` and `x = 5`, stay different. Digits are kept: the usual
digits -> 0 makes problems from one template equal, and a maths or table corpus collapses.
Scripts written without spaces (Chinese, Japanese kana) are cut into single characters.

A text of fewer words than `ngram` is one shingle, all its words; a text without any word is one
shingle, the text itself. So short texts take part, and match only their equals.

A word is hashed to 64 bits by FNV-1a over its code points and the splitmix64 finaliser (Steele, Lea
& Flood 2014); a shingle is sum_j w_j * c^j mod 2^64 over its words, c odd, through the same
finaliser. Nothing depends on PYTHONHASHSEED, on the machine, or on which texts are hashed together.
Compiled code does it from the bytes of UTF-8; `words_of` says in Python what a word is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from databourse.dedup.characters import SIGNS, SINGLES, characters
from databourse.errors import InputError

REVISION = 2
"""Raised when the same texts begin to give other shingles."""

_WORD = re.compile(rf"[{SINGLES}]|[^\W_{SINGLES}]+|[{SIGNS}](?=\s*(?:\d|[^\W\d_]\b))")
_WORDS_REMEMBERED = 1 << 20  # about 100 MB; forgetting changes nothing, hashes are pure


Texts: TypeAlias = Sequence[str] | pa.StringArray | pa.LargeStringArray
"""Those of Arrow are read where they are."""


@dataclass(frozen=True)
class ShingleSets:
    """The distinct shingles of texts, one after the other.

    Attributes:
        hashes: uint64, ascending within a text.
        starts: int64, shape (n_texts + 1,); text i has hashes[starts[i]:starts[i + 1]], never none.
    """

    hashes: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, text: int) -> npt.NDArray[np.uint64]:
        """Return the ascending shingle hashes of one text."""
        return self.hashes[self.starts[text] : self.starts[text + 1]]


class WordHashes(dict[str, int]):
    """64-bit hashes of words by blake2b, remembered; near dedup hashes them otherwise."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        if len(self) >= _WORDS_REMEMBERED:
            self.clear()
        self[word] = value
        return value


def words_of(text: str) -> list[str]:
    """Return the words of a text, as the module says."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Utf8Texts:
    """Texts as bytes, one after the other.

    Attributes:
        data: uint8, their UTF-8.
        starts: int64, shape (n_texts + 1,); text i is data[starts[i]:starts[i + 1]].
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1


def utf8_texts(texts: Texts) -> Utf8Texts:
    """Return the bytes of texts for compiled code; those of Arrow are not copied."""
    if isinstance(texts, pa.StringArray | pa.LargeStringArray):
        _, offsets, content = texts.buffers()
        width = np.int32 if isinstance(texts, pa.StringArray) else np.int64
        ends = np.frombuffer(offsets, width)[texts.offset :][: len(texts) + 1]
        data = np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]]
        own: npt.NDArray[np.int64] = (ends - ends[0]).astype(np.int64)
        return Utf8Texts(data, own)
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    starts = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(each) for each in encoded], out=starts[1:])
    return Utf8Texts(np.frombuffer(b"".join(encoded), np.uint8), starts)


def lower_cased(texts: Texts) -> list[str]:
    """Return texts in Python's lower case, for those that compiled code cannot lower-case."""
    if isinstance(texts, pa.StringArray | pa.LargeStringArray):
        texts = texts.to_pylist()
    return [text.lower() for text in texts]


def shingle_sets(texts: Texts, *, ngram: int) -> ShingleSets:
    """Return the distinct shingles of each text.

    Args:
        texts: any texts, also empty ones.
        ngram: words in a shingle, >= 1.

    Raises:
        InputError: `ngram` is below 1.
    """
    from databourse.dedup import kernels  # compiled

    if ngram < 1:
        raise InputError(f"ngram must be >= 1 word, got {ngram!r}")
    packed, tables = utf8_texts(texts), characters()
    counts = np.zeros(len(packed), dtype=np.int64)
    room = int(packed.starts[-1] - packed.starts[0]) + len(packed)
    hashes = np.empty(room, dtype=np.uint64)
    total = kernels.distinct_shingles(
        packed.data,
        packed.starts,
        0,
        len(packed),
        tables.flags,
        tables.lower,
        ngram,
        hashes,
        counts,
    )
    if total < 0:
        return shingle_sets(lower_cased(texts), ngram=ngram)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return ShingleSets(hashes[:total].copy(), starts)


def joined(sets: Sequence[ShingleSets]) -> ShingleSets:
    """Return the shingles of all texts of some sets, in the order given."""
    sizes = [np.zeros(1, np.int64), *(np.diff(each.starts) for each in sets)]
    hashes = [np.empty(0, np.uint64), *(each.hashes for each in sets)]
    return ShingleSets(np.concatenate(hashes), np.cumsum(np.concatenate(sizes)))


def jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Return |A & B| / |A | B| of two ascending arrays of distinct hashes, to 6 decimals."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return round(common / (len(one) + len(other) - common), 6)


def mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the splitmix64 finaliser of each value: a bijection that mixes every bit."""
    mixing = values ^ (values >> np.uint64(30))
    mixing *= np.uint64(0xBF58476D1CE4E5B9)
    mixing ^= mixing >> np.uint64(27)
    mixing *= np.uint64(0x94D049BB133111EB)
    mixing ^= mixing >> np.uint64(31)
    return mixing
