"""Which contracts to settle, when the oracle is too dear for all.

Notation: N_t = documents of topic t, n_t = of these settled, s_t = spread of what was learnt there,
alpha >= 0; pi_i = chance of document i to be settled = n_t / N_t.

    uniform      any n documents, each set as likely
    stratified   n_t = n N_t / N, rounded at random with these expectations, uniform within topics
    bandit       topics are arms, a pull settles one more document of a topic, uniformly drawn:
                 first 2 of each topic, the largest topics first, then whichever has the largest

                     (N_t / N) (s_t + alpha s sqrt(1 / n_t)) / n_t

The bandit is a UCB over topics by what there is to learn in them, after Quad's idea (Zhang et al.
2025, arXiv 2409.16986) of clusters as arms; but Quad looks for the arm of the highest mean, to buy
from it, and settlement wants to know them all. Its index is MC-UCB's of Carpentier & Munos (2011,
from general knowledge), which goes to n_t in proportion to N_t times the spread of topic t, the
allocation that estimates a mean over the pool best (Neyman 1934). Our choices: s_t is the standard
deviation of the ranks of utilities among all settled so far, for influence is heavy-tailed and one
document would decide a topic; s that of all of them; rounds settle `batch` documents at a time.

Weights 1 / pi_i undo the oversampling: sums over settled contracts of weight times value estimate
sums over the documents of covered topics, given how many were settled in each. With allocations
that look at utilities the estimate is consistent, and biased in the second order. A topic with no
settled contract has no part in any estimate: `covered_share` says how much of the pool is covered.

When which: with payoffs by rank within topics every topic has as much to learn, and `stratified` is
all but as good and needs one call; the bandit pays where topics differ in the spread of utility and
payoffs are ranked over the pool, or a mean over the pool is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray, topic_positions
from databourse.settlement.payoffs import ranks

UtilitiesOf: TypeAlias = Callable[[IntArray], FloatArray]
"""Positions, distinct, int64, to the utility of each document, float64: larger is better.

