"""Clearing of the market: signals place orders, makers price documents topic by topic.

Notation: z = standardised signals, w = weights of the traders (sum 1), q_i = sum_k w_k z_ki shares
of document i, b_t = liquidity and m_t = mass of topic t, p_i = price within the topic, l_i =
tokens, g = length bias. ln P_i = ln m_t + ln p_i, and documents are ranked by ln P_i - g ln l_i.
Follows Market-Based Data Subset Selection (arXiv 2510.02456) in outline; the details are ours, see
docs/methods.md. `clearing_sql` is the same market in DuckDB; tests hold the two equal within 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market import lmsr
from databourse.market.liquidity import EffectiveShare, liquidity_for_share
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.masses import TopicMass, topic_masses
from databourse.market.pooling import normalised_weights
from databourse.market.standardisation import (
    IntArray,
    standardise_within_topics,
    topic_positions,
)

# Orders are placed in whole units of 1e-12 shares. Integers add up the same in any order, so
# neither the order of traders nor rounding can break a tie between equal documents.
ORDER_DECIMALS = 12

# Prices per token are compared to this many decimals of their logarithm, for the same reason.
RANK_DECIMALS = 12


@dataclass(frozen=True, eq=False)
class ClearedMarket:
    """Prices of every document and the books of every topic's maker.

    Per document, in the order given: `topic_index` (n,), `shares` q (n,), `log_price` ln P (n,),
    `log_price_per_token` (n,), `contributions` w_k z_ki / b_t (n, n_traders), in nats of log price.
    Per topic: `n_documents`, `mass` m, `liquidity` b (shares), `cost` C(q), `worst_case_loss`
    b ln n, `effective_sample_size` and `entropy` (nats) of its prices, each (n_topics,).
    """

    topic_index: IntArray
    shares: FloatArray
    log_price: FloatArray
    log_price_per_token: FloatArray
    contributions: FloatArray
    n_documents: IntArray
    mass: FloatArray
    liquidity: FloatArray
    cost: FloatArray
    worst_case_loss: FloatArray
    effective_sample_size: FloatArray
    entropy: FloatArray

    def pool_effective_sample_size(self) -> float:
        """Return 1 / sum P^2 over the whole pool, in documents."""
        return pool_effective_sample_size(self.mass, self.effective_sample_size)


def clear_market(
    *,
    values: FloatArray,
    weights: FloatArray,
    topic_index: IntArray,
    tokens: IntArray,
    liquidity: float | FloatArray | EffectiveShare,
    topic_mass: TopicMass,
    length_bias: float,
) -> ClearedMarket:
    """Return the prices at which the market of every topic clears.

    Args:
        values: signals, shape (n_documents, n_traders), larger is more useful; finite.
        weights: shape (n_traders,), >= 0, not all 0; scaled to sum 1.
        topic_index: shape (n_documents,), topics 0 .. n_topics - 1, each with a document.
        tokens: length of each document, shape (n_documents,), integers >= 1.
        liquidity: b in shares, > 0: one number, one per topic, or the effective share to reach.
        topic_mass: how prices of different topics are made comparable.
        length_bias: g, finite; 0 ignores length, 1 is price per token.

    Returns:
        The cleared market; `log_price_per_token` is rounded to `RANK_DECIMALS`.

    Raises:
        InputError: an argument is outside its domain, or there is no document.
    """
    check_length_bias(length_bias)
    standardised = standardise_within_topics(values, topic_index)
    positions = topic_positions(topic_index, n_documents=values.shape[0])
    _check_tokens(tokens, n_documents=values.shape[0])
    orders = _placed_orders(standardised, normalised_weights(weights, n_traders=values.shape[1]))
    shares = _to_shares(orders.sum(axis=1))
    liquidities = _topic_liquidities(liquidity, shares, positions)
    n_documents = np.array([part.size for part in positions], dtype=np.int64)
    mass = topic_masses(n_documents, topic_mass)
    log_price = np.empty_like(shares)
    for topic, part in enumerate(positions):
        within = lmsr.log_prices(shares[part], float(liquidities[topic]))
        log_price[part] = np.log(mass[topic]) + within
    return ClearedMarket(
        topic_index=topic_index,
        shares=shares,
        log_price=log_price,
        log_price_per_token=_per_token(log_price, tokens, length_bias),
        contributions=_contributions(orders, liquidities[topic_index]),
        n_documents=n_documents,
        mass=mass,
        liquidity=liquidities,
        **_books(shares, liquidities, positions),
    )


def pool_effective_sample_size(mass: FloatArray, effective_sample_size: FloatArray) -> float:
    """Return 1 / sum P^2 over the pool from the topics' masses and effective sizes (n_topics,)."""
    return 1 / exact_sum(mass * mass / effective_sample_size)


