"""What several believers or several makers make of a market together.

Notation of this module: p = prices, r = a trader's belief, a = its absolute risk aversion, b =
liquidity. LMSR with fixed orders is a logarithmic opinion pool of the traders' own softmax
opinions; with traders of constant absolute risk aversion it pools prices and beliefs one after
another (Chakraborty & Das 2015, NeurIPS 28:2359). Makers add up by infimal convolution.
"""

from __future__ import annotations

import math

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, check_distribution, exact_sum


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
