"""Limits of topics and sources together: amounts, and whole documents."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.feasibility import cell_quotas, check_together, whole_documents
from databourse.selection.limits import GroupLimits

law = settings(max_examples=60)


def limits(kind, group_index, floors, caps):
    names = tuple(f"{kind}{group}" for group in range(len(floors)))
    return GroupLimits(
        kind, names, np.array(group_index), np.array(floors), np.array(caps, dtype=np.int64)
    )


# Two topics in rows, two sources in columns; a document of cost 10 in every cell but (1, 0).
TOPIC, SOURCE, COSTS = [0, 0, 1], [0, 1, 1], np.array([10, 10, 10])


def test_amounts_that_exist_are_accepted():
    pair = [limits("topic", TOPIC, [10, 5], [20, 20]), limits("source", SOURCE, [5, 5], [20, 20])]
    check_together(pair, costs=COSTS, budget=20)


def test_a_floor_of_a_topic_whose_source_is_capped_is_refused_with_the_amount_that_misses():
    pair = [limits("topic", TOPIC, [0, 10], [20, 20]), limits("source", SOURCE, [0, 0], [20, 4])]
    # the only document of topic1 is longer than its source's cap: none of its floor can be spent
    with pytest.raises(InputError, match=r"topic 'topic1' misses 10 of its floor.*raise the caps"):
        check_together(pair, costs=COSTS, budget=20)


def test_floors_that_are_met_by_different_documents_can_exceed_the_budget_together():
    pair = [limits("topic", TOPIC, [0, 10], [20, 20]), limits("source", SOURCE, [10, 0], [20, 20])]

    check_together(pair, costs=COSTS, budget=20)
    with pytest.raises(InputError, match=r"budget of 15: at the very best .* misses 5 of its"):
        check_together(pair, costs=COSTS, budget=15)


@st.composite
def unit_tables(draw):
    """Return two kinds of limits over up to 7 documents of cost 1: amounts are documents."""
    n = draw(st.integers(1, 7))
    budget = draw(st.integers(0, n))
    found = []
    for kind in ("topic", "source"):
        groups = draw(st.integers(1, 3))
        index = draw(st.lists(st.integers(0, groups - 1), min_size=n, max_size=n))
        floors = draw(st.lists(st.integers(0, 3), min_size=groups, max_size=groups))
        caps = draw(st.lists(st.integers(0, n), min_size=groups, max_size=groups))
        found.append(limits(kind, index, floors, caps))
    return found, np.ones(n, dtype=np.int64), budget


def feasible_sets(found, costs, budget):
    for size in range(costs.size + 1):
        for chosen in map(list, itertools.combinations(range(costs.size), size)):
            spent = [
                [costs[[i for i in chosen if each.group_index[i] == g]].sum() for g in range(n)]
                for each in found
                for n in [len(each.names)]
            ]
            if costs[chosen].sum() <= budget and all(
                (each.floors <= amounts).all() and (amounts <= each.caps).all()
                for each, amounts in zip(found, spent, strict=True)
            ):
                yield chosen


@law
@given(unit_tables())
def test_with_costs_of_one_amounts_exist_exactly_if_documents_do(table):
    found, costs, budget = table
    exists = next(feasible_sets(found, costs, budget), None) is not None
    try:
        check_together(found, costs=costs, budget=budget)
    except InputError:
        assert not exists
    else:
        assert exists


@law
@given(unit_tables())
def test_quotas_meet_all_floors_within_all_caps_and_what_cells_hold(table):
    found, costs, budget = table
    if next(feasible_sets(found, costs, budget), None) is None:
        return
    ranking = np.arange(costs.size)
    cell_of, quotas = cell_quotas(found, costs=costs, budget=budget, ranking=ranking)

    assert quotas.sum() <= budget
    assert (quotas <= np.bincount(cell_of, minlength=quotas.size)).all()
    for each in found:
        group_of = {int(cell): int(each.group_index[i]) for i, cell in enumerate(cell_of)}
        for group in range(len(each.names)):
            spent = sum(int(q) for c, q in enumerate(quotas[:-1]) if group_of[c] == group)
            assert each.floors[group] <= spent <= each.caps[group]


def test_quotas_go_to_the_better_ranked_of_two_cells_that_serve_a_floor():
    pair = [limits("topic", [0, 0], [1], [2]), limits("source", [0, 1], [0, 0], [2, 2])]
    for ranking, expected in [([0, 1], [1, 0, 0]), ([1, 0], [0, 1, 0])]:
        _, quotas = cell_quotas(pair, costs=np.array([1, 1]), budget=2, ranking=np.array(ranking))
        assert quotas.tolist() == expected


def search(found, costs, budget, log_price=None):
    costs = np.array(costs)
    prices = np.zeros(costs.size) if log_price is None else np.array(log_price)
    return whole_documents(
        found,
        costs=costs,
        budget=budget,
        ranking=np.argsort(-prices, kind="stable"),
        log_price=prices,
    )


def test_the_search_finds_the_dearest_documents_that_add_up():
    one = [limits("topic", [0, 0, 0, 0], [10], [10])]

    found = search(one, [7, 3, 6, 4], 10, np.log([1.0, 2.0, 3.0, 0.5]))
    assert found.tolist() == [False, False, True, True]  # 3.5 against 3.0 of {7, 3}


def test_the_search_proves_that_no_documents_add_up():
    with pytest.raises(InputError, match="cannot be met by whole documents"):
        search([limits("topic", [0, 0], [5], [9])], [4, 6], 5)


def test_prices_that_underflowed_do_not_keep_documents_from_meeting_a_floor():
    one = [limits("topic", [0, 1], [3, 3], [9, 9])]

    assert search(one, [3, 3], 6, [-np.inf, -np.inf]).tolist() == [True, True]
    assert search(one, [3, 3], 6, [-2000.0, -np.inf]).tolist() == [True, True]


def test_a_search_over_part_of_the_documents_does_not_claim_a_proof(monkeypatch):
    monkeypatch.setattr("databourse.selection.feasibility._EXACT_DOCUMENTS", 2)
    one = [limits("topic", [0, 0, 0], [5], [5])]

    with pytest.raises(InputError, match=r"ended after 2 documents .* so there may be some"):
        search(one, [4, 4, 5], 5, [3.0, 2.0, 1.0])
