"""Settled contracts: the sample of the market on which an oracle has paid out.

Notation: z_ik = standardised score of contract i by trader k, a_i = base, u_i = payoff
(`databourse.settlement.payoffs`), A_t = sum of a_i over topic t = sum of u_i over it. Orders of
lambda_k = w_k / b nats per spread put the prices of the sample at

    p_i = A_t a_i exp(sum_k lambda_k z_ik) / sum_{j in t} a_j exp(sum_k lambda_k z_jk),

which estimates the prices that `databourse.market.clearing` gives the whole pool with masses in
proportion to size. Nothing traded: p = a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.standardisation import IntArray
from databourse.settlement.payoffs import (
    BY_RANK,
    PayoffForm,
    Ranked,
    base_of,
    check_settled,
    payoffs,
)


@dataclass(frozen=True, eq=False)
class SettledContracts:
    """What traders said of contracts, and what these paid, contracts of a topic side by side.

    `scores` z, shape (n, n_traders); `base` a and `payoff` u, shape (n,), each sums to 1 and to the
    same over a topic; `topic_index`, shape (n,), 0 .. n_topics - 1 without gaps, ascending;
    `starts`, shape (n_topics,), the first contract of each topic; `origin`, shape (n,), where each
    contract stood in what the caller gave.
    """

    scores: FloatArray
    base: FloatArray
    payoff: FloatArray
    topic_index: IntArray
    starts: IntArray
    origin: IntArray

    @property
    def n_traders(self) -> int:
        """Return how many traders have placed orders."""
        return int(self.scores.shape[1])

    @property
    def n_topics(self) -> int:
        """Return how many topics have a settled contract."""
        return int(self.starts.size)

    @property
    def effective_contracts(self) -> float:
        """Return 1 / sum a^2: n where all contracts stand for as many documents."""
        return 1 / exact_sum(self.base * self.base)

    def masses(self) -> FloatArray:
        """Return A, shape (n_topics,): the part of the pool that each topic is."""
        result: FloatArray = np.add.reduceat(self.base, self.starts)
        return result

    def kept(self, is_kept: NDArray[np.bool_]) -> SettledContracts:
        """Return some of the contracts, bases and payoffs scaled anew.

        A topic keeps what its contracts were paid relative to each other, and is paid its new base.

        Args:
            is_kept: shape (n,), in the order held here, true for at least one.

        Raises:
            InputError: nothing is kept.
        """
        part = np.flatnonzero(is_kept)
        base = base_of(self.base[part], n_contracts=part.size)
        numbers, topic_index = np.unique(self.topic_index[part], return_inverse=True)
        starts = np.searchsorted(topic_index, np.arange(numbers.size))
        mass = np.add.reduceat(base, starts)
        paid = np.add.reduceat(self.payoff[part], starts)
        # A topic whose kept contracts were paid nothing is paid evenly: it says nothing.
        payoff = np.where(
            paid[topic_index] > 0,
            self.payoff[part] * (mass / np.where(paid > 0, paid, 1.0))[topic_index],
            base,
        )
        return SettledContracts(
            scores=self.scores[part],
            base=base,
            payoff=payoff,
            topic_index=topic_index.astype(np.int64),
            starts=starts.astype(np.int64),
            origin=self.origin[part],
        )


def settled_contracts(
    scores: FloatArray,
    utilities: FloatArray,
    *,
    topic_index: IntArray,
    weights: FloatArray | None = None,
    ranked: Ranked = "topic",
    form: PayoffForm = BY_RANK,
) -> SettledContracts:
    """Return settled contracts with their payoffs.

    Args:
        scores: z of the settled contracts, shape (n, n_traders), standardised within the topics of
            the whole pool, as the market's orders are (`standardise_within_topics`); finite.
        utilities: shape (n,), larger is better, finite.
        topic_index: topic of each, shape (n,), integers >= 0; numbers may be skipped.
        weights: documents of the pool that each stands for (1 / its chance of being settled), shape
            (n,), > 0; None for 1 each.
        ranked: see `payoffs`.
        form: see `payoffs`.

    Raises:
        InputError: an argument is outside its domain, or there is no contract or no trader.
    """
    check_settled(utilities, topic_index)
    if scores.ndim != 2 or scores.shape[0] != utilities.size or scores.shape[1] == 0:
        raise InputError(
            f"scores must be (n_contracts, n_traders) for {utilities.size} settled contracts and "
            f"at least one trader, got shape {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise InputError("scores of settled contracts must be finite; drop what is not scored")
    payoff = payoffs(utilities, topic_index=topic_index, weights=weights, ranked=ranked, form=form)
    base = base_of(weights, n_contracts=utilities.size)
    order = np.argsort(topic_index, kind="stable")
    numbers, dense = np.unique(topic_index[order], return_inverse=True)
    return SettledContracts(
        scores=scores[order].astype(np.float64),
        base=base[order],
        payoff=payoff[order],
        topic_index=dense.astype(np.int64),
        starts=np.searchsorted(dense, np.arange(numbers.size)).astype(np.int64),
        origin=order.astype(np.int64),
    )
