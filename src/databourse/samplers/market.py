"""The market as a sampler, in variants that each leave one of its parts out.

Notation: ln P_i = log price, l_i = cost of document i; see `databourse.market.clearing`.

    market                  the largest ln P_i - ln l_i first, weights as the candidates give them
    market_equal_weights    every trader the same weight
    market_one_topic        the whole pool is one topic: signals are compared with everything
    market_balanced_topics  every topic the same mass, whatever its size
    market_per_document     the largest ln P_i first: length is ignored
    market_sampled          drawn with probability in proportion to P_i / l_i
    market_diverse          a document unlike all bought ones gains 0.1 in log price
    market_settled          weights are wealth, earned on a sample that an oracle settles anew
    market_regression       weights are a non-negative fit to that oracle on that sample

Source: Jha et al. 2025 (arXiv 2510.02456) for the market, in outline; the variants are controls,
and ours. Terms are those of the product where a config says nothing: an effective share of 0.3,
masses in proportion to size, equal opening prices. `market` takes wealth as the last settlement
left it; `market_settled` starts from equal wealth and settles 3,000 contracts of the candidates it
is given, drawn by its generator, so that its variance over seeds is that of learning too; of fewer
than 10 it learns nothing. Caveat:
one topic is not the weighted sum of z-scores, of which it has the order only where every cost is 1
(see `z_score_sum`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.market.clearing import ClearedMarket, Liquidity, clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.market.lmsr import exact_sum
from databourse.market.masses import TopicMass
from databourse.market.pooling import FixedOrders, Traders
from databourse.samplers.interface import Candidates, Input, Sampler, SamplerSpec, required
from databourse.selection.buying import buy
from databourse.selection.diversity import Vectors
from databourse.selection.greedy import FloatArray, IntArray, rank_documents
from databourse.selection.sampling import draw_within_budget
from databourse.settlement.market import (
    DEFAULT_RULES,
    LEAST_CONTRACTS,
    SettlementRules,
    pay_contracts,
)
from databourse.settlement.scoring import best_order_flow
from databourse.settlement.wealth import DEFAULT_TERMS, WealthTerms, settle_wealth

_DIVERSITY = 0.1
_EFFECTIVE_SHARE = EffectiveShare(0.3)
_FIXED_ORDERS = FixedOrders()
_LEARNT = ("settled", "regression")


@dataclass(frozen=True, kw_only=True)
class MarketTerms:
    """How a market prices and how it is bought from.

    Attributes:
        weights: those of the candidates, equal where they give none; equal; wealth that is earned
            on contracts that the candidates' oracle settles; or a fit to what it says of them.
        topics: those of the candidates, or one for the whole pool.
        topic_mass: how prices of different topics are made comparable.
        liquidity: b in shares, the effective share to reach, or `fitted`: where weights are learnt,
            as much as the contracts bore; an effective share of 0.3 where nobody earned.
        traders: how signals become orders.
        length_bias: exponent of the cost in price per unit of it.
        method: dearest first, or a sample in proportion to the price per unit of cost.
        diversity: log price that a document unlike all bought ones gains, >= 0.
        rules: of choosing contracts and of what they pay, where weights are learnt.
        wealth: how traders earn and lose, where weights are settled.
    """

    weights: Literal["given", "equal", "settled", "regression"] = "given"
    topics: Literal["given", "one"] = "given"
    topic_mass: TopicMass = "proportional"
    liquidity: Liquidity | Literal["fitted"] = _EFFECTIVE_SHARE
    traders: Traders = _FIXED_ORDERS
    length_bias: float = 1.0
    method: Literal["greedy", "sample"] = "greedy"
    diversity: float = 0.0
    rules: SettlementRules = DEFAULT_RULES
    wealth: WealthTerms = DEFAULT_TERMS


def market_sampler(terms: MarketTerms) -> Sampler:
    """Return the sampler that buys from a market.

    Args:
        terms: of the market.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        cleared = _cleared(candidates, terms, rng)
        if terms.method == "sample":
            drawn = draw_within_budget(
                log_size=cleared.log_price_per_token,
                costs=candidates.costs,
                budget=budget,
                rng=rng,
            )
            return np.flatnonzero(drawn.is_drawn).astype(np.int64)
        ranking = rank_documents(cleared.log_price_per_token, candidates.costs)
        purchase = buy(
            log_price=cleared.log_price,
            log_price_per_token=cleared.log_price_per_token,
            costs=candidates.costs,
            budget=budget,
            ranking=ranking,
            diversity=terms.diversity,
            vectors=_vectors(candidates) if terms.diversity else None,
        )
        return purchase.order.astype(np.int64)

    return sampler


