"""The market as a sampler: each variant against the market it is a variant of, and by hand."""

import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.market.clearing import clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.samplers.interface import Candidates, sample
from databourse.samplers.market import MarketTerms, market_sampler
from databourse.samplers.registry import sampler_spec
from databourse.topics import topics_from_names


def pool(signals, topics, costs, weights=None):
    n = len(costs)
    vectors = np.eye(n, dtype=np.float32)
    return Candidates(
        document_ids=[f"{i:03d}" for i in range(n)],
        costs=np.array(costs, dtype=np.int64),
        embeddings=vectors,
        topics=topics_from_names(topics, vectors),
        signals={name: np.array(values, dtype=np.float64) for name, values in signals.items()},
        weights=weights,
    )


def order(name, candidates, budget=None):
    everything = int(candidates.costs.sum()) if budget is None else budget
    rng = np.random.default_rng(0)
    return sample(sampler_spec(name), candidates, everything, rng=rng).tolist()


def random_pool(seed, n=40):
    rng = np.random.default_rng(seed)
    names = [f"t{each}" for each in rng.integers(0, 3, n)]
    signals = {"a": rng.normal(size=n), "b": rng.normal(size=n)}
    return pool(signals, names, rng.integers(1, 30, n), {"a": 3.0, "b": 1.0})


@pytest.mark.parametrize("seed", range(5))
def test_the_market_buys_in_the_order_of_its_log_price_per_token(seed):
    documents = random_pool(seed)
    cleared = clear_market(
        values=np.stack([documents.signals["a"], documents.signals["b"]], axis=1),
        weights=np.array([0.75, 0.25]),
        topic_index=documents.topics.index.astype(np.int64),
        tokens=documents.costs,
        liquidity=EffectiveShare(0.3),
        topic_mass="proportional",
        length_bias=1.0,
    )
    by_price = sorted(
        range(40),
        key=lambda i: (-cleared.log_price_per_token[i], documents.costs[i], i),
    )
    assert order("market", documents) == by_price


def test_in_one_topic_of_equal_lengths_one_trader_is_followed():
    documents = pool({"a": [3.0, 1.0, 4.0, 1.5]}, ["x"] * 4, [5, 5, 5, 5])
    for name in ("market", "market_equal_weights", "market_one_topic", "market_per_document"):
        assert order(name, documents) == [2, 0, 3, 1]


def test_weights_are_heard_and_equal_weights_hear_none():
    signals = {"a": [0.0, 1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0, 0.0]}
    documents = pool(signals, ["x"] * 4, [1] * 4, {"a": 2.0, "b": 1.0})
    assert order("market", documents) == [3, 2, 1, 0]
    documents = dataclasses.replace(documents, weights={"a": 1.0, "b": 2.0})
    assert order("market", documents) == [0, 1, 2, 3]
    assert order("market_equal_weights", documents) == [0, 1, 2, 3]  # all tie: by id
    documents = dataclasses.replace(documents, weights={"a": 2.0, "b": 1.0})
    assert order("market_equal_weights", documents) == [0, 1, 2, 3]


def test_without_topics_a_whole_topic_can_win():
    # within its topic document 0 is the best, in the whole pool both of topic y are better
    documents = pool({"a": [1.0, 0.0, 11.0, 10.0]}, ["x", "x", "y", "y"], [1] * 4)
    assert order("market_one_topic", documents) == [2, 3, 0, 1]
    assert set(order("market", documents)[:2]) == {0, 2}


def test_a_balanced_market_prefers_the_small_topic():
    signals = {"a": [0.0, 0.0, 0.0, 0.0, 0.0]}
    documents = pool(signals, ["big"] * 4 + ["small"], [1] * 5)
    assert order("market_balanced_topics", documents)[0] == 4
    assert order("market", documents) == [0, 1, 2, 3, 4]  # equal prices: by id


def test_length_counts_in_the_market_and_not_per_document():
    documents = pool({"a": [1.0, 1.1, *[0.0] * 8]}, ["x"] * 10, [1, 50, *[60] * 8])
    assert order("market", documents)[:2] == [0, 1]
    assert order("market_per_document", documents)[:2] == [1, 0]


def test_a_diverse_market_takes_a_near_equal_that_is_unlike_first():
    values = [1.0, 0.999, 0.998, *np.linspace(-3, 0.5, 37)]
    documents = pool({"a": values}, ["x"] * 40, [1] * 40)
    alike = documents.embeddings.copy()
    alike[1] = alike[0]
    documents = dataclasses.replace(documents, embeddings=alike)
    assert order("market", documents)[:3] == [0, 1, 2]
    assert order("market_diverse", documents)[:3] == [0, 2, 1]


def test_a_sampled_market_draws_in_proportion_to_the_price_per_token():
    documents = random_pool(1)
    sampler = market_sampler(MarketTerms(method="sample"))
    counts = np.zeros(40)
    for seed in range(400):
        counts[sampler(documents, 60, rng=np.random.default_rng(seed))] += 1
    cheap, dear = np.array(order("market", documents))[[-5, 2]]
    assert counts[dear] > 5 * max(1, counts[cheap])
    spent = [
        documents.costs[sampler(documents, 60, rng=np.random.default_rng(seed))].sum()
        for seed in range(20)
    ]
    assert max(spent) <= 60


def test_weights_of_other_traders_are_refused():
    documents = dataclasses.replace(random_pool(0), weights={"a": 1.0})
    with pytest.raises(InputError, match="sampler 'market': weights must name every signal once"):
        order("market", documents)
