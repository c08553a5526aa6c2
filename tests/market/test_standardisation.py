"""Standardisation within topics."""

import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market.standardisation import standardise_within_topics, topic_positions

law = settings(derandomize=True, deadline=None, max_examples=40)
columns = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=1, max_size=15)


def standardised(values, topics=None):
    values = np.array(values, dtype=float)
    topics = np.zeros(values.size, dtype=int) if topics is None else np.array(topics)
    return standardise_within_topics(values[:, np.newaxis], topics).scores[:, 0]


def test_scores_of_two_topics_are_those_worked_by_hand():
    # topic 0: mean 4, sd 2; topic 1: mean 10, sd 1
    np.testing.assert_allclose(
        standardised([2, 11, 6, 9, 4, 4], topics=[0, 1, 0, 1, 0, 0]),
        [-np.sqrt(2), 1, np.sqrt(2), -1, 0, 0],
        rtol=1e-15,
    )


def test_means_and_spreads_are_those_worked_by_hand():
    values = np.array([[2, 5], [11, -3], [6, 5], [9, 1], [4, 5], [4, 5]], dtype=float)
    found = standardise_within_topics(values, np.array([0, 1, 0, 1, 0, 0]))

    np.testing.assert_allclose(found.mean, [[4, 5], [10, -1]], rtol=1e-15)
    np.testing.assert_allclose(found.spread, [[np.sqrt(2), 0], [1, 2]], rtol=1e-15)


@law
@given(columns, st.floats(0.1, 10), st.floats(-100, 100))
def test_scores_times_spread_plus_mean_is_the_signal(values, factor, offset):
    values = (factor * np.array(values) + offset)[:, np.newaxis]
    found = standardise_within_topics(values, np.zeros(len(values), dtype=int))

    assert found.mean[0, 0] == pytest.approx(statistics.fmean(values[:, 0]), abs=1e-9)
    assert found.spread[0, 0] == pytest.approx(statistics.pstdev(values[:, 0].tolist()), abs=1e-5)
    np.testing.assert_allclose(
        found.scores * found.spread + found.mean, values, rtol=1e-9, atol=1e-9
    )


@law
@given(columns)
def test_scores_are_those_of_exact_fractions(values):
    exact = [Fraction(value) for value in values]
    mean, spread = statistics.mean(exact), statistics.pstdev(exact)
    expected = [float((x - mean) / Fraction(spread)) if spread else 0.0 for x in exact]

    np.testing.assert_allclose(standardised(values), expected, rtol=1e-9, atol=1e-12)


@law
@given(columns, st.sampled_from([1e-3, 0.5, 7.0, 1e6]), st.floats(-100, 100))
def test_positive_affine_changes_of_a_signal_change_nothing(values, factor, offset):
    values = np.array(values)
    changed = factor * values + factor * offset

    np.testing.assert_allclose(standardised(changed), standardised(values), atol=1e-7)


@law
@given(columns, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_change_a_bit(values, random):
    order = list(range(len(values)))
    random.shuffle(order)

    moved = standardised(np.array(values)[order])
    assert moved.tolist() == standardised(values)[order].tolist()


def test_negation_negates():
    values = [1.0, 5.0, 2.0]

    np.testing.assert_allclose(standardised(np.negative(values)), -standardised(values))


@pytest.mark.parametrize("constant", [0.0, 0.3, -1e12, 1e300, 5e-324])
def test_a_constant_signal_scores_zero_whatever_its_size(constant):
    assert standardised([constant] * 4).tolist() == [0.0] * 4


def test_rounding_noise_on_a_constant_signal_is_not_blown_up():
    thrice = 0.1 + 0.2

    assert standardised([0.3, thrice, 0.3, 0.3]).tolist() == [0.0] * 4
    assert standardised([3e9, thrice * 1e10, 3e9]).tolist() == [0.0] * 3


def test_a_small_spread_on_a_large_offset_still_counts():
    # The values keep 1e-7 of their spread in doubles, and so do the scores.
    np.testing.assert_allclose(standardised(1e6 + np.array([0.0, 0.01])), [-1, 1], rtol=1e-7)


def test_a_topic_of_one_document_scores_zero():
    assert standardised([7.0, 1.0, 3.0], topics=[1, 0, 0]).tolist() == [0.0, -1.0, 1.0]


def test_values_at_both_ends_of_the_doubles_do_not_overflow():
    np.testing.assert_allclose(standardised([1.7e308, -1.7e308]), [1, -1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_positions(bad):
    values = np.zeros((6, 2))
    values[[2, 5], 1] = bad

    with pytest.raises(InputError, match=r"column 1 is not at 2 document position.*2, 5"):
        standardise_within_topics(values, np.zeros(6, dtype=int))


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        ([0, 2], "without gaps"),
        ([-1, 0], "without gaps"),
        ([0], "shape"),
        ([0.0, 1.0], "integers"),
    ],
)
def test_topics_that_are_not_numbered_without_gaps_are_refused(topics, message):
    with pytest.raises(InputError, match=message):
        topic_positions(np.array(topics), n_documents=2)


def test_an_empty_market_is_refused():
    with pytest.raises(InputError, match="both >= 1"):
        standardise_within_topics(np.zeros((0, 2)), np.zeros(0, dtype=int))
    with pytest.raises(InputError, match="both >= 1"):
        standardise_within_topics(np.zeros((3, 0)), np.zeros(3, dtype=int))
