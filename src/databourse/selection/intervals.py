"""Selection by intervals: documents whose entropies are neither low nor high.

Notation: E_e(x) = entropy e of document x, [a_e, b_e] its interval, ends included;

    one entropy:  keep x where a_e <= E_e(x) <= b_e
    IGSE:         keep x where that holds for every e, or where the mean over e of the percentile
                  ranks of E_e(x) within the pool lies in one interval.

Source: EUDS, Li, Liu & Huang 2025 (IEEE Access 13:153713, arXiv 2602.17465), which keeps documents
whose entropy lies in a best interval and calls the use of three entropies together IGSE. How the
intervals are found and how IGSE combines them is not known to us: all of it is a reconstruction,
and our choice. That the middle is best is an assumption: low, middle or high perplexity is best,
depending on the corpus (Marion et al. 2023, arXiv 2309.04564; Ankner et al. 2024, arXiv
2405.20541).

Numeric intervals can be applied again and change nothing; intervals by quantile shrink what they
kept, each time. Values must be finite, as those of every signal: a NaN is refused rather than
dropped without a count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.selection.greedy import BoolArray, FloatArray

LOW_SHARE, HIGH_SHARE = 0.30, 0.70
"""Quantiles of the default interval: the central 40 % (our choice)."""
LEAST_SHARE, LEAST_DOCUMENTS = Fraction(1, 100), 32
"""What a selection must keep of a pool, the larger of the two (our choice)."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included; -inf and inf leave a side open.

    Raises:
        InputError: an end is NaN, or `low` lies above `high`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:  # written this way round so that NaN fails too
            raise InputError(
                f"an interval must have low <= high, got low {self.low!r} and high {self.high!r}"
            )


@dataclass(frozen=True, eq=False)
class TunedInterval:
    """The best run of bins, and what it was chosen from."""

    interval: Interval
    """From the smallest to the largest value in the run: it keeps the documents of the run."""
    first_bin: int
    """Of the run, from 0."""
    last_bin: int
    """Of the run; it may be the first."""
    sizes: tuple[int, ...]
    """Documents in each bin."""
    scores: tuple[float | None, ...]
    """What the caller's function said of each bin; None of bins that were too small to ask about"""


def keep_within(values: FloatArray, *, low: float, high: float) -> BoolArray:
    """Return which documents have low <= value <= high, in the order of the input.

    Args:
        values: of one entropy, shape (n,), finite.
        low: in the unit of the values; -inf for none.
        high: at least `low`; inf for none.

    Raises:
        InputError: a value is not finite, an end is NaN, or low > high.
    """
    _check_values(values)
    interval = Interval(low, high)
    return (values >= interval.low) & (values <= interval.high)


def keep_within_all(columns: Sequence[FloatArray], intervals: Sequence[Interval]) -> BoolArray:
    """Return which documents lie in the interval of every entropy: IGSE by intersection.

    Args:
        columns: one array of shape (n,) per entropy, finite; at least one.
        intervals: one per entropy.

    Raises:
        InputError: there is none, lengths differ, or a value is not finite.
    """
    _check_columns(columns)
    if len(columns) != len(intervals):
        raise InputError(
            f"each entropy needs an interval, got {len(columns)} entropies and {len(intervals)} "
            "intervals"
        )
    kept = np.ones(len(columns[0]), dtype=np.bool_)
    for values, interval in zip(columns, intervals, strict=True):
        kept &= keep_within(values, low=interval.low, high=interval.high)
    return kept


