import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.signals.inputs import GenerationGroups
from databourse.signals.semantic_entropy import (
    discrete_semantic_entropy,
    group_masses,
    meaning_groups,
    semantic_entropies,
    weighted_semantic_entropy,
)

GROUPS = np.array([0, 0, 1, 1, 1])
LOGS = np.array([-1.0, -1.0, -2.0, -2.0, -3.0])

samples = st.lists(st.tuples(st.integers(0, 4), st.floats(-30, 0)), min_size=1, max_size=12).map(
    lambda pairs: (np.array([g for g, _ in pairs]), np.array([ll for _, ll in pairs]))
)


def test_the_golden_values():
    assert discrete_semantic_entropy(GROUPS) == pytest.approx(0.6730116670, abs=1e-10)
    assert weighted_semantic_entropy(GROUPS, LOGS) == pytest.approx(0.6137188646, abs=1e-10)
    masses = group_masses(GROUPS, LOGS)
    assert list(masses) == [0, 1]
    assert list(masses.values()) == pytest.approx([0.696599, 0.303401], abs=1e-6)
    alone = weighted_semantic_entropy(np.arange(5), LOGS)
    assert alone == pytest.approx(1.4052318411, abs=1e-10)


def slow_weighted(groups, logs):
    likelihoods = [math.exp(each) for each in logs]
    shares = [
        sum(x for x, g in zip(likelihoods, groups, strict=True) if g == group) / sum(likelihoods)
        for group in set(groups.tolist())
    ]
    return -sum(share * math.log(share) for share in shares)


@given(samples)
def test_entropies_equal_a_slow_twin(sample):
    groups, logs = sample
    assert weighted_semantic_entropy(groups, logs) == pytest.approx(
        slow_weighted(groups, logs), abs=1e-12
    )
    # equal likelihoods are the discrete form
    assert discrete_semantic_entropy(groups) == pytest.approx(
        slow_weighted(groups, np.zeros(len(groups))), abs=1e-12
    )


@given(samples)
def test_grouping_never_raises_entropy_and_the_bounds_hold(sample):
    groups, logs = sample
    n_groups, each = len(set(groups.tolist())), np.arange(len(groups))
    for of_groups, alone in (
        (weighted_semantic_entropy(groups, logs), weighted_semantic_entropy(each, logs)),
        (discrete_semantic_entropy(groups), discrete_semantic_entropy(each)),
    ):
        assert 0 <= of_groups <= math.log(n_groups)
        assert of_groups <= alone + 1e-12  # sums over groups are rounded
    assert math.fsum(group_masses(groups, logs).values()) == pytest.approx(1, abs=1e-15)


@given(samples, st.randoms())
def test_neither_order_nor_names_of_groups_change_a_bit(sample, random):
    groups, logs = sample
    order = list(range(len(groups)))
    random.shuffle(order)
    renamed = 7 - groups[order]
    assert weighted_semantic_entropy(renamed, logs[order]) == weighted_semantic_entropy(
        groups, logs
    )
    assert discrete_semantic_entropy(renamed) == discrete_semantic_entropy(groups)


@pytest.mark.parametrize("constant", [-700.0, 1000.0, -1e5])
def test_a_constant_added_to_all_log_likelihoods_cancels(constant):
    found = weighted_semantic_entropy(GROUPS, LOGS + constant)
    assert found == pytest.approx(0.6137188646, abs=1e-9)  # 1e5 leaves 11 digits of ll


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 13])  # 5 and 13 equal terms round up
def test_one_group_has_no_entropy_and_groups_of_one_have_the_most(n):
    logs = np.full(n, -4.2)
    assert weighted_semantic_entropy(np.zeros(n, int), logs) == 0
    assert discrete_semantic_entropy(np.zeros(n, int)) == 0
    assert not np.signbit(discrete_semantic_entropy(np.zeros(n, int)))
    assert weighted_semantic_entropy(np.arange(n), logs) == pytest.approx(math.log(n), abs=1e-14)
    assert discrete_semantic_entropy(np.arange(n)) == pytest.approx(math.log(n), abs=1e-14)
    assert discrete_semantic_entropy(np.arange(n)) <= math.log(n)


def test_a_likelihood_too_small_to_matter_adds_nothing_and_warns_of_nothing():
    logs = np.array([0.0, -1e308, 1e308])
    assert weighted_semantic_entropy(np.arange(3), logs) == 0.0
    assert group_masses(np.arange(3), logs) == {0: 0.0, 1: 0.0, 2: 1.0}


@pytest.mark.parametrize(
    ("groups", "logs", "message"),
    [
        (np.array([], dtype=int), np.array([]), "at least one generation"),
        (np.array([0.0]), np.array([0.0]), "vector of integers"),
        (np.array([[0]]), np.array([[0.0]]), "vector of integers"),
        (np.array([0, 1]), np.array([0.0]), "one for each of 2 generations"),
        (np.array([0, 1]), np.array([0.0, np.nan]), "must be finite"),
        (np.array([0, 1]), np.array([0.0, -np.inf]), "must be finite"),
    ],
)
def test_generations_that_cannot_be_weighed_are_refused(groups, logs, message):
    with pytest.raises(InputError, match=message):
        weighted_semantic_entropy(groups, logs)


def test_generations_are_grouped_in_order_of_first_appearance():
    words = ["Paris", "rome", "paris", "ROME", "oslo", "PARIS"]
    groups = meaning_groups(words, lambda one, other: one.lower() == other.lower())
    assert groups.tolist() == [0, 1, 0, 1, 2, 0]
    assert meaning_groups([], lambda one, other: True).tolist() == []
    assert meaning_groups(["one"], lambda one, other: False).tolist() == [0]


