"""The clearing of the market as a numpy programmer would write it: the yardstick for the product.

Notation as in `databourse.market.clearing`: z = standardised signals, q = shares, b = liquidity,
m = mass of a topic, g = length bias; ln P_i = ln m_t + q_i / b - ln sum_j exp(q_j / b).
Plain float64 sums (`np.bincount` adds row after row), one pass for means and one for deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CONSTANT = 1e-9  # spread / mean below which a signal says nothing in a topic
_RANK_DECIMALS = 12


@dataclass(frozen=True, eq=False)
class TwinMarket:
    """Shares and prices per document (n,), and books per topic, as `ClearedMarket` names them."""

    shares: FloatArray
    log_price: FloatArray
    log_price_per_token: FloatArray
    n_documents: IntArray
    mass: FloatArray
    cost: FloatArray
    worst_case_loss: FloatArray
    effective_sample_size: FloatArray
    entropy: FloatArray
    mean: FloatArray
    spread: FloatArray


def clear(
    signals: Sequence[FloatArray],
    weights: FloatArray,
    *,
    topic_index: IntArray,
    tokens: IntArray,
    liquidity: float,
    length_bias: float,
) -> TwinMarket:
    """Return the market of all topics with masses proportional to their documents.

    Args:
        signals: one column (n,) per trader, finite.
        weights: of the traders, shape (n_traders,), sums to 1.
        topic_index: topic of each document, 0 .. n_topics - 1, each with a document.
        tokens: lengths, shape (n,), >= 1.
        liquidity: b in shares, > 0, of every topic.
        length_bias: g.
    """
    n_documents = np.bincount(topic_index)
    n_topics = n_documents.size

    def total(values: FloatArray) -> FloatArray:
        sums = np.bincount(topic_index, weights=values, minlength=n_topics)
        return sums.astype(np.float64, copy=False)

    mean, spread = np.empty((2, n_topics, len(signals)))
    shares = np.zeros(topic_index.size)
    for trader, (values, weight) in enumerate(zip(signals, weights, strict=True)):
        middle = values.mean()
        centred = values - middle  # an offset that all topics share would eat digits of the sums
        rest = total(centred) / n_documents
        centred -= rest[topic_index]
        found = np.sqrt(total(centred * centred) / n_documents)
        mean[:, trader] = rest + middle
        found[found <= _CONSTANT * np.abs(mean[:, trader])] = 0.0
        spread[:, trader] = found
        stake = np.divide(weight, found, out=np.zeros(n_topics), where=found > 0)
        centred *= stake[topic_index]
        shares += centred
    if not np.isfinite(mean).all():
        raise ValueError("signals must be finite")

    top = np.full(n_topics, -np.inf)
    np.maximum.at(top, topic_index, shares)
    log_weight = shares - top[topic_index]
    log_weight /= liquidity
    weight = np.exp(log_weight)
    weights_sum = total(weight)
    log_sum = np.log(weights_sum)
    squares = total(weight * weight)
    weight *= log_weight
    surprise = -total(weight)
    mass = n_documents / topic_index.size
    log_price = log_weight  # no longer needed as such
    log_price += (np.log(mass) - log_sum)[topic_index]
    return TwinMarket(
        shares=shares,
        log_price=log_price,
        log_price_per_token=np.round(log_price - length_bias * np.log(tokens), _RANK_DECIMALS),
        n_documents=n_documents,
        mass=mass,
        cost=top + liquidity * log_sum,
        worst_case_loss=liquidity * np.log(n_documents),
        effective_sample_size=weights_sum * weights_sum / squares,
        entropy=log_sum + surprise / weights_sum,
        mean=mean,
        spread=spread,
    )


def select(log_price_per_token: FloatArray, tokens: IntArray, *, budget: int) -> NDArray[np.bool_]:
    """Return what the greedy skip rule buys, dearest per token first, as a mask (n,).

    Of equally priced documents the shorter comes first, then the one given first.
    """
    order = np.lexsort((tokens, -log_price_per_token))
    left, is_bought = budget, np.zeros(tokens.size, dtype=np.bool_)
    while (order := order[tokens[order] <= left]).size:
        spent = np.cumsum(tokens[order])
        n_taken = int(np.searchsorted(spent, left, side="right"))
        is_bought[order[:n_taken]] = True
        left -= int(spent[n_taken - 1])
        order = order[n_taken:]
    return is_bought
