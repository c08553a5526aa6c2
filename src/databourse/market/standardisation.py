"""Standardisation of signals within topics, so that traders of different scales place equal orders.

z = (x - mean) / sd with the population standard deviation (ddof 0) of the document's topic.
A signal that does not vary in a topic says nothing there: z = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum

IntArray = NDArray[np.int64]

# A topic's values that lie closer together than this, relative to the largest of them, are constant
# up to rounding: float64 arithmetic leaves about 1e-16 per operation. The query
# int_topics_scaled gets the same number and decides the same, bit for bit.
RELATIVE_NOISE = 1e-9

# So are values whose range is next to the smallest doubles: 1 / range would overflow.
LEAST_HALF_RANGE = 1e-290

_SHOWN_POSITIONS = 3


@dataclass(frozen=True, eq=False)
class StandardisedSignals:
    """Signals as z-scores within topics, and what they were measured against.

    `scores` z, shape (n_documents, n_traders), dimensionless; `mean` and `spread` (population
    standard deviation) of the raw signal, shape (n_topics, n_traders), in its own unit. Where the
    signal is constant up to rounding, spread and scores are 0 and the mean is its mid-range.
    """

    scores: FloatArray
    mean: FloatArray
    spread: FloatArray


def standardise_within_topics(values: FloatArray, topic_index: IntArray) -> StandardisedSignals:
    """Return the z-scores of every signal within the topic of each document.

    Args:
        values: shape (n_documents, n_traders); larger is more useful; finite.
        topic_index: shape (n_documents,); topics 0 .. n_topics - 1, each with a document.

    Returns:
        Scores with mean 0 and population sd 1 in each topic within 1e-12; all 0 where half the
        range of the signal is at most `RELATIVE_NOISE` times its largest magnitude, as in a topic
        of one document.

    Raises:
        InputError: a value is not finite (the error names column and document positions), or the
            shapes or topics are outside their domain.
    """
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] == 0:
        raise InputError(
            f"values must be (n_documents, n_traders), both >= 1, got shape {values.shape}"
        )
    _check_finite(values)
    positions = topic_positions(topic_index, n_documents=values.shape[0])
    n_traders = values.shape[1]
    scores = np.empty(values.shape, dtype=np.float64)
    mean, spread = (np.empty((len(positions), n_traders)) for _ in range(2))
    for topic, part in enumerate(positions):
        for trader in range(n_traders):
            found = _standardise(values[part, trader])
            scores[part, trader], mean[topic, trader], spread[topic, trader] = found
    return StandardisedSignals(scores, mean, spread)


def topic_positions(topic_index: IntArray, *, n_documents: int) -> list[IntArray]:
    """Return the positions of each topic's documents, ascending, by topic.

    Args:
        topic_index: shape (n_documents,), integers; topics 0 .. n_topics - 1, each with a document.
        n_documents: how many documents there must be.

    Raises:
        InputError: there is no document, or a topic number is negative or skipped.
    """
    if topic_index.shape != (n_documents,) or n_documents == 0:
        raise InputError(
            f"topic_index must be one topic for each of {n_documents} documents (at least 1), "
            f"got shape {topic_index.shape}"
        )
    if not np.issubdtype(topic_index.dtype, np.integer):
        raise InputError(f"topic_index must hold integers, got {topic_index.dtype}")
    topics, counts = np.unique(topic_index, return_counts=True)
    if not np.array_equal(topics, np.arange(topics.size)):
        raise InputError(
            f"topics must be numbered 0 to n_topics - 1 without gaps, got {topics.tolist()[:20]}"
        )
    by_topic = np.argsort(topic_index, kind="stable")
    return np.split(by_topic, np.cumsum(counts)[:-1])


def _standardise(values: FloatArray) -> tuple[FloatArray, float, float]:
    low, high = float(values.min()), float(values.max())
    # Halves first: the difference of two doubles can overflow, that of their halves cannot.
    centre, half_range = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
    if half_range <= max(RELATIVE_NOISE * max(abs(low), abs(high)), LEAST_HALF_RANGE):
        return np.zeros(values.size), centre, 0.0
    # In [-1, 1]; cancels in z. Without it a large offset would eat the digits of the mean.
    scaled = (values - centre) / half_range
    mean = exact_sum(scaled) / scaled.size
    deviations = scaled - mean
    spread = math.sqrt(exact_sum(deviations * deviations) / scaled.size)
    return deviations / spread, centre + half_range * mean, half_range * spread


def _check_finite(values: FloatArray) -> None:
    is_bad = ~np.isfinite(values)
    if not is_bad.any():
        return
    trader = int(np.flatnonzero(is_bad.any(axis=0))[0])
    positions = np.flatnonzero(is_bad[:, trader])
    shown = ", ".join(str(position) for position in positions[:_SHOWN_POSITIONS])
    raise InputError(
        f"signal values must be finite; column {trader} is not at {positions.size} document "
        f"position(s), for example {shown} (value {float(values[positions[0], trader])!r}). "
        f"Score these documents again, or drop them before pricing."
    )
