"""A sweep over budgets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.greedy import buy_within_budget
from databourse.selection.sweep import SweepRow, budget_grid, sweep_budgets

# Prices .4, .1, .3, .2 at 2, 1, 3, 4 tokens; per token .2, .1, .1, .05, of which the shorter first.
PRICES = np.array([0.4, 0.1, 0.3, 0.2])
POOL = {
    "log_price": np.log(PRICES),
    "log_price_per_token": np.log(PRICES / [2, 1, 3, 4]),
    "costs": np.array([2, 1, 3, 4]),
    "ranking": np.array([0, 1, 2, 3]),
    "topic_index": np.array([0, 0, 1, 2]),
    "n_topics": 4,
}


def greedy(pool):
    """Buy the dearest per token first, and let the sweep find the margin."""

    def buy(budget):
        is_bought = np.zeros(pool["costs"].size, dtype=bool)
        is_bought[pool["ranking"]] = buy_within_budget(
            costs=pool["costs"][pool["ranking"]], budget=budget
        )
        return is_bought, None

    return buy


def random_pool(seed, n=60, n_topics=5):
    rng = np.random.default_rng(seed)
    log_price = rng.normal(0, 2, n)
    log_price -= np.log(np.exp(log_price).sum())
    costs = rng.integers(1, 20, n)
    per_token = log_price - np.log(costs)
    return {
        "log_price": log_price,
        "log_price_per_token": per_token,
        "costs": costs,
        "ranking": np.argsort(-per_token, kind="stable"),
        "topic_index": rng.integers(0, n_topics, n),
        "n_topics": n_topics,
    }


def test_the_worked_example_of_three_budgets():
    nothing, some, everything = sweep_budgets([0, 6, 10], buy=greedy(POOL), **POOL)

    assert nothing == SweepRow(0, 0, 0, 0.0, 0.0, 0.0, 0, 4, None, None)
    assert (some.budget, some.documents, some.spent, some.spent_share) == (6, 3, 6, 0.6)
    assert some.utility == pytest.approx(0.8)
    # the square of 0.8, over 0.16 + 0.01 + 0.09
    assert some.price_effective_sample_size == pytest.approx(0.64 / 0.26)
    assert (some.topics_bought, some.n_topics, some.topic_coverage) == (2, 4, 0.5)
    # three of six tokens in either topic: ln 2 of ln 4
    assert some.topic_balance == pytest.approx(0.5)
    assert some.marginal_log_price_per_token == pytest.approx(math.log(0.1))
    assert (everything.utility, everything.spent_share, everything.topics_bought) == (1, 1, 3)
    # shares .3, .3, .4 of the tokens
    assert everything.topic_balance == pytest.approx(
        -(0.6 * math.log(0.3) + 0.4 * math.log(0.4)) / math.log(4)
    )


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_of_a_plain_loop(seed):
    pool = random_pool(seed)
    for row in sweep_budgets([1, 40, 200, 333, 10_000], buy=greedy(pool), **pool):
        left, bought, by_topic, last = row.budget, [], dict.fromkeys(range(5), 0), None
        for position in pool["ranking"].tolist():
            cost = int(pool["costs"][position])
            if cost <= left:
                left -= cost
                bought.append(math.exp(pool["log_price"][position]))
                by_topic[int(pool["topic_index"][position])] += cost
                last = float(pool["log_price_per_token"][position])
        spent = row.budget - left
        shares = [value / spent for value in by_topic.values() if value]

        assert (row.documents, row.spent, row.topics_bought) == (len(bought), spent, len(shares))
        assert row.utility == pytest.approx(sum(bought))
        assert row.marginal_log_price_per_token == last
        if bought:
            assert row.price_effective_sample_size == pytest.approx(
                sum(bought) ** 2 / sum(price * price for price in bought)
            )
            assert row.topic_balance == pytest.approx(
                -sum(share * math.log(share) for share in shares) / math.log(5), abs=1e-12
            )


def test_the_order_of_the_documents_changes_nothing():
    pool = random_pool(9)
    order = np.random.default_rng(1).permutation(60)
    place = np.argsort(order)
    shuffled = {
        name: place[values] if name == "ranking" else values[order]
        for name, values in pool.items()
        if name != "n_topics"
    }
    shuffled["n_topics"] = 5
    rows = sweep_budgets([30, 200], buy=greedy(pool), **pool)
    others = sweep_budgets([30, 200], buy=greedy(shuffled), **shuffled)
    for row, other in zip(rows, others, strict=True):
        assert (row.documents, row.spent, row.topics_bought) == (
            other.documents,
            other.spent,
            other.topics_bought,
        )
        assert row.marginal_log_price_per_token == other.marginal_log_price_per_token
        # sums of other orders differ in their last digits
        assert row.utility == pytest.approx(other.utility, rel=1e-12)


def test_more_budget_never_buys_less_where_all_cost_the_same():
    pool = {**random_pool(2), "costs": np.ones(60, dtype=int)}
    rows = sweep_budgets(range(61), buy=greedy(pool), **pool)
    assert [row.documents for row in rows] == list(range(61))
    assert all(np.diff([row.utility for row in rows]) > 0)
    assert all(np.diff([row.topic_coverage for row in rows]) >= 0)


def test_the_callers_own_rule_is_swept_with_its_own_margin():
    def cheapest_only(budget):
        return np.array([False, False, False, budget >= 4]), -7.5

    (row,) = sweep_budgets([5], buy=cheapest_only, **POOL)
    assert (row.documents, row.utility) == (1, pytest.approx(0.2))
    assert row.marginal_log_price_per_token == -7.5


def test_the_margin_is_that_of_the_selection_where_both_are_given():
    pool = random_pool(6)
    bought = buy_within_budget(costs=pool["costs"][pool["ranking"]], budget=100)
    (row,) = sweep_budgets([100], buy=greedy(pool), **pool)
    last = pool["ranking"][np.flatnonzero(bought)[-1]]
    assert row.marginal_log_price_per_token == pool["log_price_per_token"][last]


def test_prices_that_underflow_keep_their_shares():
    low = {**POOL, "log_price": POOL["log_price"] - 5000}
    (row,) = sweep_budgets([6], buy=greedy(POOL), **low)
    assert row.utility == pytest.approx(0.8, rel=1e-9)
    assert row.price_effective_sample_size == pytest.approx(0.64 / 0.26, rel=1e-9)


def test_cheap_documents_have_an_effective_sample_size_beside_a_very_dear_one():
    prices = np.array([0.0, -800.0, -800.0, -np.inf])
    pool = {**POOL, "log_price": prices}

    def buying(*positions):
        return lambda _: (np.isin(np.arange(4), positions), None)

    (cheap,) = sweep_budgets([9], buy=buying(1, 2), **pool)
    assert (cheap.utility, cheap.price_effective_sample_size) == (0.0, 2.0)
    (worthless,) = sweep_budgets([9], buy=buying(3), **pool)
    assert worthless.price_effective_sample_size == 0


def test_one_topic_has_no_balance_and_one_topic_of_two_has_none_of_it():
    one = {**POOL, "topic_index": np.zeros(4, dtype=int), "n_topics": 1}
    assert [row.topic_balance for row in sweep_budgets([0, 6], buy=greedy(one), **one)] == [
        None
    ] * 2
    two = {**one, "n_topics": 2}
    assert [row.topic_balance for row in sweep_budgets([0, 6], buy=greedy(two), **two)] == [None, 0]


def test_a_rule_that_overspends_is_refused():
    with pytest.raises(InputError, match="buy spent 10 of a budget of 9"):
        sweep_budgets([9], buy=lambda _: (np.ones(4, dtype=bool), None), **POOL)


@pytest.mark.parametrize("bought", [np.ones(3, dtype=bool), np.array([0, 1, 0, 0])])
def test_a_rule_that_gives_something_else_is_refused(bought):
    with pytest.raises(InputError, match="one truth value for each of 4 documents"):
        sweep_budgets([9], buy=lambda _: (bought, None), **POOL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"costs": np.array([1, 2])}, "vectors of one length"),
        ({"log_price": np.array([0, np.nan, 0, 0])}, "log_price must be finite .* position 1"),
        ({"log_price_per_token": np.array([0, 0, 0, np.inf])}, "per_token must .* position 3"),
        ({"log_price": np.full(4, -np.inf)}, "every price is 0"),
        ({"costs": np.array([1, 2, 0, 1])}, "cost at least 1, got 0"),
        ({"ranking": np.array([0, 1, 1, 3])}, "every position below 4 once"),
        ({"topic_index": np.array([0, 1, 2, 4])}, "n_topics = 4, got 0 to 4"),
        ({"topic_index": np.array([-1, 1, 2, 3])}, "got -1 to 3"),
    ],
)
def test_arguments_outside_their_domain_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        sweep_budgets([1], buy=greedy(POOL), **{**POOL, **change})


def test_the_grid_grows_in_even_ratios_to_the_whole_pool():
    # 1 % of 10,000 and two factors of 10 in four steps of 3.162
    assert budget_grid(1000, total=10_000, n_budgets=5) == (100, 316, 1000, 3162, 10_000)


def test_the_grid_has_even_ratios_on_either_side_of_the_budget():
    assert budget_grid(900, total=10_000, n_budgets=5) == (100, 300, 900, 3000, 10_000)
    # three steps of 4.626 and one that is left
    assert budget_grid(9900, total=10_000, n_budgets=5) == (100, 463, 2140, 9900, 10_000)


def test_a_small_budget_still_has_smaller_ones_beside_it():
    assert budget_grid(40, total=10_000, n_budgets=4) == (10, 40, 632, 10_000)


def test_a_budget_beyond_the_pool_is_in_the_grid_with_the_whole_pool():
    assert budget_grid(500, total=100)[-2:] == (100, 500)


@given(
    st.integers(min_value=1, max_value=10**12),
    st.integers(min_value=1, max_value=10**12),
    st.integers(min_value=3, max_value=30),
)
def test_every_grid_holds_the_budget_and_the_pool_in_ascending_order(budget, total, n_budgets):
    grid = budget_grid(budget, total=total, n_budgets=n_budgets)
    assert {budget, total} <= set(grid)
    assert list(grid) == sorted(set(grid))
    assert grid[0] >= 1
    assert len(grid) <= n_budgets


@pytest.mark.parametrize(
    ("budget", "options"),
    [
        (0, {"total": 5}),
        (5, {"total": 0}),
        (5, {"total": 9, "n_budgets": 2}),
        (5, {"total": 9, "smallest_share": 0}),
        (5, {"total": 9, "smallest_share": math.nan}),
    ],
)
def test_a_grid_of_nothing_is_refused(budget, options):
    with pytest.raises(InputError, match="at least"):
        budget_grid(budget, **options)
