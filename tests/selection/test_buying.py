"""Buying within a budget: rules, the best single document, floors and caps, diversity."""

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection import buying, feasibility
from databourse.selection.buying import buy
from databourse.selection.greedy import rank_documents
from databourse.selection.limits import GroupLimits, group_limits

law = settings(max_examples=60)

# Worked example: documents a..g, log prices of the two topic masses, lengths.
IDS = "abcdefg"
LENGTHS = np.array([100, 50, 200, 80, 40, 120, 60])
TOPICS = np.array([0, 0, 0, 0, 1, 1, 1])
PRICES = {
    "proportional": np.array(
        [0.050294, 0.061169, 0.200952, 0.259014, 0.210561, 0.200684, 0.017327]
    ),
    "balanced": np.array([0.044007, 0.053523, 0.175833, 0.226637, 0.245655, 0.234131, 0.020214]),
}


def spend(price, tokens, budget, *, length_bias=1.0, costs=None, **words):
    """Return the purchase of documents given by price and length."""
    tokens = np.asarray(tokens)
    log_price = np.log(np.asarray(price, dtype=np.float64))
    per_token = log_price - length_bias * np.log(tokens)
    return buy(
        log_price=log_price,
        log_price_per_token=per_token,
        costs=tokens if costs is None else costs,
        budget=budget,
        ranking=rank_documents(per_token, tokens),
        **words,
    )


@pytest.mark.parametrize(
    ("mass", "bias", "budget", "rule", "expected"),
    [
        ("proportional", 0, 170, "stop", "de"),
        ("proportional", 0, 170, "skip", "deb"),
        ("proportional", 0, 300, "skip", "defb"),
        ("proportional", 1, 170, "stop", "ed"),
        ("proportional", 1, 170, "skip", "edb"),
        ("proportional", 1, 300, "skip", "edfb"),
        ("balanced", 0, 170, "stop", "ef"),
        ("balanced", 0, 170, "skip", "ef"),
        ("balanced", 0, 300, "skip", "efdb"),
        ("balanced", 1, 170, "stop", "ed"),
        ("balanced", 1, 170, "skip", "edb"),
        ("balanced", 1, 300, "skip", "edfb"),
    ],
)
def test_the_worked_example_buys_its_documents_in_its_order(mass, bias, budget, rule, expected):
    purchase = spend(PRICES[mass], LENGTHS, budget, length_bias=bias, rule=rule)

    assert "".join(IDS[position] for position in purchase.order) == expected
    assert {IDS[i] for i in np.flatnonzero(purchase.is_bought)} == set(expected)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, {"e", "f"}), (1.0, {"d", "e"})])
def test_the_worked_example_of_two_documents_with_a_floor_for_each_topic(strength, expected):
    purchase = spend_documents(PRICES["balanced"], TOPICS, 2, strength, bias=0)

    assert {IDS[position] for position in purchase.order} == expected


def spend_documents(price, topics, budget, strength, *, bias=1, tokens=LENGTHS):
    costs = np.ones(len(price), dtype=np.int64)
    names = [f"topic{t}" for t in range(int(np.max(topics, initial=-1)) + 1)]
    floors = group_limits(
        kind="topic", names=names, group_index=topics, costs=costs, budget=budget, floor=strength
    )
    return spend(price, tokens, budget, length_bias=bias, costs=costs, limits=[floors])


# ---- the plain rule ------------------------------------------------------------------------------


