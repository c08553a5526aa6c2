"""Counts of hashed n-grams: one row per text, one column per bucket.

A text is lower-cased and cut into tokens as NLTK's WordPunctTokenizer does: runs of letters, digits
and underscores, and runs of anything else but space. So the form of line ends and the amount of
space change nothing. Its n-grams of 1 .. `order` tokens are hashed to buckets. Notation: w_j = 64
bits of blake2b over token j, c odd.

    splitmix64:  finaliser of (w_1 + w_2 c + ... + w_n c^(n - 1) mod 2^64), modulo buckets
    sha256:      SHA-256 of the tokens with spaces between, a big-endian number, modulo buckets

Source: DSIR (Xie et al. 2023, arXiv 2302.03169): tokens, lower case, uni- and bigrams and 10,000
buckets are its library's, and `sha256` gives its library's buckets. `splitmix64` is our choice: it
hashes each token once and n-grams as numbers. Cost on one core, texts of 45 tokens: 28,000 texts a
second, with sha256 8,000. Neither depends on the machine, the interpreter or the batches.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from databourse.dedup.shingles import WordHashes, mixed
from databourse.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
HashName = Literal["splitmix64", "sha256"]

MOST_ORDER = 4
"""Longest n-gram that can be asked for."""

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_BASE = 0x9E3779B97F4A7C15  # odd: 2^64 / golden ratio
_REMEMBERED = 1 << 20
_TEXTS_AT_ONCE = 2_000  # bounds the working memory of a batch


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramHashing:
    """Which n-grams are counted, and into how many buckets.

    Attributes:
        order: tokens in the longest n-gram, 1 to `MOST_ORDER`; all shorter ones count too.
        buckets: >= 1.
        hash_name: which hash.

    Raises:
        InputError: a number is outside its domain, or there is no such hash.
    """

    order: int = 2
    buckets: int = 10_000
    hash_name: HashName = "splitmix64"

    def __post_init__(self) -> None:
        if not (1 <= self.order <= MOST_ORDER and 1 <= self.buckets < 2**31):
            raise InputError(
                f"order must be 1..{MOST_ORDER} and buckets 1..2^31 - 1, got {self.order} and "
                f"{self.buckets}"
            )
        if self.hash_name not in {"splitmix64", "sha256"}:
            raise InputError(f"the hash must be splitmix64 or sha256, got {self.hash_name!r}")


PUBLISHED_HASHING = NgramHashing(hash_name="sha256")
"""Uni- and bigrams in the buckets of DSIR's library."""


def tokens_of(text: str) -> list[str]:
    """Return the tokens of a text, lower-cased, in order."""
    return _TOKEN.findall(text.lower())


def ngram_counts(texts: Sequence[str], hashing: NgramHashing) -> csr_array:
    """Return how often each bucket is met in each text.

    Args:
        texts: any texts; one without a token has a row of zeros.
        hashing: which n-grams, and into which buckets.

    Returns:
        Shape (n_texts, buckets), int32, columns ascending within a row.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return stacked(list(count_batches([texts], hashing)), hashing.buckets)


def count_batches(batches: Iterable[Sequence[str]], hashing: NgramHashing) -> Iterator[csr_array]:
    """Yield the counts of texts in matrices of bounded height, in the order of the texts.

    Args:
        batches: texts in batches of any size, which changes no row.
        hashing: which n-grams, and into which buckets.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    count = _PublishedColumns(hashing) if hashing.hash_name == "sha256" else _Columns(hashing)
    for batch in batches:
        for start in range(0, len(batch), _TEXTS_AT_ONCE):
            texts = batch[start : start + _TEXTS_AT_ONCE]
            rows, columns = count(texts)
            yield _counted(rows, columns, (len(texts), hashing.buckets))


def count_documents(
    batches: Iterable[Sequence[str]], n_documents: int, hashing: NgramHashing
) -> Iterator[csr_array]:
    """Yield the counts of exactly so many texts, as `count_batches` does.

    Raises:
        InputError: there is another number of texts.
        MissingExtraError: scipy is not installed.
    """
    seen = 0
    for counts in count_batches(batches, hashing):
        seen += counts.shape[0]
        if seen > n_documents:
            break
        yield counts
    if seen != n_documents:
        came = f"at least {seen:,}" if seen > n_documents else f"{seen:,}"
        raise InputError(f"texts must cover {n_documents:,} documents, got {came}")


