"""Balanced top-K."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.selection.balanced import buy_with_topic_floors

EXAMPLE = "efdcbag"  # order of the worked example under balanced mass, length bias 0
TOPICS = ["one" if each in "efg" else "zero" for each in EXAMPLE]


@pytest.mark.parametrize(("strength", "bought"), [(0.0, "ef"), (1.0, "ed")])
def test_the_worked_example_buys_two_documents(strength, bought):
    mask = buy_with_topic_floors(TOPICS, n_documents=2, floor_strength=strength)
    assert {EXAMPLE[position] for position in np.flatnonzero(mask)} == set(bought)


@given(
    st.lists(st.sampled_from("abc"), max_size=30),
    st.integers(min_value=0, max_value=40),
    st.floats(min_value=0, max_value=1),
)
def test_every_topic_gets_its_floor_and_the_total_is_exact(topics, wanted, strength):
    mask = buy_with_topic_floors(topics, n_documents=wanted, floor_strength=strength)

    assert mask.sum() == min(wanted, len(topics))
    for topic in set(topics):
        floor = int(strength * wanted / len(set(topics)))
        held = sum(bought for bought, each in zip(mask, topics, strict=True) if each == topic)
        assert held >= min(topics.count(topic), floor)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(min_value=0, max_value=40))
def test_no_strength_is_the_plain_top(topics, wanted):
    mask = buy_with_topic_floors(topics, n_documents=wanted, floor_strength=0)
    assert mask.tolist() == [position < wanted for position in range(len(topics))]


@pytest.mark.parametrize(("wanted", "strength"), [(-1, 0.5), (1, -0.1), (1, 1.1), (1, np.nan)])
def test_arguments_outside_their_domain_are_refused(wanted, strength):
    with pytest.raises(InputError, match="balanced top-K needs"):
        buy_with_topic_floors(["a"], n_documents=wanted, floor_strength=strength)
