"""The books of a bandit whose arms are clusters that are read once, block by block.

Notation: for arm i, T_i = visits, R_i = sum of rewards, m_i = R_i / T_i, sd = standard deviation of
m_i over the visited arms (n - 1 below the line).

    priority of i = infinity                                           where T_i = 0
                    m_i + alpha * unit * sqrt(2 ln(sum of T_j) / T_i)  elsewhere

`unit` is sd ("spread"), or 1 ("reward"): with alpha = 1 and rewards in [0, 1] the latter is UCB1
of Auer, Cesa-Bianchi and Fischer 2002 (from general knowledge), whose regret after N pulls is at
most 8 sum of ln N / gap_i + (1 + pi^2 / 3) sum of gap_i. The form of the score follows Quad (Zhang
et al. 2025, arXiv 2409.16986), which has no unit; sd is our choice, so that alpha has none.

Our choices, where the source is silent: with fewer than two visited arms sd is 0; an arm that has
been read to its end is never chosen and keeps its part in sd and in the sum of visits; equal
priorities are ordered by fewer visits, then by more documents left, then by number.

Neighbour credit: a pull of arm i with reward r also counts for arm j at distance d < radius as
1 - d / radius of a visit with that reward. Quad's released script counts a whole visit with the
reward (1 - d / radius) r, which drags the mean of j to 0 whatever r is; that is not followed.

Every function returns new books and leaves those it was given as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from databourse.errors import InputError
from databourse.selection.greedy import BoolArray, FloatArray, IntArray

Unit = Literal["spread", "reward"]
"""What alpha is measured in: standard deviations of the means of arms, or rewards."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arms:
    """What is known of every arm, and how far each has been read.

    Attributes:
        sizes: documents of each arm, shape (n_arms,), int64, >= 0.
        cursors: documents of each arm that have been read, int64, 0 .. size.
        pulls: of each arm itself, int64.
        visits: T, float64: pulls, and parts of the pulls of neighbours.
        reward_sums: R, float64.
    """

    sizes: IntArray
    cursors: IntArray
    pulls: IntArray
    visits: FloatArray
    reward_sums: FloatArray

    @property
    def is_exhausted(self) -> BoolArray:
        """Whether each arm has been read to its end, shape (n_arms,)."""
        return self.cursors >= self.sizes

    @property
    def is_visited(self) -> BoolArray:
        """Whether anything is known of each arm, shape (n_arms,)."""
        return self.visits > 0

    @property
    def means(self) -> FloatArray:
        """Mean reward of each arm, shape (n_arms,); NaN where nothing is known."""
        means = np.full(self.sizes.size, np.nan)
        np.divide(self.reward_sums, self.visits, out=means, where=self.is_visited)
        return means

    def to_json(self) -> dict[str, list[int] | list[float]]:
        """Return the books as JSON types; `arms_from_json` gives them back bit for bit."""
        return {
            "sizes": self.sizes.tolist(),
            "cursors": self.cursors.tolist(),
            "pulls": self.pulls.tolist(),
            "visits": self.visits.tolist(),
            "reward_sums": self.reward_sums.tolist(),
        }


def fresh_arms(sizes: IntArray) -> Arms:
    """Return books in which nothing has been read.

    Args:
        sizes: documents of each arm, shape (n_arms,), integers >= 0.

    Raises:
        InputError: it is no vector of integers >= 0.
    """
    if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
        raise InputError(f"sizes must be a vector of integers >= 0, got {sizes!r}")
    n_arms = sizes.size
    return Arms(
        sizes=sizes.astype(np.int64),
        cursors=np.zeros(n_arms, dtype=np.int64),
        pulls=np.zeros(n_arms, dtype=np.int64),
        visits=np.zeros(n_arms),
        reward_sums=np.zeros(n_arms),
    )


def arms_from_json(saved: Mapping[str, Any]) -> Arms:
    """Return the books that `Arms.to_json` wrote.

    Raises:
        InputError: a column is missing or of another length, or a cursor is beyond its arm.
    """
    names = ("sizes", "cursors", "pulls", "visits", "reward_sums")
    lengths = {name: len(saved.get(name, ())) for name in names}
    if len(set(lengths.values())) != 1:
        raise InputError(f"saved arms must have columns of one length, got {lengths}")
    sizes, cursors, pulls = (np.array(saved[name], dtype=np.int64) for name in names[:3])
    visits, reward_sums = (np.array(saved[name], dtype=np.float64) for name in names[3:])
    arms = Arms(sizes=sizes, cursors=cursors, pulls=pulls, visits=visits, reward_sums=reward_sums)
    if (arms.cursors > arms.sizes).any() or (arms.cursors < 0).any():
        arm = int(np.argmax((arms.cursors > arms.sizes) | (arms.cursors < 0)))
        raise InputError(
            f"saved arm {arm} must have read 0 .. {arms.sizes[arm]} documents, got "
            f"{arms.cursors[arm]}"
        )
    return arms


def spread_of_means(arms: Arms) -> float:
    """Return the standard deviation of mean rewards over visited arms, 0 for fewer than two."""
    means = arms.means[arms.is_visited]
    return float(np.std(means, ddof=1)) if means.size > 1 else 0.0


