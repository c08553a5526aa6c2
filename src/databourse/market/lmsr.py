"""Logarithmic market scoring rule (LMSR): a market maker that prices contracts.

Notation of this module: q = shares sold of each contract, b = liquidity, pi = prior.
Cost C(q) = b ln sum_i exp(q_i / b); price p_i = dC/dq_i = exp(q_i / b) / sum_j exp(q_j / b).
With a prior: C(q) = b ln sum_i pi_i exp(q_i / b), so that C(0) = 0 and p(0) = pi.
Hanson 2003 (Information Systems Frontiers 5:107), Hanson 2007 (J. Prediction Markets 1:3), and for
the cost-function form Chen & Pennock 2007 (UAI).

Sums are exactly rounded (`math.fsum`): permuting the contracts permutes prices bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError

FloatArray = NDArray[np.float64]

_SUM_TOLERANCE = 1e-9  # how far a prior or a price vector that a caller built may sum from 1


def cost(shares: FloatArray, liquidity: float, *, prior: FloatArray | None = None) -> float:
    """Return what traders have paid the maker for the shares it sold, up to the constant C(0).

    Args:
        shares: q, shape (n,), in shares; finite, any sign, n >= 1.
        liquidity: b, in shares, > 0 and finite; the larger, the less one share moves a price.
        prior: pi, shape (n,), > 0, sums to 1; None for the plain form, where C(0) = b ln n.

    Returns:
        C(q) in units of account: one share of every contract together costs exactly 1.

    Raises:
        InputError: an argument is outside its domain, or the market is empty.
    """
    log_weights = _log_weights(shares, liquidity, prior)
    return float(np.max(shares)) + liquidity * _log_sum_exp(log_weights)


def log_prices(
    shares: FloatArray, liquidity: float, *, prior: FloatArray | None = None
) -> FloatArray:
    """Return the natural log of every price; rank by this, because prices underflow to equal zeros.

    Args:
        shares: as in `cost`.
        liquidity: as in `cost`.
        prior: as in `cost`.

    Returns:
        ln p, shape (n,), <= 0; -inf only where (q_i - max q) / b is below the range of doubles.

    Raises:
        InputError: as in `cost`.
    """
    log_weights = _log_weights(shares, liquidity, prior)
    result: FloatArray = log_weights - _log_sum_exp(log_weights)
    return result


def prices(shares: FloatArray, liquidity: float, *, prior: FloatArray | None = None) -> FloatArray:
    """Return the market's price of each contract.

    Args:
        shares: as in `cost`.
        liquidity: as in `cost`.
        prior: as in `cost`.

    Returns:
        p, shape (n,), dimensionless, in [0, 1], summing to 1 within 1e-12.

    Raises:
        InputError: as in `cost`.
    """
    result: FloatArray = np.exp(log_prices(shares, liquidity, prior=prior))
    return result


def trade_cost(
    shares: FloatArray, trade: FloatArray, liquidity: float, *, prior: FloatArray | None = None
) -> float:
    """Return what a trader pays for a bundle: C(q + trade) - C(q); negative when the maker pays.

    Args:
        shares: q before the trade, as in `cost`.
        trade: shares bought of each contract, shape (n,), finite; negative to sell.
        liquidity: as in `cost`.
        prior: as in `cost`.

    Raises:
        InputError: as in `cost`, or `trade` has another shape than `shares`.
    """
    if trade.shape != shares.shape:
        raise InputError(f"trade must have the shape of shares {shares.shape}, got {trade.shape}")
    after = cost(shares + trade, liquidity, prior=prior)
    return after - cost(shares, liquidity, prior=prior)


def trade_to_prices(current: FloatArray, target: FloatArray, liquidity: float) -> FloatArray:
    """Return the bundle that moves prices from `current` to `target`; it costs exactly 0.

    Args:
        current: p, shape (n,), > 0, sums to 1.
        target: t, shape (n,), > 0, sums to 1.
        liquidity: b, in shares, > 0.

    Returns:
        b ln(t_i / p_i), shape (n,), in shares: also the mover's profit if contract i pays.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_liquidity(liquidity)
    check_distribution("current", current)
    check_distribution("target", target, n_contracts=current.size)
    result: FloatArray = liquidity * (np.log(target) - np.log(current))
    return result