NaN where the oracle cannot judge a document.
"""

Allocation = Literal["uniform", "stratified", "bandit"]

_FIRST_VISITS = 2  # fewer have no spread


@dataclass(frozen=True, eq=False)
class SettledSample:
    """Documents on which an oracle has spoken.

    `positions`, shape (n,), ascending; `utilities`, shape (n,), as the oracle gave them, finite;
    `inclusion` pi, shape (n,), in (0, 1]; `weights` 1 / pi, shape (n,), documents; `rounds`: calls
    of the oracle; `settled_of_topic` n_t, shape (n_topics,); `covered_share`: part of the pool that
    is in a topic with a settled contract, in (0, 1]; `unjudged`: documents that it was asked about
    in vain, which are no part of the sample.
    """

    positions: IntArray
    utilities: FloatArray
    inclusion: FloatArray
    weights: FloatArray
    rounds: int
    settled_of_topic: IntArray
    covered_share: float
    unjudged: int


def settle_sample(
    topic_index: IntArray,
    utilities_of: UtilitiesOf,
    *,
    n_contracts: int,
    allocation: Allocation,
    rng: np.random.Generator,
    batch: int = 50,
    alpha: float = 2.0,
) -> SettledSample:
    """Return a sample of the pool with the oracle's utility of each document.

    Args:
        topic_index: of the pool, shape (n_documents,), topics 0 .. n_topics - 1, each with a
            document.
        utilities_of: the oracle; asked once about each document.
        n_contracts: how many to settle, 1 .. n_documents.
        allocation: how topics are sampled.
        rng: every choice is drawn from it.
        batch: documents settled before the bandit looks again, >= 1; one call for the others.
        alpha: how much the bandit doubts what it knows little of, >= 0.

    Raises:
        InputError: an argument is outside its domain, the oracle gave other than one number for
            each document, or it could judge none.
    """
    positions = topic_positions(topic_index, n_documents=topic_index.size)
    sizes = np.array([part.size for part in positions], dtype=np.int64)
    if not 1 <= n_contracts <= topic_index.size:
        raise InputError(
            f"between 1 and {topic_index.size} contracts can be settled, got {n_contracts}"
        )
    if batch < 1 or not 0 <= alpha < np.inf:
        raise InputError(f"batch must be >= 1 and alpha >= 0, got {batch!r} and {alpha!r}")
    if allocation == "uniform":
        chosen = np.sort(rng.choice(topic_index.size, n_contracts, replace=False)).astype(np.int64)
        utilities = _asked(utilities_of, chosen)
        inclusion = np.full(n_contracts, n_contracts / topic_index.size)
        return _sample(topic_index, sizes, chosen, utilities, inclusion=inclusion, rounds=1)
    queues = [part[rng.permutation(part.size)] for part in positions]
    if allocation == "stratified":
        counts = proportional_counts(sizes, n_contracts, rng=rng)
        chosen = _first(queues, counts)
        utilities, rounds = _asked(utilities_of, chosen), 1
    elif allocation == "bandit":
        counts, chosen, utilities, rounds = _by_bandit(
            queues, utilities_of, n_contracts=n_contracts, batch=batch, alpha=alpha
        )
    else:
        raise InputError(f"allocation must be uniform, stratified or bandit, got {allocation!r}")
    inclusion = (counts / sizes)[topic_index[chosen]]
    return _sample(topic_index, sizes, chosen, utilities, inclusion=inclusion, rounds=rounds)


def given_sample(
    topic_index: IntArray, utilities: FloatArray, *, n_contracts: int, rng: np.random.Generator
) -> SettledSample:
    """Return a sample of the documents whose utility somebody has written down.

    They count as drawn uniformly from their topic, with n_t / N_t as the chance of each: nothing is
    known of how they were chosen, and a choice that goes by utility within a topic biases wealth.

    Args:
        topic_index: of the pool, shape (n_documents,), topics 0 .. n_topics - 1.
        utilities: shape (n_documents,), NaN where nobody has judged.
        n_contracts: how many of them at most; more are thinned out, topic by topic in proportion.
        rng: of the thinning.

    Raises:
        InputError: an argument is outside its domain, or none is judged.
    """
    known = np.flatnonzero(np.isfinite(utilities)).astype(np.int64)
    if utilities.shape != topic_index.shape or n_contracts < 1 or not known.size:
        raise InputError(
            f"a sample needs the utility of at least one of {topic_index.size} documents and at "
            f"least 1 contract, got {known.size} and {n_contracts}"
        )
    own = np.unique(topic_index[known], return_inverse=True)[1]
    if known.size > n_contracts:
        queues = [
            known[part[rng.permutation(part.size)]]
            for part in topic_positions(own.astype(np.int64), n_documents=known.size)
        ]
        sizes = np.array([queue.size for queue in queues], dtype=np.int64)
        known = _first(queues, proportional_counts(sizes, n_contracts, rng=rng))
    sizes = np.bincount(topic_index).astype(np.int64)
    counts = np.bincount(topic_index[known], minlength=sizes.size)
    inclusion = (counts / sizes)[topic_index[known]]
    return _sample(topic_index, sizes, known, utilities[known], inclusion=inclusion, rounds=1)


def proportional_counts(sizes: IntArray, n_contracts: int, *, rng: np.random.Generator) -> IntArray:
    """Return how many to settle in each topic: n N_t / N, rounded at random, summing to n.

    Systematic rounding: a topic gets the floor of its due or one more, and its due on average.

    Args:
        sizes: N_t, shape (n_topics,), >= 1.
        n_contracts: n, 0 .. sum of sizes.
        rng: the start of the systematic sample is drawn from it.
    """
    edges = np.concatenate([[0], np.cumsum(sizes)])
    # Whole numbers up to the draw: rounding may not lose a contract at an edge.
    passed = np.floor(edges * (n_contracts / edges[-1]) + rng.random()).astype(np.int64)
    passed[-1] = n_contracts + passed[0]
    counts: IntArray = np.diff(passed)
    return counts


def bandit_index(
    sizes: IntArray, settled: IntArray, spreads: FloatArray, *, overall: float, alpha: float
) -> FloatArray:
    """Return how soon each topic should be settled further, shape (n_topics,): larger is sooner.

    Args:
        sizes: N_t, >= 1.
        settled: n_t, 0 .. N_t.
        spreads: s_t, >= 0; not read where n_t < 2.
        overall: s, >= 0.
        alpha: >= 0.

    Returns:
        -infinity for a topic that is settled whole; at least 1 + N_t / N above all indices of
        topics with two or more where it has fewer.
    """
    share = sizes / sizes.sum()
    n = np.maximum(settled, 1)
    index: FloatArray = share * (spreads + alpha * overall * np.sqrt(1 / n)) / n
    few = settled < _FIRST_VISITS
    # Ranks spread by at most 1/2, so all other indices are at most (1 + alpha) / 4.
    index[few] = (1 + alpha) * (1 + share[few]) - settled[few] * share[few] / 2
    index[settled >= sizes] = -np.inf
    return index


def _by_bandit(
    queues: list[IntArray], utilities_of: UtilitiesOf, *, n_contracts: int, batch: int, alpha: float
) -> tuple[IntArray, IntArray, FloatArray, int]:
    sizes = np.array([queue.size for queue in queues], dtype=np.int64)
    counts = np.zeros(sizes.size, dtype=np.int64)
    chosen, topics = (np.empty(0, dtype=np.int64) for _ in range(2))
    utilities = np.empty(0)
    rounds = 0
    while chosen.size < n_contracts:
        spreads, overall = _spreads(utilities, topics, n_topics=sizes.size)
        asked: list[int] = []
        drawn: list[int] = []
        for _ in range(min(batch, n_contracts - chosen.size)):
            index = bandit_index(sizes, counts, spreads, overall=overall, alpha=alpha)
            topic = int(np.argmax(index))  # ties: the lowest number
            asked.append(int(queues[topic][counts[topic]]))
            drawn.append(topic)
            counts[topic] += 1
        found = _asked(utilities_of, np.array(asked, dtype=np.int64))
        chosen = np.concatenate([chosen, np.array(asked, dtype=np.int64)])
        topics = np.concatenate([topics, np.array(drawn, dtype=np.int64)])
        utilities = np.concatenate([utilities, found])
        rounds += 1
    order = np.argsort(chosen)
    return counts, chosen[order], utilities[order], rounds


def _spreads(utilities: FloatArray, topics: IntArray, *, n_topics: int) -> tuple[FloatArray, float]:
    """Return s_t, where two or more are settled and s elsewhere, and s."""
    judged = np.isfinite(utilities)
    utilities, topics = utilities[judged], topics[judged]
    if not utilities.size:
        return np.zeros(n_topics), 0.0
    rank = ranks(
        utilities, groups=np.zeros(utilities.size, dtype=np.int64), weights=np.ones(utilities.size)
    )
    overall = float(rank.std())
    spreads = np.full(n_topics, overall)
    for topic in np.unique(topics):
        own = rank[topics == topic]
        if own.size >= _FIRST_VISITS:
            spreads[topic] = own.std(ddof=1)
    return spreads, overall


def _asked(utilities_of: UtilitiesOf, positions: IntArray) -> FloatArray:
    utilities = utilities_of(positions)
    if utilities.shape != positions.shape or np.isinf(utilities).any():
        raise InputError(
            f"the oracle must give one utility for each of {positions.size} documents, finite or "
            f"NaN where it cannot judge, got {utilities!r}"
        )
    return utilities.astype(np.float64)


def _first(queues: list[IntArray], counts: IntArray) -> IntArray:
    taken = [queue[:count] for queue, count in zip(queues, counts.tolist(), strict=True)]
    return np.sort(np.concatenate(taken)).astype(np.int64)


def _sample(
    topic_index: IntArray,
    sizes: IntArray,
    chosen: IntArray,
    utilities: FloatArray,
    *,
    inclusion: FloatArray,
    rounds: int,
) -> SettledSample:
    judged = np.isfinite(utilities)
    if not judged.any():
        raise InputError(
            f"the oracle could judge none of {chosen.size} documents; ask about more, or another"
        )
    settled = np.bincount(topic_index[chosen[judged]], minlength=sizes.size).astype(np.int64)
    return SettledSample(
        positions=chosen[judged],
        utilities=utilities[judged],
        inclusion=inclusion[judged],
        weights=1 / inclusion[judged],
        rounds=rounds,
        settled_of_topic=settled,
        covered_share=float(sizes[settled > 0].sum() / sizes.sum()),
        unjudged=int((~judged).sum()),
    )
