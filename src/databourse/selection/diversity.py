"""Order in which documents come up: by price alone, or by price and novelty.

With a weight lambda > 0 a document's score changes as others are bought (our choice of a diversity
head; Jha et al. 2025, arXiv 2510.02456, have one whose form is not known to us):

    score_i(S) = ln rho_i + lambda * nov_i(S),    nov_i(S) = 1 - max over j in S of cos(e_i, e_j),

and nov_i = 1 while nothing is bought. Cosines are computed pair by pair in float64 and rounded to 6
decimals, so that no score depends on how the work is cut up; float32 products of whole blocks only
find the few pairs that can be a maximum.

The order is found lazily, and is still that of a full evaluation at every step. nov_i never rises
as S grows, with one exception: at the first purchase it can rise from 1 to up to 2, where all
cosines are negative. So the bound of a document that was never compared with S is ln rho_i +
2 lambda, and from then on its last score is a bound. A document comes up when its exact score is
ahead of the bounds of all others; of equal scores the better ranked one is ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from databourse.neighbours.vectors import paired_dots, rounded, row_norms, unit_rows
from databourse.selection.greedy import BoolArray, FloatArray, IntArray

Vectors = Callable[[IntArray], NDArray[np.float32]]
"""Unit rows of documents, shape (k, d), given their positions, shape (k,)."""

_BLOCK = 16_384  # documents asked about at once, in rank order
_FRONT = 512  # documents kept up to date with every purchase
_FIRST = 4_096  # documents looked at in rank order to begin with; doubles as needed
_MEMBERS = 2_048  # documents bought that one block is compared with at once
_FEW_MEMBERS = 256  # that a document is compared with at first
_MORE_MEMBERS = 8  # times as many as before at each further comparison


class Room(Protocol):
    """What may be bought now; a document that may not be bought now never may be later."""

    def mask(self, positions: IntArray) -> BoolArray:
        """Return which of the documents may be bought."""
        ...

    def has(self, position: int) -> bool:
        """Return whether this document may be bought: the same as `mask`, for one."""
        ...


class RankOrder:
    """Documents in a fixed order, the dearest per token first."""

    def __init__(self, ranking: IntArray) -> None:
        self._ranking = ranking
        self._is_bought = np.zeros(ranking.size, dtype=np.bool_)
        self.reopen()

    def reopen(self) -> None:
        """Begin again at the top with all documents that were not bought."""
        self._next_place = 0
        self._waiting: list[int] = []

    def next(self, room: Room) -> int | None:
        """Return the first document that may be bought, for good passing over those before it."""
        while True:
            while self._waiting:
                position = self._waiting.pop()
                if room.has(position):
                    return position
            if self._next_place >= self._ranking.size:
                return None
            block = self._ranking[self._next_place : self._next_place + _BLOCK]
            self._next_place += _BLOCK
            block = block[~self._is_bought[block]]
            self._waiting = block[room.mask(block)][::-1].tolist()

    def buy(self, position: int) -> None:
        """Take the document that came up last out of the order."""
        self._is_bought[position] = True


class NoveltyOrder:
    """Documents in order of price and novelty, which changes with every purchase.

    Vectors are read for the documents whose bound reaches the top, and kept: memory is that of the
    vectors read. Arrays over documents are in rank order here; `front` holds ranks.
    """

    def __init__(
        self,
        *,
        log_price_per_token: FloatArray,
        ranking: IntArray,
        weight: float,
        vectors: Vectors,
    ) -> None:
        self._ranking = ranking
        self._rank_of = np.empty(ranking.size, dtype=np.int64)
        self._rank_of[ranking] = np.arange(ranking.size)
        self._base = log_price_per_token[ranking]
        self._n_finite = int(np.count_nonzero(self._base > -np.inf))
        self._n_finite_left = self._n_finite
        self._weight = weight
        self._similar = np.full(ranking.size, -1.0)  # the bound before any comparison: nov = 2
        self._n_seen = np.zeros(ranking.size, dtype=np.int64)
        self._is_bought = np.zeros(ranking.size, dtype=np.bool_)
        self._pool = _Rows(vectors)
        self._stored = np.full(ranking.size, -1, dtype=np.int64)
        self._members = _Members()
        self._n_looked_at = min(_FIRST, self._n_finite)
        self.reopen()

    def reopen(self) -> None:
        """Ask again about all documents that were not bought; what is known of them stays."""
        self._is_closed = self._is_bought.copy()
        self._first_open = 0
        self._front = np.empty(0, dtype=np.int64)
        self._front_scores = np.empty(0)
        self._outside = (np.inf, -1)

    def next(self, room: Room) -> int | None:
        """Return the document with the best score that may be bought, passing over the others."""
        while self._members.count:
            best = self._best_of_front()
            if best is None:
                if not self._refill(room):
                    break
                continue
            place, rank = best
            position = int(self._ranking[rank])
            if room.has(position):
                return position
            self._close(place, rank)
        return self._next_in_rank_order(room)

    def buy(self, position: int) -> None:
        """Take the document that came up last out of the order; the others are compared with it."""
        rank = int(self._rank_of[position])
        self._is_bought[rank] = self._is_closed[rank] = True
        self._front_scores[self._front == rank] = -np.inf
        self._n_finite_left -= self._base[rank] > -np.inf
        if not self._n_finite_left:
            return  # prices of -inf are left, and no novelty lifts them
        self._store(np.array([rank]))
        stored = self._stored[rank]
        row = self._pool.rows[stored]
        if self._members.add(row, self._pool.norms[stored]) and self._front.size:
            self._compare_front(row)

    def _compare_front(self, row: NDArray[np.float32]) -> None:
        """Compare what is open in the front with the newest member."""
        products = self._front_rows @ row
        is_open = self._front_scores > -np.inf
        self._n_seen[self._front[is_open]] = self._members.count
        similar = self._similar[self._front]
        may_rise = is_open & (products + self._slack() >= similar) & (similar < 1.0)
        places = np.flatnonzero(may_rise)
        if places.size:
            ranks = self._front[places]
            cosines = self._cosines(ranks, np.full(places.size, self._members.count - 1))
            self._similar[ranks] = np.maximum(similar[places], cosines)
            self._front_scores[places] = self._scores(ranks)

    def _next_in_rank_order(self, room: Room) -> int | None:
        """Return the first open document: before any purchase, and among prices of -inf."""
        while self._first_open < self._ranking.size:
            block = slice(self._first_open, self._first_open + _BLOCK)
            is_open = ~self._is_closed[block]
            is_open &= room.mask(self._ranking[block])
            if is_open.any():
                first = self._first_open + int(np.argmax(is_open))
                self._is_closed[self._first_open : first] = True
                self._first_open = first
                return int(self._ranking[first])
            self._is_closed[block] = True
            self._first_open += _BLOCK
        return None

    def _best_of_front(self) -> tuple[int, int] | None:
        """Return the place and rank of the best in front if it is ahead of all others."""
        if not self._front.size:
            return None
        place = int(np.argmax(self._front_scores))
        score = self._front_scores[place]
        if score == -np.inf:
            return None
        rank = int(self._front[place])  # the front is in rank order, so ties go to the first
        bound, bound_rank = self._outside
        return (place, rank) if (-score, rank) < (-bound, bound_rank) else None

    def _close(self, place: int, rank: int) -> None:
        self._front_scores[place] = -np.inf
        self._is_closed[rank] = True

    def _refill(self, room: Room) -> bool:
        """Put the documents with the highest bounds into the front; false if none is open."""
        while True:
            ranks = self._open_ranks(room)
            bounds = self._scores(ranks)
            is_chosen = _highest(bounds, _FRONT)
            front = ranks[is_chosen]
            beyond = (-np.inf, self._n_looked_at)
            if self._n_looked_at < self._n_finite:
                beyond = (self._base[self._n_looked_at] + 2.0 * self._weight, self._n_looked_at)
                if front.size < _FRONT or beyond[0] > bounds[is_chosen].min():
                    self._n_looked_at = min(2 * self._n_looked_at, self._n_finite)
                    continue
            behind = front[self._n_seen[front] < self._members.count]
            if not behind.size:
                break
            self._advance(behind)
        if not front.size:
            self._first_open = max(self._first_open, self._n_finite)
            return False
        self._outside = beyond
        if front.size < ranks.size:
            bounds[is_chosen] = -np.inf
            best = int(np.argmax(bounds))
            if bounds[best] >= beyond[0]:
                self._outside = (float(bounds[best]), int(ranks[best]))
        self._front = front
        self._front_scores = self._scores(front)
        self._front_rows = self._pool.rows[self._stored[front]]
        return True

    def _open_ranks(self, room: Room) -> IntArray:
        """Return the ranks of what may still be bought of the documents looked at."""
        ranks = np.flatnonzero(~self._is_closed[: self._n_looked_at])
        may = room.mask(self._ranking[ranks])
        self._is_closed[ranks[~may]] = True
        return ranks[may]

    def _scores(self, ranks: IntArray) -> FloatArray:
        """Return exact scores of documents that have seen all members, bounds of the others."""
        scores: FloatArray = self._base[ranks] + self._weight * (1.0 - self._similar[ranks])
        return scores

    def _advance(self, ranks: IntArray) -> None:
        """Compare documents with more members: few at first, which sinks most of them for good.

        The similarity to some of the members is a bound as well, and costs less than that to all.
        """
        self._store(ranks)
        for n_seen in np.unique(self._n_seen[ranks]).tolist():
            behind = ranks[self._n_seen[ranks] == n_seen]
            last = min(self._members.count, max(_FEW_MEMBERS, _MORE_MEMBERS * n_seen))
            for first in range(n_seen, last, _MEMBERS):
                self._compare(behind, first, min(first + _MEMBERS, last))
            self._n_seen[behind] = last

    def _compare(self, ranks: IntArray, first: int, last: int) -> None:
        rows = self._pool.rows[self._stored[ranks]]
        products = rows @ self._members.rows[first:last].T
        slack = self._slack()
        similar = self._similar[ranks]
        needed = np.maximum(products.max(axis=1) - 2.0 * slack, similar - slack)
        needed[similar >= 1.0] = np.inf
        who, member = np.nonzero(products >= needed.astype(np.float32)[:, None] - np.float32(1e-6))
        cosines = self._cosines(ranks[who], member + first)
        np.maximum.at(similar, who, cosines)
        self._similar[ranks] = similar

    def _cosines(self, ranks: IntArray, members: IntArray) -> FloatArray:
        """Return the rounded cosine of each pair."""
        cosines = np.empty(ranks.size)
        for start in range(0, ranks.size, _BLOCK):
            stored = self._stored[ranks[start : start + _BLOCK]]
            member = members[start : start + _BLOCK]
            dots = paired_dots(self._pool.rows[stored], self._members.rows[member])
            lengths = self._pool.norms[stored] * self._members.norms[member]
            cosines[start : start + _BLOCK] = rounded(dots / lengths)
        return cosines

    def _slack(self) -> float:
        """Return by how much a float32 product may be off the rounded cosine.

        |float32 dot - exact| <= d * 2**-24 * |x| |y| (Higham 2002, 3.1); |dot - cosine| <= 2.1 s
        for lengths within s <= 1e-3 of 1; 1e-6 covers the rounding to 6 decimals.
        """
        return 1.01 * self._pool.dimension * 2.0**-24 + 2.1 * self._pool.spread + 1e-6

    def _store(self, ranks: IntArray) -> None:
        missing = ranks[self._stored[ranks] < 0]
        if missing.size:
            self._stored[missing] = self._pool.read(self._ranking[missing])


class _Rows:
    """Vectors read so far, in the order in which they were read."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.rows = np.empty((0, 0), dtype=np.float32)
        self.norms = np.empty(0)
        self.count = 0
        self.spread = 0.0

    @property
    def dimension(self) -> int:
        return self.rows.shape[1]

    def read(self, positions: IntArray) -> IntArray:
        """Return the rows in which the vectors of these documents now are."""
        rows = unit_rows(self._vectors(positions))
        self.rows, self.norms = _grown(self.rows, self.norms, self.count, rows)
        end = self.count + len(rows)
        self.norms[self.count : end] = row_norms(rows)
        self.spread = max(self.spread, float(np.abs(self.norms[self.count : end] - 1.0).max()))
        places = np.arange(self.count, end)
        self.count = end
        return places