def worst_case_loss(
    n_contracts: int, liquidity: float, *, prior: FloatArray | None = None
) -> float:
    """Return the most the maker can lose from its start price: b ln n, or b ln(1 / min pi).

    Args:
        n_contracts: n >= 1.
        liquidity: b, in shares, > 0.
        prior: the start price, shape (n,), > 0, sums to 1; None for 1/n each.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_liquidity(liquidity)
    if n_contracts < 1:
        raise InputError(f"a market needs at least 1 contract, got {n_contracts}")
    if prior is None:
        return liquidity * math.log(n_contracts)
    check_distribution("prior", prior, n_contracts=n_contracts)
    return -liquidity * math.log(float(prior.min()))


def effective_sample_size(weights: FloatArray) -> float:
    """Return (sum w)^2 / sum w^2: how many equal weights are as concentrated as these.

    Args:
        weights: shape (n,), >= 0, finite, not all 0; prices or any other weights.

    Returns:
        A number in [1, n].

    Raises:
        InputError: `weights` is outside its domain.
    """
    _check_vector("weights", weights)
    top = float(weights.max())
    if not (weights.min() >= 0 and top > 0):
        raise InputError(f"weights must be >= 0 and not all 0, got {weights!r}")
    scaled = weights / top  # cancels in the ratio; keeps the squares from underflow
    return exact_sum(scaled) ** 2 / exact_sum(scaled * scaled)


def effective_share(prices: FloatArray, *, prior: FloatArray | None = None) -> float:
    """Return 1 / sum p^2 / pi: how much of the prior carries the prices; ESS / n without a prior.

    Args:
        prices: p, shape (n,), >= 0, sums to 1.
        prior: pi, shape (n,), > 0, sums to 1; None for 1 / n each.

    Returns:
        A number in (0, 1]; 1 where prices are the prior.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_prices(prices)
    if prior is None:
        return effective_sample_size(prices) / prices.size
    check_distribution("prior", prior, n_contracts=prices.size)
    return 1 / exact_sum(prices / prior * prices)


def entropy(prices: FloatArray) -> float:
    """Return the Shannon entropy of prices in nats, with 0 ln 0 = 0.

    Args:
        prices: p, shape (n,), >= 0, sums to 1.

    Returns:
        H in [0, ln n].

    Raises:
        InputError: `prices` is outside its domain.
    """
    _check_prices(prices)
    positive = prices[prices > 0]
    return max(0.0, -exact_sum(positive * np.log(positive)))


def exact_sum(values: FloatArray) -> float:
    """Return the correctly rounded sum of a vector: the same bits for any order of its elements."""
    return math.fsum(values.tolist())


def check_distribution(name: str, values: FloatArray, *, n_contracts: int | None = None) -> None:
    """Refuse a vector that is not a strictly positive probability distribution.

    Args:
        name: what the vector is called in the error.
        values: any vector.
        n_contracts: the length it must have, if one is required.

    Raises:
        InputError: it is empty, not finite, not > 0, of another length, or does not sum to 1.
    """
    _check_vector(name, values)
    if n_contracts is not None and values.size != n_contracts:
        raise InputError(f"{name} must have {n_contracts} elements, got {values.size}")
    if not (values.min() > 0 and abs(exact_sum(values) - 1) <= _SUM_TOLERANCE):
        raise InputError(f"{name} must be > 0 and sum to 1, got {values!r}")


def _log_weights(shares: FloatArray, liquidity: float, prior: FloatArray | None) -> FloatArray:
    _check_vector("shares", shares)
    _check_liquidity(liquidity)
    with np.errstate(over="ignore"):  # -inf is the right limit: that price is 0
        scaled: FloatArray = (shares - shares.max()) / liquidity  # the shift cancels in prices
    if prior is None:
        return scaled
    check_distribution("prior", prior, n_contracts=shares.size)
    result: FloatArray = scaled + np.log(prior)
    return result


def _log_sum_exp(log_weights: FloatArray) -> float:
    top = float(log_weights.max())
    return top + math.log(exact_sum(np.exp(log_weights - top)))


def _check_vector(name: str, values: FloatArray) -> None:
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"{name} must be a finite, non-empty vector, got {values!r}")


def _check_prices(prices: FloatArray) -> None:
    _check_vector("prices", prices)
    if not (prices.min() >= 0 and abs(exact_sum(prices) - 1) <= _SUM_TOLERANCE):
        raise InputError(f"prices must be >= 0 and sum to 1, got {prices!r}")


def _check_liquidity(liquidity: float) -> None:
    if not 0 < liquidity < math.inf:  # written this way round so that NaN fails too
        raise InputError(f"liquidity must be > 0 shares and finite, got {liquidity!r}")
