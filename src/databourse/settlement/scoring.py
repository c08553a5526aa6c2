"""Scores of prices by what settled contracts paid: proper, so the truth scores best.

Notation: that of `databourse.settlement.contracts`; lambda = orders in nats per spread.

    log score        S(lambda) = sum_i u_i ln(p_i / a_i)                       in nats
    its gradient     E_u[z_k] - E_p[z_k]
    quadratic score  Q(lambda) = sum_i a_i (2 (u_i / a_i) (p_i / a_i) - (p_i / a_i)^2) - 1

Both are 0 where nothing is traded and best, over all prices, at p = u, where S = KL(u || a) and
Q = chi^2(u || a). S is what traders are paid by a market maker of liquidity 1 whose price they
moved from a to p (Hanson 2003), and it is concave in the orders: it is the log-likelihood of the
exponential family that the market is, at its most where the moments match. Q is not concave.

A lone trader's score is that of the prices if only it traded, with all the wealth. Its marginal
score is what the market's score loses if it stays away and nobody takes its place. Both at the
liquidity of the market scored. The sum of marginal scores is not the market's score.
"""

from __future__ import annotations

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.settlement.contracts import SettledContracts

_MOST_FLOW = 1e6  # nats per spread: prices are one document's long before


def log_price_ratios(contracts: SettledContracts, orders: FloatArray) -> FloatArray:
    """Return ln(p_i / a_i), shape (n,): how far the orders move each price, in nats.

    Args:
        contracts: settled.
        orders: lambda, shape (n_traders,), in nats per spread, finite, any sign.

    Raises:
        InputError: `orders` is outside its domain.
    """
    if orders.shape != (contracts.n_traders,) or not np.isfinite(orders).all():
        raise InputError(
            f"orders must be one finite number for each of {contracts.n_traders} traders, "
            f"got {orders!r}"
        )
    # A sum of our own: a matrix product may depend on the number of threads.
    moved = (contracts.scores * orders).sum(axis=1)
    top = np.maximum.reduceat(moved, contracts.starts)
    moved = moved - top[contracts.topic_index]  # cancels; it stops overflow
    grown = np.add.reduceat(contracts.base * np.exp(moved), contracts.starts)
    result: FloatArray = moved - np.log(grown / contracts.masses())[contracts.topic_index]
    return result


def log_score(contracts: SettledContracts, orders: FloatArray) -> float:
    """Return S, in nats: how much better than no trade the prices foresaw the payoffs.

    Args:
        contracts: settled.
        orders: as in `log_price_ratios`.
    """
    return exact_sum(contracts.payoff * log_price_ratios(contracts, orders))


def log_score_gradient(contracts: SettledContracts, orders: FloatArray) -> FloatArray:
    """Return E_u[z_k] - E_p[z_k], shape (n_traders,), in spreads: the slope of S in each order.

    Args:
        contracts: settled.
        orders: as in `log_price_ratios`.
    """
    prices = contracts.base * np.exp(log_price_ratios(contracts, orders))
    paid = contracts.payoff - prices
    result: FloatArray = (paid[:, np.newaxis] * contracts.scores).sum(axis=0)
    return result


def quadratic_score(contracts: SettledContracts, orders: FloatArray) -> float:
    """Return Q, dimensionless, at most chi^2(u || a).

    Args:
        contracts: settled.
        orders: as in `log_price_ratios`.
    """
    ratio = np.exp(log_price_ratios(contracts, orders))
    return exact_sum((2 * contracts.payoff - contracts.base * ratio) * ratio) - 1


def lone_log_scores(contracts: SettledContracts, order_flow: float) -> FloatArray:
    """Return each trader's S if it alone traded, shape (n_traders,), in nats.

    Args:
        contracts: settled.
        order_flow: nats per spread that all traders together order, 1 / liquidity; > 0.
    """
    stakes = order_flow * np.eye(contracts.n_traders)
    return np.array([log_score(contracts, stake) for stake in stakes])


def marginal_log_scores(contracts: SettledContracts, orders: FloatArray) -> FloatArray:
    """Return what S loses if each trader stays away, shape (n_traders,), in nats.

    Args:
        contracts: settled.
        orders: as in `log_price_ratios`.
    """
    together = log_score(contracts, orders)
    without = orders * (1 - np.eye(contracts.n_traders))
    return np.array([together - log_score(contracts, rest) for rest in without])


def best_order_flow(contracts: SettledContracts, weights: FloatArray) -> float:
    """Return the size at which orders in proportion to weights score best, in nats per spread.

    S is concave along the ray, so its slope crosses 0 once, or never where all that is foreseen is
    foreseen with certainty: then it ends at 1e6.

    Args:
        contracts: settled.
        weights: shape (n_traders,), >= 0, sum 1.

    Returns:
        >= 0; 0 where the weights foresee nothing. 1 / it is a liquidity in shares.
    """
    from scipy.optimize import brentq  # slow to import, and needed here alone

    def slope(flow: float) -> float:
        return exact_sum(weights * log_score_gradient(contracts, flow * weights))

    if slope(0.0) <= 0:
        return 0.0
    upper = 1.0
    while slope(upper) > 0:
        upper *= 2
        if upper > _MOST_FLOW:
            return _MOST_FLOW
    return float(brentq(slope, 0.0, upper, xtol=1e-12))
