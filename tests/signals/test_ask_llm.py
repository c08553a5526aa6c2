import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals.inputs import QualityAnswers

NAN = np.nan


def answered(p_yes, yes_share=None):
    return QualityAnswers(
        p_yes=np.array(p_yes), yes_share=np.array(p_yes if yes_share is None else yes_share)
    )


def test_the_value_is_the_probability_of_yes_and_by_choice_its_share(score, pool):
    # the two do not rank alike
    inputs = pool(n=3, answers=answered([0.3, 0.2, 1.0], [0.5, 0.9, 1.0]))
    assert score("ask_llm", inputs).values.tolist() == [0.3, 0.2, 1.0]
    by_share = score({"name": "ask_llm", "measure": "yes_share"}, inputs)
    assert by_share.values.tolist() == [0.5, 0.9, 1.0]


def test_a_failed_answer_gets_the_mean_of_the_others_and_is_counted(score, pool):
    result = score("ask_llm", pool(n=5, answers=answered([0.25, NAN, 0.75, NAN, 0.125])))
    assert result.values.tolist() == [0.25, 0.375, 0.75, 0.375, 0.125]
    assert dict(result.details) == {"answered": 3, "failed": 2}


def test_values_do_not_depend_on_the_order_of_the_documents(score, pool):
    p_yes = np.random.default_rng(1).random(200)
    p_yes[::7] = NAN
    order = np.random.default_rng(2).permutation(200)
    before = score("ask_llm", pool(n=200, answers=answered(p_yes))).values
    after = score("ask_llm", pool(n=200, answers=answered(p_yes[order]))).values
    np.testing.assert_array_equal(after, before[order])


def test_a_pool_without_a_single_answer_is_refused(score, pool):
    with pytest.raises(InputError, match=r"signal 'ask_llm': .* all 3 failed"):
        score("ask_llm", pool(n=3, answers=answered([NAN] * 3)))


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.inf])
def test_a_score_that_is_no_probability_is_refused(score, pool, bad):
    with pytest.raises(InputError, match=r"p_yes must be in \[0, 1\], got .* at 1"):
        score("ask_llm", pool(n=3, answers=answered([0.5, bad, NAN])))


def test_both_ends_and_a_single_document_are_allowed(score, pool):
    assert score("ask_llm", pool(n=2, answers=answered([0.0, 1.0]))).values.tolist() == [0, 1]
    assert score("ask_llm", pool(n=1, answers=answered([0.5]))).values.tolist() == [0.5]


def test_progress_adds_up_to_the_documents(score, pool):
    told = []
    score("ask_llm", pool(n=3, answers=answered([0.1, NAN, 0.2]), progress=told.append))
    assert sum(told) == 3
