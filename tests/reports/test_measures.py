from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from databourse.reports import measures


@pytest.fixture
def documents(tiny):
    return measures.candidates(tiny)


def test_candidates_are_ordered_by_price_per_token_whatever_order_they_came_in(tiny, shuffled):
    one, other = measures.candidates(tiny), measures.candidates(shuffled(tiny))
    for name in ("document_id", "tokens", "log_price", "contributions", "signals", "is_selected"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_margin_is_where_the_tokens_spent_run_out(documents):
    # In order of price 10, 30, 70 tokens: the 50 bought run out at c. b above it was left.
    assert measures.margin(documents) == measures.Margin(
        log_price_per_token=pytest.approx(-2.5 - np.log(40)), bought_below=0, left_above=1
    )


def test_without_a_purchase_there_is_no_margin(documents):
    nothing = dataclasses.replace(documents, is_selected=np.zeros(4, dtype=bool))
    assert measures.margin(nothing) is None


def test_a_purchase_of_everything_has_its_margin_at_the_cheapest(documents):
    everything = dataclasses.replace(documents, is_selected=np.ones(4, dtype=bool))
    margin = measures.margin(everything)
    assert margin.log_price_per_token == documents.log_price_per_token[-1]
    assert (margin.bought_below, margin.left_above) == (0, 0)


def test_group_shares_are_those_of_the_tokens(documents):
    y, x = measures.group_shares(documents, documents.topic)
    assert (x.name, x.documents, x.tokens, x.selected_documents, x.selected_tokens) == (
        "x",
        2,
        30,
        1,
        10,
    )
    assert (x.share, x.selected_share) == (0.15, 0.2)
    assert (y.share, y.selected_share) == (0.85, 0.8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=40))
def test_rank_correlation_is_that_of_scipy(pairs):
    left, right = np.array(pairs, dtype=np.float64).T
    ours = measures.rank_correlation(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)


def test_equal_values_share_their_mean_rank():
    values = np.array([5.0, 1.0, 5.0, 9.0])
    assert measures.average_ranks(values).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_variance_shares_by_hand(documents):
    # Deviations of y = (-3.3026, -5.9957, -6.1889, -8.3675) from their mean -5.9637.
    y = np.array([2.6611, -0.0320, -0.2252, -2.4038])
    rarity = np.array([1.0, -1.0, 0.5, -0.5])
    shares = dict(measures.variance_shares(documents))
    assert shares["rarity"] == pytest.approx((rarity @ y) / (y @ y), abs=1e-4)
    assert shares["flat"] == 0.0
    assert shares["rarity"] == pytest.approx(0.2929, abs=1e-4)


def test_variance_shares_add_up_to_one(make_inputs):
    shares = measures.variance_shares(measures.candidates(make_inputs(400, n_traders=5)))
    assert [name for name, _ in shares][-2:] == ["length bias", "topic mass"]
    assert sum(share for _, share in shares) == pytest.approx(1.0, abs=1e-9)


def test_equal_prices_have_no_variance_to_share(documents):
    equal = dataclasses.replace(documents, log_price_per_token=np.full(4, -3.0))
    assert measures.variance_shares(equal) is None


def test_the_length_bias_is_read_back_from_the_prices(documents):
    assert measures.length_bias(documents) == 1.0
    half = documents.log_price - 0.5 * np.log(documents.tokens)
    assert measures.length_bias(dataclasses.replace(documents, log_price_per_token=half)) == 0.5


def test_prices_that_follow_no_length_bias_are_not_given_one(documents):
    bent = documents.log_price_per_token + np.array([0.0, 0.1, 0.0, 0.0])
    assert measures.length_bias(dataclasses.replace(documents, log_price_per_token=bent)) is None
    ones = dataclasses.replace(documents, tokens=np.ones(4, dtype=np.int64))
    assert measures.length_bias(ones) is None


def test_price_mass_survives_log_prices_that_underflow(documents):
    low = dataclasses.replace(documents, log_price=documents.log_price - 5000)
    np.testing.assert_allclose(
        measures.price_mass(low), [0.694178, 0.093947, 0.154892, 0.056982], atol=2e-6
    )


def test_no_example_is_both_dearest_and_cheapest():
    dearest, cheapest = measures.example_rows(np.arange(14, 0, -1))
    assert dearest.tolist() == [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]
    assert cheapest.tolist() == [0, 1, 2, 3]


def test_example_ids_are_those_of_the_shown_rows():
    ids = np.array(["c", "a", "b"], dtype=object)
    assert measures.example_ids(ids, np.array([3, 1, 2])) == ("a", "b", "c")
