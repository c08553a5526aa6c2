import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError, UnknownNameError
from databourse.samplers.baselines import measure_sampler, sum_sampler, z_score_sum
from databourse.samplers.interface import Candidates
from databourse.samplers.registry import sampler_spec
from databourse.topics import topics_from_names


def with_topics(documents, names):
    return dataclasses.replace(documents, topics=topics_from_names(names, None))


def test_every_order_of_three_documents_is_as_likely(candidates, buy):
    draws = 6_000
    documents = candidates([1, 1, 1])
    orders = Counter(tuple(buy("random", documents, 3, seed)) for seed in range(draws))
    assert set(orders) == set(itertools.permutations(range(3)))
    chi_square = sum((count - 1_000) ** 2 / 1_000 for count in orders.values())
    assert chi_square < 20.5  # 99.9 % of the chi-square distribution with 5 degrees of freedom


def test_shortest_and_longest_go_by_cost_and_ties_by_document_id(candidates, buy):
    documents = candidates([30, 10, 20, 10, 30])
    assert buy("shortest_first", documents, 100) == [1, 3, 2, 0, 4]
    assert buy("longest_first", documents, 100) == [0, 4, 2, 1, 3]
    assert buy("longest_first", documents, 59) == [0, 2]  # 4 does not fit after 0


def slow_webster(sizes, seats):
    """Hand out seat after seat to the largest size / (2 * seats so far + 1)."""
    given = dict.fromkeys(sizes, 0)
    for _ in range(seats):
        takers = [each for each in sizes if given[each] < sizes[each]]
        given[max(takers, key=lambda each: sizes[each] / (2 * given[each] + 1))] += 1
    return given


@pytest.mark.parametrize("budget", range(0, 18, 3))
def test_a_budget_of_documents_is_shared_among_topics_as_webster_shares_seats(
    candidates, buy, budget
):
    names = ["a"] * 11 + ["b"] * 4 + ["c"] * 2  # no two quotients are equal up to the budget
    documents = with_topics(candidates([1] * 17), names)
    for seed in range(5):
        bought = buy("stratified_random", documents, budget, seed)
        found = Counter(names[each] for each in bought)
        expected = slow_webster({"a": 11, "b": 4, "c": 2}, budget)
        assert {each: found[each] for each in "abc"} == expected


@given(st.integers(0, 10_000), st.integers(0, 3_000))
def test_each_topic_gets_its_share_of_the_tokens_up_to_a_document(seed, budget):
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, 3, 120)
    documents = Candidates(
        document_ids=[f"{i:05d}" for i in range(120)],
        costs=rng.integers(1, 50, 120),
        topics=topics_from_names([f"topic-{each}" for each in topics], None),
    )
    bought = sampler_spec("stratified_random").sampler(documents, budget, rng=rng)
    share = min(1.0, budget / documents.costs.sum())
    for topic in range(3):
        spent = documents.costs[bought[topics[bought] == topic]].sum()
        # half a document where the order is cut, one that did not fit, and what filled the rest
        assert abs(spent - share * documents.costs[topics == topic].sum()) <= 200


def test_within_a_topic_every_document_is_as_likely(candidates, buy):
    names = ["a", "b", "a", "b", "a"]
    documents = with_topics(candidates([1] * 5), names)
    first = Counter(
        next(each for each in buy("stratified_random", documents, 5, seed) if names[each] == "a")
        for seed in range(3_000)
    )
    chi_square = sum((first[each] - 1_000) ** 2 / 1_000 for each in (0, 2, 4))
    assert chi_square < 13.8  # 99.9 % of the chi-square distribution with 2 degrees of freedom


def test_the_ends_and_the_middle_of_any_measure(candidates, buy):
    documents = candidates([10] * 6, age=[3.0, math.nan, 9.0, 1.0, 5.0, 5.0])
    assert buy("age:top", documents, 99) == [2, 4, 5, 0, 3]
    assert buy("age:bottom", documents, 99) == [3, 0, 4, 5, 2]
    # ranks of 3, 9, 1, 5, 5: 0.3, 0.9, 0.1, 0.6, 0.6
    assert buy("age:middle", documents, 99) == [4, 5, 0, 2, 3]