def market_spec(name: str, terms: MarketTerms, summary: str) -> SamplerSpec:
    """Return what a market sampler declares about itself.

    Args:
        name: of the sampler.
        terms: of the market.
        summary: one line on what it buys.
    """
    needed: list[Input] = ["signals"]
    if terms.topics == "given":
        needed.append("topics")
    if terms.weights in _LEARNT:
        needed.append("utilities_of")
    if terms.diversity:
        needed.append("embeddings")
    return SamplerSpec(
        name=name,
        measures=frozenset(),
        inputs=frozenset(needed),
        sampler=market_sampler(terms),
        is_random=terms.method == "sample" or terms.weights in _LEARNT,
        summary=summary,
    )


def _cleared(candidates: Candidates, terms: MarketTerms, rng: np.random.Generator) -> ClearedMarket:
    signals = required(candidates.signals, "signals")
    traders = sorted(signals)
    topic_index = np.zeros(len(candidates.costs), dtype=np.int64)
    if terms.topics == "given":
        topic_index = required(candidates.topics, "topics").index.astype(np.int64)
    values = np.stack([signals[trader] for trader in traders], axis=1)
    flow = 0.0
    if terms.weights in _LEARNT:
        weights, flow = _learnt_weights(candidates, terms, values, topic_index, rng=rng)
    else:
        weights = _given_weights(candidates, terms, traders)
    liquidity = terms.liquidity
    if liquidity == "fitted":
        liquidity = 1 / flow if flow > 0 else _EFFECTIVE_SHARE
    return clear_market(
        values=values,
        weights=weights,
        topic_index=topic_index,
        tokens=candidates.costs,
        liquidity=liquidity,
        topic_mass=terms.topic_mass,
        length_bias=terms.length_bias,
        traders=terms.traders,
    )


def _given_weights(
    candidates: Candidates, terms: MarketTerms, traders: Sequence[str]
) -> FloatArray:
    """Return the weight of each trader, shape (n_traders,), not all 0."""
    if terms.weights == "equal" or candidates.weights is None:
        return np.ones(len(traders))
    if set(candidates.weights) != set(traders):
        raise InputError(
            f"weights must name every signal once: expected {', '.join(traders)}; got "
            f"{', '.join(sorted(candidates.weights))}"
        )
    return np.array([candidates.weights[trader] for trader in traders], dtype=np.float64)


def _learnt_weights(
    candidates: Candidates,
    terms: MarketTerms,
    values: FloatArray,
    topic_index: IntArray,
    *,
    rng: np.random.Generator,
) -> tuple[FloatArray, float]:
    """Return the weights that an oracle's sample teaches, shape (n_traders,), and the order flow.

    The flow is in nats per spread, 0 where nobody earned.
    """
    from databourse.settlement.fitted import fitted_weights

    n_traders = values.shape[1]
    even = np.full(n_traders, 1 / n_traders)
    if topic_index.size < LEAST_CONTRACTS:  # too few to learn from
        return even, 0.0
    paid = pay_contracts(
        values,
        topic_index=topic_index,
        utilities_of=required(candidates.utilities_of, "utilities_of"),
        rng=rng,
        rules=terms.rules,
    )
    if terms.weights == "settled":
        earned = settle_wealth(paid.contracts, even, terms=terms.wealth)
        return earned.wealth, exact_sum(earned.orders)
    sample = paid.sample
    weights = fitted_weights(
        paid.scores,
        sample.utilities,
        topic_index=topic_index[sample.positions],
        rng=rng,
        weights=sample.weights,
        ranked=terms.rules.ranked,
    ).weights
    return weights, best_order_flow(paid.contracts, weights)


def _vectors(candidates: Candidates) -> Vectors:
    embeddings = required(candidates.embeddings, "embeddings")

    def vectors(positions: IntArray) -> NDArray[np.float32]:
        return embeddings[positions]

    return vectors


_TERMS = MarketTerms()

SAMPLERS = (
    market_spec("market", _TERMS, "the highest price per token"),
    market_spec(
        "market_equal_weights",
        dataclasses.replace(_TERMS, weights="equal"),
        "the highest price per token, every trader the same weight",
    ),
    market_spec(
        "market_one_topic",
        dataclasses.replace(_TERMS, topics="one"),
        "the highest price per token, the whole pool one topic",
    ),
    market_spec(
        "market_balanced_topics",
        dataclasses.replace(_TERMS, topic_mass="balanced"),
        "the highest price per token, every topic the same mass",
    ),
    market_spec(
        "market_per_document",
        dataclasses.replace(_TERMS, length_bias=0.0),
        "the highest price, whatever the length",
    ),
    market_spec(
        "market_sampled",
        dataclasses.replace(_TERMS, method="sample"),
        "drawn in proportion to the price per token",
    ),
    market_spec(
        "market_diverse",
        dataclasses.replace(_TERMS, diversity=_DIVERSITY),
        "the highest price per token, more where nothing alike was bought",
    ),
    market_spec(
        "market_settled",
        dataclasses.replace(_TERMS, weights="settled", liquidity="fitted"),
        "the highest price per token, weights earned on a sample that an oracle settles",
    ),
    market_spec(
        "market_regression",
        dataclasses.replace(_TERMS, weights="regression", liquidity="fitted"),
        "the highest price per token, weights fitted to an oracle on a sample",
    ),
)
