"""Wealth of traders, earned by exponentiated gradient on the log score of the pooled market.

Notation: K traders and the house, which holds cash and orders nothing. w = stakes of all K + 1,
>= 0, sum 1; lambda_k = w_k / b = orders of trader k, in nats per spread, b = liquidity; S = log
score (`databourse.settlement.scoring`); g_k = E_u[z_k] - E_p[z_k] its slope; c = fee, in spreads;
w0 = stakes before, n = effective contracts, m = memory in contracts; eta = rate of learning.

    objective     F(w) = S(w / b) - c sum_k w_k / b - (m / n) KL(w || w0)
    one pass      w_k <- w_k exp(eta (g_k - c) / b), cash <- cash, scaled to sum 1      (m = 0)
    wealth        w_k / sum of w over the traders

The issue of scale. Wealth alone sums to one, so at a fixed liquidity the traders together would
have to order 1 / b nats even if the payoffs bear less: the rest would go to pairs that cancel, or
to noise. The house holds it instead: what cash remains, nobody orders, and the direction and the
size of the orders are both fitted. The market that uses the wealth sets its own liquidity, and
prices depend on the wealth alone where that is an effective share.

Opposite traders. Equal orders of z and -z cancel: prices and S do not see them, so both could be
rich. The fee charges every order, so such a pair pays 2 c for nothing: where g_k = c holds for one,
the other has -c < c and loses all. With c > 0 and m = 0 no two opposite traders hold wealth at the
optimum; only their net position can. A useless trader's slope is luck: the fee, unless another is
given, is what the best of K + 1 of them would earn by luck, sd(u / a) sqrt(2 ln(K + 1) / n), so it
loses as well. This is the maximum-entropy fit with an L1 penalty (Dudik, Phillips & Schapire 2004),
as an entry fee; house, fee and memory are our choice.

Decay. Before a settlement, wealth goes the part `decay` of the way to uniform, so that who was
ruined can come back; `memory` then says how many contracts the old wealth weighs as much as.

At the optimum with m = 0: g_k = c for traders with wealth, g_k <= c for others, up to the cash that
is left; with c = 0 moments match. KKT is certified by the gap max_k d_k - sum_k w_k d_k >= F* - F
(d = slopes of F; F is concave).

Regret (`exponentiated_step`, eta fixed, start w0, G_r = half the range of the slopes d_r of round
r): against any fixed w*, sum_r d_r (w* - w_r) <= KL(w* || w0) / eta + eta sum_r G_r^2 / 2, at most
ln(K + 1) / eta + eta T G^2 / 2 from uniform; for concave scores the regret of the scores is no more
(Kivinen & Warmuth 1997; the constant by Hoeffding's lemma). LMSR as no-regret learning: Chen &
Vaughan 2010 (arXiv 1003.0034).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum
from databourse.market.standardisation import IntArray
from databourse.settlement.contracts import SettledContracts
from databourse.settlement.scoring import log_price_ratios, log_score, log_score_gradient

_SUM_TOLERANCE = 1e-9  # of wealth that a caller gives
_FIRST_RATE = 1.0  # of learning; halved until it keeps its promise, so it decides time alone
_RATE_GROWTH = 1.5
_EQUAL_PAYOFF = 1e-12  # relative to the base: payoffs closer to it say nothing


@dataclass(frozen=True, kw_only=True)
class WealthTerms:
    """How traders earn and lose.

    Attributes:
        liquidity: b, in shares per unit of all wealth, > 0: with all of it in use a spread moves a
            log price by 1 / b. Only a ceiling, as the house holds what is not needed.
        fee: c, >= 0, in spreads; None for what luck earns.
        decay: part of the way that wealth goes to uniform before a settlement, in [0, 1].
        memory: m, >= 0: contracts that the wealth before weighs as much as; 0 forgets it.
        cash: what the house holds before, in (0, 1).
        most_passes: over the settled contracts, >= 1.
        tolerance: gap at which the passes end, nats, > 0.
    """

    liquidity: float = 0.25
    fee: float | None = None
    decay: float = 0.1
    memory: float = 2.0
    cash: float = 0.5
    most_passes: int = 20_000
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        fee = 0.0 if self.fee is None else self.fee
        for name, value in (("fee", fee), ("memory", self.memory)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} must be >= 0 and finite, got {value!r}")
        for name, value in (("liquidity", self.liquidity), ("tolerance", self.tolerance)):
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be > 0 and finite, got {value!r}")
        if not (0 <= self.decay <= 1 and 0 < self.cash < 1):
            raise InputError(
                f"decay must be in [0, 1] and cash in (0, 1), got {self.decay!r} and {self.cash!r}"
            )
        if self.most_passes < 1:
            raise InputError(f"most_passes must be >= 1, got {self.most_passes}")


DEFAULT_TERMS = WealthTerms()


@dataclass(frozen=True, eq=False)
class SettledWealth:
    """What a settlement leaves to the traders.

    `wealth`, shape (n_traders,), >= 0, sums to 1; `orders` lambda, shape (n_traders,), >= 0, nats
    per spread: what they and the house bear together; `fee` c; `has_earned`: false where payoffs
    are even, or no trader's slope is above the fee, so that orders are 0 and wealth is what it was
    (after decay, unless payoffs are even); `passes` made; `gap` to the best objective, nats.
    """

    wealth: FloatArray
    orders: FloatArray
    fee: float
    has_earned: bool
    passes: int
    gap: float


@dataclass(frozen=True, eq=False)
class Play:
    """Learning online, topic after topic, and what it cost not to know the best stakes before.

    `stakes` w after the last round, shape (n_traders + 1,), the house last; `gain` of the stakes
    played and `best_gain` of the best fixed stakes, sums over rounds, nats; `regret` = best - own;
    `bound` on it; `rate` eta; `rounds` T.
    """

    stakes: FloatArray
    gain: float
    best_gain: float
    regret: float
    bound: float
    rate: float
    rounds: int


def exponentiated_step(stakes: FloatArray, slopes: FloatArray, *, rate: float) -> FloatArray:
    """Return stakes after one step: w_k exp(rate * slope_k), scaled to sum 1.

    Args:
        stakes: w, shape (k,), >= 0, not all 0.
        slopes: what a unit of each stake would have gained, shape (k,), finite.
        rate: eta, > 0.

    Raises:
        InputError: an argument is outside its domain.
    """
    if not (0 < rate < math.inf and np.isfinite(slopes).all() and slopes.shape == stakes.shape):
        raise InputError(
            f"a step needs a rate > 0 and one finite slope for each of {stakes.size} stakes, got "
            f"{rate!r} and {slopes!r}"
        )
    if not (np.isfinite(stakes).all() and stakes.min() >= 0 and stakes.max() > 0):
        raise InputError(f"stakes must be finite, >= 0 and not all 0, got {stakes!r}")
    with np.errstate(divide="ignore"):  # a stake of 0 stays 0
        return np.exp(_normalised(np.log(stakes) + rate * slopes))


def best_rate(n_stakes: int, *, rounds: int, half_range: float) -> float:
    """Return the rate that makes the bound least: sqrt(2 ln K / T) / G.

    Args:
        n_stakes: K >= 2.
        rounds: T >= 1.
        half_range: G > 0, of the slopes within one round.

    Raises:
        InputError: an argument is outside its domain.
    """
    if n_stakes < 2 or rounds < 1 or not 0 < half_range < math.inf:
        raise InputError(
            f"a rate needs at least 2 stakes, 1 round and a half range > 0, got {n_stakes}, "
            f"{rounds} and {half_range!r}"
        )
    return math.sqrt(2 * math.log(n_stakes) / rounds) / half_range


def regret_bound(start: FloatArray, *, half_ranges: FloatArray, rate: float) -> float:
    """Return the most that stakes stepped from `start` lose against the best fixed ones.

    Args:
        start: w0, shape (k,), > 0, sums to 1.
        half_ranges: G_r = (largest - least slope) / 2 of each round, shape (n_rounds,), >= 0.
        rate: eta > 0, the same in each round.

    Returns:
        max_k ln(1 / w0_k) / eta + eta sum_r G_r^2 / 2: ln K / eta + eta T G^2 / 2 from uniform.
    """
    return -math.log(float(start.min())) / rate + rate * exact_sum(half_ranges**2) / 2


def decayed(wealth: FloatArray, rate: float) -> FloatArray:
    """Return (1 - rate) wealth + rate / n_traders, shape (n_traders,), which sums to 1.

    Args:
        wealth: shape (n_traders,), >= 0, sums to 1.
        rate: in [0, 1].

    Raises:
        InputError: an argument is outside its domain.
    """
    check_wealth(wealth, n_traders=wealth.size)
    if not 0 <= rate <= 1:
        raise InputError(f"the rate of decay must be in [0, 1], got {rate!r}")
    result: FloatArray = (1 - rate) * wealth + rate / wealth.size
    return result / exact_sum(result)


def check_wealth(wealth: FloatArray, *, n_traders: int) -> None:
    """Refuse wealth that is not >= 0 with sum 1, one number for each trader.

    Raises:
        InputError: says what came.
    """
    if wealth.shape != (n_traders,) or n_traders == 0:
        raise InputError(
            f"wealth must be one number for each of {n_traders} traders, got shape {wealth.shape}"
        )
    if not (np.isfinite(wealth).all() and wealth.min() >= 0):
        raise InputError(f"wealth must be >= 0 and finite, got {wealth!r}")
    if abs(exact_sum(wealth) - 1) > _SUM_TOLERANCE:
        raise InputError(f"wealth must sum to 1, got {wealth!r}; scale it first")


def fee_of_luck(contracts: SettledContracts) -> float:
    """Return what the best of n_traders + 1 useless traders would earn, in spreads.

    sd(u / a) sqrt(2 ln(n_traders + 1) / n): E_u[z] - E_a[z] of a score that has nothing to do with
    payoffs has about this standard deviation over sqrt(2 ln(n_traders + 1)).
    """
    deviation = contracts.payoff / contracts.base - 1
    variance = exact_sum(contracts.base * deviation * deviation)
    luck = 2 * math.log(contracts.n_traders + 1) / contracts.effective_contracts
    return math.sqrt(variance * luck)


def settle_wealth(
    contracts: SettledContracts, wealth: FloatArray, *, terms: WealthTerms = DEFAULT_TERMS
) -> SettledWealth:
    """Return the wealth of every trader after settled contracts have paid out.

    Args:
        contracts: settled.
        wealth: before, shape (n_traders,), >= 0, sums to 1. Who has none, and no decay, gets none.
        terms: how traders earn and lose.

    Raises:
        InputError: an argument is outside its domain.
    """
    check_wealth(wealth, n_traders=contracts.n_traders)
    fee = fee_of_luck(contracts) if terms.fee is None else terms.fee
    nothing = np.zeros(contracts.n_traders)
    if (np.abs(contracts.payoff / contracts.base - 1) <= _EQUAL_PAYOFF).all():
        return SettledWealth(wealth.copy(), nothing, fee, has_earned=False, passes=0, gap=0.0)
    before = decayed(wealth, terms.decay)
    slopes = log_score_gradient(contracts, nothing)
    if not (slopes[before > 0] > fee).any():
        return SettledWealth(before, nothing, fee, has_earned=False, passes=0, gap=0.0)
    start = np.append((1 - terms.cash) * before, terms.cash)
    game = _Game(contracts, liquidity=terms.liquidity, fee=fee)
    pull = terms.memory / contracts.effective_contracts
    stakes, passes, gap = _fitted(
        game, start, pull=pull, most_passes=terms.most_passes, tolerance=terms.tolerance
    )
    traders = stakes[:-1]
    after = traders / traders.max()
    after /= exact_sum(after)
    return SettledWealth(
        after, traders / terms.liquidity, fee, has_earned=True, passes=passes, gap=gap
    )


def play_topics(
    contracts: SettledContracts,
    wealth: FloatArray,
    *,
    order: IntArray,
    terms: WealthTerms = DEFAULT_TERMS,
    rate: float | None = None,
) -> Play:
    """Return how one step of learning after each topic's settlement would have fared.

    Round r settles topic t = order[r]: it gains n_topics times the topic's part of S, less the fee,
    so that the mean over all topics is S less the fee. Memory plays no part.

    Args:
        contracts: settled.
        wealth: before the first round, shape (n_traders,), > 0, sums to 1.
        order: topics in the order in which they settle, shape (n_rounds,), n_rounds >= 1.
        terms: liquidity, fee and cash are used.
        rate: eta, > 0; None for the best against the largest slopes that the scores allow.

    Raises:
        InputError: an argument is outside its domain, or a trader has no wealth.
    """
    check_wealth(wealth, n_traders=contracts.n_traders)
    if wealth.min() <= 0:
        raise InputError(f"every trader needs wealth to begin with, got {wealth!r}")
    if order.ndim != 1 or not order.size or not np.isin(order, contracts.topic_index).all():
        raise InputError(f"order must name topics 0 .. {contracts.n_topics - 1}, got {order!r}")
    fee = fee_of_luck(contracts) if terms.fee is None else terms.fee
    games = []
    for topic, mass in enumerate(contracts.masses()):
        part = contracts.kept(contracts.topic_index == topic)
        games.append(
            _Game(part, liquidity=terms.liquidity, fee=fee, size=contracts.n_topics * float(mass))
        )
    if rate is None:
        most = max(game.largest_half_range() for game in games)
        # Where nothing can be gained, any rate does.
        rate = best_rate(wealth.size + 1, rounds=order.size, half_range=most) if most > 0 else 1.0
    start = np.append((1 - terms.cash) * wealth, terms.cash)
    stakes, gains, half_ranges = start, [], []
    for topic in order.tolist():
        slopes = games[topic].slopes(stakes)
        gains.append(games[topic].gain(stakes))
        half_ranges.append((slopes.max() - slopes.min()) / 2)
        stakes = exponentiated_step(stakes, slopes, rate=rate)
    counts = np.bincount(order, minlength=contracts.n_topics).tolist()
    played = [(game, count) for game, count in zip(games, counts, strict=True) if count]
    best = _best_fixed(played, start, terms=terms)
    gain, best_gain = math.fsum(gains), math.fsum(count * game.gain(best) for game, count in played)
    return Play(
        stakes=stakes,
        gain=gain,
        best_gain=best_gain,
        regret=best_gain - gain,
        bound=regret_bound(start, half_ranges=np.array(half_ranges), rate=rate),
        rate=rate,
        rounds=int(order.size),
    )


@dataclass(frozen=True, eq=False)
class _Game:
    """What stakes gain from contracts: size * (S(w / b) - fee * sum_k w_k / b)."""

    contracts: SettledContracts
    liquidity: float
    fee: float
    size: float = 1.0

    def gain(self, stakes: FloatArray) -> float:
        orders = stakes[:-1] / self.liquidity
        return self.size * (log_score(self.contracts, orders) - self.fee * exact_sum(orders))

    def slopes(self, stakes: FloatArray) -> FloatArray:
        """Return the slope of `gain` in each stake; that of the house is 0."""
        own = log_score_gradient(self.contracts, stakes[:-1] / self.liquidity) - self.fee
        return np.append(self.size * own / self.liquidity, 0.0)

    def bend(self, stakes: FloatArray, new: FloatArray) -> float:
        """Return by how much `gain` at new stakes is below its tangent at the old, >= 0.

        It is KL(p || p new), of the prices, taken as a sum of terms >= 0: none cancel.
        """
        before = log_price_ratios(self.contracts, stakes[:-1] / self.liquidity)
        moved = log_price_ratios(self.contracts, new[:-1] / self.liquidity) - before
        prices = self.contracts.base * np.exp(before)
        return self.size * exact_sum(prices * (np.expm1(moved) - moved))

    def largest_half_range(self) -> float:
        """Return half the most by which two slopes can differ, whatever is staked and paid."""
        scores = self.contracts.scores
        most = float((scores.max(axis=0) - scores.min(axis=0)).max())
        return self.size * (most + self.fee / 2) / self.liquidity


def _best_fixed(
    played: list[tuple[_Game, int]], start: FloatArray, *, terms: WealthTerms
) -> FloatArray:
    """Return the stakes that gain most over all rounds together, up to the tolerance."""
    return _fitted(
        _Games(played),
        start,
        pull=0.0,
        most_passes=terms.most_passes,
        tolerance=terms.tolerance,
    )[0]


@dataclass(frozen=True, eq=False)
class _Games:
    """Several games, each as often as it was played, per round."""

    played: list[tuple[_Game, int]]

    def gain(self, stakes: FloatArray) -> float:
        return math.fsum(n * game.gain(stakes) for game, n in self.played) / self._rounds()

    def slopes(self, stakes: FloatArray) -> FloatArray:
        total = np.zeros(stakes.size)
        for game, n in self.played:
            total += n * game.slopes(stakes)
        return total / self._rounds()

    def bend(self, stakes: FloatArray, new: FloatArray) -> float:
        return math.fsum(n * game.bend(stakes, new) for game, n in self.played) / self._rounds()

    def _rounds(self) -> int:
        return sum(n for _, n in self.played)


def _fitted(
    game: _Game | _Games, start: FloatArray, *, pull: float, most_passes: int, tolerance: float
) -> tuple[FloatArray, int, float]:
    """Return the stakes of the best objective, the passes made, and the gap left.

    Exponentiated gradient; the pull towards the start is taken exactly, at the stakes after the
    step, so that its slope, which is endless next to 0, does not decide the rate. A step is taken
    where the gain bends by at most KL(new || old) / rate, so that no pass lowers the objective.
    """
    with np.errstate(divide="ignore"):  # a stake of 0 stays 0
        log_start = np.log(start)
    alive = np.flatnonzero(start > 0)
    log_stakes, rate = log_start.copy(), _FIRST_RATE
    gap, passes = math.inf, 0
    stakes = np.exp(log_stakes)
    slopes = game.slopes(stakes)
    while True:
        full = slopes[alive] - pull * (log_stakes[alive] - log_start[alive])
        gap = float(full.max() - stakes[alive] @ full)
        if gap <= tolerance or passes == most_passes:
            return stakes, passes, max(gap, 0.0)
        while True:
            drawn = log_stakes[alive] + rate * (slopes[alive] + pull * log_start[alive])
            following = log_start.copy()
            following[alive] = drawn / (1 + rate * pull)
            following = _normalised(following)
            new = np.exp(following)
            moved = _divergence(stakes[alive], following[alive] - log_stakes[alive])
            if rate * game.bend(stakes, new) <= moved:
                break
            rate /= 2
        log_stakes, stakes = following, new
        slopes = game.slopes(stakes)
        rate *= _RATE_GROWTH
        passes += 1


def _divergence(stakes: FloatArray, steps: FloatArray) -> float:
    """Return KL(new || stakes), new = stakes exp(steps), as a sum of terms >= 0: none cancel."""
    return exact_sum(stakes * (steps * np.exp(steps) - np.expm1(steps)))


def _normalised(log_stakes: FloatArray) -> FloatArray:
    """Return log stakes shifted so that the stakes sum to 1."""
    top = float(log_stakes.max())
    result: FloatArray = log_stakes - (top + math.log(exact_sum(np.exp(log_stakes - top))))
    return result
