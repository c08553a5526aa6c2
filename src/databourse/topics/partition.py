"""A partition of documents into named topics, and the merging of topics that are too small.

A topic of one document has no spread: its signals standardise to 0 and its price is 1, so under a
balanced topic mass it is bought first whatever it holds (Jha et al. 2025, arXiv 2510.02456, price
within topics; the merging is databourse's own choice). Hence the smallest size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours.vectors import paired_cosines, unit_rows


@dataclasses.dataclass(frozen=True)
class Topics:
    """Which topic each document belongs to.

    Attributes:
        names: shape (n,), objects of type str; the topic of each document.
        similarities: shape (n,), float32, cosine to the centroid of the own topic, rounded to 6
            decimals, in [-1, 1]; None without embeddings.
        centroids: shape (n_topics, d), float32, in the order of `topics`: the mean of the members,
            scaled to length 1 (a zero vector if they cancel out); None without embeddings.
        topics: the distinct names, sorted.
        index: shape (n,), int64; the position of each document's topic in `topics`.
        merged: too small topics that were given up, each with the topic that took its documents.
    """

    names: NDArray[np.object_]
    similarities: NDArray[np.float32] | None
    centroids: NDArray[np.float32] | None
    topics: tuple[str, ...]
    index: NDArray[np.int64]
    merged: Mapping[str, str]


def topics_from_names(
    names: Sequence[str] | NDArray[Any],
    vectors: NDArray[Any] | None,
    *,
    merged: Mapping[str, str] | None = None,
) -> Topics:
    """Return the topics that a name per document makes, with their centroids.

    Args:
        names: the topic of each document, n >= 1 of them.
        vectors: unit rows, shape (n, d), or None: then there are no centroids.
        merged: kept as it is in `Topics.merged`.

    Raises:
        InputError: no documents, or vectors of another number of rows, not finite or not unit.
    """
    if len(names) == 0:
        raise InputError("topics need at least one document, got none")
    topics, index = np.unique(np.array(list(names), dtype=np.object_), return_inverse=True)
    similarities = centroids = None
    if vectors is not None:
        rows = _rows_of(vectors, len(names))
        centroids = unit_or_zero(topic_sums(rows, index, len(topics))).astype(np.float32)
        similarities = paired_cosines(rows, centroids[index]).astype(np.float32)
    return Topics(
        names=topics[index],
        similarities=similarities,
        centroids=centroids,
        topics=tuple(str(topic) for topic in topics),
        index=index.astype(np.int64),
        merged=dict(merged or {}),
    )


def _rows_of(vectors: NDArray[Any], n_documents: int) -> NDArray[np.float32]:
    rows = unit_rows(vectors)
    if len(rows) != n_documents:
        raise InputError(f"{n_documents:,} documents need as many vectors, got {len(rows):,}")
    return rows


def topic_sums(
    rows: NDArray[np.float32], index: NDArray[np.int64], n_topics: int
) -> NDArray[np.float64]:
    """Return the float64 sum of the rows of each topic, shape (n_topics, d); 0 if it has none."""
    sums = np.zeros((n_topics, rows.shape[1]), dtype=np.float64)
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(n_topics + 1))
    for topic in range(n_topics):
        members = order[bounds[topic] : bounds[topic + 1]]
        sums[topic] = rows[members].sum(axis=0, dtype=np.float64)
    return sums


def unit_or_zero(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each row scaled to length 1; one shorter than 1e-9 becomes zero: it points nowhere."""
    lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))[:, None]
    scaled = np.zeros_like(sums)
    np.divide(sums, lengths, out=scaled, where=lengths > 1e-9)
    return scaled


def merge_destinations(
    sizes: NDArray[np.int64], sums: NDArray[np.float64], smallest: int
) -> NDArray[np.int64]:
    """Return, for each topic, the topic that its documents end up in.

    The smallest topic below `smallest` (ties: the lowest number) joins the remaining topic whose
    centroid has the highest cosine to its own, rounded to 6 decimals (ties: the lowest number),
    and that centroid becomes the mean over old and new members; and so on until every topic is
    large enough or one is left. Empty topics join first and change no centroid.

    Args:
        sizes: documents per topic, shape (n_topics,), >= 0.
        sums: sum of the vectors of each topic, shape (n_topics, d).
        smallest: least documents of a topic, >= 1.
    """
    sizes, sums = sizes.copy(), sums.copy()
    destinations = np.arange(len(sizes))
    alive = np.ones(len(sizes), dtype=np.bool_)
    centroids = unit_or_zero(sums)
    while alive.sum() > 1:
        given_up = int(np.argmin(np.where(alive, sizes, np.iinfo(np.int64).max)))
        if sizes[given_up] >= smallest:
            break
        alive[given_up] = False
        cosines = np.round((centroids * centroids[given_up]).sum(axis=1), 6)
        taker = int(np.argmax(np.where(alive, cosines, -np.inf)))
        destinations[destinations == given_up] = taker
        sizes[taker] += sizes[given_up]
        sums[taker] += sums[given_up]
        centroids[taker] = unit_or_zero(sums[taker : taker + 1])[0]
    return destinations
