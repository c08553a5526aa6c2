"""Clearing of the market: signals place orders, makers price documents topic by topic.

Notation: z = standardised signals, w = weights of the traders (sum 1), pi = prior within the topic,
x_k = shares that trader k buys per spread (w_k with fixed orders), q_i = sum_k x_k z_ki shares of
document i, b_t = liquidity and m_t = mass of topic t, p_i = price within the topic, l_i = tokens,
g = length bias. p_i = pi_i exp(q_i / b) / sum_j pi_j exp(q_j / b), ln P_i = ln m_t + ln p_i, and
documents are ranked by ln P_i - g ln l_i.
Follows Market-Based Data Subset Selection (arXiv 2510.02456) in outline; the details are ours, see
docs/methods.md. `clearing_sql` is the same market in DuckDB; tests hold the two equal within 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market import lmsr
from databourse.market.liquidity import PRIOR_RANGE, EffectiveShare, liquidity_for_share
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.masses import TopicMass, topic_masses
from databourse.market.pooling import FixedOrders, Traders, normalised_weights, shares_per_spread
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

Liquidity = float | EffectiveShare | FloatArray | Sequence[float | EffectiveShare]
"""b in shares or the effective share to reach: one for all topics, or one for each."""


@dataclass(frozen=True, eq=False)
class ClearedMarket:
    """Prices of every document and the books of every topic's maker.

    Per document, in the order given: `topic_index` (n,), `shares` q (n,), `log_price` ln P (n,),
    `log_price_per_token` (n,), `contributions` x_k z_ki / b_t (n, n_traders), in nats of log price.
    Per topic: `n_documents`, `mass` m, `liquidity` b (shares), `cost` C(q), `worst_case_loss`
    (b ln n, or b ln(1 / min pi) with a prior), `effective_sample_size` 1 / sum p^2 and `entropy`
    (nats) of its prices, each (n_topics,).
    Per topic and trader, each (n_topics, n_traders): `mean` and `spread` of the raw signal, in its
    unit, and `shares_per_spread` x. z_ki is (signal - mean) / spread, or 0 where the spread is 0.
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
    mean: FloatArray
    spread: FloatArray
    shares_per_spread: FloatArray

    def pool_effective_sample_size(self) -> float:
        """Return 1 / sum P^2 over the whole pool, in documents."""
        return pool_effective_sample_size(self.mass, self.effective_sample_size)


def clear_market(
    *,
    values: FloatArray,
    weights: FloatArray,
    topic_index: IntArray,
    tokens: IntArray,
    liquidity: Liquidity,
    topic_mass: TopicMass,
    length_bias: float,
    prior: FloatArray | None = None,
    traders: Traders = FixedOrders(),  # noqa: B008 - a frozen value
) -> ClearedMarket:
    """Return the prices at which the market of every topic clears.

    Args:
        values: signals, shape (n_documents, n_traders), larger is more useful; finite.
        weights: shape (n_traders,), >= 0, not all 0; scaled to sum 1.
        topic_index: shape (n_documents,), topics 0 .. n_topics - 1, each with a document.
        tokens: length of each document, shape (n_documents,), integers >= 1.
        liquidity: b in shares, > 0, or the effective share to reach; one for all topics, or one
            for each. Where b ln n is beyond the doubles, so are cost and loss bound: inf.
        topic_mass: how prices of different topics are made comparable.
        length_bias: g, finite; 0 ignores length, 1 is price per token.
        prior: how much each document is trusted before anyone trades, shape (n_documents,), > 0,
            finite; scaled to sum 1 within each topic. None for the plain form of the market, which
            has the prices of an equal prior.
        traders: how signals become orders.

    Returns:
        The cleared market; `log_price_per_token` is rounded to `RANK_DECIMALS`.

    Raises:
        InputError: an argument is outside its domain, or there is no document.
    """
    check_length_bias(length_bias)
    standardised = standardise_within_topics(values, topic_index)
    positions = topic_positions(topic_index, n_documents=values.shape[0])
    check_tokens(tokens, n_documents=values.shape[0])
    opening = None if prior is None else _opening_prices(prior, topic_index, positions)
    flow = normalised_weights(weights, n_traders=values.shape[1])
    given = topic_liquidities(liquidity, n_topics=len(positions))
    stakes = shares_per_spread(flow, given, traders)
    orders = _placed_orders(standardised.scores, stakes[topic_index])
    shares = _to_shares(orders.sum(axis=1))
    n_documents = np.array([part.size for part in positions], dtype=np.int64)
    mass = topic_masses(n_documents, topic_mass)
    liquidities = np.empty(len(positions))
    log_price = np.empty_like(shares)
    books = {name: np.empty(len(positions)) for name in _BOOK_ENTRIES}
    for topic, part in enumerate(positions):
        start = None if opening is None else opening[part]
        maker = _maker(given[topic], shares[part], start)
        within = lmsr.log_prices(shares[part], maker, prior=start)
        liquidities[topic] = maker
        log_price[part] = np.log(mass[topic]) + within
        books["cost"][topic] = lmsr.cost(shares[part], maker, prior=start)
        books["worst_case_loss"][topic] = lmsr.worst_case_loss(part.size, maker, prior=start)
        books["effective_sample_size"][topic] = lmsr.effective_sample_size(np.exp(within))
        books["entropy"][topic] = lmsr.entropy(np.exp(within))
    return ClearedMarket(
        topic_index=topic_index,
        shares=shares,
        log_price=log_price,
        log_price_per_token=_per_token(log_price, tokens, length_bias),
        contributions=_contributions(orders, liquidities[topic_index]),
        n_documents=n_documents,
        mass=mass,
        liquidity=liquidities,
        **books,
        mean=standardised.mean,
        spread=standardised.spread,
        shares_per_spread=stakes,
    )