@st.composite
def pools(draw, least=0, most=12):
    """Return prices, lengths and a budget; ties, long documents and prices of 0 among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n = draw(st.integers(least, most))
    price = np.round(rng.dirichlet(np.ones(n)) if n else np.zeros(0), draw(st.integers(1, 6)))
    tokens = rng.integers(1, draw(st.sampled_from([2, 10, 40])), n)
    return price, tokens, draw(st.integers(0, 120))


def quiet_spend(price, tokens, budget, **words):
    with np.errstate(divide="ignore"):  # the log of a price of 0
        return spend(price, tokens, budget, **words)


@law
@given(pools(), st.sampled_from(["skip", "stop"]), st.sampled_from([0.0, 1.0]))
def test_the_plain_rule_is_the_obvious_walk(pool, rule, bias):
    price, tokens, budget = pool
    with np.errstate(divide="ignore"):
        per_token = np.log(price) - bias * np.log(tokens)
    walk = sorted(range(len(price)), key=lambda i: (-per_token[i], tokens[i], i))
    left, expected, reasons, has_stopped = budget, [], ["bought"] * len(price), False
    for i in walk:
        if tokens[i] > budget:
            reasons[i] = "longer_than_budget"
        elif has_stopped:
            reasons[i] = "after_the_stop"
        elif tokens[i] > left:
            reasons[i], has_stopped = "did_not_fit", rule == "stop"
        else:
            expected.append(i)
            left -= int(tokens[i])

    purchase = quiet_spend(price, tokens, budget, rule=rule, length_bias=bias)
    assert purchase.order.tolist() == expected
    assert purchase.reasons() == reasons
    last = per_token[expected[-1]] if expected else None
    assert purchase.marginal_log_price_per_token == last


@law
@given(pools(least=1, most=10), st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_greedy_value_is_near_the_best_by_the_spread_of_lengths(pool, bias):
    price, tokens, budget = pool
    fits = tokens <= budget
    price, tokens = price[fits], tokens[fits]
    if not price.size:
        return
    best, fractional = best_value(price, tokens, budget), fractional_value(price, tokens, budget)
    kappa = tokens.max() / tokens.min()
    factor = kappa ** -abs(1 - bias) * (1 - tokens.max() / budget)

    assert best <= fractional + 1e-12
    for rule in ("skip", "stop"):
        value = price[quiet_spend(price, tokens, budget, rule=rule, length_bias=bias).order].sum()
        assert value >= factor * fractional - 1e-12


@law
@given(pools(least=1, most=10))
def test_stop_at_length_bias_one_loses_less_than_the_first_document_that_did_not_fit(pool):
    price, tokens, budget = pool
    purchase = quiet_spend(price, tokens, budget, rule="stop")
    fits = tokens <= budget
    misfit = [i for i, reason in enumerate(purchase.reasons()) if reason == "did_not_fit"]

    bound = fractional_value(price[fits], tokens[fits], budget) - price[misfit].sum()
    assert price[purchase.order].sum() >= bound - 1e-12


@law
@given(pools(least=1, most=10), st.sampled_from(["skip", "stop"]))
def test_with_the_best_single_document_the_value_is_at_least_half_of_the_best(pool, rule):
    price, tokens, budget = pool
    plain = quiet_spend(price, tokens, budget, rule=rule)
    purchase = quiet_spend(price, tokens, budget, rule=rule, guard="best_single")
    value = price[purchase.order].sum()

    assert tokens[purchase.order].sum() <= budget
    assert value >= best_value(price, tokens, budget) / 2 - 1e-12
    assert value >= price[plain.order].sum() - 1e-12


def best_value(price, tokens, budget):
    """Return the value of the best set, by trying all."""
    return max(
        price[list(chosen)].sum()
        for size in range(len(price) + 1)
        for chosen in itertools.combinations(range(len(price)), size)
        if tokens[list(chosen)].sum() <= budget
    )


def fractional_value(price, tokens, budget):
    """Return the best value if documents could be cut: by price per token until nothing is left."""
    value, left = 0.0, budget
    for i in sorted(range(len(price)), key=lambda i: -price[i] / tokens[i]):
        part = min(1.0, left / tokens[i])
        value, left = value + part * price[i], left - part * tokens[i]
    return value


def test_one_dear_long_document_is_bought_before_a_crumb_that_keeps_it_out():
    plain = spend([0.02, 0.98], [1, 100], 100)
    guarded = spend([0.02, 0.98], [1, 100], 100, guard="best_single")

    assert plain.order.tolist() == [0]
    assert guarded.reasons() == ["did_not_fit", "best_single"]
    assert guarded.marginal_log_price_per_token == pytest.approx(np.log(0.98 / 100))


def test_a_single_document_replaces_even_a_set_that_is_worth_almost_as_much():
    assert spend([0.49, 0.5], [1, 100], 100, guard="best_single").order.tolist() == [1]


def test_after_the_best_single_document_the_walk_goes_on_with_what_is_left():
    price, tokens = np.array([0.06, 0.05, 0.04, 0.85]), np.array([3, 3, 3, 98])

    plain = spend(price, tokens, 102)
    guarded = spend(price, tokens, 102, guard="best_single")
    assert plain.order.tolist() == [0, 1, 2]
    assert guarded.order.tolist() == [3, 0]
    assert guarded.reasons() == ["bought", "did_not_fit", "did_not_fit", "best_single"]


def test_a_single_document_worth_as_much_as_the_greedy_set_does_not_replace_it():
    purchase = spend([0.25, 0.25, 0.5], [1, 1, 100], 100, guard="best_single")

    assert purchase.order.tolist() == [0, 1]


@law
@given(pools(least=2, most=10), st.integers(0, 100), st.floats(0.1, 3.0))
def test_a_higher_price_never_drops_a_document_from_stop_or_from_one_market(pool, which, more):
    price, tokens, budget = pool
    which %= len(price)
    q = np.log(price + 0.01)
    raised = q.copy()
    raised[which] += more

    def is_bought(shares, rule):
        with_one_market = np.exp(shares) / np.exp(shares).sum()
        return spend(with_one_market, tokens, budget, rule=rule).is_bought[which]

    for rule in ("skip", "stop"):
        assert is_bought(raised, rule) >= is_bought(q, rule)


@pytest.mark.parametrize("rule", ["skip", "stop"])
def test_the_plain_rule_is_not_nested_in_the_budget(rule):
    # dearest per token first: at 10 the first and last, or all but the one longer than the budget
    tokens = {"skip": [5, 6, 5], "stop": [11, 6, 5]}[rule]
    price = np.array([3.0, 2.0, 1.0]) * tokens
    small = set(spend(price, tokens, 10, rule=rule).order.tolist())
    large = set(spend(price, tokens, 11, rule=rule).order.tolist())

    assert small - large


# ---- floors and caps -----------------------------------------------------------------------------


def balanced_top(topics, wanted, strength):
    """Return what balanced top-K buys of documents in rank order: the best of each, then the top.

    Step 6A of the selection, in its own words: of K documents topic t gets the best
    min(n_t, floor(strength * K / T)), and the rest goes by rank over all topics.
    """
    floor = int(Fraction(strength) * wanted / len(set(topics))) if topics else 0
    held = dict.fromkeys(topics, 0)
    bought = []
    for position, topic in enumerate(topics):
        if held[topic] < floor:
            bought.append(position)
            held[topic] += 1
    rest = [position for position in range(len(topics)) if position not in bought]
    return set(bought + rest[: wanted - len(bought)])


@law
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(0, 40),
    st.decimals(0, 1, places=2),
)
def test_a_budget_of_documents_with_floors_of_topics_is_balanced_top_k(topics, wanted, strength):
    present = sorted(set(topics))
    index = np.array([present.index(topic) for topic in topics])
    price = np.linspace(2, 1, len(topics))
    ones = np.ones(len(topics), dtype=np.int64)
    purchase = spend_documents(price, index, wanted, float(strength), tokens=ones)

    assert set(purchase.order.tolist()) == balanced_top(topics, wanted, strength)
    assert purchase.is_bought.sum() == min(wanted, len(topics))
    for topic in range(len(present)):
        floor = int(strength * wanted / len(present))
        assert purchase.is_bought[index == topic].sum() >= min((index == topic).sum(), floor)


@law
@given(pools(least=1, most=9), st.integers(0, 9), st.integers(0, 2**31))
def test_with_floors_of_topics_no_documents_of_that_number_are_worth_more(pool, budget, seed):
    price, tokens, _ = pool
    topics = np.random.default_rng(seed).integers(0, 3, len(price))
    _, topics = np.unique(topics, return_inverse=True)
    with np.errstate(divide="ignore"):
        purchase = spend_documents(price, topics, budget, 0.8, bias=0, tokens=tokens)
    floor = [
        min(int((topics == t).sum()), int(Fraction("0.8") * budget / (topics.max() + 1)))
        if budget
        else 0
        for t in range(topics.max() + 1)
    ]
    best = max(
        price[list(chosen)].sum()
        for size in range(min(budget, len(price)) + 1)
        for chosen in itertools.combinations(range(len(price)), size)
        if all((topics[list(chosen)] == t).sum() >= floor[t] for t in range(len(floor)))
    )
    assert price[purchase.order].sum() == pytest.approx(best)


@law
@given(st.lists(st.integers(0, 2), min_size=1, max_size=25), st.integers(1, 25))
def test_no_floor_is_the_plain_top_and_grows_nested_with_the_budget(topics, wanted):
    _, index = np.unique(topics, return_inverse=True)
    price = np.linspace(2, 1, len(topics))
    ones = np.ones(len(topics), dtype=np.int64)

    def bought(n):
        return set(spend_documents(price, index, n, 0.0, tokens=ones).order.tolist())

    assert bought(wanted) == set(range(min(wanted, len(topics))))
    assert bought(wanted) <= bought(wanted + 1)


def test_floors_can_break_nesting():
    topics, ones = np.array([0, 0, 0, 1]), np.ones(4, dtype=np.int64)

    def bought(n):
        purchase = spend_documents([4, 3, 2, 1], topics, n, 0.8, tokens=ones)
        return set(purchase.order.tolist())

    assert bought(2) == {0, 1}  # floor(0.8 * 2 / 2) is 0
    assert bought(3) == {0, 1, 3}
    floors = GroupLimits("topic", ("x", "y"), topics, np.array([0, 1]), np.array([9, 9]))
    first = spend([4, 3, 2, 1], ones, 1, costs=ones)
    second = spend([4, 3, 2, 1], ones, 1, costs=ones, limits=[floors])
    assert (first.order.tolist(), second.order.tolist()) == ([0], [3])


@st.composite
def limited_pools(draw):
    """Return a pool of up to 9 documents with floors and caps of topics and of sources."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n = draw(st.integers(1, 9))
    tokens = rng.integers(1, draw(st.sampled_from([2, 9])), n)
    budget = draw(st.integers(0, int(tokens.sum()) + 1))
    price = np.round(rng.dirichlet(np.ones(n)), draw(st.integers(1, 5)))
    found = []
    for kind in draw(st.sampled_from([("topic",), ("topic", "source")])):
        size = draw(st.integers(1, 3))
        index = rng.integers(0, size, n)
        supply = np.bincount(index, weights=tokens, minlength=size).astype(np.int64)
        caps = np.where(rng.random(size) < 0.4, rng.integers(0, budget + 1, size), budget)
        floors = rng.integers(0, 1 + np.minimum(np.minimum(supply, caps), budget // size))
        floors[rng.random(size) < 0.3] = 0
        names = tuple(f"{kind}{group}" for group in range(size))
        found.append(GroupLimits(kind, names, index, floors, caps))
    return price, tokens, budget, found


def are_met(tokens, budget, found, chosen):
    return tokens[chosen].sum() <= budget and all(
        each.floors[group] <= tokens[chosen][each.group_index[chosen] == group].sum() <= cap
        for each in found
        for group, cap in enumerate(each.caps.tolist())
    )


def can_be_met(tokens, budget, found):
    return any(
        are_met(tokens, budget, found, list(chosen))
        for size in range(len(tokens) + 1)
        for chosen in itertools.combinations(range(len(tokens)), size)
    )


@settings(max_examples=150)
@given(limited_pools(), st.sampled_from(["skip", "stop"]), st.sampled_from([0.0, 0.7]))
def test_limits_are_met_and_are_refused_exactly_if_no_documents_meet_them(pool, rule, weight):
    price, tokens, budget, found = pool
    words = {"rule": rule, "limits": found, "diversity": weight, "vectors": directions(len(price))}
    if not can_be_met(tokens, budget, found):
        with pytest.raises(InputError):
            quiet_spend(price, tokens, budget, **words)
        return
    purchase = quiet_spend(price, tokens, budget, **words)

    assert are_met(tokens, budget, found, purchase.order)
    left = budget - tokens[purchase.order].sum()
    reasons = purchase.reasons()
    for i in np.flatnonzero(~purchase.is_bought):
        room = [
            each.caps[each.group_index[i]]
            - tokens[purchase.order][each.group_index[purchase.order] == each.group_index[i]].sum()
            for each in found
        ]
        closed = [
            f"{each.kind}_cap"
            for each, free in zip(found, room, strict=True)
            if tokens[i] > free and each.caps[each.group_index[i]] < budget
        ]
        if reasons[i].endswith("_cap"):
            assert reasons[i] in closed
        elif reasons[i] == "did_not_fit":
            assert tokens[i] > left
        elif reasons[i] == "longer_than_budget":
            assert tokens[i] > budget
        else:
            assert (rule, reasons[i], closed) == ("stop", "after_the_stop", [])


def directions(n):
    rows = np.random.default_rng(n).normal(size=(n, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return lambda positions: rows[positions]


@settings(max_examples=100)
@given(limited_pools(), st.sampled_from([0.0, 0.7]))
def test_with_caps_alone_stop_buys_a_part_of_what_skip_buys(pool, weight):
    price, tokens, budget, found = pool
    found = [
        GroupLimits(each.kind, each.names, each.group_index, each.floors * 0, each.caps)
        for each in found
    ]
    orders = [
        quiet_spend(
            price,
            tokens,
            budget,
            rule=rule,
            limits=found,
            diversity=weight,
            vectors=directions(len(price)),
        ).order.tolist()
        for rule in ("stop", "skip")
    ]
    assert orders[1][: len(orders[0])] == orders[0]


def test_a_document_that_a_cap_keeps_out_does_not_stop_the_walk():
    caps = GroupLimits(
        "source", ("x", "y"), np.array([0, 0, 1, 1]), np.zeros(2, int), np.array([5, 9])
    )
    purchase = spend([9, 8, 7, 6], [4, 4, 4, 4], 9, rule="stop", limits=[caps])

    assert purchase.reasons() == ["bought", "source_cap", "bought", "did_not_fit"]


def test_reasons_tell_floors_from_prices_and_which_limit_came_first():
    topics = GroupLimits(
        "topic", ("x", "y"), np.array([0, 0, 0, 1, 1]), np.array([0, 3]), np.array([8, 20])
    )
    purchase = spend([50, 40, 30, 2, 1], [4, 4, 4, 3, 9], 20, limits=[topics])

    assert purchase.reasons() == ["bought", "bought", "topic_cap", "topic_floor", "bought"]
    assert purchase.order.tolist() == [3, 0, 1, 4]
    assert purchase.marginal_log_price_per_token == pytest.approx(np.log(1 / 9))
    tight = spend([50, 40, 30, 2, 1], [4, 4, 4, 3, 9], 11, limits=[topics])
    assert tight.reasons() == ["bought", "bought", "topic_cap", "topic_floor", "did_not_fit"]


def test_the_price_to_beat_is_of_documents_outside_floors_alone():
    floors = GroupLimits(
        "topic", ("x", "y"), np.array([0, 0, 1]), np.array([0, 1]), np.array([9, 9])
    )
    purchase = spend([4, 3, 1], [1, 1, 1], 2, limits=[floors])

    assert purchase.reasons() == ["bought", "did_not_fit", "topic_floor"]
    assert purchase.marginal_log_price_per_token == pytest.approx(np.log(4))
    only_floors = spend([4, 3, 1], [1, 1, 1], 1, limits=[floors])
    assert only_floors.marginal_log_price_per_token is None


def test_one_document_that_serves_two_floors_leaves_room_that_two_would_not():
    topics = GroupLimits(
        "topic", ("x", "y"), np.array([0, 1, 1]), np.array([0, 1]), np.array([9, 9])
    )
    sources = GroupLimits(
        "source", ("p", "q"), np.array([0, 0, 1]), np.array([0, 1]), np.array([9, 9])
    )
    # the dearest document of topic y is not of source q; with a budget of 1 only the last will do
    purchase = spend([4, 3, 1], [1, 1, 1], 1, limits=[topics, sources])

    assert purchase.reasons() == ["did_not_fit", "did_not_fit", "topic_floor"]


def test_a_floor_that_the_order_of_price_misses_is_filled_by_costs_that_add_up():
    exact = GroupLimits("topic", ("x",), np.zeros(4, dtype=int), np.array([10]), np.array([10]))

    # in order of price 9 comes first, and nothing then fills 10 exactly
    purchase = spend([8, 2, 3, 2], [9, 3, 6, 4], 12, length_bias=0, limits=[exact])
    assert sorted(purchase.order.tolist()) == [2, 3]
    assert purchase.reasons()[0] == "topic_cap"


def test_a_floor_that_only_an_exact_search_can_fill_is_filled(monkeypatch):
    monkeypatch.setattr(buying, "_CANDIDATES", 1)
    exact = GroupLimits("topic", ("x",), np.zeros(4, dtype=int), np.array([10]), np.array([10]))

    purchase = spend([8, 2, 3, 2], [9, 3, 6, 4], 12, length_bias=0, limits=[exact])
    assert sorted(purchase.order.tolist()) == [2, 3]


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("source_floor", [0.0, 0.9])
def test_an_even_split_of_tokens_without_any_slack_is_spent_to_the_last_token(
    source_floor, weight, monkeypatch
):
    monkeypatch.setattr(feasibility, "_EXACT_DOCUMENTS", 1)  # found without the exact search
    rng = np.random.default_rng(8)
    tokens, topics, sources = (rng.integers(low, high, 600) for low, high in TIGHT)
    words = {"costs": tokens, "budget": 8000}
    found = [
        group_limits(kind="topic", names="abcd", group_index=topics, floor=1.0, cap=1.0, **words),
        group_limits(kind="source", names="pq", group_index=sources, floor=source_floor, **words),
    ]
    purchase = spend(
        rng.random(600),
        tokens,
        8000,
        limits=found,
        diversity=weight,
        vectors=directions(600),
    )
    spent = np.bincount(topics[purchase.order], weights=tokens[purchase.order])
    assert spent.tolist() == [2000] * 4
    spent = np.bincount(sources[purchase.order], weights=tokens[purchase.order])
    assert spent.min() >= 4000 * source_floor


TIGHT = [(20, 300), (0, 4), (0, 2)]  # lengths, topics, sources


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 40), st.integers(0, 20))
def test_costs_are_found_that_add_up_to_the_least_possible(costs, least, more):
    sums = {
        sum(chosen)
        for size in range(len(costs) + 1)
        for chosen in itertools.combinations(costs, size)
    }
    possible = [each for each in sums if least <= each <= least + more]
    places = buying._least_sum(costs, least, least + more)

    assert (places is None) == (not possible)
    if places is not None:
        assert len(set(places)) == len(places)
        assert sum(costs[place] for place in places) == min(possible)


def test_what_one_floor_goes_beyond_is_not_there_for_the_next():
    # 3, 3, 4, 4 add up to 6 at the least where 5 is the floor: two of them are 12
    tokens, topics = np.array([4, 4, 3, 3] * 2), np.repeat([0, 1], 4)
    price = np.array([8, 7, 2, 1] * 2) * tokens
    floors = GroupLimits("topic", ("x", "y"), topics, np.array([5, 5]), np.array([20, 20]))

    assert tokens[spend(price, tokens, 12, rule="stop", limits=[floors]).order].sum() == 12
    with pytest.raises(
        InputError, match="cannot be met by whole documents within the budget of 11"
    ):
        spend(price, tokens, 11, limits=[floors])


def test_what_one_floor_goes_beyond_is_taken_from_the_cap_that_it_shares_with_the_next():
    tokens, sources = np.array([4, 4, 3, 3] * 2), np.repeat([0, 1], 4)
    price = np.array([8, 7, 2, 1] * 2) * tokens
    floors = GroupLimits("source", ("p", "q"), sources, np.array([5, 5]), np.array([99, 99]))

    def cap(most):
        return GroupLimits("topic", ("x",), np.zeros(8, int), np.array([0]), np.array([most]))

    assert tokens[spend(price, tokens, 99, limits=[cap(12), floors]).order].sum() == 12
    with pytest.raises(InputError, match="cannot be met by whole documents"):
        spend(price, tokens, 99, limits=[cap(11), floors])


def test_a_cap_as_large_as_the_budget_is_none_and_does_not_keep_the_walk_from_stopping():
    caps = GroupLimits("topic", ("x", "y"), np.zeros(4, int), np.zeros(2, int), np.array([7, 3]))
    purchase = spend([90, 80, 180, 1], [2, 2, 6, 1], 7, rule="stop", limits=[caps])

    assert purchase.reasons() == ["bought", "bought", "did_not_fit", "after_the_stop"]


def test_infeasible_limits_are_refused_before_anything_is_bought():
    floors = GroupLimits("topic", ("x", "y"), np.array([0, 1]), np.array([5, 5]), np.array([9, 9]))
    with pytest.raises(InputError, match="topic floors add up to 10, more than the budget of 9"):
        spend([1, 1], [5, 5], 9, limits=[floors])
    with pytest.raises(
        InputError, match="cannot be met by whole documents within the budget of 11"
    ):
        spend([1, 1], [6, 6], 11, limits=[floors])


def test_caps_of_nothing_buy_nothing_and_say_so():
    caps = GroupLimits("topic", ("x",), np.zeros(2, dtype=int), np.array([0]), np.array([0]))
    purchase = spend([2, 1], [1, 9], 5, limits=[caps])

    assert purchase.reasons() == ["topic_cap", "longer_than_budget"]


@law
@given(limited_pools(), st.integers(0, 2**31))
def test_rooms_say_the_same_of_one_document_and_of_many(pool, seed):
    _, tokens, budget, found = pool
    rng = np.random.default_rng(seed)
    ranking = rng.permutation(len(tokens))
    books = buying._Books(found, tokens, budget)
    plan = buying._Plan(
        tuple(each.group_index for each in found), tuple(each.floors for each in found), None
    )
    rooms = [buying._Rest(books, "skip"), buying._Rest(books, "stop"), buying._Floors(books, plan)]
    for position in ranking.tolist():
        for room in rooms:
            assert room.mask(ranking).tolist() == [room.has(each) for each in ranking.tolist()]
        if rooms[0].has(position):
            books.buy(position)
            rooms[2].spend(position)


# ---- diversity -----------------------------------------------------------------------------------


@law
@given(limited_pools(), st.sampled_from(["skip", "stop"]))
def test_diversity_buys_what_a_full_evaluation_at_every_step_buys(pool, rule):
    price, tokens, budget, found = pool
    price = price + 0.01
    found = [
        GroupLimits(each.kind, each.names, each.group_index, each.floors * 0, each.caps)
        for each in found
    ]
    rows = directions(len(price))(np.arange(len(price))).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = np.round(rows @ rows.T, 6)
    per_token = np.log(price) - np.log(tokens)
    rank = np.argsort(rank_documents(per_token, tokens))
    bought: list[int] = []
    open_ones = [i for i in range(len(price)) if tokens[i] <= budget]
    while True:
        left = budget - tokens[bought].sum()
        open_ones = [
            i
            for i in open_ones
            if i not in bought
            and (rule == "stop" or tokens[i] <= left)
            and all(
                each.caps[each.group_index[i]] == budget
                or tokens[[j for j in bought if each.group_index[j] == each.group_index[i]]].sum()
                + tokens[i]
                <= each.caps[each.group_index[i]]
                for each in found
            )
        ]
        if not open_ones:
            break
        novelty = 1.0 - cosines[:, bought].max(axis=1) if bought else np.ones(len(price))
        score = per_token + 0.7 * novelty
        first = min(open_ones, key=lambda i: (-score[i], rank[i]))
        if tokens[first] > left:
            break
        bought.append(first)

    purchase = spend(
        price,
        tokens,
        budget,
        rule=rule,
        limits=found,
        diversity=0.7,
        vectors=directions(len(price)),
    )
    assert purchase.order.tolist() == bought


@law
@given(limited_pools(), st.sampled_from(["skip", "stop"]))
def test_no_diversity_reads_no_vectors_and_is_the_plain_result(pool, rule):
    price, tokens, budget, _ = pool

    def vectors(positions):
        pytest.fail("vectors were read")

    plain = quiet_spend(price, tokens, budget, rule=rule)
    same = quiet_spend(price, tokens, budget, rule=rule, diversity=0.0, vectors=vectors)
    assert same.order.tolist() == plain.order.tolist()
    tiny = quiet_spend(
        price, tokens, budget, rule=rule, diversity=1e-300, vectors=directions(len(price))
    )
    assert tiny.order.tolist() == plain.order.tolist()
    assert tiny.reasons() == plain.reasons()


def test_the_floor_is_filled_by_novelty_too():
    rows = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
    floors = GroupLimits(
        "topic", ("x", "y"), np.array([0, 0, 1, 1]), np.array([1, 2]), np.array([4, 4])
    )
    purchase = spend(
        [8, 7, 6, 5], [1] * 4, 3, limits=[floors], diversity=2.0, vectors=lambda which: rows[which]
    )
    # 0 by price; then 3, the new direction among what serves a floor (1 no longer does); then 2
    assert purchase.order.tolist() == [0, 3, 2]


# ---- edges ---------------------------------------------------------------------------------------

NOTHING = np.zeros(0)


@pytest.mark.parametrize("guard", ["none", "best_single"])
@pytest.mark.parametrize("rule", ["skip", "stop"])
def test_an_empty_pool_and_a_budget_of_nothing_buy_nothing(rule, guard):
    empty = spend(NOTHING, NOTHING.astype(int), 10, rule=rule, guard=guard)
    broke = spend([1, 2], [1, 1], 0, rule=rule, guard=guard)

    assert (empty.order.size, empty.reasons()) == (0, [])
    assert empty.marginal_log_price_per_token is None
    assert broke.reasons() == ["longer_than_budget"] * 2


def test_prices_that_all_underflowed_are_bought_from_the_shortest():
    tokens = np.array([3, 1, 2])
    gone = np.full(3, -np.inf)
    for words in ({}, {"guard": "best_single"}, {"diversity": 1.0, "vectors": directions(3)}):
        purchase = buy(
            log_price=gone,
            log_price_per_token=gone,
            costs=tokens,
            budget=3,
            ranking=rank_documents(gone, tokens),
            **words,
        )
        assert purchase.order.tolist() == [1, 2]
        assert purchase.marginal_log_price_per_token == -np.inf


def test_one_document_is_bought_with_every_choice_at_once():
    one = GroupLimits("topic", ("x",), np.array([0]), np.array([3]), np.array([3]))
    purchase = spend([1], [3], 3, limits=[one], diversity=1.0, vectors=directions(1), rule="stop")

    assert purchase.reasons() == ["topic_floor"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"rule": "best"}, "skip or stop, got 'best'"),
        ({"guard": "all"}, "none or best_single, got 'all'"),
        ({"diversity": -1.0}, "finite number >= 0"),
        ({"diversity": np.nan}, "finite number >= 0"),
        ({"diversity": np.inf}, "finite number >= 0"),
        ({"diversity": 1.0}, "needs the vectors"),
        ({"guard": "best_single", "diversity": 1.0}, "without limits and diversity"),
        ({"budget": -1}, "budget must be >= 0"),
        ({"log_price": np.array([0.0, np.nan])}, "log price of the document at position 1 is nan"),
        ({"log_price_per_token": np.array([np.inf, 0.0])}, "position 0 is inf"),
        ({"log_price": np.zeros(3)}, "of one length"),
        ({"ranking": np.array([0, 0])}, "hold each position"),
        ({"ranking": np.array([0, 2])}, "hold each position"),
        ({"ranking": np.array([1, 0])}, "dearest per token to the cheapest"),
        ({"costs": np.array([0, 1])}, "at least 1, got 0"),
    ],
)
def test_arguments_outside_their_domain_are_refused(words, message):
    given_words = {
        "log_price": np.array([0.0, -1.0]),
        "log_price_per_token": np.array([0.0, -1.0]),
        "costs": np.array([1, 1]),
        "budget": 2,
        "ranking": np.array([0, 1]),
    }
    with pytest.raises(InputError, match=message):
        buy(**{**given_words, **words})


def test_a_million_documents_are_bought_in_a_blink():
    rng = np.random.default_rng(5)
    tokens, price = rng.integers(5, 2000, 1_000_000), rng.random(1_000_000)
    per_token = np.log(price) - np.log(tokens)
    ranking = rank_documents(per_token, tokens)
    begin = time.process_time()
    purchase = buy(
        log_price=np.log(price),
        log_price_per_token=per_token,
        costs=tokens,
        budget=int(tokens.sum() // 2),
        ranking=ranking,
    )
    assert time.process_time() - begin < 2  # about 0.1 on one core
    assert purchase.order.size == purchase.is_bought.sum() > 500_000
