"""The Python market: laws over topics, traders, weights and lengths; refusals."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market import lmsr, pooling
from databourse.market.clearing import clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass
from databourse.selection.greedy import order_by_price_per_token

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
@given(seeds)
def test_changing_one_topic_leaves_all_others_bit_identical(seed):
    arrays = random_market(seed)
    touched = arrays["topic_index"] == 1
    values = arrays["values"].copy()
    values[touched] = np.random.default_rng(seed + 1).normal(size=(touched.sum(), 3)) * 100
    choices = {**PLAIN, "liquidity": EffectiveShare(0.3)}

    market = clear_market(**arrays, **choices)
    again = clear_market(**{**arrays, "values": values}, **choices)
    for column in ("shares", "log_price", "log_price_per_token", "contributions"):
        kept, now = (getattr(each, column)[~touched] for each in (market, again))
        assert now.tobytes() == kept.tobytes(), column
    assert np.delete(again.cost, 1).tobytes() == np.delete(market.cost, 1).tobytes()
    if touched.sum() > 1:
        assert (again.log_price[touched] != market.log_price[touched]).any()


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
def test_within_a_topic_liquidity_times_length_bias_is_one_knob(seed):
    arrays = random_market(seed, n_topics=1)
    ids = [f"{position:03d}" for position in range(30)]

    def order(liquidity, length_bias):
        market = clear_market(
            **arrays, liquidity=liquidity, topic_mass="balanced", length_bias=length_bias
        )
        return order_by_price_per_token(market.log_price_per_token, arrays["tokens"], ids).tolist()

    assert order(1.0, 0.5) == order(0.5, 1.0)


@law
@given(seeds)
def test_one_topic_without_length_bias_ranks_by_the_weighted_sum_of_scores(seed):
    arrays = random_market(seed, n_topics=1)
    market = clear_market(**arrays, liquidity=0.7, topic_mass="balanced", length_bias=0.0)
    values = arrays["values"]
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    total = np.round(scores @ (arrays["weights"] / arrays["weights"].sum()), 9)

    order = np.argsort(-total, kind="stable")
    np.testing.assert_array_equal(
        np.diff(market.log_price_per_token[order]) < -1e-8, np.diff(total[order]) < -1e-8
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.full((7, 3), np.nan)}, "must be finite"),
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
