"""What the knobs of the market really do: seven identities, on the market and the ranking."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from databourse.market import lmsr
from databourse.market.clearing import clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass
from databourse.selection.greedy import buy_within_budget, order_by_price_per_token

law = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**31)
liquidities = st.floats(-3, 3).map(lambda power: 10.0**power)


def market_of(seed, n=30, n_topics=1, n_traders=3):
    """Return arrays without ties: every document has its own score."""
    rng = np.random.default_rng(seed)
    topics = np.concatenate([np.arange(n_topics), rng.integers(0, n_topics, n - n_topics)])
    return {
        "values": rng.normal(size=(n, n_traders)) * [1.0, 50.0, 1e-3][:n_traders],
        "weights": rng.uniform(0.1, 2, n_traders),
        "topic_index": rng.permutation(topics),
        "tokens": rng.integers(1, 50, n),
    }


def weighted_scores(arrays):
    """Return sum_k w_k z_k, the weights scaled to sum 1, over one topic."""
    values, weights = arrays["values"], arrays["weights"]
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    return scores @ (weights / weights.sum())


def ranking(arrays, **choices):
    """Return positions, dearest per token first."""
    market = clear_market(**arrays, **{"topic_mass": "proportional", **choices})
    ids = [f"{position:04d}" for position in range(arrays["tokens"].size)]
    return order_by_price_per_token(market.log_price_per_token, arrays["tokens"], ids).tolist()


@law
@given(seeds, liquidities)
def test_identity_1_one_topic_without_length_bias_ranks_by_the_weighted_score(seed, liquidity):
    arrays = market_of(seed)
    scores = weighted_scores(arrays)
    assume(np.diff(np.sort(scores)).min() > 1e-8 * max(1, liquidity))  # no tie up to rounding

    expected = np.argsort(-scores).tolist()
    assert ranking(arrays, liquidity=liquidity, length_bias=0.0) == expected


@law
@given(seeds, st.integers(1, 30), liquidities)
def test_identity_1_the_top_of_one_topic_is_that_of_the_weighted_score(seed, n_wanted, liquidity):
    arrays = market_of(seed)
    scores = weighted_scores(arrays)
    assume(np.diff(np.sort(scores)).min() > 1e-8 * max(1, liquidity))
    order = np.array(ranking(arrays, liquidity=liquidity, length_bias=0.0))

    one_each = np.ones(30, dtype=np.int64)
    bought = order[buy_within_budget(costs=one_each, budget=n_wanted)]
    assert set(bought.tolist()) == set(np.argsort(-scores)[:n_wanted].tolist())


@law
@given(seeds, st.floats(0.05, 5), st.floats(-1, 2), st.sampled_from([0.125, 2.0, 3.0, 10.0]))
def test_identity_2_liquidity_times_length_bias_is_one_knob(seed, liquidity, length_bias, factor):
    arrays = market_of(seed)
    worth = weighted_scores(arrays) - liquidity * length_bias * np.log(arrays["tokens"])
    assume(np.diff(np.sort(worth)).min() > 1e-8)
    expected = np.argsort(-worth).tolist()

    assert ranking(arrays, liquidity=liquidity, length_bias=length_bias) == expected
    assert ranking(arrays, liquidity=factor * liquidity, length_bias=length_bias / factor) == (
        expected
    )
    # twice the liquidity is twice the length bias
    assert ranking(arrays, liquidity=2 * liquidity, length_bias=length_bias) == ranking(
        arrays, liquidity=liquidity, length_bias=2 * length_bias
    )


def test_identity_2_one_share_buys_a_known_factor_in_length():
    # b g = 0.5: a document one share (one spread) better may be exp(1 / 0.5) times as long.
    arrays = {
        "values": np.array([[1.0], [-1.0]]),  # two spreads apart: a factor exp(4) = 54.6
        "weights": np.ones(1),
        "topic_index": np.zeros(2, dtype=int),
    }
    for tokens, expected in (([54, 1], [0, 1]), ([55, 1], [1, 0])):
        market = arrays | {"tokens": np.array(tokens)}
        assert ranking(market, liquidity=0.5, length_bias=1.0) == expected


@law
@given(seeds, st.sampled_from([1e-3, 0.3, 7.0, 1e4]))
def test_identity_3_only_weights_over_liquidity_are_identified(seed, factor):
    arrays = market_of(seed)
    values, raw = arrays["values"], arrays["weights"]
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    # raw weights c w in a market of raw liquidity c b: sum of weights 1 is a choice of unit
    orders = scores @ (factor * raw) / (factor * 0.8)
    expected = orders - orders.max() - np.log(np.exp(orders - orders.max()).sum())

    market = clear_market(
        **{**arrays, "weights": factor * raw},
        liquidity=0.8 / raw.sum(),
        topic_mass="balanced",
        length_bias=0.0,
    )
    np.testing.assert_allclose(market.log_price, expected, rtol=1e-9, atol=1e-9)


@law
@given(seeds, liquidities)
def test_identity_4_positive_affine_changes_within_a_topic_change_nothing(seed, liquidity):
    arrays = market_of(seed, n_topics=3)
    rng = np.random.default_rng(seed)
    # another scale and offset in every topic, for every signal
    scale, offset = rng.uniform(0.1, 10, (3, 3)), rng.normal(size=(3, 3))
    topic = arrays["topic_index"]
    changed = {**arrays, "values": scale[topic] * arrays["values"] + offset[topic]}
    choices = {"liquidity": liquidity, "topic_mass": PowerMass(0.5), "length_bias": 0.7}

    np.testing.assert_allclose(
        clear_market(**changed, **choices).log_price_per_token,
        clear_market(**arrays, **choices).log_price_per_token,
        rtol=1e-8,
        atol=1e-8 + 1e-10 / liquidity,
    )


def test_identity_4_negating_a_signal_turns_prices_around():
    arrays = market_of(3, n_traders=1)
    negated = {**arrays, "values": -arrays["values"]}
    choices = {"liquidity": 0.5, "length_bias": 0.0}

    assert ranking(negated, **choices) == ranking(arrays, **choices)[::-1]


@pytest.mark.parametrize(
    ("n_traders", "liquidity", "expected"), [(1, 1.0, 0.368), (3, 1.0, 0.717), (3, 0.5, 0.264)]
)
def test_identity_5_normal_orders_have_nearly_the_effective_share_of_the_formula(
    n_traders, liquidity, expected
):
    # exp(-s^2 / b^2) with s^2 = 1 / K. Over seeds the measured share of 200,000 documents strays
    # by about 2 % at 0.368 and 5 % at 0.264: it hangs on the few largest orders.
    scores = np.random.default_rng(0).normal(size=(200_000, n_traders))
    prices = lmsr.prices(scores.mean(axis=1), liquidity)

    assert np.exp(-1 / (n_traders * liquidity**2)) == pytest.approx(expected, abs=5e-4)
    assert lmsr.effective_share(prices) == pytest.approx(expected, rel=0.05)


def test_identity_5_the_formula_is_of_no_use_where_few_documents_carry_prices():
    # 0.0498 by the formula; a market of 200,000 is far off either way, so liquidity is searched.
    measured = [
        lmsr.effective_share(lmsr.prices(np.random.default_rng(seed).normal(size=200_000), 3**-0.5))
        for seed in range(3)
    ]

    assert sum(abs(share / np.exp(-3) - 1) > 0.1 for share in measured) >= 2


@law
@given(seeds, st.floats(-2, 3), st.floats(0.01, 2))
def test_identity_6_more_length_bias_moves_a_shorter_document_up(seed, length_bias, more):
    arrays = market_of(seed, n_topics=3)
    choices = {"liquidity": 0.5, "topic_mass": "balanced"}
    before, after = (
        clear_market(**arrays, **choices, length_bias=bias).log_price_per_token
        for bias in (length_bias, length_bias + more)
    )

    # ln(rho_i / rho_j) for every pair: it rises exactly where i is the shorter
    tokens = arrays["tokens"]
    risen = np.subtract.outer(after, after) - np.subtract.outer(before, before)
    is_shorter = np.less.outer(tokens, tokens)
    assert (risen[is_shorter] > 0).all()
    assert np.abs(risen[np.equal.outer(tokens, tokens)]).max() <= 1e-11


def test_identity_6_no_length_bias_ignores_length_and_one_is_price_per_token():
    arrays = market_of(1)
    choices = {"liquidity": 0.5, "topic_mass": "balanced"}
    ignored = clear_market(**arrays, **choices, length_bias=0.0)
    per_token = clear_market(**arrays, **choices, length_bias=1.0)

    np.testing.assert_allclose(ignored.log_price_per_token, ignored.log_price, atol=1e-12)
    np.testing.assert_allclose(
        np.exp(per_token.log_price_per_token), np.exp(ignored.log_price) / arrays["tokens"]
    )


def test_identity_6_more_length_bias_need_not_buy_more_documents():
    # Without it the walk is 11 4 10 2 5 1 long: 14 tokens buy 11, 2 and 1. With a bias of 0.5 it is
    # 4 11 10 2 5 1: they buy 4 and 10.
    tokens = np.array([11, 10, 5, 2, 1, 4])
    orders = np.array([3.0, 2.0, -1.0, 1.0, -2.5, 2.5])
    arrays = {
        "values": orders[:, np.newaxis],
        "weights": np.ones(1),
        "topic_index": np.zeros(6, dtype=int),
        "tokens": tokens,
    }

    def bought(length_bias):
        order = np.array(ranking(arrays, liquidity=1 / orders.std(), length_bias=length_bias))
        is_bought = buy_within_budget(costs=tokens[order], budget=14, rule="skip")
        return tokens[order][is_bought].tolist()

    assert bought(0.0) == [11, 2, 1]
    assert bought(0.5) == [4, 10]


@law
@given(seeds, st.sampled_from([0.3, EffectiveShare(0.4)]), st.sampled_from([None, "prior"]))
def test_identity_7_a_topic_that_changes_leaves_all_others_bit_identical(seed, liquidity, prior):
    arrays = market_of(seed, n_topics=4)
    rng = np.random.default_rng(seed)
    weights = None if prior is None else rng.uniform(0.1, 3, 30)
    touched = arrays["topic_index"] == 2
    values = arrays["values"].copy()
    values[touched] = rng.normal(size=(int(touched.sum()), 3)) * 1e3
    choices = {"liquidity": liquidity, "topic_mass": "proportional", "length_bias": 1.0}

    market = clear_market(**arrays, **choices, prior=weights)
    again = clear_market(**{**arrays, "values": values}, **choices, prior=weights)
    for column in ("shares", "log_price", "log_price_per_token", "contributions"):
        kept, now = (getattr(each, column)[~touched] for each in (market, again))
        assert now.tobytes() == kept.tobytes(), column
    for book in ("liquidity", "cost", "effective_sample_size", "entropy", "mean", "spread"):
        kept, now = (np.delete(getattr(each, book), 2, axis=0) for each in (market, again))
        assert now.tobytes() == kept.tobytes(), book


@law
@given(seeds)
def test_identity_7_losses_of_topics_add_up_below_the_sum_of_their_bounds(seed):
    arrays = market_of(seed, n_topics=4)
    liquidity = np.array([0.1, 0.5, 2.0, 30.0])
    market = clear_market(**arrays, liquidity=liquidity, topic_mass="balanced", length_bias=0.0)
    topic = arrays["topic_index"]
    sizes = np.bincount(topic)
    bound = float((liquidity * np.log(sizes)).sum())

    # What each maker pays if the contract of a document pays, less what it took since the start.
    taken = market.cost - liquidity * np.log(sizes)
    loss = market.shares - taken[topic]
    worst = sum(float(loss[topic == each].max()) for each in range(4))
    assert market.worst_case_loss.sum() == pytest.approx(bound, rel=1e-12)
    assert worst <= bound + 1e-9