class _Members:
    """Distinct vectors of the documents bought."""

    def __init__(self) -> None:
        self.rows = np.empty((0, 0), dtype=np.float32)
        self.norms = np.empty(0)
        self.count = 0
        self._known: set[bytes] = set()

    def add(self, row: NDArray[np.float32], norm: float) -> bool:
        """Add a vector; false if it is there already."""
        content = (row + np.float32(0.0)).tobytes()  # no negative zeros
        if content in self._known:
            return False
        self._known.add(content)
        self.rows, self.norms = _grown(self.rows, self.norms, self.count, row[None])
        self.norms[self.count] = norm
        self.count += 1
        return True


def _grown(
    rows: NDArray[np.float32], norms: FloatArray, count: int, more: NDArray[np.float32]
) -> tuple[NDArray[np.float32], FloatArray]:
    """Return the arrays with `more` written after `count` rows, twice as long if it was needed."""
    end = count + len(more)
    if end > len(rows):
        capacity = max(end, 2 * len(rows), _FRONT)
        wider = np.empty((capacity, more.shape[1]), dtype=np.float32)
        longer = np.empty(capacity)
        if count:
            wider[:count], longer[:count] = rows[:count], norms[:count]
        rows, norms = wider, longer
    rows[count:end] = more
    return rows, norms


def _highest(bounds: FloatArray, count: int) -> BoolArray:
    """Return which are the `count` highest bounds; of equal ones the first."""
    if bounds.size <= count:
        return np.ones(bounds.size, dtype=np.bool_)
    least = np.partition(bounds, bounds.size - count)[bounds.size - count]
    is_high: BoolArray = bounds > least
    is_high[np.flatnonzero(bounds == least)[: count - np.count_nonzero(is_high)]] = True
    return is_high