_BOOK_ENTRIES = ("cost", "worst_case_loss", "effective_sample_size", "entropy")


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


def check_tokens(tokens: IntArray, *, n_documents: int) -> None:
    """Refuse lengths that are not one integer >= 1 for each document.

    Raises:
        InputError: says what came, and where.
    """
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


def topic_liquidities(liquidity: Liquidity, *, n_topics: int) -> tuple[float | EffectiveShare, ...]:
    """Return what each topic's maker was given: its liquidity, or the effective share to reach.

    Args:
        liquidity: one for all topics, or one for each.
        n_topics: how many topics there are.

    Raises:
        InputError: there are more or fewer entries than topics, or one is not > 0 and finite.
    """
    entries = liquidity.tolist() if isinstance(liquidity, np.ndarray) else liquidity
    if not isinstance(entries, Sequence):
        return (_checked_liquidity(entries, 0),) * n_topics
    if len(entries) != n_topics:
        raise InputError(
            f"liquidity must be one number or one for each of {n_topics} topics, "
            f"got {len(entries)} entries"
        )
    return tuple(_checked_liquidity(entry, topic) for topic, entry in enumerate(entries))


def log_priors(prior: FloatArray | None, topic_index: IntArray, *, n_topics: int) -> FloatArray:
    """Return ln pi of each document, the log of its price before anyone trades.

    Args:
        prior: weights, shape (n_documents,), > 0, finite; None for the plain form of the market.
        topic_index: shape (n_documents,), topics 0 .. n_topics - 1, each with a document.
        n_topics: how many topics there are.

    Returns:
        Shape (n_documents,): logs of weights that sum to 1 within each topic; all 0 without a
        prior, as in the plain form every document weighs 1.

    Raises:
        InputError: `prior` is outside its domain, or its weights differ by more than a factor of
            1e300 within a topic.
    """
    if prior is None:
        return np.zeros(topic_index.shape)
    positions = topic_positions(topic_index, n_documents=topic_index.size)
    if len(positions) != n_topics:
        raise InputError(f"expected documents of {n_topics} topics, got {len(positions)}")
    result: FloatArray = np.log(_opening_prices(prior, topic_index, positions))
    return result


def _opening_prices(
    prior: FloatArray, topic_index: IntArray, positions: list[IntArray]
) -> FloatArray:
    if prior.shape != topic_index.shape:
        raise InputError(
            f"prior must be one weight for each of {topic_index.size} documents, "
            f"got shape {prior.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(prior) & (prior > 0)))
    if bad.size:
        raise InputError(
            f"prior weights must be > 0 and finite, got {float(prior[bad[0]])!r} at position "
            f"{int(bad[0])}; leave a document out of the pool to give it no weight"
        )
    opening = np.empty(prior.shape)
    for topic, part in enumerate(positions):
        scaled = prior[part] / prior[part].max()  # first, so that the sum cannot overflow
        if scaled.min() < 1 / PRIOR_RANGE:
            raise InputError(
                f"prior weights of one topic may differ by a factor of at most {PRIOR_RANGE:g}, "
                f"got {float(prior[part].min())!r} to {float(prior[part].max())!r} in topic {topic}"
            )
        opening[part] = scaled / exact_sum(scaled)
    return opening


def _checked_liquidity(entry: object, topic: int) -> float | EffectiveShare:
    if isinstance(entry, EffectiveShare):
        return entry
    if not (isinstance(entry, int | float | np.number) and 0 < entry < math.inf):  # NaN fails too
        raise InputError(f"liquidity must be > 0 shares and finite, got {entry!r} in topic {topic}")
    return float(entry)


def _maker(given: float | EffectiveShare, shares: FloatArray, opening: FloatArray | None) -> float:
    if isinstance(given, EffectiveShare):
        return liquidity_for_share(shares, given, prior=opening)
    return given


def _placed_orders(standardised: FloatArray, stakes: FloatArray) -> IntArray:
    # |z| <= sqrt(n) and the stakes of a topic sum to 1 (1,000 if traders are risk-averse), so int64
    # holds the sum for any n below 8e13 (8e7) documents.
    units = np.rint(standardised * stakes * 10.0**ORDER_DECIMALS)
    return units.astype(np.int64)


def _to_shares(units: IntArray) -> FloatArray:
    result: FloatArray = units / 10.0**ORDER_DECIMALS
    return result


def _contributions(orders: IntArray, liquidities: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # the right limit where the liquidity is next to 0
        result: FloatArray = _to_shares(orders) / liquidities[:, np.newaxis]
    return result


def _per_token(log_price: FloatArray, tokens: IntArray, length_bias: float) -> FloatArray:
    unrounded = log_price - length_bias * np.log(tokens.astype(np.float64))
    with np.errstate(over="ignore"):
        rounded = np.rint(unrounded * 10.0**RANK_DECIMALS) / 10.0**RANK_DECIMALS
    # A number that overflows here is so large that it has no decimals to round.
    result: FloatArray = np.where(np.isfinite(rounded), rounded, unrounded)
    return result
