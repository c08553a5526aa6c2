"""The glue that users of MinHash libraries write: word 5-grams in Python, LSH, union-find.

128 permutations and 16 bands of 8, as in the libraries' own examples near a threshold of 0.8;
candidates are not verified, since the libraries leave that to their users.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

PERMUTATIONS = 128
_NGRAM, _BANDS = 5, 16
_BATCH_DOCUMENTS = 10_000
_WORD = re.compile(r"\w+")


def _shingles(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return [" ".join(words[at : at + _NGRAM]) for at in range(max(1, len(words) - _NGRAM + 1))]


def grouped(documents: Path, sign: Callable[[list[str]], Sequence[int]]) -> list[tuple[str, str]]:
    """Return (dropped, kept) ids; `sign` gives the signature of a document's shingles."""
    ids: list[str] = []
    parents: list[int] = []
    rows = PERMUTATIONS // _BANDS
    buckets: list[dict[tuple[int, ...], int]] = [{} for _ in range(_BANDS)]
    for own, text in _rows(documents):
        number = len(ids)
        ids.append(own)
        parents.append(number)
        signature = sign(_shingles(text))
        for band, bucket in enumerate(buckets):
            other = bucket.setdefault(tuple(signature[band * rows : (band + 1) * rows]), number)
            if other != number:
                one, two = sorted((_root(parents, number), _root(parents, other)))
                parents[two] = one
    groups: dict[int, list[int]] = defaultdict(list)
    for number in range(len(ids)):
        groups[_root(parents, number)].append(number)
    return [(ids[each], ids[root]) for root, group in groups.items() for each in group[1:]]


def _rows(documents: Path) -> Iterator[tuple[str, str]]:
    for batch in pq.ParquetFile(documents).iter_batches(_BATCH_DOCUMENTS, use_threads=False):
        yield from zip(batch["document_id"].to_pylist(), batch["text"].to_pylist(), strict=True)


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number
