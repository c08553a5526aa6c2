"""Topics by given labels: this uses labels, so say so where results are reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours.vectors import unit_rows
from databourse.topics.partition import (
    Topics,
    merge_destinations,
    topic_sums,
    topics_from_names,
)

UNLABELLED = "unlabelled"
OTHER = "other"


def label_topics(
    labels: Sequence[str | None] | NDArray[Any], vectors: NDArray[Any] | None, *, smallest: int
) -> Topics:
    """Return one topic per label; documents without a label are in the topic 'unlabelled'.

    Topics below `smallest` join the topic with the nearest centroid. Without vectors there is no
    nearest one: they form the topic 'other' together, and if that is too small as well it joins the
    largest topic (ties: the first in order of name). `Topics.merged` tells which label went where.

    Args:
        labels: str or None per document, n >= 1 of them.
        vectors: unit rows, shape (n, d), or None.
        smallest: least documents of a topic, >= 1.

    Raises:
        InputError: no documents, a label that is not text, smallest below 1, or bad vectors.
    """
    if smallest < 1 or len(labels) == 0:
        raise InputError(
            f"smallest and the number of documents must be >= 1, got {smallest} and {len(labels)}"
        )
    # Objects, because a fixed-width array takes the longest label's room for each document.
    given = np.array([_topic_of(label) for label in labels], dtype=np.object_)
    topics, index = np.unique(given, return_inverse=True)
    sizes = np.bincount(index)
    if vectors is None:
        targets = _names_without_vectors(topics, sizes, smallest)
    else:
        rows = unit_rows(vectors)
        if len(rows) != len(labels):
            raise InputError(f"{len(labels):,} labels need as many vectors, got {len(rows):,}")
        sums = topic_sums(rows, index, len(topics))
        targets = topics[merge_destinations(sizes, sums, smallest)]
    merged = {
        str(topic): str(target)
        for topic, target in zip(topics, targets, strict=True)
        if topic != target
    }
    return topics_from_names(targets[index], vectors, merged=merged)


def _topic_of(label: object) -> str:
    if label is None:
        return UNLABELLED
    if not isinstance(label, str):
        raise InputError(f"a label must be text or None, got {label!r}")
    return label


def _names_without_vectors(
    topics: NDArray[np.object_], sizes: NDArray[np.int64], smallest: int
) -> NDArray[np.object_]:
    small = sizes < smallest
    others = int(sizes[small].sum() + sizes[(topics == OTHER) & ~small].sum())
    taker = OTHER
    if others < smallest and not small.all():
        taker = str(topics[np.argmax(sizes)])
    return np.where(small, np.array(taker, dtype=np.object_), topics)
