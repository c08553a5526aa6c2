import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.samplers.ranked import rising


def test_the_likeliest_yes_is_bought_first_and_a_failed_answer_never(candidates, buy):
    documents = candidates([10] * 6, p_yes=[0.2, math.nan, 0.9, 0.5, 0.9, 0.0])
    assert buy("ask_llm_top", documents, 45) == [2, 4, 3, 0]
    assert buy("ask_llm_top", documents, 1_000) == [2, 4, 3, 0, 5]


def test_low_and_high_perplexity_are_bought_from_the_two_ends(candidates, buy):
    documents = candidates([10] * 5, mean_token_loss=[3.0, 1.0, 2.0, math.nan, 4.0])
    assert buy("perplexity_low", documents, 30) == [1, 2, 0]
    assert buy("perplexity_high", documents, 30) == [4, 0, 2]


@pytest.mark.parametrize("name", ["perplexity_low", "perplexity_high"])
def test_equal_measures_are_ordered_by_document_id(candidates, buy, name):
    documents = candidates([10] * 5, mean_token_loss=[2.0, 2.0, 2.0, 2.0, 2.0])
    assert buy(name, documents, 30) == [0, 1, 2]


def test_a_document_that_does_not_fit_is_passed_over(candidates, buy):
    documents = candidates([60, 50, 40, 1], mean_token_loss=[1.0, 2.0, 3.0, 4.0])
    assert buy("perplexity_low", documents, 100) == [0, 2]
    assert buy("perplexity_low", documents, 101) == [0, 2, 3]


def test_a_budget_of_documents_buys_that_many(candidates, buy):
    documents = candidates([1] * 6, p_yes=[0.1, 0.6, 0.3, 0.5, 0.2, 0.4])
    assert buy("ask_llm_top", documents, 3) == [1, 3, 5]


@given(
    st.lists(st.sampled_from([math.nan, -math.inf, -1.0, -0.0, 0.0, 1.0, math.inf]), max_size=15)
)
def test_rising_equals_a_slow_twin(values):
    expected = sorted(
        (i for i, value in enumerate(values) if not math.isnan(value)), key=lambda i: (values[i], i)
    )
    found = rising(np.array(values))
    assert found.tolist() == expected
    assert found.dtype == np.int64