def mean_percentile_ranks(columns: Sequence[FloatArray]) -> FloatArray:
    """Return the mean over the entropies of each document's percentile rank: IGSE by ranks.

    The percentile rank is the share of documents below plus half the share of those with the same
    value, itself among them. Any strictly increasing change of an entropy leaves it, so units do
    not matter; `keep_within` then needs one interval for all, and cannot be an empty intersection.

    Args:
        columns: one array of shape (n,) per entropy, finite; at least one.

    Returns:
        Shape (n,), in (0, 1); their mean is 1/2.

    Raises:
        InputError: there is none, lengths differ, or a value is not finite.
    """
    _check_columns(columns)
    doubled = np.zeros(len(columns[0]), dtype=np.int64)  # twice the ranks are whole numbers
    for values in columns:
        _, position, sizes = np.unique(values, return_inverse=True, return_counts=True)
        doubled += (2 * np.cumsum(sizes) - sizes)[position]
    return doubled / (2 * len(columns) * len(doubled))


def quantile_interval(
    values: FloatArray, *, low_share: float = LOW_SHARE, high_share: float = HIGH_SHARE
) -> Interval:
    """Return the interval between two quantiles of the pool; needs no labels.

    The ends are values of documents: the first at or above the lower quantile and the last at or
    below the upper one, of n values in order at shares 0, 1/(n-1), ..., 1. Without ties it keeps
    high_share - low_share of the documents to within 2 of them; ties at an end are all kept.

    Args:
        values: of one entropy, shape (n,), n >= 1, finite.
        low_share: in [0, 1], taken as the decimal that is written.
        high_share: in [low_share, 1].

    Raises:
        InputError: there is no value or one is not finite, a share is outside its domain, or no
            document lies between the quantiles.
    """
    _check_values(values)
    if not 0 <= low_share <= high_share <= 1:
        raise InputError(
            f"shares must be 0 <= low <= high <= 1, got {low_share!r} and {high_share!r}"
        )
    steps = values.size - 1
    first = math.ceil(Fraction(repr(float(low_share))) * steps)
    last = math.floor(Fraction(repr(float(high_share))) * steps)
    if values.size == 0 or first > last:
        raise InputError(
            f"none of {values.size:,} documents lies between the quantiles {low_share!r} and "
            f"{high_share!r}; widen them or take a larger pool"
        )
    ordered = np.sort(values)
    return Interval(float(ordered[first]), float(ordered[last]))


def tuned_interval(
    values: FloatArray,
    document_ids: Sequence[str],
    *,
    bins: int,
    score: Callable[[Sequence[str]], float],
    smallest_bin: int = 1,
) -> TunedInterval:
    """Return the interval of the best run of neighbouring bins of equal width.

    Best is the run whose scores exceed the mean score of all bins by the largest sum, so that a run
    grows as long as its bins are better than usual; of equal runs the longest, then the lowest. A
    bin that was not asked about adds nothing, and begins and ends no run. Scores that use labels
    make this tuning, and the test split must have no part in it.

    Args:
        values: of one entropy, shape (n,), n >= 1, finite.
        document_ids: n ids.
        bins: m >= 1; bin j holds the values from low + j * width up to the next, the last one also
            the largest value, with width = (high - low) / m.
        score: given the ids of a bin in the order of the input, how good a model trained on it is
            (larger is better), finite. It must draw samples of equal size itself, or large bins
            win by their size.
        smallest_bin: bins with fewer documents are not asked about, >= 1.

    Raises:
        InputError: lengths differ, there is no value or one is not finite, `bins` or
            `smallest_bin` is below 1, no bin is large enough, or a score is not finite.
    """
    _check_values(values)
    if len(document_ids) != values.size or values.size == 0:
        raise InputError(
            f"each of at least one value needs an id, got {values.size:,} values and "
            f"{len(document_ids):,} ids"
        )
    if bins < 1 or smallest_bin < 1:
        raise InputError(f"bins and smallest_bin must be >= 1, got {bins!r} and {smallest_bin!r}")
    bin_of = _equal_width_bins(values, bins)
    sizes = np.bincount(bin_of, minlength=bins)
    scores: list[float | None] = [None] * bins
    for each in np.flatnonzero(sizes >= smallest_bin).tolist():
        members = np.flatnonzero(bin_of == each).tolist()
        scores[each] = _finite(score([document_ids[i] for i in members]), each)
    first, last = _best_run(scores, int(sizes.max()), smallest_bin)
    inside = values[(bin_of >= first) & (bin_of <= last)]
    return TunedInterval(
        interval=Interval(float(inside.min()), float(inside.max())),
        first_bin=first,
        last_bin=last,
        sizes=tuple(sizes.tolist()),
        scores=tuple(scores),
    )


