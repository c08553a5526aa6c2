"""Shingles: the overlapping runs of words by which texts are compared.

A text is lower-cased and cut into words: runs of letters and digits. Punctuation only separates,
with one exception: an arithmetic sign before a number or a one-letter name is a word of its own, so
that `3 + 4` and `3 - 4`, or `x = -5` and `x = 5`, stay different. Digits are kept: the usual
digits -> 0 makes problems from one template equal, and a maths or table corpus collapses.
Scripts written without spaces (Chinese, Japanese kana) are cut into single characters.

A text of fewer words than `ngram` is one shingle, all its words; a text without any word is one
shingle, the text itself. So short texts take part, and match only their equals.

A word is hashed with blake2b to 64 bits; a shingle is sum_j w_j * c^j mod 2^64 over its words, c
odd, through the splitmix64 finaliser (Steele, Lea & Flood 2014). Nothing depends on PYTHONHASHSEED,
on the machine, or on which texts are hashed together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError

_WORD = re.compile(
    r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"  # kana and ideographs: one each
    r"|[^\W_\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
    r"|[-+*/=<>^%\u00d7\u00f7\u2212](?=\s*(?:\d|[^\W\d_]\b))"
)
_WORDS_REMEMBERED = 1 << 20  # about 100 MB; forgetting changes nothing, hashes are pure
_BASE = 0x9E3779B97F4A7C15  # odd: the splitmix64 increment
_MASK = (1 << 64) - 1


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
    """64-bit hashes of words, remembered."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        if len(self) >= _WORDS_REMEMBERED:
            self.clear()
        self[word] = value
        return value


def words_of(text: str) -> list[str]:
    """Return the words of a text, as the module says."""
    return _WORD.findall(text.lower())


def shingle_sets(
    texts: Sequence[str], *, ngram: int, word_hashes: WordHashes | None = None
) -> ShingleSets:
    """Return the distinct shingles of each text.

    Args:
        texts: any texts, also empty ones.
        ngram: words in a shingle, >= 1.
        word_hashes: a cache to share between calls; it changes no result.

    Raises:
        InputError: `ngram` is below 1.
    """
    if ngram < 1:
        raise InputError(f"ngram must be >= 1 word, got {ngram!r}")
    known = WordHashes() if word_hashes is None else word_hashes
    words, lengths = _hashed_words(texts, known, ngram)
    return _distinct(*_rolling(words, lengths, ngram))


def jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Return |A & B| / |A | B| of two ascending arrays of distinct hashes, to 6 decimals."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return round(common / (len(one) + len(other) - common), 6)


def similarities_to(
    shingles: ShingleSets, text: int, others: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the Jaccard of one text to each of `others`, shape (len(others),), to 6 decimals."""
    own = shingles.of(text)
    sizes = shingles.starts[others + 1] - shingles.starts[others]
    ends = np.cumsum(sizes)
    offsets = np.arange(ends[-1]) + np.repeat(shingles.starts[others] - (ends - sizes), sizes)
    candidates = shingles.hashes[offsets]
    at = np.searchsorted(own, candidates)
    at[at == len(own)] = 0
    common = np.add.reduceat(own[at] == candidates, ends - sizes, dtype=np.int64)
    values: npt.NDArray[np.float64] = np.round(common / (len(own) + sizes - common), 6)
    return values


def _hashed_words(
    texts: Sequence[str], known: WordHashes, ngram: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return all words' hashes and the number of words per text; a short text is one word."""
    hashes: list[int] = []
    lengths = np.empty(len(texts), dtype=np.int64)
    for position, text in enumerate(texts):
        own = words_of(text)
        if len(own) < ngram:
            hashes.append(_whole_text_hash(own, text, ngram))
            lengths[position] = 1
        else:
            hashes.extend(map(known.__getitem__, own))
            lengths[position] = len(own)
    return np.array(hashes, dtype=np.uint64), lengths


def _whole_text_hash(words: Iterable[str], text: str, ngram: int) -> int:
    """Return the hash of a text that is one shingle; its marks cannot occur inside a word."""
    kept = "\x1f".join(words) or "\x1e".join(["", *text.lower().split()])
    content = f"{ngram}\x1d{kept}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _rolling(
    words: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], ngram: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the shingle hashes of all texts and the number of shingles per text."""
    n_windows = max(len(words), 1)
    padded = np.zeros(n_windows + ngram, dtype=np.uint64)
    padded[: len(words)] = words
    total = np.zeros(n_windows, dtype=np.uint64)
    for position in range(ngram):
        factor = np.uint64(pow(_BASE, position, 1 << 64))
        total += padded[position : position + n_windows] * factor
    counts = np.maximum(lengths - ngram + 1, 1)
    starts = np.cumsum(lengths) - lengths
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    shingles = total[np.repeat(starts, counts) + within]
    is_whole_text = np.repeat(lengths == 1, counts)
    shingles[is_whole_text] = words[starts[lengths == 1]]  # its window ran into the next text
    return mixed(shingles), counts


def _distinct(hashes: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> ShingleSets:
    """Return the hashes sorted and distinct within each text."""
    owners = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((hashes, owners))
    hashes = hashes[order]
    is_new = np.ones(len(hashes), dtype=bool)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    sizes = np.bincount(owners[is_new], minlength=len(counts))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return ShingleSets(hashes[is_new], starts)


def mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the splitmix64 finaliser of each value: a bijection that mixes every bit."""
    mixing = values ^ (values >> np.uint64(30))
    mixing *= np.uint64(0xBF58476D1CE4E5B9)
    mixing ^= mixing >> np.uint64(27)
    mixing *= np.uint64(0x94D049BB133111EB)
    mixing ^= mixing >> np.uint64(31)
    return mixing
