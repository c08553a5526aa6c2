"""The market as a sampler, in variants that each leave one of its parts out.

Notation: ln P_i = log price, l_i = cost of document i; see `databourse.market.clearing`.

    market                  the largest ln P_i - ln l_i first, weights as the candidates give them
    market_equal_weights    every trader the same weight
    market_one_topic        the whole pool is one topic: signals are compared with everything
    market_balanced_topics  every topic the same mass, whatever its size
    market_per_document     the largest ln P_i first: length is ignored
    market_sampled          drawn with probability in proportion to P_i / l_i
    market_diverse          a document unlike all bought ones gains 0.1 in log price

Source: Jha et al. 2025 (arXiv 2510.02456) for the market, in outline; the variants are controls,
and ours. Terms are those of the product where a config says nothing: an effective share of 0.3,
masses in proportion to size, equal opening prices. Caveat: one topic is not the weighted sum of
z-scores, of which it has the order only where every cost is 1 (see `z_score_sum`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.market.clearing import ClearedMarket, Liquidity, clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import TopicMass
from databourse.market.pooling import FixedOrders, Traders
from databourse.samplers.interface import Candidates, Input, Sampler, SamplerSpec, required
from databourse.selection.buying import buy
from databourse.selection.diversity import Vectors
from databourse.selection.greedy import IntArray, rank_documents
from databourse.selection.sampling import draw_within_budget

_DIVERSITY = 0.1
_EFFECTIVE_SHARE = EffectiveShare(0.3)
_FIXED_ORDERS = FixedOrders()


@dataclass(frozen=True, kw_only=True)
class MarketTerms:
    """How a market prices and how it is bought from.

    Attributes:
        weights: whose weights: those of the candidates, equal where they give none, or equal.
        topics: those of the candidates, or one for the whole pool.
        topic_mass: how prices of different topics are made comparable.
        liquidity: b in shares, or the effective share to reach.
        traders: how signals become orders.
        length_bias: exponent of the cost in price per unit of it.
        method: dearest first, or a sample in proportion to the price per unit of cost.
        diversity: log price that a document unlike all bought ones gains, >= 0.
    """

    weights: Literal["given", "equal"] = "given"
    topics: Literal["given", "one"] = "given"
    topic_mass: TopicMass = "proportional"
    liquidity: Liquidity = _EFFECTIVE_SHARE
    traders: Traders = _FIXED_ORDERS
    length_bias: float = 1.0
    method: Literal["greedy", "sample"] = "greedy"
    diversity: float = 0.0


def market_sampler(terms: MarketTerms) -> Sampler:
    """Return the sampler that buys from a market.

    Args:
        terms: of the market.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        cleared = _cleared(candidates, terms)
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
    if terms.diversity:
        needed.append("embeddings")
    return SamplerSpec(
        name=name,
        measures=frozenset(),
        inputs=frozenset(needed),
        sampler=market_sampler(terms),
        is_random=terms.method == "sample",
        summary=summary,
    )


def _cleared(candidates: Candidates, terms: MarketTerms) -> ClearedMarket:
    signals = required(candidates.signals, "signals")
    traders = sorted(signals)
    topic_index = np.zeros(len(candidates.costs), dtype=np.int64)
    if terms.topics == "given":
        topic_index = required(candidates.topics, "topics").index.astype(np.int64)
    weights = np.ones(len(traders))
    if terms.weights == "given" and candidates.weights is not None:
        if set(candidates.weights) != set(traders):
            raise InputError(
                f"weights must name every signal once: expected {', '.join(traders)}; got "
                f"{', '.join(sorted(candidates.weights))}"
            )
        weights = np.array([candidates.weights[trader] for trader in traders], dtype=np.float64)
    return clear_market(
        values=np.stack([signals[trader] for trader in traders], axis=1),
        weights=weights,
        topic_index=topic_index,
        tokens=candidates.costs,
        liquidity=terms.liquidity,
        topic_mass=terms.topic_mass,
        length_bias=terms.length_bias,
        traders=terms.traders,
    )


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
)