def stacked(counts: Sequence[csr_array], buckets: int) -> csr_array:
    """Return matrices of counts one below the other; of none, a matrix without rows.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    sparse = import_sparse()
    if not counts:
        return sparse.csr_array((0, buckets), dtype=np.int32)
    return counts[0] if len(counts) == 1 else sparse.vstack(counts, format="csr")


def import_sparse() -> ModuleType:
    """Return scipy.sparse.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        import scipy.sparse
    except ImportError as error:
        raise MissingExtraError("scipy", "pipeline", "counting n-grams") from error
    sparse: ModuleType = scipy.sparse
    return sparse


def bucket_totals(counts: csr_array) -> IntArray:
    """Return how often each bucket is met in all texts together, shape (buckets,)."""
    # sums in float64 are exact below 2^53
    totals = np.bincount(counts.indices, weights=counts.data, minlength=counts.shape[1])
    return totals.astype(np.int64)


def text_totals(counts: csr_array) -> IntArray:
    """Return the number of n-grams of each text, shape (n_texts,)."""
    before = np.concatenate([[0], np.cumsum(counts.data, dtype=np.int64)])
    ends: IntArray = before[counts.indptr]
    return ends[1:] - ends[:-1]


def token_totals(totals: IntArray, order: int) -> IntArray:
    """Return the number of tokens of texts with so many n-grams of 1 .. order tokens.

    Args:
        totals: of each text, from `text_totals`.
        order: tokens in the longest n-gram.
    """
    tokens = (totals + order * (order - 1) // 2) // order
    # shorter than the longest n-gram: n tokens have n (n + 1) / 2 n-grams
    for n_tokens in range(order):
        tokens[totals == n_tokens * (n_tokens + 1) // 2] = n_tokens
    return tokens


class _TextBuckets(dict[str, int]):
    """Buckets of n-grams by SHA-256, remembered; forgetting changes nothing."""

    def __init__(self, buckets: int) -> None:
        super().__init__()
        self._buckets = buckets

    def __missing__(self, ngram: str) -> int:
        digest = hashlib.sha256(ngram.encode(errors="surrogatepass")).digest()
        value = int.from_bytes(digest, "big") % self._buckets
        if len(self) >= _REMEMBERED:
            self.clear()
        self[ngram] = value
        return value


class _Columns:
    """Row and column of every n-gram of some texts, by hashes of tokens combined as numbers."""

    def __init__(self, hashing: NgramHashing) -> None:
        self._hashing = hashing
        self._known = WordHashes()

    def __call__(self, texts: Sequence[str]) -> tuple[IntArray, IntArray]:
        known = self._known
        found: list[int] = []
        lengths = np.empty(len(texts), dtype=np.int64)
        for position, text in enumerate(texts):
            tokens = _TOKEN.findall(text.lower())
            found.extend(map(known.__getitem__, tokens))
            lengths[position] = len(tokens)
        hashes = np.array(found, dtype=np.uint64)
        owners = np.repeat(np.arange(len(texts)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(hashes))
        rows, columns = [], []
        total = np.zeros_like(hashes)
        for n in range(1, self._hashing.order + 1):
            factor = np.uint64(pow(_BASE, n - 1, 1 << 64))
            total[: len(total) - n + 1] += hashes[n - 1 :] * factor
            is_whole = left >= n  # does not run into the next text
            columns.append(mixed(total[is_whole]) % np.uint64(self._hashing.buckets))
            rows.append(owners[is_whole])
        return np.concatenate(rows), np.concatenate(columns).astype(np.int64)


class _PublishedColumns:
    """Row and column of every n-gram of some texts, by SHA-256 of its spelling."""

    def __init__(self, hashing: NgramHashing) -> None:
        self._order = hashing.order
        self._known = _TextBuckets(hashing.buckets)

    def __call__(self, texts: Sequence[str]) -> tuple[IntArray, IntArray]:
        known = self._known
        found: list[int] = []
        lengths = np.empty(len(texts), dtype=np.int64)
        for position, text in enumerate(texts):
            tokens = tokens_of(text)
            before = len(found)
            found.extend(map(known.__getitem__, tokens))
            for n in range(2, self._order + 1):
                shifted = [tokens[start:] for start in range(n)]
                ngrams = map(" ".join, zip(*shifted, strict=False))
                found.extend(map(known.__getitem__, ngrams))
            lengths[position] = len(found) - before
        return np.repeat(np.arange(len(texts)), lengths), np.array(found, dtype=np.int64)


def _counted(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> csr_array:
    ones = np.ones(len(rows), dtype=np.int32)
    counts = import_sparse().csr_array((ones, (rows, columns)), shape=shape)
    counts.sum_duplicates()
    counts.sort_indices()
    return counts
