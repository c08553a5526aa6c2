"""What several believers or several makers make of a market together.

Notation of this module: p = prices, pi = prior, r = a trader's belief, a = its absolute risk
aversion, b = liquidity, z = standardised signals, w = weights of the traders (sum 1).
LMSR with fixed orders is a logarithmic opinion pool of the traders' own softmax
opinions; with traders of constant absolute risk aversion it pools prices and beliefs one after
another (Chakraborty & Das 2015, NeurIPS 28:2359). Makers add up by infimal convolution.

How a signal becomes a belief or an order, and a weight an aversion, is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.liquidity import EffectiveShare
from databourse.market.lmsr import FloatArray, check_distribution, exact_sum

# Orders are placed in whole units of 1e-12 shares (see `clearing`). With less liquidity than this
# one unit moves a log price by 1e-9; with larger stakes 64 bits may not hold the units.
_LEAST_LIQUIDITY = 1e-3
_MOST_SHARES_PER_SPREAD = 1e3


@dataclass(frozen=True)
class FixedOrders:
    """Trader k buys w_k z_ki shares of document i whatever the price; their order is irrelevant."""


@dataclass(frozen=True)
class RiskAverse:
    """Believers of constant absolute risk aversion who move the price one after another.

    Trader k believes r_k proportional to pi_i exp(c z_ki), c the `confidence` > 0. With K traders
    of weight > 0, its aversion is a_k = a / (K w_k), a the `risk_aversion` > 0: one of average
    weight has a, one of weight 0 never trades. `order` holds the positions of all traders, the
    first to trade first; prices depend on it.
    """

    risk_aversion: float
    confidence: float
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "confidence"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be > 0 and finite, got {getattr(self, name)!r}")
        if not self.order or sorted(self.order) != list(range(len(self.order))):
            raise InputError(
                f"order must hold each trader's position once, 0 to n_traders - 1; "
                f"got {self.order!r}"
            )


Traders = FixedOrders | RiskAverse


def shares_per_spread(
    weights: FloatArray, liquidities: Sequence[float | EffectiveShare], traders: Traders
) -> FloatArray:
    """Return how many shares a trader buys of a document one standard deviation above the mean.

    Risk-averse traders multiply prices, p' proportional to p^(1 - v) r^v with v = 1 / (1 + a b), so
    that in logs their moves add up: ln p_i = ln pi_i + sum_k o_k c z_ki - ln Z, where o_k = v_k
    times (1 - v_j) of every trader j after k. The exponent of pi is 1, because each belief holds
    it too. These are the prices of a market in which trader k has bought b c o_k z_ki shares.

    Args:
        weights: w, shape (n_traders,), >= 0, sums to 1; see `normalised_weights`.
        liquidities: b of each topic's maker, n_topics numbers > 0, in shares.
        traders: how they trade.

    Returns:
        Shape (n_topics, n_traders), in shares: w_k in every topic with fixed orders, else
        b c o_k(b), at least 0.

    Raises:
        InputError: an argument is outside its domain. Risk-averse traders are refused where a
            topic's liquidity is an effective share, below 0.001, or with the confidence so large
            that they would buy more than 1,000 shares per spread.
    """
    if weights.ndim != 1 or not (weights.size and weights.min() >= 0):
        raise InputError(f"weights must be a non-empty vector >= 0, got {weights!r}")
    if abs(exact_sum(weights) - 1) > _WEIGHT_TOLERANCE:
        raise InputError(f"weights must sum to 1, got {weights!r}; scale them first")
    if isinstance(traders, FixedOrders):
        return np.tile(weights, (len(liquidities), 1))
    if len(traders.order) != weights.size:
        raise InputError(
            f"the order of trading must name each of {weights.size} traders, got {traders.order!r}"
        )
    rows = [
        _risk_averse_stakes(weights, _given_liquidity(liquidity), traders)
        for liquidity in liquidities
    ]
    return np.array(rows).reshape(len(rows), weights.size)


def log_pool(opinions: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted geometric mean of opinions, normalised.

    Args:
        opinions: shape (n_traders, n_contracts); each row > 0 and sums to 1.
        weights: shape (n_traders,), >= 0, not all 0; scaled to sum 1.

    Returns:
        p proportional to prod_k opinions_k ** weights_k, shape (n_contracts,), sums to 1.

    Raises:
        InputError: an argument is outside its domain.
    """
    if opinions.ndim != 2 or opinions.size == 0:
        raise InputError(f"opinions must be (n_traders, n_contracts), got shape {opinions.shape}")
    for opinion in opinions:
        check_distribution("each opinion", opinion)
    log_pooled = normalised_weights(weights, n_traders=opinions.shape[0]) @ np.log(opinions)
    pooled: FloatArray = np.exp(log_pooled - log_pooled.max())
    pooled /= exact_sum(pooled)
    return pooled