def priorities(arms: Arms, *, alpha: float, unit: Unit) -> FloatArray:
    """Return how soon each arm should be pulled, shape (n_arms,): larger is sooner.

    Args:
        arms: the books.
        alpha: weight of what is little known, >= 0 and finite; 0 is greedy.
        unit: of alpha.

    Returns:
        Infinity for an arm of which nothing is known, -infinity for one read to its end.

    Raises:
        InputError: alpha is outside its domain.
    """
    if not 0 <= alpha < np.inf:  # written this way round so that NaN fails too
        raise InputError(f"alpha must be >= 0 and finite, got {alpha!r}")
    scale = alpha * (spread_of_means(arms) if unit == "spread" else 1.0)
    result = np.full(arms.sizes.size, np.inf)
    visited = np.flatnonzero(arms.is_visited)
    if visited.size:
        visits = arms.visits[visited]
        # parts of visits may add up to less than 1, whose logarithm would turn the sign
        log_total = np.log(max(float(arms.visits.sum()), 1.0))
        result[visited] = arms.means[visited] + scale * np.sqrt(2 * log_total / visits)
    result[arms.is_exhausted] = -np.inf
    return result


def arms_in_order(arms: Arms, *, alpha: float, unit: Unit) -> IntArray:
    """Return the arms that are not read to their end, the first to pull first.

    Raises:
        InputError: as for `priorities`.
    """
    left = arms.sizes - arms.cursors
    order = np.lexsort((-left, arms.visits, -priorities(arms, alpha=alpha, unit=unit)))
    return order[~arms.is_exhausted[order]].astype(np.int64)


def pulled(
    arms: Arms,
    chosen: IntArray,
    *,
    rewards: FloatArray,
    documents: IntArray,
    credit: FloatArray | None = None,
) -> Arms:
    """Return the books after a round.

    Args:
        arms: the books before it.
        chosen: the arms pulled, distinct, shape (k,).
        rewards: of each pull, shape (k,), finite.
        documents: that each pull reads, shape (k,), >= 1 and not beyond the end of the arm.
        credit: shape (n_arms, n_arms), of `neighbour_credit`: what part of a visit to the row the
            column gets; None: nothing but the pulled arm learns from a pull.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_reads(arms, chosen, documents)
    if rewards.shape != chosen.shape or not np.isfinite(rewards).all():
        raise InputError(f"rewards must be {chosen.size} finite numbers, got {rewards!r}")
    cursors, pulls = arms.cursors.copy(), arms.pulls.copy()
    visits, reward_sums = arms.visits.copy(), arms.reward_sums.copy()
    cursors[chosen] += documents
    pulls[chosen] += 1
    if credit is None:
        visits[chosen] += 1
        reward_sums[chosen] += rewards
    else:
        for arm, reward in zip(chosen.tolist(), rewards.tolist(), strict=True):
            visits += credit[arm]
            reward_sums += credit[arm] * reward
    return replace(arms, cursors=cursors, pulls=pulls, visits=visits, reward_sums=reward_sums)


def passed_over(arms: Arms, chosen: IntArray, *, documents: IntArray) -> Arms:
    """Return the books after documents were read past, with nothing learnt.

    Args:
        arms: the books before it.
        chosen: distinct arms, shape (k,).
        documents: passed over in each, shape (k,), >= 1 and not beyond the end of the arm.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_reads(arms, chosen, documents)
    cursors = arms.cursors.copy()
    cursors[chosen] += documents
    return replace(arms, cursors=cursors)


def neighbour_credit(centroids: FloatArray, radius: float) -> FloatArray:
    """Return what part of a visit to each arm counts for each other one.

    Args:
        centroids: of the arms, shape (n_arms, d), finite.
        radius: Euclidean, > 0: at this distance and beyond nothing counts.

    Returns:
        max(0, 1 - distance / radius), shape (n_arms, n_arms), symmetric, 1 on the diagonal.

    Raises:
        InputError: an argument is outside its domain.
    """
    if centroids.ndim != 2 or not np.isfinite(centroids).all():
        raise InputError(f"centroids must be finite rows, got shape {centroids.shape}")
    if not 0 < radius < np.inf:
        raise InputError(f"the radius must be > 0 and finite, got {radius!r}")
    rows = centroids.astype(np.float64)
    credit = np.zeros((len(rows), len(rows)))
    for arm, row in enumerate(rows):  # by differences: products lose what is close
        distances = np.sqrt(((rows - row) ** 2).sum(axis=1))
        credit[arm] = np.maximum(0.0, 1.0 - distances / radius)
    return credit


def _check_reads(arms: Arms, chosen: IntArray, documents: IntArray) -> None:
    n_arms = arms.sizes.size
    if chosen.ndim != 1 or np.unique(chosen).size != chosen.size:
        raise InputError(f"the arms of a round must be distinct, got {chosen!r}")
    if ((chosen < 0) | (chosen >= n_arms)).any():
        raise InputError(f"arms must be in 0 .. {n_arms - 1}, got {chosen!r}")
    left = arms.sizes[chosen] - arms.cursors[chosen]
    if documents.shape != chosen.shape or ((documents < 1) | (documents > left)).any():
        raise InputError(
            f"a round must read 1 .. {left.tolist()} documents of arms {chosen.tolist()}, got "
            f"{documents.tolist()}"
        )
