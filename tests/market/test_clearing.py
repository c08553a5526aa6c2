"""The Python market: laws over topics, traders, weights and lengths; refusals."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr, pooling
from databourse.market.clearing import clear_market, log_priors, topic_liquidities
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass
from databourse.market.pooling import FixedOrders, RiskAverse
from databourse.selection.greedy import buy_within_budget, order_by_price_per_token

law = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**31)
masses = st.sampled_from(["proportional", "balanced", PowerMass(0.5)])
depths = st.sampled_from([0.01, 0.5, 20.0, EffectiveShare(0.3)])


def random_market(seed, n=30, n_topics=4, n_traders=3):
    """Return arrays with repeated values, so that there are ties."""
    rng = np.random.default_rng(seed)
    topics = rng.permutation(
        np.concatenate([np.arange(n_topics), rng.integers(0, n_topics, n - n_topics)])
    )
    return {
        "values": np.round(rng.normal(size=(n, n_traders)), 1),
        "weights": rng.uniform(0.1, 2, n_traders),
        "topic_index": topics,
        "tokens": rng.integers(1, 50, n),
    }


PLAIN = {"liquidity": 0.5, "topic_mass": "proportional", "length_bias": 1.0}


@law
@given(seeds, masses, depths)
def test_prices_sum_to_the_mass_of_each_topic(seed, mass, depth):
    arrays = random_market(seed)
    market = clear_market(**arrays, liquidity=depth, topic_mass=mass, length_bias=1.0)
    sums = np.bincount(arrays["topic_index"], weights=np.exp(market.log_price))

    np.testing.assert_allclose(sums, market.mass, rtol=1e-12)
    assert market.mass.sum() == pytest.approx(1, abs=1e-12)


@law
@given(seeds, masses, depths)
def test_relabelling_topics_changes_no_bit_of_any_price(seed, mass, depth):
    arrays = random_market(seed)
    choices = {"liquidity": depth, "topic_mass": mass, "length_bias": 1.0}
    relabelled = {**arrays, "topic_index": np.array([2, 0, 3, 1])[arrays["topic_index"]]}

    market, again = clear_market(**arrays, **choices), clear_market(**relabelled, **choices)
    assert again.log_price.tobytes() == market.log_price.tobytes()
    assert again.contributions.tobytes() == market.contributions.tobytes()
    assert again.pool_effective_sample_size() == market.pool_effective_sample_size()


@law
@given(seeds, masses, depths)
def test_the_order_of_documents_changes_no_bit_of_any_price(seed, mass, depth):
    arrays = random_market(seed)
    order = np.random.default_rng(seed).permutation(30)
    moved = {name: array if name == "weights" else array[order] for name, array in arrays.items()}
    choices = {"liquidity": depth, "topic_mass": mass, "length_bias": 1.0}

    market, again = clear_market(**arrays, **choices), clear_market(**moved, **choices)
    assert again.log_price_per_token.tobytes() == market.log_price_per_token[order].tobytes()
    assert again.cost.tobytes() == market.cost.tobytes()


@law
@given(seeds, depths)
def test_the_order_of_traders_changes_no_bit_of_any_price(seed, depth):
    arrays = random_market(seed, n_traders=5)
    # Weights whose scaled sum is exact in any order, so that only the orders themselves are tested.
    arrays["weights"] = np.array([8.0, 1.0, 4.0, 2.0, 1.0])
    order = np.random.default_rng(seed).permutation(5)
    moved = {**arrays, "values": arrays["values"][:, order], "weights": arrays["weights"][order]}
    choices = {**PLAIN, "liquidity": depth}

    market, again = clear_market(**arrays, **choices), clear_market(**moved, **choices)
    assert again.log_price.tobytes() == market.log_price.tobytes()


@law
@given(seeds, depths)
def test_positive_affine_changes_of_a_signal_change_no_price(seed, depth):
    arrays = random_market(seed)
    changed = {**arrays, "values": arrays["values"] * np.array([3.0, 0.1, 1e4]) + [1.0, -5.0, 1e4]}
    choices = {**PLAIN, "liquidity": depth}

    market, again = clear_market(**arrays, **choices), clear_market(**changed, **choices)
    np.testing.assert_allclose(again.log_price, market.log_price, rtol=1e-7, atol=1e-7)


@law
@given(seeds, depths)
def test_a_constant_signal_acts_as_if_its_trader_bought_nothing(seed, depth):
    arrays = random_market(seed)
    constant = arrays["values"].copy()
    constant[:, 2] = 0.1
    weights = arrays["weights"] / arrays["weights"].sum()
    without = {**arrays, "values": constant[:, :2], "weights": arrays["weights"][:2]}
    share = float(weights[:2].sum())
    fixed = depth if isinstance(depth, EffectiveShare) else depth / share

    market = clear_market(**{**arrays, "values": constant}, **{**PLAIN, "liquidity": depth})
    alone = clear_market(**without, **{**PLAIN, "liquidity": fixed})
    np.testing.assert_allclose(market.log_price, alone.log_price, rtol=1e-6, atol=1e-6)


@law
@given(seeds, st.sampled_from([0.25, 3.0, 1e6]))
def test_only_the_proportions_of_weights_matter(seed, factor):
    arrays = random_market(seed)
    scaled = {**arrays, "weights": factor * arrays["weights"]}

    np.testing.assert_allclose(
        clear_market(**scaled, **PLAIN).log_price,
        clear_market(**arrays, **PLAIN).log_price,
        rtol=1e-10,
        atol=1e-10,
    )


@law
@given(seeds, st.sampled_from([0.1, 2.0, 50.0]))
def test_scaling_orders_and_liquidity_together_changes_no_price(seed, factor):
    market = clear_market(**random_market(seed), **PLAIN)

    within = lmsr.log_prices(market.shares, 0.5)
    np.testing.assert_allclose(
        lmsr.log_prices(factor * market.shares, factor * 0.5), within, rtol=1e-10, atol=1e-12
    )


@law
@given(seeds)
def test_prices_pool_the_traders_own_markets(seed):
    arrays = random_market(seed, n_topics=1)
    market = clear_market(**arrays, **{**PLAIN, "liquidity": 1.0})
    own = [
        np.exp(clear_market(**{**arrays, "weights": one}, **{**PLAIN, "liquidity": 1.0}).log_price)
        for one in np.eye(3)
    ]

    pooled = pooling.log_pool(np.array(own), arrays["weights"])
    np.testing.assert_allclose(np.exp(market.log_price), pooled, rtol=1e-9)


@law
@given(seeds, depths)
def test_contributions_explain_the_ratio_of_prices_within_a_topic(seed, depth):
    market = clear_market(**random_market(seed), **{**PLAIN, "liquidity": depth})
    explained = market.contributions.sum(axis=1)
    for topic in range(4):
        held = market.topic_index == topic
        difference = market.log_price[held] - explained[held]
        tolerance = 1e-12 * max(1, np.abs(explained).max())
        assert np.ptp(difference) <= tolerance


def test_books_are_those_of_the_maker_of_each_topic():
    arrays = random_market(3)
    market = clear_market(**arrays, **{**PLAIN, "liquidity": np.array([0.1, 0.5, 1.0, 3.0])})
    for topic, maker in enumerate([0.1, 0.5, 1.0, 3.0]):
        held = arrays["topic_index"] == topic
        prices = np.exp(market.log_price[held]) / market.mass[topic]
        assert market.n_documents[topic] == held.sum()
        assert market.liquidity[topic] == maker
        assert market.cost[topic] == pytest.approx(
            maker * np.log(np.exp(market.shares[held] / maker).sum())
        )
        assert market.worst_case_loss[topic] == pytest.approx(maker * np.log(held.sum()))
        assert market.effective_sample_size[topic] == pytest.approx(1 / (prices**2).sum())
        assert market.entropy[topic] == pytest.approx(-(prices * np.log(prices)).sum())
    prices = np.exp(market.log_price)
    assert market.pool_effective_sample_size() == pytest.approx(1 / (prices**2).sum())


@law
@given(seeds, masses, depths)
def test_the_whole_selection_goes_by_documents_and_not_by_positions(seed, mass, depth):
    arrays = random_market(seed)
    arrays["values"] = np.random.default_rng(seed).normal(size=(30, 3))  # no ties
    ids = np.array([f"document-{position * 7 % 31}" for position in range(30)])
    order = np.random.default_rng(seed + 1).permutation(30)
    choices = {"liquidity": depth, "topic_mass": mass, "length_bias": 0.8}

    def selected(arrays, ids):
        market = clear_market(**arrays, **choices)
        ranked = order_by_price_per_token(market.log_price_per_token, arrays["tokens"], list(ids))
        is_bought = buy_within_budget(costs=arrays["tokens"][ranked], budget=200)
        return ids[ranked][is_bought].tolist()

    moved = {name: array if name == "weights" else array[order] for name, array in arrays.items()}
    relabelled = {**arrays, "topic_index": np.array([3, 1, 0, 2])[arrays["topic_index"]]}
    assert selected(moved, ids[order]) == selected(arrays, ids)
    assert selected(relabelled, ids) == selected(arrays, ids)


@pytest.mark.parametrize("traders", [FixedOrders(), RiskAverse(1.0, 1.0, (2, 0, 1))], ids=repr)
def test_clearing_twice_gives_the_same_bytes(traders):
    arrays = random_market(11)
    prior = np.linspace(1, 3, 30)
    first, second = (
        clear_market(**arrays, **PLAIN, prior=prior, traders=traders) for _ in range(2)
    )

    for field in dataclasses.fields(first):
        assert getattr(first, field.name).tobytes() == getattr(second, field.name).tobytes()


@law
@given(seeds, masses, depths)
def test_a_prior_is_where_prices_start_and_shares_multiply_it(seed, mass, depth):
    arrays = random_market(seed)
    prior = np.random.default_rng(seed).uniform(0.1, 5, 30)
    market = clear_market(**arrays, liquidity=depth, topic_mass=mass, length_bias=0.0, prior=prior)

    for topic in range(4):
        held = arrays["topic_index"] == topic
        weights = prior[held] * np.exp(
            (market.shares[held] - market.shares[held].max()) / market.liquidity[topic]
        )
        start = prior[held] / prior[held].sum()
        np.testing.assert_allclose(
            np.exp(market.log_price[held]),
            market.mass[topic] * weights / weights.sum(),
            rtol=1e-9,
            atol=1e-300,
        )
        assert market.worst_case_loss[topic] == pytest.approx(
            -market.liquidity[topic] * np.log(start.min())
        )
        if isinstance(depth, EffectiveShare) and held.sum() > 3:
            prices = weights / weights.sum()
            reached = 1 / (prices**2 / start).sum()
            least = start[market.shares[held] >= market.shares[held].max() - 1e-9].sum()
            assert reached == pytest.approx(max(depth.share, least), rel=1e-8)


def test_prices_with_a_prior_are_those_worked_by_hand():
    # z = (1, -1), b = 2 / ln 3: the ratio of prices is (1 / 2) exp(2 / b) = 3 / 2.
    arrays = {
        "values": np.array([[5.0], [3.0]]),
        "weights": np.ones(1),
        "topic_index": np.zeros(2, dtype=int),
        "tokens": np.ones(2, dtype=int),
        "prior": np.array([7.0, 14.0]),
    }
    market = clear_market(**arrays, **{**PLAIN, "liquidity": 2 / np.log(3)})

    np.testing.assert_allclose(np.exp(market.log_price), [0.6, 0.4], rtol=1e-11)
    # C = b ln(sqrt 3 / 3 + 2 / (3 sqrt 3)) = b ln(5 / (3 sqrt 3)); the start costs 0
    np.testing.assert_allclose(market.cost, 2 / np.log(3) * np.log(5 / 3 / np.sqrt(3)), rtol=1e-10)
    np.testing.assert_allclose(market.worst_case_loss, 2, rtol=1e-12)  # b ln 3
    assert (market.mean.item(), market.spread.item()) == (4.0, 1.0)
    assert market.shares_per_spread.item() == 1.0


@law
@given(seeds, depths, st.sampled_from([1e-200, 1.0, 1e200]))
def test_an_equal_prior_has_the_prices_of_no_prior(seed, depth, weight):
    arrays = random_market(seed)
    choices = {**PLAIN, "liquidity": depth}
    plain = clear_market(**arrays, **choices)
    market = clear_market(**arrays, **choices, prior=np.full(30, weight))

    np.testing.assert_allclose(market.log_price, plain.log_price, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(market.worst_case_loss, plain.worst_case_loss, rtol=1e-9)
    # the plain form starts at b ln n, the prior form at 0
    start = plain.liquidity * np.log(plain.n_documents)
    np.testing.assert_allclose(market.cost, plain.cost - start, atol=1e-8 * max(1, start.max()))


def test_without_orders_prices_are_the_prior_of_each_topic():
    market = clear_market(
        values=np.full((5, 2), 3.3),
        weights=np.ones(2),
        topic_index=np.array([0, 0, 1, 1, 1]),
        tokens=np.ones(5, dtype=int),
        prior=np.array([1.0, 3.0, 10.0, 20.0, 10.0]),
        **{**PLAIN, "topic_mass": "balanced"},
    )

    expected = np.array([0.25, 0.75, 0.25, 0.5, 0.25]) / 2
    np.testing.assert_allclose(np.exp(market.log_price), expected, rtol=1e-14)
    np.testing.assert_allclose(market.cost, 0, atol=1e-15)


def test_log_priors_are_zero_without_a_prior_and_sum_to_one_by_topic_with_one():
    topic_index = np.array([1, 0, 1])

    assert log_priors(None, topic_index, n_topics=2).tolist() == [0.0] * 3
    np.testing.assert_allclose(
        np.exp(log_priors(np.array([6.0, 5.0, 2.0]), topic_index, n_topics=2)), [0.75, 1, 0.25]
    )
    with pytest.raises(InputError, match="3 topics"):
        log_priors(np.ones(3), topic_index, n_topics=3)


def test_each_topic_may_have_its_own_liquidity_or_effective_share():
    arrays = random_market(5)
    rule = (0.25, EffectiveShare(0.5), EffectiveShare(0.8), 3)
    market = clear_market(**arrays, **{**PLAIN, "liquidity": rule})
    alone = [
        clear_market(**arrays, **{**PLAIN, "liquidity": each}).liquidity[topic]
        for topic, each in enumerate(rule)
    ]

    assert market.liquidity.tolist() == alone
    assert alone[0::3] == [0.25, 3.0]
    reached = market.effective_sample_size / market.n_documents
    np.testing.assert_allclose(reached[1:3], [0.5, 0.8], rtol=1e-9)


def test_a_number_and_its_arrays_are_the_same_liquidity():
    for same in (2, 2.0, np.float64(2), np.array(2.0), [2.0, 2.0], np.array([2, 2]), (2.0, 2)):
        assert topic_liquidities(same, n_topics=2) == (2.0, 2.0)


@law
@given(seeds, st.sampled_from(["proportional", "balanced"]), st.booleans())
def test_risk_averse_traders_leave_the_prices_of_their_moves(seed, mass, has_prior):
    arrays = random_market(seed)
    rng = np.random.default_rng(seed)
    prior = rng.uniform(0.2, 3, 30) if has_prior else None
    traders = RiskAverse(rng.uniform(0.1, 5), rng.uniform(0.2, 3), tuple(rng.permutation(3)))
    liquidity = rng.uniform(0.1, 10, 4)
    market = clear_market(
        **arrays,
        liquidity=liquidity,
        topic_mass=mass,
        length_bias=0.0,
        prior=prior,
        traders=traders,
    )
    weights = arrays["weights"] / arrays["weights"].sum()
    for topic, maker in enumerate(liquidity):
        held = arrays["topic_index"] == topic
        values = arrays["values"][held]
        spread = values.std(axis=0)
        scores = (values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
        start = np.ones(held.sum()) if prior is None else prior[held]
        prices = start / start.sum()
        for trader in traders.order:
            belief = start * np.exp(traders.confidence * scores[:, trader])
            prices = pooling.risk_averse_move(
                prices,
                belief / belief.sum(),
                risk_aversion=traders.risk_aversion / (3 * weights[trader]),
                liquidity=maker,
            )
        np.testing.assert_allclose(
            np.exp(market.log_price[held]) / market.mass[topic], prices, rtol=1e-8
        )
        np.testing.assert_allclose(
            market.contributions[held],
            scores * market.shares_per_spread[topic] / maker,
            atol=1e-10,
        )


def test_risk_averse_traders_in_another_order_leave_other_prices():
    arrays = random_market(2)
    prices = [
        np.exp(clear_market(**arrays, **PLAIN, traders=RiskAverse(1.0, 1.0, order)).log_price)
        for order in ((0, 1, 2), (2, 1, 0))
    ]

    assert np.abs(prices[0] - prices[1]).max() > 0.01


def test_risk_averse_traders_refuse_an_effective_share():
    with pytest.raises(InputError, match="need liquidity in shares"):
        clear_market(
            **random_market(2),
            **{**PLAIN, "liquidity": EffectiveShare(0.5)},
            traders=RiskAverse(1.0, 1.0, (0, 1, 2)),
        )


@law
@given(seeds, depths)
def test_scores_and_orders_follow_from_mean_spread_and_stakes(seed, depth):
    arrays = random_market(seed)
    market = clear_market(**arrays, **{**PLAIN, "liquidity": depth})
    topic = arrays["topic_index"]
    spread = np.where(market.spread > 0, market.spread, np.inf)[topic]
    scores = (arrays["values"] - market.mean[topic]) / spread

    np.testing.assert_allclose(
        (scores * market.shares_per_spread[topic]).sum(axis=1), market.shares, atol=1e-11
    )
    assert market.shares_per_spread.shape == (4, 3)


def test_a_topic_of_one_document_prices_it_at_its_mass():
    market = clear_market(
        values=np.array([[1.0], [2.0], [9.0]]),
        weights=np.ones(1),
        topic_index=np.array([0, 0, 1]),
        tokens=np.array([3, 3, 3]),
        liquidity=EffectiveShare(0.6),
        topic_mass="balanced",
        length_bias=0.0,
    )

    assert market.log_price[2] == np.log(0.5)
    assert (market.shares[2], market.liquidity[1], market.worst_case_loss[1]) == (0.0, 1.0, 0.0)


def test_a_market_cannot_be_changed_after_the_fact(golden):
    market = clear_market(**golden.arrays, **PLAIN)

    with pytest.raises(dataclasses.FrozenInstanceError):
        market.shares = np.zeros(7)


def test_prices_too_small_for_a_double_still_rank():
    values = np.arange(5.0)[:, np.newaxis]
    market = clear_market(
        values=values,
        weights=np.ones(1),
        topic_index=np.zeros(5, dtype=int),
        tokens=np.ones(5, dtype=int),
        **{**PLAIN, "liquidity": 1e-5},
    )

    assert (np.exp(market.log_price[:4]) == 0).all()
    assert (np.diff(market.log_price_per_token) > 0).all()


def test_a_market_of_constant_signals_prices_all_documents_of_a_topic_alike(golden):
    arrays = {**golden.arrays, "values": np.full((7, 3), 1e300)}
    market = clear_market(**arrays, **{**PLAIN, "liquidity": EffectiveShare(0.3)})

    np.testing.assert_array_equal(market.shares, 0)
    np.testing.assert_allclose(np.exp(market.log_price), 1 / 7, rtol=1e-14)
    np.testing.assert_allclose(market.mean, 1e300, rtol=1e-15)
    np.testing.assert_array_equal(market.spread, 0)


def test_liquidity_next_to_zero_leaves_all_mass_with_the_largest_order(golden):
    market = clear_market(**golden.arrays, **{**PLAIN, "liquidity": 1e-310})
    prices = np.exp(market.log_price)

    np.testing.assert_allclose(prices, np.array([0, 0, 0, 4, 3, 0, 0]) / 7, rtol=1e-14)
    assert np.isneginf(market.log_price_per_token[prices == 0]).all()
    np.testing.assert_allclose(market.effective_sample_size, 1)
    np.testing.assert_array_equal(market.entropy, 0)
    np.testing.assert_allclose(market.cost, [market.shares[3], market.shares[4]])


def test_liquidity_at_the_end_of_the_doubles_leaves_the_start_price_and_an_endless_bound(golden):
    market = clear_market(**golden.arrays, **{**PLAIN, "liquidity": 1e308})
    deep = clear_market(**golden.arrays, **{**PLAIN, "liquidity": 1e307}, prior=np.arange(1.0, 8))

    np.testing.assert_allclose(np.exp(market.log_price), 1 / 7, rtol=1e-14)
    assert market.worst_case_loss[0] == pytest.approx(1e308 * np.log(4))
    np.testing.assert_allclose(market.contributions, 0, atol=1e-300)
    start = np.array([1 / 10, 2 / 10, 3 / 10, 4 / 10, 5 / 18, 6 / 18, 7 / 18])
    np.testing.assert_allclose(
        np.exp(deep.log_price), start * np.repeat([4 / 7, 3 / 7], [4, 3]), rtol=1e-13
    )
    beyond = clear_market(
        values=np.arange(40.0)[:, np.newaxis],
        weights=np.ones(1),
        topic_index=np.zeros(40, dtype=int),
        tokens=np.ones(40, dtype=int),
        **{**PLAIN, "liquidity": 1e308},
    )
    assert (beyond.cost[0], beyond.worst_case_loss[0]) == (np.inf, np.inf)


def test_very_long_documents_are_priced_per_token(golden):
    tokens = np.array([2**40, 1, 2**62, 1, 1, 1, 2**40])
    market = clear_market(**{**golden.arrays, "tokens": tokens}, **PLAIN)

    np.testing.assert_allclose(
        market.log_price_per_token - market.log_price,
        -np.log(2) * np.array([40, 0, 62, 0, 0, 0, 40]),
        atol=1e-12,
    )


def test_prior_weights_far_apart_and_next_to_zero_are_priced(golden):
    prior = np.array([5e-324, 5e-324, 1e-323, 2e-323, 1e-250, 1e20, 1.0])
    market = clear_market(**golden.arrays, **{**PLAIN, "liquidity": 1e9}, prior=prior)

    # subnormal doubles are multiples of 5e-324
    np.testing.assert_allclose(
        np.exp(market.log_price[:4]), np.array([1, 1, 2, 4]) / 8 * 4 / 7, rtol=1e-8
    )
    assert market.log_price[4] == pytest.approx(-270 * np.log(10) + np.log(3 / 7), abs=1e-8)


def test_a_market_of_one_document_prices_it_at_one():
    market = clear_market(
        values=np.array([[np.pi]]),
        weights=np.ones(1),
        topic_index=np.zeros(1, dtype=int),
        tokens=np.array([9]),
        prior=np.array([0.2]),
        **PLAIN,
    )

    assert (market.log_price.item(), market.entropy.item(), market.cost.item()) == (0, 0, 0)
    assert market.log_price_per_token.item() == pytest.approx(-np.log(9), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.full((7, 3), np.nan)}, "must be finite"),
        ({"values": np.full((7, 3), np.inf)}, "must be finite"),
        ({"values": np.ones(7)}, "both >= 1"),
        ({"weights": np.array([0.5, np.nan, 0.5])}, "finite, >= 0"),
        ({"topic_index": np.zeros(0, dtype=int)}, "one topic for each of 7"),
        ({"topic_index": np.zeros(7)}, "must hold integers"),
        ({"liquidity": -1.0}, "liquidity must be > 0"),
        ({"liquidity": np.nan}, "liquidity must be > 0"),
        ({"liquidity": np.inf}, "liquidity must be > 0"),
        ({"liquidity": [1.0, 0.0]}, "liquidity must be > 0 .* in topic 1"),
        ({"liquidity": np.ones((2, 2))}, "liquidity must be > 0"),
        ({"liquidity": (EffectiveShare(0.5),)}, "one for each of 2 topics, got 1"),
        ({"prior": np.ones(6)}, "prior must be one weight for each of 7"),
        ({"prior": np.array([1.0, 0, 1, 1, 1, 1, 1])}, "got 0.0 at position 1"),
        ({"prior": np.array([1.0, 1, -2, 1, 1, 1, 1])}, "got -2.0 at position 2"),
        ({"prior": np.array([1.0, 1, 1, np.nan, 1, 1, 1])}, "got nan at position 3"),
        ({"prior": np.array([1.0, 1, 1, 1, np.inf, 1, 1])}, "got inf at position 4"),
        ({"prior": np.array([1.0, 1, 1, 1, 1, 1e-301, 1])}, "factor of at most 1e\\+300"),
        ({"traders": RiskAverse(1.0, 1.0, (0, 1))}, "name each of 3 traders"),
        ({"length_bias": np.inf}, "length_bias must be a finite number"),
        ({"values": np.zeros((0, 3))}, "both >= 1"),
        ({"weights": np.zeros(3)}, "not all 0"),
        ({"weights": np.ones(2)}, "each of 3 traders"),
        ({"tokens": np.array([1, 1, 1, 0, 1, 1, 1])}, "got 0 at position 3"),
        ({"tokens": np.ones(7)}, "one integer for each"),
        ({"tokens": np.ones(6, dtype=int)}, "one integer for each"),
        ({"topic_index": np.array([0, 0, 0, 0, 2, 2, 2])}, "without gaps"),
        ({"liquidity": 0.0}, "liquidity must be > 0"),
        ({"liquidity": np.ones(3)}, "one for each of 2 topics"),
        ({"length_bias": np.nan}, "length_bias must be a finite number"),
        ({"topic_mass": "fair"}, "got 'fair'"),
    ],
)
def test_arguments_outside_their_domain_are_refused(golden, change, message):
    with pytest.raises(InputError, match=message):
        clear_market(**{**golden.arrays, **PLAIN, **change})
