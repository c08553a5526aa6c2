"""Near duplicates: texts whose word shingles nearly agree, found by MinHash, verified exactly.

Order of documents: longest text (in characters) first, then smallest document_id. The longest
stands for the others because it holds most of what its near copies say; the first one seen would
depend on the order of files.

Rule: documents are taken in that order. One is a survivor unless a survivor before it, sharing a
band of its signature, has Jaccard >= threshold with it; then it is dropped, and the most similar
such survivor (the first in order among equals) represents it. So

* every dropped document is verified against its own representative, which survives: no chain
  A ~ B ~ C ever drops C for an A that it does not resemble;
* a second run over the survivors compares the same pairs again and drops nothing;
* the result does not depend on the order, the batches or the threads that brought the documents.

Only pairs that share no band are missed, with probability 1 - `candidate_probability`, and those
that two limits leave out where very many survivors share a band without being duplicates (texts
from one template): a bucket remembers its first `bucket_documents` survivors, and a document is
compared with the `comparisons` survivors that share most bands with it. Buckets that filled up are
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from databourse.dedup.minhash import (
    Banding,
    HashFamily,
    band_keys,
    choose_banding,
    draw_hash_family,
    signatures,
)
from databourse.dedup.shingles import ShingleSets, WordHashes, shingle_sets, similarities_to
from databourse.errors import InputError
from databourse.progress import ProgressReport, silent

RECALL_AT_THRESHOLD = 0.99
BUCKET_DOCUMENTS = 256
COMPARISONS = 64
DUPLICATES_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("representative_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Sketches:
    """What near dedup needs to know of documents; those of several shards can be joined.

    Attributes:
        document_ids: one per document.
        characters: int64, shape (n_documents,), length of the text.
        keys: uint64, shape (n_documents, bands), one key per band.
        shingles: distinct shingles per document.
    """

    document_ids: list[str]
    characters: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    shingles: ShingleSets


@dataclass(frozen=True)
class NearDuplicates:
    """What near dedup drops.

    Attributes:
        duplicates: one row per dropped document in order of document_id: document_id,
            representative_id (a survivor), similarity (their Jaccard, >= threshold, 6 decimals).
        n_documents: documents that came in.
        full_buckets: buckets that reached `bucket_documents`; above 0, duplicates among texts from
            one template may have been missed.
    """

    duplicates: pa.Table
    n_documents: int
    full_buckets: int


def find_near_duplicates(
    batches: Iterable[tuple[Sequence[str], Sequence[str]]],
    *,
    threshold: float,
    rng: np.random.Generator,
    ngram: int = 5,
    permutations: int = 128,
    progress: ProgressReport = silent,
) -> NearDuplicates:
    """Return the documents that another document nearly repeats.

    Args:
        batches: (document_ids, texts), in any order and of any size; ids are distinct.
        threshold: least Jaccard of near duplicates, in (0, 1].
        rng: draws the hash functions; it decides only which pairs near the threshold are missed.
        ngram: words in a shingle, >= 1.
        permutations: entries of a signature; more find more pairs and cost more.
        progress: told of the documents of each batch once it is sketched.

    Raises:
        InputError: an argument is outside its domain, or a document_id comes twice.
    """
    family = draw_hash_family(permutations, rng)
    banding = choose_banding(threshold, permutations=permutations, recall=RECALL_AT_THRESHOLD)
    word_hashes = WordHashes()
    sketches = []
    for document_ids, texts in batches:
        sketch = sketch_documents(
            document_ids,
            texts,
            family=family,
            banding=banding,
            ngram=ngram,
            word_hashes=word_hashes,
        )
        sketches.append(sketch)
        progress(len(texts))
    return near_duplicates(joined(sketches, bands=banding.bands), threshold=threshold)


def sketch_documents(
    document_ids: Sequence[str],
    texts: Sequence[str],
    *,
    family: HashFamily,
    banding: Banding,
    ngram: int,
    word_hashes: WordHashes | None = None,
) -> Sketches:
    """Return the sketches of documents; each depends on its own text alone.

    Raises:
        InputError: not one id per text, or `ngram` is below 1.
    """
    if len(document_ids) != len(texts):
        raise InputError(
            f"there must be one document_id per text, got {len(document_ids):,} for {len(texts):,}"
        )
    shingles = shingle_sets(texts, ngram=ngram, word_hashes=word_hashes)
    characters = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    keys = band_keys(signatures(shingles, family), banding)
    return Sketches(list(document_ids), characters, keys, shingles)


def joined(sketches: Sequence[Sketches], *, bands: int) -> Sketches:
    """Return the sketches of all shards as one, in the order given."""
    sizes = [np.zeros(1, np.int64), *(np.diff(sketch.shingles.starts) for sketch in sketches)]
    hashes = [np.empty(0, np.uint64), *(sketch.shingles.hashes for sketch in sketches)]
    return Sketches(
        document_ids=[each for sketch in sketches for each in sketch.document_ids],
        characters=np.concatenate([np.empty(0, np.int64), *(s.characters for s in sketches)]),
        keys=np.concatenate([np.empty((0, bands), np.uint64), *(s.keys for s in sketches)]),
        shingles=ShingleSets(np.concatenate(hashes), np.cumsum(np.concatenate(sizes))),
    )


def near_duplicates(
    sketches: Sketches,
    *,
    threshold: float,
    bucket_documents: int = BUCKET_DOCUMENTS,
    comparisons: int = COMPARISONS,
) -> NearDuplicates:
    """Return what the rule of the module drops among sketched documents.

    Raises:
        InputError: `threshold` is outside (0, 1], a limit is below 1, or a document_id comes twice.
    """
    if not 0 < threshold <= 1 or bucket_documents < 1 or comparisons < 1:
        raise InputError(
            "threshold must be in (0, 1], bucket_documents and comparisons >= 1, "
            f"got {threshold!r}, {bucket_documents!r} and {comparisons!r}"
        )
    _check_distinct(sketches.document_ids)
    ids = np.array(sketches.document_ids, dtype=object)
    order = np.lexsort((ids, -sketches.characters))
    buckets, n_buckets = _shared_buckets(sketches.keys)
    index = _SurvivorIndex(sketches.shingles, order, threshold, n_buckets, bucket_documents)
    dropped, representatives, similarities = [], [], []
    for rank in np.flatnonzero((buckets[order] >= 0).any(axis=1)).tolist():
        own = buckets[order[rank]]
        own = own[own >= 0].tolist()
        found = index.most_similar(rank, own, comparisons)
        if found is None:
            index.add(rank, own)
        else:
            dropped.append(ids[order[rank]])
            representatives.append(ids[order[found[0]]])
            similarities.append(found[1])
    table = pa.table([dropped, representatives, similarities], schema=DUPLICATES_SCHEMA)
    return NearDuplicates(table.sort_by("document_id"), len(ids), index.full_buckets)


class _SurvivorIndex:
    """Survivors so far, by bucket, each known by its rank in the order of documents."""

    def __init__(
        self,
        shingles: ShingleSets,
        order: npt.NDArray[np.int64],
        threshold: float,
        n_buckets: int,
        bucket_documents: int,
    ) -> None:
        self._shingles, self._order, self._threshold = shingles, order, threshold
        self._sizes = np.diff(shingles.starts)[order]
        self._buckets: list[list[int]] = [[] for _ in range(n_buckets)]
        self._bucket_documents = bucket_documents

    @property
    def full_buckets(self) -> int:
        """Return how many buckets can take no more survivors."""
        return sum(len(bucket) >= self._bucket_documents for bucket in self._buckets)

    def add(self, rank: int, buckets: Sequence[int]) -> None:
        """Enter a survivor into each of its buckets that has room."""
        for bucket in buckets:
            if len(self._buckets[bucket]) < self._bucket_documents:
                self._buckets[bucket].append(rank)

    def most_similar(
        self, rank: int, buckets: Sequence[int], comparisons: int
    ) -> tuple[int, float] | None:
        """Return the survivor most similar to a document and their Jaccard, if it is enough."""
        shared = Counter(chain.from_iterable(self._buckets[bucket] for bucket in buckets))
        by_shared = sorted(shared, key=lambda other: (-shared[other], other))
        near = np.array(sorted(self._of_like_size(rank, by_shared)[:comparisons]), dtype=np.int64)
        if not len(near):
            return None
        similarities = similarities_to(self._shingles, int(self._order[rank]), self._order[near])
        best = int(np.argmax(similarities))
        if similarities[best] < self._threshold:
            return None
        return int(near[best]), float(similarities[best])

    def _of_like_size(self, rank: int, others: Sequence[int]) -> list[int]:
        """Return those whose sizes allow the threshold: Jaccard <= smaller / larger set."""
        own = int(self._sizes[rank])
        sizes = self._sizes[others].tolist() if others else []
        return [
            other
            for other, size in zip(others, sizes, strict=True)
            if round(min(own, size) / max(own, size), 6) >= self._threshold
        ]


def _shared_buckets(keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return each document's bucket per band, -1 where it is alone, and the number of buckets."""
    buckets = np.full(keys.shape, -1, dtype=np.int64)
    n_buckets = 0
    for band in range(keys.shape[1]):
        _, own, sizes = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        numbers = np.where(sizes > 1, n_buckets + np.cumsum(sizes > 1) - 1, -1)
        buckets[:, band] = numbers[own]
        n_buckets += int((sizes > 1).sum())
    return buckets, n_buckets


def _check_distinct(document_ids: Sequence[str]) -> None:
    repeated = [each for each, count in Counter(document_ids).items() if count > 1]
    if repeated:
        raise InputError(
            f"document_ids must be distinct, {len(repeated):,} come more than once, "
            f"for example {min(repeated)}; drop exact duplicates first"
        )
