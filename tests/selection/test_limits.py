"""Floors and caps in the words of a config, and limits of one kind that cannot be met."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError, UnknownNameError
from databourse.selection.limits import GroupLimits, check_each_kind, eligible, group_limits

COSTS = np.array([10, 20, 30, 5, 5])
TOPICS = np.array([0, 0, 1, 1, 2])  # supplies 30, 35, 5
NAMES = ("art", "news", "zoo")


def limits_of(budget=60, **words):
    return group_limits(
        kind="topic", names=NAMES, group_index=TOPICS, costs=COSTS, budget=budget, **words
    )


def limits(floors, caps, group_index=TOPICS, kind="topic"):
    return GroupLimits(kind, NAMES, np.asarray(group_index), np.array(floors), np.array(caps))


def test_without_words_there_is_no_floor_and_the_budget_is_the_cap():
    found = limits_of()

    assert (found.floors.tolist(), found.caps.tolist()) == ([0, 0, 0], [60, 60, 60])
    assert (found.kind, found.names) == ("topic", NAMES)


@pytest.mark.parametrize(
    ("floor", "expected"), [(0, [0, 0, 0]), (0.5, [10, 10, 5]), (1, [20, 20, 5]), (0.29, [5, 5, 5])]
)
def test_a_number_is_a_part_of_an_even_split_cut_at_what_a_topic_holds(floor, expected):
    assert limits_of(floor=floor).floors.tolist() == expected


@given(st.decimals(0, 1, places=3), st.integers(0, 500))
def test_a_floor_is_the_written_decimal_rounded_down(strength, budget):
    supply = [int(COSTS[(t == TOPICS) & (budget >= COSTS)].sum()) for t in range(3)]
    even = int(Fraction(strength) * budget / 3)

    found = limits_of(budget, floor=float(strength))
    assert found.floors.tolist() == [min(each, even) for each in supply]


def test_a_number_floor_does_not_count_documents_that_are_too_long_to_buy():
    assert limits_of(25, floor=1).floors.tolist() == [8, 5, 5]  # 30 of news does not fit 25
    assert limits_of(60, floor=1, cap={"art": 0.25}).floors.tolist() == [10, 20, 5]


@pytest.mark.parametrize(("cap", "expected"), [(1, 20), (1.5, 30), (2.99, 59), (7, 60)])
def test_a_number_is_a_multiple_of_an_even_split_and_at_most_the_budget(cap, expected):
    assert limits_of(cap=cap).caps.tolist() == [expected] * 3


def test_a_mapping_gives_shares_of_the_budget_to_the_names_in_it():
    found = limits_of(100, floor={"news": 0.29}, cap={"zoo": 0.05, "news": 0.3})

    assert found.floors.tolist() == [0, 29, 0]  # 0.29 * 100 is 28.999999999999996 in doubles
    assert found.caps.tolist() == [100, 30, 5]


def test_a_floor_by_name_beyond_what_the_topic_holds_is_refused_and_says_so():
    with pytest.raises(InputError, match=r"topic 'zoo' is 6 .*0\.1 of 60.* cost only 5 in all"):
        limits_of(floor={"zoo": 0.1})


@pytest.mark.parametrize("word", ["floor", "cap"])
def test_a_name_that_does_not_exist_is_refused_with_the_nearest(word):
    with pytest.raises(UnknownNameError, match=rf"'nwes' in the topic {word}s; did .*'news'"):
        limits_of(**{word: {"nwes": 0.1}})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"floor": -0.1}, r"floor must be a number in \[0, 1\]"),
        ({"floor": 1.1}, r"floor must be a number in \[0, 1\]"),
        ({"floor": float("nan")}, r"floor must be a number in \[0, 1\]"),
        ({"cap": 0.9}, "cap must be a number >= 1"),
        ({"cap": float("inf")}, "cap must be a number >= 1"),
        ({"cap": float("nan")}, "cap must be a number >= 1"),
        ({"floor": {"art": 0.0}}, r"floor of 'art' must be a share .*\(0, 1\], got 0.0"),
        ({"cap": {"art": 1.5}}, r"cap of 'art' must be a share"),
        ({"cap": {"art": float("nan")}}, r"cap of 'art' must be a share"),
    ],
)
def test_numbers_outside_their_domain_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        limits_of(**words)


def test_an_empty_pool_has_limits_of_nothing():
    nothing = np.zeros(0, dtype=np.int64)
    found = group_limits(
        kind="topic", names=(), group_index=nothing, costs=nothing, budget=5, floor=0.5, cap=1
    )
    check_each_kind([found], costs=nothing, budget=5)
    assert found.floors.size == found.caps.size == 0


def test_a_document_is_eligible_if_it_fits_the_budget_and_the_caps_of_all_its_groups():
    by_topic = limits([0, 0, 0], [15, 60, 60])
    by_source = limits([0, 0, 0], [60, 4, 60], [0, 0, 0, 1, 0], "source")

    found = eligible([by_topic, by_source], costs=COSTS, budget=25)
    assert found.tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("floors", "caps", "message"),
    [
        ([0, 9, 0], [60, 8, 60], "topic 'news' is 9, above its cap of 8"),
        ([30, 31, 0], [60, 60, 60], "topic floors add up to 61, more than the budget of 60"),
        ([0, 0, 6], [60, 60, 60], "topic 'zoo' is 6, .* cap of 60 cost only 5"),
        ([0, 11, 0], [60, 12, 60], "topic 'news' is 11, .* cap of 12 cost only 5"),
        ([0, -1, 0], [60, 60, 60], "must be >= 0"),
        ([0, 0], [60, 60, 60], r"floors of the topic limits .* shape \(3,\)"),
        ([0, 0, 0.5], [60, 60, 60], "floors of the topic limits must be integers"),
    ],
)
def test_limits_that_contradict_themselves_are_refused_with_the_reason(floors, caps, message):
    with pytest.raises(InputError, match=message):
        check_each_kind([limits(floors, caps)], costs=COSTS, budget=60)


def test_groups_out_of_range_and_kinds_given_twice_are_refused():
    free = limits([0, 0, 0], [60, 60, 60])
    with pytest.raises(InputError, match=r"in 0 \.\. 2, got 0 \.\. 3"):
        check_each_kind([limits([0] * 3, [60] * 3, [0, 1, 2, 3, 0])], costs=COSTS, budget=60)
    with pytest.raises(InputError, match="distinct kinds, got topic, topic"):
        check_each_kind([free, free], costs=COSTS, budget=60)


def test_floors_that_take_the_whole_budget_and_equal_their_caps_are_accepted():
    check_each_kind([limits([20, 35, 5], [20, 35, 5])], costs=COSTS, budget=60)
