"""LMSR: golden values, refusals, and the laws of the mechanism on random markets.

| law | statement | tests (here unless another file is named) |
|---|---|---|
| L1 | prices are a distribution | test_law_01 |
| L2 | adding c to all shares adds c to the cost and nothing to prices | test_law_02 |
| L3 | permuting contracts permutes prices | test_law_03 |
| L4 | only q / b matters to prices; the cost scales | test_law_04 |
| L5 | max q <= C <= max q + b ln n | test_law_05 |
| L6 | convex; slopes (diag p - p p') / b and their bounds; signs | test_law_06 (three) |
| L7 | prices move by at most D / b, tanh(range D / 4b), 2 D / b in logs | test_law_07 |
| L8 | path independence, round trips are free | test_law_08 |
| L9 | p.D <= cost <= p'.D and min D <= cost <= max D | test_law_09 |
| L10 | cost - p.D = b KL(p, p') | test_law_10 |
| L11 | the maker loses b ln(p_i / pi_i) <= b ln(1 / min pi), never reached | test_law_11 (two) |
| L12 | b ln(t / p) moves prices to t and costs 0 | test_law_12 |
| L13 | moving prices to one's belief pays best | test_law_13 |
| L14 | a ratio of prices ignores other contracts | test_law_14 |
| L15 | C = max <p, q> + b H(p), with gap b KL; stationarity on the simplex | test_law_15 (two) |
| L16 | maximum entropy among all with the same expected signals | test_law_16; test_guarantees |
| L17 | fixed orders are a log opinion pool, in any order | test_pooling: test_law_17 |
| L18 | risk-averse moves, their limits and their order | test_pooling: test_law_18 |
| L19 | makers merge by adding liquidities | test_pooling: test_law_19 |
| L20 | b to 0: ties for the largest order share all mass | test_law_20 |
| L21 | b to infinity: prices return to the prior | test_law_21 |
| L22 | entropy and ESS grow with b, strictly unless q is constant | test_law_22 (four) |
| L23 | 1 / max p <= ESS <= exp H <= n | test_law_23 |
| L24 | b never changes the ranking | test_law_24 |
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr

law = settings(derandomize=True, deadline=None, max_examples=40)
liquidities = st.floats(-3, 3).map(lambda power: 10.0**power)
share = st.one_of(
    st.floats(-5, 5), st.floats(-1e6, 1e6), st.sampled_from([-1.0, 0.0, 1.0]), st.just(2.5)
)


@st.composite
def markets(draw, n_vectors=1, min_size=1):
    """Draw (liquidity, prior or None, vectors of shares); values repeat, so there are ties."""
    n = draw(st.integers(min_size, 12))
    vectors = [
        np.array(draw(st.lists(share, min_size=n, max_size=n)), dtype=float)
        for _ in range(n_vectors)
    ]
    prior = None
    if draw(st.booleans()):
        raw = np.array(draw(st.lists(st.floats(1e-3, 1), min_size=n, max_size=n)))
        prior = raw / raw.sum()
    return draw(liquidities), prior, *vectors


def scale_of(liquidity, *vectors):
    """Return the magnitude of the numbers that cancel: rounding is about 1e-16 of it."""
    return max(1.0, liquidity, *(float(np.abs(vector).max()) for vector in vectors))


def divergence(left, right):
    """Return KL(left || right) from logs, or inf where right has underflowed."""
    held = left > 0
    return float(np.sum(left[held] * (np.log(left[held]) - np.log(right[held]))))


GOLDEN = [
    (1.0, 1.4076059644, (0.665241, 0.244728, 0.090031), 1.9586986534, 0.8323955818),
    (0.5, 1.0714658142, (0.866813, 0.117310, 0.015876), 1.3065420026, 0.4410574441),
    (2.0, 2.3605393413, (0.506480, 0.307196, 0.186324), 2.5933056557, 1.0201913367),
]


@pytest.mark.parametrize(("liquidity", "cost", "prices", "size", "entropy"), GOLDEN)
def test_market_of_three_has_the_worked_cost_prices_size_and_entropy(
    liquidity, cost, prices, size, entropy
):
    shares = np.array([1.0, 0.0, -1.0])
    priced = lmsr.prices(shares, liquidity)

    assert lmsr.cost(shares, liquidity) == pytest.approx(cost, abs=5e-11)
    np.testing.assert_allclose(priced, prices, atol=5e-7)
    assert lmsr.effective_sample_size(priced) == pytest.approx(size, abs=5e-11)
    assert lmsr.entropy(priced) == pytest.approx(entropy, abs=5e-11)


def test_one_share_from_the_start_has_the_worked_cost_price_and_loss_bound():
    start, one = np.zeros(3), np.array([1.0, 0.0, 0.0])

    assert lmsr.trade_cost(start, one, 1.0) == pytest.approx(0.4528324253, abs=5e-11)
    assert lmsr.prices(start + one, 1.0)[0] == pytest.approx(0.576117, abs=5e-7)
    assert lmsr.worst_case_loss(3, 1.0) == pytest.approx(1.0986122887, abs=5e-11)


@pytest.mark.parametrize(
    ("liquidity", "prices"), [(1e-3, (0, 0.5, 0.5, 0)), (1e6, (0.25, 0.25, 0.25, 0.25))]
)
def test_tied_orders_have_the_worked_limits(liquidity, prices):
    priced = lmsr.prices(np.array([1.0, 3.0, 3.0, -2.0]), liquidity)

    np.testing.assert_allclose(priced, prices, atol=2e-6)


@law
@given(markets())
def test_law_01_prices_are_a_distribution(market):
    liquidity, prior, q = market
    log_prices = lmsr.log_prices(q, liquidity, prior=prior)
    prices = lmsr.prices(q, liquidity, prior=prior)

    assert (prices >= 0).all()
    assert (log_prices <= 1e-15).all()
    assert np.isfinite(log_prices).all()
    assert prices.sum() == pytest.approx(1, abs=1e-12)


@law
@given(markets(), st.floats(-1e3, 1e3))
def test_law_02_one_share_of_everything_costs_exactly_one(market, constant):
    liquidity, prior, q = market
    rounding = 1e-14 * scale_of(liquidity, q, np.array([constant]))
    paid = lmsr.trade_cost(q, np.full(q.size, constant), liquidity, prior=prior)

    assert paid == pytest.approx(constant, abs=rounding)
    np.testing.assert_allclose(
        lmsr.log_prices(q + constant, liquidity, prior=prior),
        lmsr.log_prices(q, liquidity, prior=prior),
        rtol=1e-9,
        atol=4 * rounding / liquidity + 1e-12,
    )


@law
@given(markets(), st.randoms(use_true_random=False))
def test_law_03_permuting_contracts_permutes_prices_bit_for_bit(market, random):
    liquidity, prior, q = market
    order = list(range(q.size))
    random.shuffle(order)
    moved = None if prior is None else prior[order]

    permuted = lmsr.log_prices(q[order], liquidity, prior=moved)
    assert permuted.tolist() == lmsr.log_prices(q, liquidity, prior=prior)[order].tolist()
    assert lmsr.cost(q[order], liquidity, prior=moved) == lmsr.cost(q, liquidity, prior=prior)


@law
@given(markets(), st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_law_04_only_the_ratio_of_shares_to_liquidity_sets_prices(market, factor):
    liquidity, prior, q = market  # powers of two scale without rounding
    scaled = lmsr.log_prices(factor * q, factor * liquidity, prior=prior)

    np.testing.assert_array_equal(scaled, lmsr.log_prices(q, liquidity, prior=prior))
    assert lmsr.cost(factor * q, factor * liquidity, prior=prior) == pytest.approx(
        factor * lmsr.cost(q, liquidity, prior=prior), rel=1e-12
    )


@law
@given(markets(), st.floats(0.01, 100))
def test_law_04_holds_for_any_factor_up_to_rounding(market, factor):
    liquidity, prior, q = market
    rounding = 1e-14 * scale_of(liquidity, q)

    np.testing.assert_allclose(
        lmsr.log_prices(factor * q, factor * liquidity, prior=prior),
        lmsr.log_prices(q, liquidity, prior=prior),
        rtol=1e-12,
        atol=rounding / liquidity + 1e-13,
    )
    assert lmsr.cost(factor * q, factor * liquidity, prior=prior) == pytest.approx(
        factor * lmsr.cost(q, liquidity, prior=prior), abs=2 * max(1, factor) * rounding
    )


@law
@given(markets())
def test_law_05_cost_lies_between_the_largest_order_and_the_loss_bound_above_it(market):
    liquidity, _, q = market
    cost, rounding = lmsr.cost(q, liquidity), 1e-14 * scale_of(liquidity, q)

    assert q.max() - rounding <= cost <= q.max() + liquidity * math.log(q.size) + rounding


@law
@given(markets(min_size=2))
def test_law_06_price_slopes_are_a_positive_semidefinite_matrix_that_kills_ones(market):
    liquidity, prior, q = market
    p = lmsr.prices(q, liquidity, prior=prior)
    hessian = (np.diag(p) - np.outer(p, p)) / liquidity
    eigenvalues = np.linalg.eigvalsh(hessian)
    rounding = 1e-12 / liquidity

    assert eigenvalues.min() >= -rounding
    assert eigenvalues.max() <= 1 / (2 * liquidity) + rounding
    np.testing.assert_allclose(hessian @ np.ones(q.size), 0, atol=rounding)
    assert (np.diag(hessian) <= 1 / (4 * liquidity) + rounding).all()


@law
@given(markets(min_size=2), st.integers(0, 11))
def test_law_06_prices_are_the_gradient_of_cost_and_the_slopes_their_gradient(market, index):
    liquidity, prior, q = market
    assume(np.abs(q).max() / liquidity < 100)
    step = np.zeros(q.size)
    step[index % q.size] = 1e-5 * liquidity
    p = lmsr.prices(q, liquidity, prior=prior)
    up, down = (lmsr.cost(q + sign * step, liquidity, prior=prior) for sign in (1, -1))
    priced_up, priced_down = (
        lmsr.prices(q + sign * step, liquidity, prior=prior) for sign in (1, -1)
    )
    slope = (np.diag(p) - np.outer(p, p))[index % q.size]

    # Central differences: 1e-16 * 100 / 2e-5 of rounding, 1e-10 of curvature.
    assert (up - down) / (2e-5 * liquidity) == pytest.approx(p[index % q.size], abs=2e-8)
    np.testing.assert_allclose((priced_up - priced_down) / 2e-5, slope, atol=2e-8)


@law
@given(markets(min_size=2), st.integers(0, 11), st.floats(0.01, 10))
def test_law_06_an_order_raises_its_own_price_and_lowers_all_others(market, index, size):
    liquidity, prior, q = market
    q = q / max(1, np.abs(q).max() / (10 * liquidity))  # else prices are 0 and 1 up to rounding
    bought = np.arange(q.size) == index % q.size
    before = lmsr.log_prices(q, liquidity, prior=prior)
    after = lmsr.log_prices(q + size * liquidity * bought, liquidity, prior=prior)

    assert (after[bought] > before[bought]).all()
    assert (after[~bought] < before[~bought]).all()


@law
@given(markets(n_vectors=2))
def test_law_07_prices_move_no_further_than_orders_over_liquidity(market):
    liquidity, prior, q, other = market
    trade = other - q
    p, after = (lmsr.prices(x, liquidity, prior=prior) for x in (q, other))
    log_p, log_after = (lmsr.log_prices(x, liquidity, prior=prior) for x in (q, other))
    distance = float(np.abs(p - after).sum())
    rounding = 1e-14 * scale_of(liquidity, q, other) / liquidity + 1e-12
    largest = float(np.abs(trade).max())

    assert distance <= largest / liquidity + rounding
    assert distance / 2 <= math.tanh((trade.max() - trade.min()) / (4 * liquidity)) + rounding
    assert np.abs(log_p - log_after).max() <= 2 * largest / liquidity + rounding


@law
@given(markets(n_vectors=3))
def test_law_08_the_path_of_trades_does_not_change_what_they_cost(market):
    liquidity, prior, q, first, second = market
    rounding = 1e-14 * scale_of(liquidity, q, first, second)
    steps = (
        lmsr.trade_cost(q, first, liquidity, prior=prior)
        + lmsr.trade_cost(q + first, second, liquidity, prior=prior)
        + lmsr.trade_cost(q + first + second, -first - second, liquidity, prior=prior)
    )

    assert steps == pytest.approx(0, abs=20 * rounding)


@law
@given(markets(n_vectors=2))
def test_law_09_a_trade_costs_between_its_worth_before_and_after(market):
    liquidity, prior, q, trade = market
    rounding = 1e-13 * scale_of(liquidity, q, trade)
    paid = lmsr.trade_cost(q, trade, liquidity, prior=prior)
    before = float(lmsr.prices(q, liquidity, prior=prior) @ trade)
    after = float(lmsr.prices(q + trade, liquidity, prior=prior) @ trade)

    assert before - rounding <= paid <= after + rounding
    assert trade.min() - rounding <= paid <= trade.max() + rounding


@law
@given(markets(n_vectors=2))
def test_law_10_cost_above_worth_is_the_divergence_of_old_from_new_prices(market):
    liquidity, prior, q, trade = market
    p, log_p = lmsr.prices(q, liquidity, prior=prior), lmsr.log_prices(q, liquidity, prior=prior)
    log_after = lmsr.log_prices(q + trade, liquidity, prior=prior)
    gap = lmsr.trade_cost(q, trade, liquidity, prior=prior) - float(p @ trade)

    assert gap == pytest.approx(
        liquidity * float(p @ (log_p - log_after)), abs=1e-13 * scale_of(liquidity, q, trade)
    )


@law
@given(markets())
def test_law_11_no_outcome_costs_the_maker_more_than_the_bound(market):
    liquidity, prior, q = market
    start = np.zeros(q.size)
    rounding = 1e-13 * scale_of(liquidity, q)
    loss = q - lmsr.trade_cost(start, q, liquidity, prior=prior)
    log_start = lmsr.log_prices(start, liquidity, prior=prior)
    by_prices = liquidity * (lmsr.log_prices(q, liquidity, prior=prior) - log_start)

    np.testing.assert_allclose(loss, by_prices, rtol=1e-9, atol=rounding)
    assert loss.max() <= lmsr.worst_case_loss(q.size, liquidity, prior=prior) + rounding


@law
@given(liquidities, st.integers(2, 12), st.floats(1, 25))
def test_law_11_the_bound_is_approached_but_never_reached(liquidity, n, depth):
    bought = np.zeros(n)
    bought[0] = depth * liquidity
    bound = lmsr.worst_case_loss(n, liquidity)
    loss = bought[0] - lmsr.trade_cost(np.zeros(n), bought, liquidity)

    assert loss < bound
    # b ln p, of a price that is 1 - (n - 1) exp(-depth) or more
    assert bound - loss <= liquidity * n * math.exp(-depth) + 1e-14 * liquidity


@law
@given(markets(n_vectors=2))
def test_law_12_the_bundle_that_sets_prices_costs_nothing(market):
    liquidity, prior, q, other = market
    current = lmsr.prices(q / scale_of(1, q), 1.0, prior=prior)
    target = lmsr.prices(other / scale_of(1, other), 1.0)
    bundle = lmsr.trade_to_prices(current, target, liquidity)

    assert lmsr.trade_cost(np.zeros(q.size), bundle, liquidity, prior=current) == pytest.approx(
        0, abs=1e-13 * liquidity
    )
    np.testing.assert_allclose(lmsr.prices(bundle, liquidity, prior=current), target, rtol=1e-12)
    # The bundle is free, so what it pays if i occurs is the mover's profit: the gain in log score.
    by_scores = [liquidity * math.log(b / a) for a, b in zip(current, target, strict=True)]
    np.testing.assert_allclose(bundle, by_scores, rtol=1e-9, atol=1e-14 * liquidity)


@law
@given(markets(n_vectors=3))
def test_law_13_moving_prices_to_ones_belief_pays_best(market):
    liquidity, _, *vectors = market
    p, t, r = (lmsr.prices(x / scale_of(1, x), 1.0) for x in vectors)
    profit = float(r @ lmsr.trade_to_prices(p, t, liquidity))
    best = float(r @ lmsr.trade_to_prices(p, r, liquidity))
    rounding = 1e-13 * liquidity

    by_divergence = liquidity * (divergence(r, p) - divergence(r, t))
    assert profit == pytest.approx(by_divergence, abs=rounding)
    assert best == pytest.approx(liquidity * divergence(r, p), abs=rounding)
    assert profit <= best + rounding


@law
@given(markets(min_size=3), st.floats(-50, 50))
def test_law_14_the_ratio_of_two_prices_ignores_the_other_contracts(market, other):
    liquidity, prior, q = market
    log_p = lmsr.log_prices(q, liquidity, prior=prior)
    start = np.zeros(q.size) if prior is None else np.log(prior)
    rounding = 1e-14 * scale_of(liquidity, q) / liquidity + 1e-13
    changed = q.copy()
    changed[2] = other
    log_changed = lmsr.log_prices(changed, liquidity, prior=prior)

    expected = start[0] - start[1] + (q[0] - q[1]) / liquidity
    assert log_p[0] - log_p[1] == pytest.approx(expected, rel=1e-9, abs=rounding)
    assert log_changed[0] - log_changed[1] == pytest.approx(expected, rel=1e-9, abs=rounding)


@law
@given(markets(n_vectors=2))
def test_law_15_cost_is_the_largest_expected_order_plus_entropy_and_the_gap_is_known(market):
    liquidity, prior, q, other = market
    t = lmsr.prices(other / scale_of(1, other), 1.0)
    start = np.ones(q.size) if prior is None else prior
    log_p = lmsr.log_prices(q, liquidity, prior=prior)
    p = np.exp(log_p)
    rounding = 1e-13 * scale_of(liquidity, q)

    def value(x):
        return float(x @ q) - liquidity * float(
            np.sum(x[x > 0] * (np.log(x[x > 0]) - np.log(start[x > 0])))
        )

    cost = lmsr.cost(q, liquidity, prior=prior)
    assert cost == pytest.approx(value(p), abs=rounding)
    gap = liquidity * float(t @ (np.log(t) - log_p))
    assert cost - value(t) == pytest.approx(gap, abs=rounding)
    assert gap >= -rounding


@law
@given(markets())
def test_law_15_the_maximum_entropy_condition_holds_at_every_contract(market):
    liquidity, prior, q = market
    start = np.zeros(q.size) if prior is None else np.log(prior)
    multiplier = q - liquidity * (lmsr.log_prices(q, liquidity, prior=prior) - start + 1)

    assert np.ptp(multiplier) <= 1e-13 * scale_of(liquidity, q)


@law
@given(markets(min_size=4), st.integers(0, 2**31))
def test_law_16_no_prices_with_the_same_expected_signals_have_more_entropy(market, seed):
    liquidity, _, q = market
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(2, q.size))
    weights = np.array([0.7, 0.3])
    p = lmsr.prices(weights @ signals, max(liquidity, 0.1))
    constraints = np.vstack([signals, np.ones(q.size)])
    free = np.linalg.svd(constraints)[2][3:]  # directions that change no expectation
    direction = rng.normal(size=free.shape[0]) @ free
    direction *= 0.3 * p.min() / np.abs(direction).max()

    moved = p + direction
    np.testing.assert_allclose(constraints @ moved, constraints @ p, atol=1e-12)
    # The entropy falls by about sum d^2 / 2p, which can be too small to see in doubles.
    fall = float(np.sum(direction**2 / p)) / 2
    assume(fall > 1e-11)
    assert lmsr.entropy(moved) < lmsr.entropy(p)


@law
@given(markets())
def test_law_20_without_liquidity_the_largest_orders_share_all_mass(market):
    _, prior, q = market
    q = np.round(q, 3)
    prices = lmsr.prices(q, 1e-6, prior=prior)
    start = np.ones(q.size) if prior is None else prior
    expected = np.where(q == q.max(), start, 0)

    np.testing.assert_allclose(prices, expected / expected.sum(), atol=1e-12)
    assert lmsr.cost(q, 1e-6, prior=prior) == pytest.approx(q.max(), abs=1e-5)


@law
@given(markets())
def test_law_21_with_endless_liquidity_prices_return_to_the_prior(market):
    _, prior, q = market
    q = q / scale_of(1, q)
    start = np.full(q.size, 1 / q.size) if prior is None else prior

    np.testing.assert_allclose(lmsr.prices(q, 1e7, prior=prior), start, rtol=1e-6)
    mean = lmsr.cost(q, 1e7) - 1e7 * math.log(q.size)
    assert mean == pytest.approx(q.mean(), abs=1e-6)
    assert lmsr.cost(q, 1e7, prior=start) == pytest.approx(float(start @ q), abs=1e-6)


@law
@given(markets(), st.floats(1.01, 100))
def test_law_22_more_liquidity_never_concentrates_prices(market, factor):
    liquidity, _, q = market
    p, flatter = lmsr.prices(q, liquidity), lmsr.prices(q, liquidity * factor)

    assert lmsr.entropy(flatter) >= lmsr.entropy(p) - 1e-12
    size, larger = lmsr.effective_sample_size(p), lmsr.effective_sample_size(flatter)
    assert larger >= size * (1 - 1e-12)
    assert flatter.max() <= p.max() * (1 + 1e-12)


# Not constant, and no price so near 0 or 1 that a change would drown in rounding.
moderate = st.lists(st.integers(-20, 20), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1)


@law
@given(moderate, liquidities, st.floats(1.05, 10))
def test_law_22_more_liquidity_spreads_prices_unless_all_orders_are_equal(q, liquidity, factor):
    q = np.array(q) / 4 * liquidity
    p, flatter = lmsr.prices(q, liquidity), lmsr.prices(q, liquidity * factor)
    constant = np.full(q.size, q[0])

    assert lmsr.entropy(flatter) > lmsr.entropy(p)
    assert lmsr.effective_sample_size(flatter) > lmsr.effective_sample_size(p)
    assert flatter.max() < p.max()
    assert len({lmsr.entropy(lmsr.prices(constant, b)) for b in (liquidity, 9 * liquidity)}) == 1


@law
@given(moderate, st.floats(0.2, 5))
def test_law_22_entropy_and_size_change_at_the_known_rates(q, inverse):
    q = np.array(q) / 10
    step = 1e-5 * inverse

    def at(s):
        prices = lmsr.prices(q, 1 / s)
        return lmsr.entropy(prices), math.log(lmsr.effective_sample_size(prices))

    rates = [
        (up - down) / (2 * step)
        for up, down in zip(at(inverse + step), at(inverse - step), strict=True)
    ]
    p = lmsr.prices(q, 1 / inverse)
    squared = p * p / (p * p).sum()
    variance = float(p @ q**2 - (p @ q) ** 2)

    assert rates[0] == pytest.approx(-inverse * variance, abs=1e-6)
    assert rates[1] == pytest.approx(-2 * float(squared @ q - p @ q), abs=1e-6)


@law
@given(markets(), st.floats(1.01, 100))
def test_law_22_more_liquidity_never_lowers_the_effective_share_of_the_prior(market, factor):
    liquidity, prior, q = market
    shares = [
        lmsr.effective_share(lmsr.prices(q, b, prior=prior), prior=prior)
        for b in (liquidity, liquidity * factor)
    ]

    assert 0 < shares[0] <= shares[1] * (1 + 1e-12)
    assert shares[1] <= 1 + 1e-12


def test_effective_share_counts_the_prior_behind_prices():
    even = np.array([0.5, 0.5])

    # sum p^2 / pi = 0.25 / 0.25 + 0.25 / 0.75 = 4 / 3
    assert lmsr.effective_share(even, prior=np.array([0.25, 0.75])) == pytest.approx(0.75)
    assert lmsr.effective_share(even, prior=even) == pytest.approx(1)
    assert lmsr.effective_share(np.array([1.0, 0.0, 0.0, 0.0])) == 0.25
    assert lmsr.effective_share(np.array([0.0, 1.0]), prior=np.array([0.9, 0.1])) == pytest.approx(
        0.1
    )


@law
@given(markets())
def test_law_23_sizes_of_prices_are_ordered(market):
    liquidity, prior, q = market
    p = lmsr.prices(q, liquidity, prior=prior)
    size, by_entropy = lmsr.effective_sample_size(p), math.exp(lmsr.entropy(p))

    assert 1 / p.max() <= size * (1 + 1e-12)
    assert size <= by_entropy * (1 + 1e-12)
    assert by_entropy <= q.size * (1 + 1e-12)


@law
@given(markets())
def test_law_24_liquidity_never_changes_the_ranking(market):
    liquidity, _, q = market
    q = np.round(q, 6)  # further apart than rounding
    assume(np.abs(q).max() / liquidity < 1e8)

    order = np.argsort(q, kind="stable")
    log_p = lmsr.log_prices(q, liquidity)[order]
    np.testing.assert_array_equal(np.diff(log_p) > 0, np.diff(q[order]) > 0)


def test_log_prices_still_rank_where_prices_underflow():
    shares = np.array([0.0, -2000.0, -1000.0])
    log_prices = lmsr.log_prices(shares, 1.0)

    assert lmsr.prices(shares, 1.0).tolist() == [1.0, 0.0, 0.0]
    assert log_prices.tolist() == [0.0, -2000.0, -1000.0]


def test_extreme_shares_and_liquidity_give_the_right_limit_without_a_warning():
    shares = np.array([1e308, -1e308, 1e308])

    assert lmsr.prices(shares, 1e-300).tolist() == [0.5, 0.0, 0.5]
    assert lmsr.log_prices(shares, 1e-300)[1] == -math.inf
    assert lmsr.cost(shares, 1e-300) == 1e308


def test_a_market_of_one_contract_prices_it_at_one_and_cannot_lose():
    assert lmsr.prices(np.array([-7.0]), 0.5).tolist() == [1.0]
    assert lmsr.worst_case_loss(1, 0.5) == 0
    assert lmsr.entropy(np.ones(1)) == 0
    assert lmsr.effective_sample_size(np.array([1e-300])) == 1


@pytest.mark.parametrize("liquidity", [0.0, -1.0, math.nan, math.inf])
def test_liquidity_that_is_not_positive_and_finite_is_refused(liquidity):
    with pytest.raises(InputError, match="liquidity must be > 0"):
        lmsr.log_prices(np.zeros(3), liquidity)
    with pytest.raises(InputError, match="liquidity must be > 0"):
        lmsr.worst_case_loss(3, liquidity)


@pytest.mark.parametrize(
    "shares", [[], [math.nan], [0.0, math.inf], [-math.inf, 0.0], [[1.0, 2.0]]]
)
def test_shares_that_are_not_a_finite_vector_are_refused(shares):
    with pytest.raises(InputError, match="shares must be a finite, non-empty vector"):
        lmsr.cost(np.array(shares), 1.0)


@pytest.mark.parametrize("prior", [[0.5, 0.6], [1.0, 0.0], [1.0], [math.nan, 0.5], [1.5, -0.5]])
def test_a_prior_that_is_not_a_positive_distribution_is_refused(prior):
    with pytest.raises(InputError, match="prior must"):
        lmsr.prices(np.zeros(2), 1.0, prior=np.array(prior))


def test_trades_weights_and_prices_outside_their_domain_are_refused():
    with pytest.raises(InputError, match="trade must have the shape"):
        lmsr.trade_cost(np.zeros(2), np.zeros(3), 1.0)
    with pytest.raises(InputError, match="not all 0"):
        lmsr.effective_sample_size(np.zeros(2))
    with pytest.raises(InputError, match="sum to 1"):
        lmsr.entropy(np.array([0.5, 0.6]))
    with pytest.raises(InputError, match="sum to 1"):
        lmsr.effective_share(np.array([0.5, 0.6]))
    with pytest.raises(InputError, match="prior must"):
        lmsr.effective_share(np.array([0.5, 0.5]), prior=np.array([1.0]))
    with pytest.raises(InputError, match="at least 1 contract"):
        lmsr.worst_case_loss(0, 1.0)