def check_length_bias(length_bias: float) -> None:
    """Refuse a length bias that is not a finite number.

    Raises:
        InputError: `length_bias` is NaN or infinite.
    """
    if not np.isfinite(length_bias):
        raise InputError(f"length_bias must be a finite number, got {length_bias!r}")


def _placed_orders(standardised: FloatArray, weights: FloatArray) -> IntArray:
    # |sum_k w_k z_k| <= sqrt(n), so int64 holds the sum for any n below 8e13 documents.
    units = np.rint(standardised * weights * 10.0**ORDER_DECIMALS)
    return units.astype(np.int64)


def _to_shares(units: IntArray) -> FloatArray:
    result: FloatArray = units / 10.0**ORDER_DECIMALS
    return result


def _contributions(orders: IntArray, liquidities: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # the right limit where the liquidity is next to 0
        result: FloatArray = _to_shares(orders) / liquidities[:, np.newaxis]
    return result


def _topic_liquidities(
    liquidity: float | FloatArray | EffectiveShare, shares: FloatArray, positions: list[IntArray]
) -> FloatArray:
    if isinstance(liquidity, EffectiveShare):
        return np.array([liquidity_for_share(shares[part], liquidity) for part in positions])
    given = np.asarray(liquidity, dtype=np.float64)
    if given.shape not in {(), (len(positions),)}:
        raise InputError(
            f"liquidity must be one number or one for each of {len(positions)} topics, "
            f"got shape {given.shape}"
        )
    return np.broadcast_to(given, len(positions)).copy()


def _per_token(log_price: FloatArray, tokens: IntArray, length_bias: float) -> FloatArray:
    unrounded = log_price - length_bias * np.log(tokens.astype(np.float64))
    with np.errstate(over="ignore"):
        rounded = np.rint(unrounded * 10.0**RANK_DECIMALS) / 10.0**RANK_DECIMALS
    # A number that overflows here is so large that it has no decimals to round.
    result: FloatArray = np.where(np.isfinite(rounded), rounded, unrounded)
    return result


def _books(
    shares: FloatArray, liquidities: FloatArray, positions: list[IntArray]
) -> dict[str, FloatArray]:
    books = {name: np.empty(len(positions)) for name in _BOOK_ENTRIES}
    for topic, part in enumerate(positions):
        maker = float(liquidities[topic])
        prices = lmsr.prices(shares[part], maker)
        books["cost"][topic] = lmsr.cost(shares[part], maker)
        books["worst_case_loss"][topic] = lmsr.worst_case_loss(part.size, maker)
        books["effective_sample_size"][topic] = lmsr.effective_sample_size(prices)
        books["entropy"][topic] = lmsr.entropy(prices)
    return books


_BOOK_ENTRIES = ("cost", "worst_case_loss", "effective_sample_size", "entropy")


def _check_tokens(tokens: IntArray, *, n_documents: int) -> None:
    if tokens.shape != (n_documents,) or not np.issubdtype(tokens.dtype, np.integer):
        raise InputError(
            f"tokens must be one integer for each of {n_documents} documents, "
            f"got shape {tokens.shape} of {tokens.dtype}"
        )
    if tokens.min() < 1:
        position = int(np.argmin(tokens))
        raise InputError(
            f"every document needs at least 1 token, got {int(tokens[position])} at position "
            f"{position}; drop empty documents before pricing"
        )
