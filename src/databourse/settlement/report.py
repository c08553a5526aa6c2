"""A settlement from sample to wealth, with what it says about itself.

Notation: that of `databourse.settlement.wealth`. Scores that compare a market before and after are
taken on contracts held out by folds: whole topics where there are at least as many as folds, as
prices are relative to their topic, else contracts. "Before" are the orders of the old wealth, with
the order flow, sum_k lambda_k, of the market after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.standardisation import IntArray
from databourse.settlement.contracts import SettledContracts
from databourse.settlement.scoring import (
    log_score,
    lone_log_scores,
    marginal_log_scores,
    quadratic_score,
)
from databourse.settlement.wealth import (
    DEFAULT_TERMS,
    WealthTerms,
    play_topics,
    settle_wealth,
)


@dataclass(frozen=True, eq=False)
class SettlementReport:
    """What a settlement did; scores in nats, 0 being those of prices that nobody has moved.

    Attributes:
        traders: their names; arrays per trader are in this order, shape (n_traders,).
        wealth_before: >= 0, sums to 1.
        wealth: after, >= 0, sums to 1.
        orders: lambda, >= 0, in nats per spread; 0 where nobody has earned.
        order_flow: sum of them: 1 / liquidity, in shares per unit of wealth, of the market fitted.
        has_earned: false where no trader beat the fee.
        fee: in spreads.
        lone_log_score: of each trader if it alone traded at this order flow, on all contracts.
        marginal_log_score: what the market loses without each trader, on all contracts.
        log_score_before: of the market with the old wealth, held out.
        log_score_after: of the market with wealth from the other folds, held out.
        quadratic_score_before: dimensionless, held out.
        quadratic_score_after: dimensionless, held out.
        best_log_score: of prices equal to payoffs: KL(u || a), the most any market can have.
        n_contracts: settled.
        n_folds: of holding out.
        passes: of exponentiated gradient over all contracts.
        gap: to the best objective, nats.
        regret: of learning online, a round for each topic: nats, summed over rounds.
        regret_bound: what it may be at most.
        rounds: of learning online.
    """

    traders: tuple[str, ...]
    wealth_before: FloatArray
    wealth: FloatArray
    orders: FloatArray
    order_flow: float
    has_earned: bool
    fee: float
    lone_log_score: FloatArray
    marginal_log_score: FloatArray
    log_score_before: float
    log_score_after: float
    quadratic_score_before: float
    quadratic_score_after: float
    best_log_score: float
    n_contracts: int
    n_folds: int
    passes: int
    gap: float
    regret: float
    regret_bound: float
    rounds: int


def settle(
    contracts: SettledContracts,
    wealth: FloatArray,
    *,
    traders: Sequence[str],
    rng: np.random.Generator,
    terms: WealthTerms = DEFAULT_TERMS,
    n_folds: int = 5,
) -> SettlementReport:
    """Return the wealth after settled contracts have paid out, and how it came about.

    Args:
        contracts: settled, at least `n_folds`.
        wealth: before, shape (n_traders,), >= 0, sums to 1.
        traders: names, one for each column of the scores.
        rng: folds, and the order in which topics settle online, are drawn from it.
        terms: how traders earn and lose.
        n_folds: for held-out scores, >= 2.

    Raises:
        InputError: an argument is outside its domain.
    """
    if len(traders) != contracts.n_traders or len(set(traders)) != len(traders):
        raise InputError(
            f"traders must be {contracts.n_traders} distinct names, got {', '.join(traders)}"
        )
    folds = settlement_folds(contracts, n_folds=n_folds, rng=rng)
    after = settle_wealth(contracts, wealth, terms=terms)
    flow = exact_sum(after.orders)
    held_out = np.zeros(4)
    for fold in range(n_folds):
        held = folds == fold
        part = float(contracts.base[held].sum())
        test, training = contracts.kept(held), contracts.kept(~held)
        learnt = settle_wealth(training, wealth, terms=terms).orders
        former = wealth * exact_sum(learnt)
        scores = [log_score(test, former), log_score(test, learnt)]
        scores += [quadratic_score(test, former), quadratic_score(test, learnt)]
        held_out += part * np.array(scores)
    start = np.full(contracts.n_traders, 1 / contracts.n_traders)
    play = play_topics(contracts, start, order=rng.permutation(contracts.n_topics), terms=terms)
    return SettlementReport(
        traders=tuple(traders),
        wealth_before=wealth.copy(),
        wealth=after.wealth,
        orders=after.orders,
        order_flow=flow,
        has_earned=after.has_earned,
        fee=after.fee,
        lone_log_score=lone_log_scores(contracts, flow),
        marginal_log_score=marginal_log_scores(contracts, after.orders),
        log_score_before=float(held_out[0]),
        log_score_after=float(held_out[1]),
        quadratic_score_before=float(held_out[2]),
        quadratic_score_after=float(held_out[3]),
        best_log_score=_divergence(contracts),
        n_contracts=int(contracts.base.size),
        n_folds=n_folds,
        passes=after.passes,
        gap=after.gap,
        regret=play.regret,
        regret_bound=play.bound,
        rounds=play.rounds,
    )


def settlement_folds(
    contracts: SettledContracts, *, n_folds: int, rng: np.random.Generator
) -> IntArray:
    """Return the fold of each contract, 0 .. n_folds - 1, shape (n,), none of them empty.

    Topics, shuffled, are dealt one by one to the folds; contracts are, where topics are fewer than
    folds.

    Args:
        contracts: settled, at least `n_folds`.
        n_folds: >= 2.
        rng: the shuffle is drawn from it.

    Raises:
        InputError: there are too few contracts, or folds.
    """
    n = contracts.base.size
    if not 2 <= n_folds <= n:
        raise InputError(f"held-out scores need 2 .. {n} folds, got {n_folds}")
    n_dealt = contracts.n_topics if contracts.n_topics >= n_folds else n
    dealt = np.empty(n_dealt, dtype=np.int64)
    dealt[rng.permutation(n_dealt)] = np.arange(n_dealt) % n_folds
    return dealt if n_dealt == n else dealt[contracts.topic_index]


def _divergence(contracts: SettledContracts) -> float:
    paid = contracts.payoff > 0
    payoff, base = contracts.payoff[paid], contracts.base[paid]
    return exact_sum(payoff * np.log(payoff / base))