def least_to_keep(n_documents: int) -> int:
    """Return how many documents a selection from a pool must keep: 1 %, and at least 32."""
    return max(math.ceil(LEAST_SHARE * n_documents), LEAST_DOCUMENTS)


def check_kept(kept: BoolArray, *, min_keep: int) -> None:
    """Refuse a selection that keeps too little to train on.

    Args:
        kept: shape (n,).
        min_keep: the least number of documents, such as `least_to_keep(n)`.

    Raises:
        InputError: fewer are kept.
    """
    n_kept = int(kept.sum())
    if n_kept < min_keep:
        raise InputError(
            f"at least {min_keep:,} of {kept.size:,} documents must lie in the interval, got "
            f"{n_kept:,}; widen it, or combine entropies by mean rank"
        )


def vanished_labels(kept: BoolArray, labels: NDArray[np.object_]) -> tuple[str, ...]:
    """Return the labels of the pool that no kept document has, sorted.

    Args:
        kept: shape (n,).
        labels: shape (n,): text, or None where a document has no label.
    """
    known = {label for label in labels if label is not None}
    return tuple(sorted(known - set(labels[kept])))


def _equal_width_bins(values: FloatArray, bins: int) -> NDArray[np.int64]:
    # scaled by a power of two, which is exact, so that no difference overflows
    _, exponent = np.frexp(np.abs(values).max())
    scaled = np.ldexp(values, -int(exponent))
    width = scaled.max() - scaled.min()
    if width == 0:
        return np.zeros(values.size, dtype=np.int64)
    bin_of: NDArray[np.int64] = ((scaled - scaled.min()) * bins / width).astype(np.int64)
    return np.minimum(bin_of, bins - 1)


def _best_run(
    scores: Sequence[float | None], largest_bin: int, smallest_bin: int
) -> tuple[int, int]:
    asked = [position for position, each in enumerate(scores) if each is not None]
    if not asked:
        raise InputError(
            f"no bin has smallest_bin = {smallest_bin:,} documents, the largest has "
            f"{largest_bin:,}; use fewer bins"
        )
    # in fractions, so that equal scores gain exactly nothing
    exact = [None if each is None else Fraction(each) for each in scores]
    usual = sum((each for each in exact if each is not None), Fraction(0)) / len(asked)
    gains = (Fraction(0) if each is None else each - usual for each in exact)
    before = list(itertools.accumulate(gains, initial=Fraction(0)))
    runs = [(first, last) for first in asked for last in asked if first <= last]
    # of equals max takes the first, which begins lowest
    return max(runs, key=lambda run: (before[run[1] + 1] - before[run[0]], run[1] - run[0]))


def _finite(score: float, position: int) -> float:
    if not math.isfinite(score):
        raise InputError(f"the score of bin {position} must be finite, got {score!r}")
    return float(score)


def _check_columns(columns: Sequence[FloatArray]) -> None:
    if not columns or len({values.shape for values in columns}) != 1:
        raise InputError(
            "entropies must be at least one and of one length, got shapes "
            f"{[values.shape for values in columns]}"
        )
    for values in columns:
        _check_values(values)


def _check_values(values: FloatArray) -> None:
    if values.ndim != 1 or not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values)).tolist()[:3]
        raise InputError(
            f"values must be a vector of finite numbers, got shape {values.shape} with others at "
            f"{bad}; a document that cannot be scored must leave the pool first"
        )
