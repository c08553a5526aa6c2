"""What would have to change for a document to have another price, all other orders held fixed.

Notation: P = price over the pool, m = mass of the document's topic, p = P / m its price within the
topic, b = liquidity in shares, g = length bias, l = tokens. Documents are ranked by ln P - g ln l.

Holding the others' shares and the opening prices fixed, p = w / (w + rest) with w proportional to
exp(q / b). So d more shares multiply the odds p / (1 - p) by exp(d / b), and reaching p' takes
d = b ln(p' (1 - p) / (p (1 - p'))): the document's own effect on its topic's prices is included.
A signal moves its trader's order alone: mean and spread of the topic are held fixed too.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

_SHARE_DECIMALS = 6
_LARGEST_LENGTH = 2**62


def shares_to_price(
    target_log_price: float, *, log_price: float, mass: float, liquidity: float
) -> float | None:
    """Return how many more shares of a document bring it to a price, its own effect included.

    Args:
        target_log_price: ln P', natural log of the price over the pool to reach.
        log_price: ln P, the present one.
        mass: m, part of the topic in all prices, in (0, 1].
        liquidity: b of the topic, in shares, > 0.

    Returns:
        d in shares, negative for a lower price; None where no number of shares does it: the target
        is the price of the whole topic or more, or the document is alone in its topic.
    """
    within, target = log_price - math.log(mass), target_log_price - math.log(mass)
    if not (-math.inf < within < 0 and -math.inf < target < 0):
        return None
    return liquidity * ((target - within) + _log_of_rest(within) - _log_of_rest(target))


def signal_to_order(
    shares: float, *, value: float, spread: float, shares_per_spread: float
) -> float | None:
    """Return the raw value at which a signal alone makes its trader buy so many more shares.

    With z = (value - mean) / spread this is mean + spread * (z + shares / shares_per_spread).

    Args:
        shares: d, beyond the present order; negative for fewer.
        value: the document's present value of the signal.
        spread: of the signal over the topic, >= 0.
        shares_per_spread: what the trader buys of a document one spread above the mean.

    Returns:
        The value; None where the trader buys nothing whatever the value: its weight is 0, or the
        signal is constant in the topic.
    """
    if not (spread > 0 and shares_per_spread > 0):
        return None
    needed = value + spread * (shares / shares_per_spread)
    return needed if math.isfinite(needed) else None


def longest_at_price(
    target_log_price_per_token: float, *, log_price: float, length_bias: float
) -> int | None:
    """Return the most tokens at which a document of a price reaches a price per token.

    Args:
        target_log_price_per_token: ln P - g ln l to reach.
        log_price: ln P.
        length_bias: g.

    Returns:
        l, rounded down; 0 where not even one token is short enough; None where length does not
        matter or longer documents are dearer (g <= 0), or where any length will do.
    """
    if not length_bias > 0:
        return None
    log_tokens = (log_price - target_log_price_per_token) / length_bias
    if not log_tokens < math.log(_LARGEST_LENGTH):
        return None
    # Prices per token are compared to 12 decimals of their logarithm.
    return math.floor(math.exp(log_tokens) * (1 + 1e-12))


def share_of_tokens(tokens: int, total_tokens: int) -> float:
    """Return the least share, to 6 decimals, that as a budget buys so many of all tokens.

    Args:
        tokens: in 0 .. `total_tokens`.
        total_tokens: of the pool, >= 1.
    """
    share = Decimal(tokens) / Decimal(total_tokens)
    return float(share.quantize(Decimal(1).scaleb(-_SHARE_DECIMALS), rounding=ROUND_CEILING))


def _log_of_rest(log_price: float) -> float:
    """Return ln(1 - p) from ln p < 0, precise at both ends."""
    if log_price > -math.log(2):
        return math.log(-math.expm1(log_price))
    return math.log1p(-math.exp(log_price))