def slow_groups(n, related):
    """Return the first position that each can reach: paths of length n by repeated products."""
    reach = np.eye(n, dtype=bool)
    for one, other in related:
        reach[one, other] = reach[other, one] = True
    for _ in range(n):
        reach = reach @ reach
    return [int(np.flatnonzero(row)[0]) for row in reach]


@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(st.sampled_from(list(itertools.product(range(n), repeat=2)))),
            st.permutations(range(n)),
        )
    )
)
def test_groups_are_connected_components_in_any_order_though_not_transitive(case):
    n, related, order = case
    judged = related | {(other, one) for one, other in related}
    expected = slow_groups(n, judged)
    groups = meaning_groups(order, lambda one, other: (one, other) in judged)
    firsts = {}
    for position, each in enumerate(order):
        firsts.setdefault(expected[each], position)
    rank = {first: number for number, first in enumerate(sorted(firsts.values()))}
    assert groups.tolist() == [rank[firsts[expected[each]]] for each in order]


def test_a_chain_of_judgements_joins_its_ends():
    near = {("a", "b"), ("b", "c")}
    for order in itertools.permutations("abc"):
        groups = meaning_groups(order, lambda *pair: tuple(sorted(pair)) in near)
        assert groups.tolist() == [0, 0, 0]


def test_a_pair_is_asked_about_once_and_not_when_it_is_already_joined():
    asked = []
    meaning_groups(range(4), lambda one, other: asked.append((one, other)) or True)
    assert asked == [(0, 1), (0, 2), (0, 3)]
    asked.clear()
    meaning_groups(range(4), lambda one, other: asked.append((one, other)) or False)
    assert asked == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def generated(groups, logs):
    return GenerationGroups(groups=np.array(groups), log_likelihoods=np.array(logs))


THREE = generated([[0, 0, 1, 1, 1], [3, 3, 3, 3, 3], [4, 3, 2, 1, 0]], [LOGS] * 3)


@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        ("discrete", [0.6730116670, 0, math.log(5)]),
        ("weighted", [0.6137188646, 0, 1.4052318411]),
    ],
)
def test_the_signal_gives_the_golden_values_where_high_is_useful(score, pool, mass, expected):
    entry = {"name": "semantic_entropy", "prefer": "high", "mass": mass}
    result = score(entry, pool(n=3, generations=THREE))
    np.testing.assert_allclose(result.values, expected, atol=1e-10)
    assert result.details["mean_entropy_nats"] == pytest.approx(sum(expected) / 3, abs=1e-10)
    assert result.details["documents_of_one_meaning"] == 1
    low = score({**entry, "prefer": "low"}, pool(n=3, generations=THREE))
    np.testing.assert_array_equal(low.values, -result.values)


def test_by_default_generations_weigh_alike_and_the_middle_of_the_pool_is_best(score, pool):
    # weighted by likelihood, the second would lie below the first
    logs = [np.zeros(5), np.array([0.0, 0, 0, 0, -50]), np.zeros(5)]
    groups = [[0, 0, 1, 1, 1], [0, 0, 0, 1, 2], list(range(5))]
    result = score("semantic_entropy", pool(n=3, generations=generated(groups, logs)))
    # percentile ranks 1/6, 3/6, 5/6
    np.testing.assert_allclose(result.values, [-1 / 3, 0, -1 / 3], atol=1e-15)


@pytest.mark.parametrize("mass", ["discrete", "weighted"])
def test_entropies_that_are_equal_but_for_rounding_share_a_rank(score, pool, mass):
    # ln 3, and 8 / 12 ln 1.5 + 4 / 12 ln 12
    groups = [[0, 1, 2] * 4, [0] * 8 + [1, 2, 3, 4], [0] * 12, list(range(12))]
    inputs = pool(n=4, generations=generated(groups, np.full((4, 12), -0.3)))
    values = score({"name": "semantic_entropy", "mass": mass}, inputs).values
    assert values.tolist() == [0.0, 0.0, -0.375, -0.375]


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.floats(-30, 0)), min_size=4, max_size=4)))
def test_the_entropy_of_a_document_depends_on_its_own_generations_alone(rows):
    groups = np.array([[g for g, _ in row] for row in rows], dtype=np.int64).reshape(-1, 4)
    logs = np.array([[ll for _, ll in row] for row in rows]).reshape(-1, 4)
    for mass, given_logs in (("weighted", logs), ("discrete", np.zeros(logs.shape))):
        found = semantic_entropies(generated(groups, logs), mass=mass)
        expected = [slow_weighted(*each) for each in zip(groups, given_logs, strict=True)]
        assert found.shape == (len(rows),)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("groups", "logs", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((2, 2)), r"shapes \(2, 3\) and \(2, 2\)"),
        (np.zeros((2, 3), int), np.zeros((1, 3)), r"shapes \(2, 3\) and \(1, 3\)"),
        (np.zeros((2, 0), int), np.zeros((2, 0)), "at least one generation"),
        (np.zeros(2, int), np.zeros(2), "vector of integers"),
        (np.zeros((2, 1), int), np.array([[0.0], [np.nan]]), "must be finite"),
    ],
)
def test_generations_that_do_not_fit_are_refused_with_the_signal(
    score, pool, groups, logs, message
):
    entry = {"name": "semantic_entropy", "mass": "weighted"}
    with pytest.raises(InputError, match=f"signal 'semantic_entropy': .*{message}"):
        score(entry, pool(n=2, generations=generated(groups, logs)))


def test_progress_of_the_signal_adds_up_to_the_documents(score, pool):
    told = []
    score("semantic_entropy", pool(n=3, generations=THREE, progress=told.append))
    assert sum(told) == 3
