"""Documents that together stand for all others: greedy facility location.

Notation: s_ij = max(0, cos(x_i, x_j)), s_ii = 1; A = documents chosen; t_j = cost of document j;

    f(A) = sum over all documents i of max over j in A of s_ij,       f(nothing) = 0,
    next = the j with the largest (f(A + j) - f(A)) / t_j^g,          g = length bias.

f never falls as A grows, and what a document adds falls as A grows (it is submodular), because no
s_ij is negative; this is why negative cosines count as 0. So what a document added at an earlier
step is a bound on what it adds now, and most need not be looked at again (lazy greedy, Minoux 1978,
from general knowledge). Similarities are whole millionths and sums are of integers: lazy and plain
greedy agree to the last tie, and nothing depends on the order of adding up. Ties: by position.

Source: the formula and the cosine as one of several similarities as in apricot (Schreiber et al.
2019, arXiv 1906.03543), where, unlike here, the cosine is squared. Where every document costs the
same, g is 0 and the matrix is complete, f is at least 1 - 1/e of the best (Nemhauser, Wolsey &
Fisher 1978). With unequal costs neither g = 0 nor g = 1 alone has such a bound.

The complete matrix takes n^2 numbers. The sparse one keeps for each i its k nearest j alone, all
other s_ij count as 0 (k nearest neighbours: Lindgren et al. 2016, from general knowledge), and
looks for them in the clusters nearest to its own alone. f over it never exceeds the true f. Where
one choice stands for many more documents than k, what it stands for beyond k is not seen.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.coverage.clusters import cluster_numbers, root_count
from databourse.coverage.spending import check_spending
from databourse.errors import InputError
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import paired_dots, rounded, row_norms, unit_rows
from databourse.selection.greedy import FloatArray, IntArray
from databourse.topics.partition import topic_sums, unit_or_zero

UNIT = 1_000_000
"""Parts of a similarity of 1: cosines are rounded to 6 decimals."""
MOST_EXACT = 10_000
"""Documents with distinct vectors for which the complete matrix is made: 800 MB."""
NEIGHBOURS = 64
"""Nearest documents that each document can be covered by in the sparse matrix; our choice."""
PROBES = 16
"""Clusters of about sqrt(n) in which neighbours are looked for; our choice."""

_BLOCK_CELLS = 1 << 24
_PAIRS = 8192
_SEED = 0  # of the k-means behind the search: what is looked for does not depend on it


@dataclass(frozen=True, eq=False)
class Cover:
    """Whom each document covers, and how well; documents with equal vectors share a column.

    Attributes:
        columns: shape (n,), the column of each document, 0 .. n_columns - 1.
        weights: shape (n_columns,), int64, documents with this vector, each of them to be covered.
        starts: shape (n_columns + 1,), where the entries of each column start.
        covered: int32, per entry the column whose documents are covered, rising within a column.
        similarities: int32, per entry, in millionths, 1 .. UNIT.
    """

    columns: IntArray
    weights: IntArray
    starts: IntArray
    covered: NDArray[np.int32]
    similarities: NDArray[np.int32]


def exact_cover(vectors: NDArray[Any]) -> Cover:
    """Return all similarities, of at most `MOST_EXACT` distinct vectors.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.

    Raises:
        InputError: there are more, or vectors are not finite or not of length 1.
    """
    rows, columns = _distinct(unit_rows(vectors))
    if len(rows) > MOST_EXACT:
        raise InputError(
            f"all similarities are kept of at most {MOST_EXACT:,} distinct vectors, got "
            f"{len(rows):,}; take the sparse ones instead"
        )
    scaled = rows.astype(np.float64) / row_norms(rows)[:, None]
    size = max(1, _BLOCK_CELLS // len(rows))
    counts, covered, similarities = [], [], []
    with single_threaded_blas():
        for start in range(0, len(rows), size):
            parts = _millionths(rounded(scaled[start : start + size] @ scaled.T))
            column, other = np.nonzero(parts)
            counts.append(np.bincount(column, minlength=len(parts)))
            covered.append(other.astype(np.int32))
            similarities.append(parts[column, other])
    return Cover(
        columns=columns,
        weights=np.bincount(columns),
        starts=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        covered=np.concatenate(covered),
        similarities=np.concatenate(similarities),
    )


def nearest_cover(
    vectors: NDArray[Any], *, neighbours: int = NEIGHBOURS, probes: int = PROBES
) -> Cover:
    """Return the similarities of each document to itself and to its nearest ones.

    Time grows with probes * n^1.5 * d. Up to probes^2 distinct vectors the neighbours are exact;
    beyond, those in far clusters are missed. Which of two almost equally near documents is the last
    of the k may depend on the processor, never on the number of threads.

    Args:
        vectors: unit rows, shape (n, d), n >= 1.
        neighbours: k, per distinct vector, >= 1.
        probes: clusters to look in, its own among them, >= 1.

    Raises:
        InputError: an argument is outside its domain.
        MissingExtraError: faiss is not installed.
    """
    if min(neighbours, probes) < 1:
        raise InputError(
            f"neighbours and probes must be >= 1, got neighbours={neighbours}, probes={probes}"
        )
    rows, columns = _distinct(unit_rows(vectors))
    itself = np.arange(len(rows))
    covered, covering = [itself], [itself]
    with single_threaded_blas():
        for queries, candidates in _probed(rows, probes):
            size = max(1, _BLOCK_CELLS // candidates.size)
            for start in range(0, queries.size, size):
                block = queries[start : start + size]
                found = _nearest_in(rows, block, candidates, neighbours)
                covered.append(np.repeat(block, found.shape[1]))
                covering.append(found.ravel())
    return _sparse(rows, columns, np.concatenate(covered), np.concatenate(covering))


def greedy_cover(cover: Cover, *, costs: IntArray, budget: int, length_bias: float) -> IntArray:
    """Return the positions that the budget buys, each adding most to what is covered.

    Args:
        cover: of n documents.
        costs: shape (n,), integers >= 1.
        budget: what may be spent, >= 0; a document that does not fit when it is its turn is passed
            over for good.
        length_bias: g, finite, >= 0: 0 for what a document adds, 1 for what it adds per token.

    Returns:
        Shape (k,), int64, in the order of buying; what is left of the budget buys no other.

    Raises:
        InputError: an argument is outside its domain.
    """
    if not 0 <= length_bias < np.inf:
        raise InputError(f"the length bias must be finite and >= 0, got {length_bias!r}")
    check_spending(costs, budget=budget, n_documents=cover.columns.size)
    divisors = (costs.astype(np.float64) ** length_bias).tolist()
    column_of = cover.columns.tolist()
    cost_of = costs.tolist()
    best = np.zeros(cover.weights.size, dtype=np.int32)
    heap = [
        (-gain / divisor, position)
        for position, (gain, divisor) in enumerate(
            zip(_first_gains(cover)[cover.columns].tolist(), divisors, strict=True)
        )
    ]
    heapq.heapify(heap)
    bought: list[int] = []
    known_after = [0] * len(cost_of)  # purchases that a document's place in the heap accounts for
    left = budget
    while heap:
        _, position = heapq.heappop(heap)
        if cost_of[position] > left:
            continue
        if known_after[position] < len(bought):
            known_after[position] = len(bought)
            entry = (-_gain(cover, best, column_of[position]) / divisors[position], position)
            if heap and heap[0] < entry:
                heapq.heappush(heap, entry)
                continue
        _choose(cover, best, column_of[position])
        left -= cost_of[position]
        bought.append(position)
    return np.array(bought, dtype=np.int64)


def covered_similarity(cover: Cover, chosen: IntArray) -> int:
    """Return f of the documents chosen, in millionths.

    Args:
        cover: of n documents.
        chosen: positions, in any order.
    """
    best = np.zeros(cover.weights.size, dtype=np.int32)
    for column in cover.columns[chosen].tolist():
        _choose(cover, best, column)
    return int((best * cover.weights).sum())


def _first_gains(cover: Cover) -> IntArray:
    """Return what each column adds to nothing."""
    sums = np.cumsum(cover.weights[cover.covered] * cover.similarities)
    ends = np.concatenate([[0], sums])[cover.starts]
    gains: IntArray = np.diff(ends)
    return gains


def _gain(cover: Cover, best: NDArray[np.int32], column: int) -> int:
    entries = slice(cover.starts[column], cover.starts[column + 1])
    covered = cover.covered[entries]
    more = np.maximum(cover.similarities[entries] - best[covered], 0)
    return int(np.dot(more, cover.weights[covered]))


def _choose(cover: Cover, best: NDArray[np.int32], column: int) -> None:
    entries = slice(cover.starts[column], cover.starts[column + 1])
    covered = cover.covered[entries]
    best[covered] = np.maximum(best[covered], cover.similarities[entries])


def _distinct(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], IntArray]:
    """Return the distinct rows in order of their first position, and which one each row is."""
    column_of: dict[bytes, int] = {}
    rows = rows + np.float32(0.0)  # no negative zeros
    digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    columns = np.fromiter(
        (column_of.setdefault(digest, len(column_of)) for digest in digests),
        dtype=np.int64,
        count=len(rows),
    )
    _, firsts = np.unique(columns, return_index=True)
    return rows[firsts], columns


def _probed(rows: NDArray[np.float32], probes: int) -> list[tuple[IntArray, IntArray]]:
    """Return, per cluster, its members and those of the clusters nearest to it, both in order."""
    clusters = cluster_numbers(rows, root_count(len(rows)), seed=_SEED)
    n_clusters = int(clusters.max()) + 1
    centroids = unit_or_zero(topic_sums(rows, clusters, n_clusters))
    cosines = rounded(centroids @ centroids.T)
    np.fill_diagonal(cosines, np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :probes]
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(clusters))[:-1])
    return [
        (members[cluster], np.sort(np.concatenate([members[each] for each in row])))
        for cluster, row in enumerate(nearest.tolist())
    ]


def _nearest_in(
    rows: NDArray[np.float32], queries: IntArray, candidates: IntArray, neighbours: int
) -> IntArray:
    """Return the nearest candidates of each query but itself, shape (queries, k), in any order."""
    kept = min(neighbours, candidates.size - 1)
    if kept == 0:
        return np.empty((queries.size, 0), dtype=np.int64)
    products = rows[queries] @ rows[candidates].T
    products[np.arange(queries.size), np.searchsorted(candidates, queries)] = -np.inf
    from_top = candidates.size - kept
    found: IntArray = candidates[np.argpartition(products, from_top, axis=1)[:, from_top:]]
    return found


def _sparse(
    rows: NDArray[np.float32], columns: IntArray, covered: IntArray, covering: IntArray
) -> Cover:
    """Return the cover of these pairs."""
    order = np.argsort(covering * len(rows) + covered)
    covered, covering = covered[order], covering[order]
    parts = np.empty(covered.size, dtype=np.int32)
    lengths = row_norms(rows)
    for start in range(0, covered.size, _PAIRS):
        left, right = covered[start : start + _PAIRS], covering[start : start + _PAIRS]
        dots = paired_dots(rows[left], rows[right])
        cosines = rounded(dots / (lengths[left] * lengths[right]))
        parts[start : start + _PAIRS] = _millionths(cosines)
    is_kept = parts > 0
    covering = covering[is_kept]
    return Cover(
        columns=columns,
        weights=np.bincount(columns),
        starts=np.searchsorted(covering, np.arange(len(rows) + 1)),
        covered=covered[is_kept].astype(np.int32),
        similarities=parts[is_kept],
    )


def _millionths(cosines: FloatArray) -> NDArray[np.int32]:
    """Return rounded cosines in millionths, negative ones as 0."""
    return np.rint(np.clip(cosines, 0.0, 1.0) * UNIT).astype(np.int32)
