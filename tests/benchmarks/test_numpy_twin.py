"""The numpy twin is a yardstick only if it does the same work as the product."""

import numpy as np
import pytest

from databourse.market.clearing import clear_market
from databourse.selection.greedy import rank_documents


@pytest.fixture(scope="module")
def numpy_twin(benchmark_module):
    """Return the twin."""
    return benchmark_module("market/numpy_twin")


def cleared(numpy_twin, board, **choices):
    """Return the twin's market and the reference one: weights 1 to 8, b = 0.7, g = 0.5."""
    weights = np.arange(1.0, 9.0) / 36
    same = {"topic_index": board.topic_index, "tokens": board.tokens, "length_bias": 0.5}
    same |= {"liquidity": 0.7} | choices
    signals = list(board.signals.values())
    reference = clear_market(
        values=np.column_stack(signals), weights=weights, topic_mass="proportional", **same
    )
    return numpy_twin.clear(signals, weights, **same), reference


@pytest.fixture(scope="module")
def both(numpy_twin, board):
    """Return the twin's market of 20,000 documents, and the reference one."""
    return cleared(numpy_twin, board)


# Plain float64 sums of thousands of values keep about 12 digits.
@pytest.mark.parametrize("entry", ["shares", "log_price", "log_price_per_token"])
def test_prices_agree_with_the_reference_within_1e_9(both, entry):
    mine, reference = both
    np.testing.assert_allclose(getattr(mine, entry), getattr(reference, entry), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "entry",
    [
        "n_documents",
        "mass",
        "cost",
        "worst_case_loss",
        "effective_sample_size",
        "entropy",
        "mean",
        "spread",
    ],
)
def test_books_agree_with_the_reference_within_1e_9(both, entry):
    mine, reference = both
    np.testing.assert_allclose(getattr(mine, entry), getattr(reference, entry), rtol=1e-9)


def test_a_market_worked_out_by_hand(numpy_twin):
    # Topic 0 has z = -1, 1; topic 1 one document. b = 1, so prices in topic 0 are 1 : e^2.
    market = numpy_twin.clear(
        [np.array([3.0, 5.0, 7.0])],
        np.array([1.0]),
        topic_index=np.array([0, 0, 1]),
        tokens=np.array([1, 10, 1]),
        liquidity=1.0,
        length_bias=1.0,
    )
    total = 1 + np.e**2
    np.testing.assert_allclose(market.shares, [-1, 1, 0])
    np.testing.assert_allclose(
        np.exp(market.log_price), [2 / 3 / total, 2 / 3 * np.e**2 / total, 1 / 3]
    )
    np.testing.assert_allclose(
        market.log_price_per_token, market.log_price - [0, np.log(10), 0], atol=1e-12
    )


def test_a_signal_that_varies_by_rounding_alone_says_nothing_in_that_topic(numpy_twin):
    market = numpy_twin.clear(
        [np.array([0.3, 0.1 + 0.2, 0.3, 1.0, 2.0])],
        np.array([1.0]),
        topic_index=np.array([0, 0, 0, 1, 1]),
        tokens=np.ones(5, dtype=np.int64),
        liquidity=1.0,
        length_bias=0.0,
    )
    assert market.shares[:3].tolist() == [0, 0, 0]
    assert market.spread[0, 0] == 0


def test_a_nan_is_refused(numpy_twin):
    with pytest.raises(ValueError, match="finite"):
        numpy_twin.clear(
            [np.array([1.0, np.nan])],
            np.array([1.0]),
            topic_index=np.array([0, 0]),
            tokens=np.array([1, 1]),
            liquidity=1.0,
            length_bias=0.0,
        )


def bought_one_by_one(ranking, tokens, budget):
    """Return what the skip rule buys, one document after another."""
    is_bought = np.zeros(tokens.size, dtype=bool)
    for position in ranking:
        if tokens[position] <= budget:
            is_bought[position] = True
            budget -= tokens[position]
    return is_bought


@pytest.mark.parametrize("budget", [0, 1, 50, 333, 10_000])
def test_selection_is_the_skip_rule(numpy_twin, budget):
    rng = np.random.default_rng(3)
    prices = rng.integers(0, 20, 300) / 7.0  # many ties
    tokens = rng.integers(1, 60, 300)
    expected = bought_one_by_one(rank_documents(prices, tokens), tokens, budget)
    found = numpy_twin.select(prices, tokens, budget=budget)
    assert found.tolist() == expected.tolist()


def test_the_twin_buys_what_the_reference_prices_buy(numpy_twin, board, both):
    mine, reference = both
    ranking = rank_documents(reference.log_price_per_token, board.tokens)
    budget = int(board.tokens.sum() // 10)
    found = numpy_twin.select(mine.log_price_per_token, board.tokens, budget=budget)
    assert found.tolist() == bought_one_by_one(ranking, board.tokens, budget).tolist()
    assert board.tokens[found].sum() <= budget
