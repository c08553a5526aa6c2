import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.samplers.interface import Candidates
from databourse.samplers.within import central, central_on_average, drawn_within

numbers = st.integers(-6, 6).map(float)
tables = st.integers(1, 15).flatmap(
    lambda n: st.lists(
        st.lists(numbers, min_size=n, max_size=n).map(np.array), min_size=1, max_size=3
    ).map(tuple)
)


def slow_ranks(values):
    return [
        (sum(each < value for each in values) + sum(each == value for each in values) / 2)
        / len(values)
        for value in values
    ]


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("euds_information", "information_entropy"),
        ("euds_generative", "generative_entropy"),
        ("euds_semantic", "semantic_entropy"),
    ],
)
def test_one_entropy_keeps_what_lies_between_its_quantiles(candidates, buy, name, measure):
    # of 11 values in order at shares 0, 0.1, ..., 1 those from 0.3 to 0.7
    values = [5, 0, 10, 3, 7, 8, 2, 4, 6, 1, 9]
    bought = buy(name, candidates([1] * 11, **{measure: values}), 11)
    assert {values[each] for each in bought} == {3, 4, 5, 6, 7}


def three(candidates, information, generative, semantic):
    return candidates(
        [1] * len(information),
        information_entropy=information,
        generative_entropy=generative,
        semantic_entropy=semantic,
    )


def test_the_intersection_keeps_what_all_three_keep(candidates, buy):
    rise = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    shifted = [*range(2, 11), 0, 1]  # between 3 and 7 at positions 1 to 5
    fall = rise[::-1]
    # 3 .. 7, 1 .. 5 and 3 .. 7
    assert sorted(buy("euds_igse", three(candidates, rise, shifted, fall), 11)) == [3, 4, 5]


def test_the_mean_rank_lets_one_entropy_make_up_for_another(candidates, buy):
    rise, fall = [0, 1, 2, 3], [3, 2, 1, 0]
    # ranks 1/8 to 7/8: with one that falls the means are 3/8, 11/24, 13/24, 5/8
    documents = three(candidates, rise, fall, rise)
    assert sorted(buy("euds_igse_rank_mean", documents, 4)) == [0, 1, 2, 3]
    # three that agree: 1/8 and 7/8 are out
    agreeing = three(candidates, rise, rise, rise)
    assert sorted(buy("euds_igse_rank_mean", agreeing, 4)) == [1, 2]
    # and the intersection keeps the two inner ones of each
    assert sorted(buy("euds_igse", documents, 4)) == [1, 2]


@given(tables)
def test_both_rules_equal_their_slow_twins(columns):
    n = len(columns[0])
    ranks = [slow_ranks(values.tolist()) for values in columns]
    means = [sum(each[i] for each in ranks) / len(ranks) for i in range(n)]
    on_average = central_on_average(columns).tolist()
    for mean, kept in zip(means, on_average, strict=True):
        if min(abs(mean - 0.3), abs(mean - 0.7)) > 1e-9:
            assert kept == (0.3 < mean < 0.7)
    first, last = math.ceil(0.3 * (n - 1)), math.floor(0.7 * (n - 1))
    if first > last:
        with pytest.raises(InputError, match=r"none of .* documents lies between the quantiles"):
            central(columns)
        return
    ends = [(sorted(values)[first], sorted(values)[last]) for values in columns]
    expected = [
        all(low <= values[i] <= high for values, (low, high) in zip(columns, ends, strict=True))
        for i in range(n)
    ]
    assert central(columns).tolist() == expected


def test_entropies_that_no_document_shares_the_middle_of_are_one_clear_error(candidates, buy):
    # the middles are positions 3 .. 7 and 0, 1, 2, 9, 10
    rise = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    other = [3, 4, 5, 0, 1, 2, 8, 9, 10, 6, 7]
    message = (
        "sampler 'euds_igse': none of 11 documents can be chosen; each lacks a measure or lies"
    )
    with pytest.raises(InputError, match=message):
        buy("euds_igse", three(candidates, rise, other, rise), 11)


def test_two_documents_have_no_central_one(candidates, buy):
    documents = candidates([1, 1], generative_entropy=[1.0, 2.0])
    with pytest.raises(InputError, match="'euds_generative': none of 2 documents lies between"):
        buy("euds_generative", documents, 2)


def test_kept_documents_are_drawn_uniformly_and_in_a_uniform_order(candidates):
    # 5 of 8 are kept, a budget for 2: each ordered pair of the 20 is as likely
    documents = candidates([1] * 8, value=[0, 1, 1, 0, 1, 1, 0, 1])
    sampler = drawn_within(("value",), lambda columns: columns[0] > 0)
    rng = np.random.default_rng(11)
    draws = 20_000
    pairs = Counter(tuple(sampler(documents, 2, rng=rng).tolist()) for _ in range(draws))
    assert set(pairs) == {(i, j) for i in (1, 2, 4, 5, 7) for j in (1, 2, 4, 5, 7) if i != j}
    expected = draws / 20
    chi_square = sum((count - expected) ** 2 / expected for count in pairs.values())
    assert chi_square < 43.8  # 99.9 % of the chi-square distribution with 19 degrees of freedom


def test_a_document_that_lacks_one_entropy_moves_no_interval():
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 1000.0])
    other = np.array([0.0, 0.0, 0.0, 0.0, 0.0, math.nan])
    documents = Candidates(
        document_ids=list("abcdef"),
        costs=np.ones(6, dtype=np.int64),
        measures={"value": values, "other": other},
    )
    sampler = drawn_within(("value", "other"), central_on_average)
    # ranks of value 1/10, 3/10, ..., 9/10 and of other 1/2: means 0.3, 0.4, 0.5, 0.6, 0.7
    bought = sampler(documents, 6, rng=np.random.default_rng(0)).tolist()
    assert sorted(bought) == [0, 1, 2, 3, 4]
    # alone, value has six ranks 1/12, 3/12, ..., and 2 .. 3 and 4 .. 7 of 12 are central
    alone = drawn_within(("value",), central_on_average)
    assert sorted(alone(documents, 6, rng=np.random.default_rng(0)).tolist()) == [2, 3]


def test_what_the_interval_leaves_unspent_stays_unspent(candidates, buy):
    documents = candidates([10] * 11, generative_entropy=list(range(11)))
    assert sorted(buy("euds_generative", documents, 1_000)) == [3, 4, 5, 6, 7]