def risk_averse_move(
    prices: FloatArray, belief: FloatArray, *, risk_aversion: float, liquidity: float
) -> FloatArray:
    """Return the prices that a myopic trader of constant absolute risk aversion leaves behind.

    Args:
        prices: p that the trader meets, shape (n,), > 0, sums to 1.
        belief: r, shape (n,), > 0, sums to 1.
        risk_aversion: a >= 0, per unit of account; 0 moves the price to the belief.
        liquidity: b > 0, in shares.

    Returns:
        p' proportional to p^(1 - v) r^v with v = 1 / (1 + a b), shape (n,).

    Raises:
        InputError: an argument is outside its domain.
    """
    if not (0 <= risk_aversion < math.inf and 0 < liquidity < math.inf):
        raise InputError(
            f"risk_aversion must be >= 0 and liquidity > 0, both finite, "
            f"got {risk_aversion!r} and {liquidity!r}"
        )
    check_distribution("belief", belief, n_contracts=prices.size)
    own_weight = 1 / (1 + risk_aversion * liquidity)
    return log_pool(np.stack([prices, belief]), np.array([1 - own_weight, own_weight]))


def holdings_of_makers(shares: FloatArray, liquidities: FloatArray) -> FloatArray:
    """Return how makers of one prior share out an order so that it costs least.

    Together they are one maker whose liquidity is the sum of theirs.

    Args:
        shares: q over all makers, shape (n,), in shares.
        liquidities: b of each maker, shape (n_makers,), > 0.

    Returns:
        Shape (n_makers, n): maker k sells the part b_k / sum b of every contract.

    Raises:
        InputError: a liquidity is not > 0 and finite.
    """
    if liquidities.size == 0 or not (np.isfinite(liquidities) & (liquidities > 0)).all():
        raise InputError(f"liquidities must be > 0 and finite, got {liquidities!r}")
    return np.outer(liquidities / exact_sum(liquidities), shares)


_WEIGHT_TOLERANCE = 1e-9  # of the sum of scaled weights


def _given_liquidity(liquidity: float | EffectiveShare) -> float:
    if isinstance(liquidity, EffectiveShare):
        raise InputError(
            f"risk-averse traders need liquidity in shares, got an effective share of "
            f"{liquidity.share!r}: what they buy depends on liquidity"
        )
    if not _LEAST_LIQUIDITY <= liquidity < math.inf:
        raise InputError(
            f"risk-averse traders need a liquidity of at least {_LEAST_LIQUIDITY} shares, got "
            f"{liquidity!r}; ten times the liquidity and a tenth of the risk aversion give the "
            f"same prices"
        )
    return liquidity


def _risk_averse_stakes(weights: FloatArray, liquidity: float, traders: RiskAverse) -> FloatArray:
    n_trading = int(np.count_nonzero(weights))
    with np.errstate(divide="ignore", over="ignore"):  # a weight of 0 is an endless aversion
        aversion = traders.risk_aversion / (n_trading * weights)
        stakes = traders.confidence / (1 / liquidity + aversion)  # b c v, in this form for any b
        kept = 1 / (1 + 1 / (aversion * liquidity))  # 1 - v
    later = 1.0
    for trader in reversed(traders.order):
        stakes[trader] *= later
        later *= kept[trader]
    if not stakes.sum() <= _MOST_SHARES_PER_SPREAD:
        raise InputError(
            f"risk-averse traders would buy {float(stakes.sum()):.6g} shares per spread with a "
            f"liquidity of {liquidity!r}, at most {_MOST_SHARES_PER_SPREAD:,.0f} are allowed; a "
            f"tenth of the liquidity and ten times the risk aversion give the same prices"
        )
    result: FloatArray = stakes
    return result


def normalised_weights(weights: FloatArray, *, n_traders: int) -> FloatArray:
    """Return weights scaled to sum 1: only their ratio to the liquidity decides prices.

    Args:
        weights: shape (n_traders,), >= 0, finite, not all 0.
        n_traders: how many there must be.

    Raises:
        InputError: `weights` is outside its domain.
    """
    if weights.shape != (n_traders,) or n_traders == 0:
        raise InputError(
            f"weights must be one number for each of {n_traders} traders, got shape {weights.shape}"
        )
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        raise InputError(f"weights must be finite, >= 0 and not all 0, got {weights!r}")
    scaled: FloatArray = weights / weights.max()  # first, so that the sum cannot overflow
    scaled /= exact_sum(scaled)
    return scaled