def test_the_ends_of_perplexity_are_the_samplers_of_that_name(candidates, buy):
    values = np.random.default_rng(2).normal(size=40)
    documents = candidates([10] * 40, mean_token_loss=values)
    for end, name in (("bottom", "low"), ("middle", "middle"), ("top", "high")):
        bought = buy(f"mean_token_loss:{end}", documents, 150)
        assert bought == buy(f"perplexity_{name}", documents, 150)


def test_a_sampler_of_a_measure_declares_it():
    spec = measure_sampler("rarity", "top")
    assert (spec.name, spec.measures, spec.is_random) == ("rarity:top", {"rarity"}, False)
    spec = sum_sampler("z_score_sum", "rarity, -2*age")
    assert (spec.name, spec.measures) == ("z_score_sum:rarity, -2*age", {"rarity", "age"})


def test_an_unknown_sum_is_refused():
    with pytest.raises(UnknownNameError, match="unknown sum 'sum'"):
        sum_sampler("sum", "rarity")


def test_a_sum_of_z_scores_is_that_computed_by_hand(candidates, buy):
    # z of age: (-1, 1, -1, 1); z of height: (-1, -1, 1, 1)
    documents = candidates([1, 1, 9, 1], age=[0, 2, 0, 2], height=[10, 10, 30, 30])
    # the means are -1, 0, 0 and 1
    assert buy("z_score_sum:age,height", documents, 99) == [3, 1, 2, 0]
    # (z_age - z_height) / 2 = (0, 1, -1, 0)
    assert buy("z_score_sum:age,-height", documents, 99) == [1, 0, 3, 2]
    # (z_age + 3 z_height) / 4 = (-1, -0.5, 0.5, 1)
    assert buy("z_score_sum:age,3*height", documents, 99) == [3, 2, 1, 0]
    # ln 9 = 2.2 is taken from the third: (-1, 0, -2.2, 1)
    assert buy("z_score_sum_per_token:age,height", documents, 99) == [3, 1, 0, 2]


def slow_sum(columns, weights):
    scores = [0.0] * len(columns[0])
    for values, weight in zip(columns, weights, strict=True):
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((each - mean) ** 2 for each in values) / len(values))
        for i, each in enumerate(values):
            scores[i] += weight * (each - mean) / spread if spread else 0.0
    return [score / sum(abs(weight) for weight in weights) for score in scores]


@given(st.integers(0, 10_000))
def test_sums_of_z_scores_equal_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    columns = [rng.normal(5, 2, 15), rng.exponential(1, 15), np.full(15, 3.0)]
    weights = {"a": 1.0, "b": -0.5, "c": 2.0}
    documents = Candidates(
        document_ids=[f"{i:05d}" for i in range(15)],
        costs=rng.integers(1, 9, 15),
        measures=dict(zip(weights, columns, strict=True)),
    )
    scores = slow_sum([values.tolist() for values in columns], list(weights.values()))
    tokens = documents.costs.tolist()
    per_token = [score - math.log(cost) for score, cost in zip(scores, tokens, strict=True)]
    for per, expected in (("document", scores), ("token", per_token)):
        found = z_score_sum(weights, per=per)(documents, 1_000, rng=rng).tolist()
        assert found == sorted(range(15), key=lambda i, of=expected: (-round(of[i], 9), i))


def test_the_scale_of_weights_and_the_unit_of_a_measure_change_nothing(candidates, buy):
    rng = np.random.default_rng(3)
    age, height = rng.normal(size=30), rng.normal(size=30)
    documents = candidates([1] * 30, age=age, height=height)
    other_unit = candidates([1] * 30, age=age, height=7 + 1000 * height)
    for form in ("z_score_sum", "z_score_sum_per_token"):
        expected = buy(f"{form}:age,-2*height", documents, 30)
        assert buy(f"{form}:3*age,-6*height", documents, 30) == expected
        assert buy(f"{form}:age,-2*height", other_unit, 30) == expected


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": math.nan}, {"a": 1.0, "b": math.inf}])
def test_weights_outside_their_domain_are_refused(weights):
    with pytest.raises(InputError, match="weights must be finite and not 0, at least one"):
        z_score_sum(weights, per="document")


def test_an_infinite_measure_has_no_z_score_and_is_refused(candidates, buy):
    documents = candidates([1, 1], age=[1.0, math.inf])
    with pytest.raises(InputError, match="'z_score_sum:age': signal values must be finite"):
        buy("z_score_sum:age", documents, 2)
