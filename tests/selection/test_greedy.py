"""Spending a budget: rules, reasons, marginal prices, kinds of budget."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.greedy import (
    buy_within_budget,
    costs_within,
    marginal_price_by_group,
    order_by_price_per_token,
    rank_documents,
)

law = settings(derandomize=True, deadline=None, max_examples=100)
cost_lists = st.lists(st.integers(1, 30), min_size=0, max_size=25).map(
    lambda costs: np.array(costs, dtype=np.int64)
)
budgets = st.integers(0, 200)


def buy(costs, budget, rule="skip"):
    return buy_within_budget(costs=np.array(costs), budget=budget, rule=rule)


def test_skip_passes_over_what_does_not_fit_and_stop_ends_there():
    costs = [60, 50, 200, 30, 10, 1]

    assert buy(costs, 100).tolist() == [True, False, False, True, True, False]
    assert buy(costs, 100, "stop").tolist() == [True, False, False, False, False, False]


def test_a_document_longer_than_the_budget_never_stops_the_walk():
    assert buy([101, 60, 40, 1], 100, "stop").tolist() == [False, True, True, False]


@law
@given(cost_lists, budgets)
def test_skip_buys_what_the_obvious_loop_buys(costs, budget):
    left, expected = budget, []
    for cost in costs:
        expected.append(bool(cost <= left))
        left -= cost if cost <= left else 0

    assert buy(costs, budget).tolist() == expected


@law
@given(cost_lists, budgets, st.sampled_from(["skip", "stop"]))
def test_the_budget_is_never_exceeded(costs, budget, rule):
    assert costs[buy(costs, budget, rule)].sum() <= budget


@law
@given(cost_lists, budgets)
def test_nothing_that_skip_left_would_still_fit(costs, budget):
    is_bought = buy(costs, budget)
    left = budget - costs[is_bought].sum()

    assert (costs[~is_bought] > left).all()


@law
@given(cost_lists, budgets)
def test_stop_buys_a_part_of_what_skip_buys(costs, budget):
    assert not (buy(costs, budget, "stop") & ~buy(costs, budget)).any()


@law
@given(cost_lists, budgets)
def test_stop_leaves_less_than_the_longest_document_unless_it_bought_all(costs, budget):
    eligible = costs[costs <= budget]
    is_bought = buy(costs, budget, "stop")

    if is_bought.sum() < eligible.size:
        assert budget - costs[is_bought].sum() < eligible.max()
    else:
        np.testing.assert_array_equal(is_bought, costs <= budget)


@law
@given(st.integers(1, 9), st.integers(0, 30), budgets, st.sampled_from(["skip", "stop"]))
def test_documents_of_one_length_are_bought_from_the_top(length, n, budget, rule):
    is_bought = buy(np.full(n, length), budget, rule)

    assert is_bought.tolist() == [position < budget // length for position in range(n)]


@law
@given(cost_lists, budgets, st.integers(0, 60))
def test_stop_is_nested_in_the_budget_while_every_document_is_eligible(costs, budget, more):
    budget = max(budget, int(costs.max(initial=0)))

    assert not (buy(costs, budget, "stop") & ~buy(costs, budget + more, "stop")).any()


def test_neither_rule_is_nested_in_the_budget_in_general():
    assert buy([5, 6, 5], 10).tolist() == [True, False, True]
    assert buy([5, 6, 5], 11).tolist() == [True, True, False]
    assert buy([11, 6, 5], 10, "stop").tolist() == [False, True, False]
    assert buy([11, 6, 5], 11, "stop").tolist() == [True, False, False]


@pytest.mark.parametrize("rule", ["skip", "stop"])
def test_a_budget_below_every_document_and_an_empty_pool_buy_nothing(rule):
    assert not buy([7, 9], 6, rule).any()
    assert buy(np.zeros(0, dtype=int), 10, rule).tolist() == []


def test_greedy_by_price_per_token_is_at_least_half_of_the_best_with_the_best_single_one():
    rng = np.random.default_rng(4)
    for _ in range(30):
        costs, prices = rng.integers(1, 20, 9), rng.dirichlet(np.ones(9))
        order = np.argsort(-prices / costs)
        value = max(prices[order][buy(costs[order], 30)].sum(), prices.max())
        best = max(
            prices[list(chosen)].sum()
            for size in range(10)
            for chosen in itertools.combinations(range(9), size)
            if costs[list(chosen)].sum() <= 30
        )
        assert value >= best / 2


@law
@given(cost_lists, budgets, st.integers(0, 50), st.sampled_from(["skip", "stop"]))
def test_what_was_spent_before_is_taken_from_the_budget_but_not_from_what_is_eligible(
    costs, budget, spent, rule
):
    spent = min(spent, budget)
    left, expected = budget - spent, []
    for cost in costs.tolist():
        if cost > left and cost <= budget and rule == "stop":
            break
        expected.append(cost <= left)
        left -= cost if cost <= left else 0
    expected += [False] * (costs.size - len(expected))

    found = buy_within_budget(costs=costs, budget=budget, rule=rule, already_spent=spent)
    assert found.tolist() == expected


def test_a_document_that_would_have_fitted_the_whole_budget_ends_the_walk_if_some_was_spent():
    costs = np.array([50, 10])
    for rule, expected in [("stop", [False, False]), ("skip", [False, True])]:
        found = buy_within_budget(costs=costs, budget=60, rule=rule, already_spent=20)
        assert found.tolist() == expected


def test_more_cannot_have_been_spent_than_there_is():
    with pytest.raises(InputError, match=r"already_spent must be in 0 \.\. 5, got 6"):
        buy_within_budget(costs=np.array([1]), budget=5, already_spent=6)


def test_a_walk_with_many_misfits_is_the_obvious_loop_and_takes_linear_time():
    # each second document costs all that is left at its turn, and one more
    n = 200_000
    costs = np.where(np.arange(n) % 2 == 0, 1, n // 2 - np.arange(n) // 2)
    left, expected = n // 2, []
    for cost in costs.tolist():
        expected.append(cost <= left)
        left -= cost if cost <= left else 0

    begin = time.process_time()
    found = buy(costs, n // 2)
    assert time.process_time() - begin < 2  # about 0.05
    assert found.tolist() == expected


def test_a_million_documents_are_walked_in_seconds():
    costs = np.random.default_rng(5).integers(5, 2000, 1_000_000)
    begin = time.process_time()
    is_bought = buy(costs, int(costs.sum() // 2))

    assert time.process_time() - begin < 5  # about 0.2 on one core
    assert 0 <= costs.sum() // 2 - costs[is_bought].sum() < costs[~is_bought].min()


def test_order_is_by_price_then_length_then_id():
    log_price = np.array([-1.0, -0.5, -1.0, -1.0, -np.inf])
    tokens = np.array([9, 9, 3, 9, 1])

    order = order_by_price_per_token(log_price, tokens, ["d", "e", "c", "a", "b"])
    assert order.tolist() == [1, 2, 3, 0, 4]


@law
@given(st.integers(0, 2**31))
def test_order_of_documents_does_not_depend_on_the_order_of_input(seed):
    rng = np.random.default_rng(seed)
    log_price, tokens = np.round(rng.normal(size=20), 1), rng.integers(1, 4, 20)
    ids = np.array([f"{number:02d}" for number in rng.permutation(20)])
    moved = rng.permutation(20)

    order = order_by_price_per_token(log_price, tokens, ids.tolist())
    again = order_by_price_per_token(log_price[moved], tokens[moved], ids[moved].tolist())
    assert ids[moved][again].tolist() == ids[order].tolist()


def test_ids_are_compared_by_code_point_as_in_the_warehouse():
    order = order_by_price_per_token(np.zeros(3), np.ones(3, dtype=int), ["a", "B", "é"])

    assert order.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("log_price", "tokens", "ids", "message"),
    [
        ([0.0, np.nan], [1, 1], ["a", "b"], "document b is NaN"),
        ([0.0, 0.0], [1, 1], ["a", "a"], "distinct"),
        ([0.0], [1, 1], ["a", "b"], "one length"),
        ([0.0, 0.0], [1], ["a", "b"], "one length"),
    ],
)
def test_order_refuses_what_has_no_order(log_price, tokens, ids, message):
    with pytest.raises(InputError, match=message):
        order_by_price_per_token(np.array(log_price), np.array(tokens), ids)


@law
@given(
    st.lists(
        st.tuples(st.sampled_from([-np.inf, -1.0, -0.5, 0.0, -0.0]), st.integers(1, 3)), max_size=40
    ),
    st.sampled_from([1, 2**40]),
)
def test_ranks_are_by_price_then_length_then_position(documents, scale):
    log_price = np.array([price for price, _ in documents])
    tokens = np.array([length for _, length in documents], dtype=np.int64) * scale

    expected = sorted(range(len(documents)), key=lambda i: (-log_price[i], tokens[i], i))
    assert rank_documents(log_price, tokens).tolist() == expected


@pytest.mark.parametrize("decimals", [0, 2, 15])
def test_ranks_of_many_documents_are_those_of_the_order_by_id(decimals):
    rng = np.random.default_rng(6)
    log_price = np.round(rng.normal(size=5000), decimals)
    tokens = rng.integers(1, 2**62, 5000) if decimals == 0 else rng.integers(1, 4, 5000)
    ids = [f"{number:04d}" for number in range(5000)]

    expected = order_by_price_per_token(log_price, tokens, ids)
    np.testing.assert_array_equal(rank_documents(log_price, tokens), expected)


@pytest.mark.parametrize(
    ("log_price", "tokens", "message"),
    [
        ([0.0, np.nan], [1, 1], "position 1 is nan"),
        ([np.inf, 0.0], [1, 1], "position 0 is inf"),
        ([0.0, 0.0], [1], "one length"),
    ],
)
def test_ranking_refuses_what_has_no_rank(log_price, tokens, message):
    with pytest.raises(InputError, match=message):
        rank_documents(np.array(log_price), np.array(tokens))


def test_marginal_price_of_a_group_is_of_the_last_bought_in_rank_order():
    log_price = np.array([-4.0, -1.0, -5.0, -2.0, -3.0])
    found = marginal_price_by_group(
        log_price,
        is_bought=np.array([True, True, False, True, True]),
        ranking=np.array([1, 3, 4, 0, 2]),
        group_index=np.array([1, 0, 2, 0, 1]),
        n_groups=4,
    )
    assert found == [-2.0, -4.0, None, None]


TOKENS = np.array([10, 20, 70])


@pytest.mark.parametrize(
    ("kind", "amount", "costs", "budget"),
    [
        ("tokens", 60, [10, 20, 70], 60),
        ("documents", 2, [1, 1, 1], 2),
        ("share", 0.29, [10, 20, 70], 29),  # 0.29 * 100 is 28.999999999999996 in doubles
        ("share", 0.555, [10, 20, 70], 55),
        ("share", 1, [10, 20, 70], 100),
    ],
)
def test_each_kind_of_budget_becomes_costs_and_a_whole_number(kind, amount, costs, budget):
    found_costs, found_budget = costs_within(TOKENS, kind, amount)

    assert found_costs.tolist() == costs
    assert found_budget == budget
    assert isinstance(found_budget, int)


def test_a_budget_of_the_whole_pool_buys_everything():
    costs, budget = costs_within(TOKENS, "share", 1.0)

    assert buy(costs, budget).all()


@pytest.mark.parametrize(
    ("kind", "amount", "message"),
    [
        ("tokens", 0, "whole number >= 1"),
        ("tokens", 1.5, "whole number >= 1"),
        ("documents", -1, "whole number >= 1"),
        ("documents", float("nan"), "whole number >= 1"),
        ("tokens", float("inf"), "whole number >= 1"),
        ("share", 0, r"\(0, 1\]"),
        ("share", 1.01, r"\(0, 1\]"),
        ("share", float("nan"), r"\(0, 1\]"),
        ("share", 0.001, "less than one token"),
        ("bytes", 5, "got 'bytes'"),
    ],
)
def test_budgets_outside_their_domain_are_refused(kind, amount, message):
    with pytest.raises(InputError, match=message):
        costs_within(TOKENS, kind, amount)


@pytest.mark.parametrize(
    ("costs", "budget", "rule", "message"),
    [
        ([1, 0, 2], 5, "skip", "got 0 at position 1"),
        ([1.5], 5, "skip", "vector of integers"),
        ([[1]], 5, "skip", "vector of integers"),
        ([1], -1, "skip", "budget must be >= 0"),
        ([1], 1, "best", "got 'best'"),
    ],
)
def test_costs_and_rules_outside_their_domain_are_refused(costs, budget, rule, message):
    with pytest.raises(InputError, match=message):
        buy(costs, budget, rule)
