import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.samplers.interface import (
    Candidates,
    SamplerSpec,
    buy_in_order,
    required,
    sample,
)
from databourse.topics import topics_from_names


def giving(bought, inputs=()):
    return SamplerSpec(
        name="test",
        measures=frozenset(),
        inputs=frozenset(inputs),
        sampler=lambda candidates, budget, rng: np.asarray(bought),
        is_random=False,
        summary="s",
    )


def test_an_order_is_bought_with_what_does_not_fit_passed_over(candidates):
    documents = candidates([51, 40, 30, 20, 10])
    # 30, not 51, 40, not 20, 10
    assert buy_in_order(np.array([2, 0, 1, 3, 4]), documents, 80).tolist() == [2, 1, 4]
    assert buy_in_order(np.array([3, 4]), documents, 80).tolist() == [3, 4]
    assert buy_in_order(np.array([0]), documents, 49).tolist() == []


def test_an_empty_order_is_refused(candidates):
    with pytest.raises(InputError, match="none of 2 documents can be chosen; each lacks a measure"):
        buy_in_order(np.array([], dtype=np.int64), candidates([1, 1]), 5)


@pytest.mark.parametrize(
    ("bought", "message"),
    [
        ([0, 0], "distinct positions 0 .. 2 as int64"),
        ([3], "distinct positions 0 .. 2"),
        ([-1], "distinct positions 0 .. 2"),
        ([0.0], "distinct positions 0 .. 2"),
        ([[0]], "distinct positions 0 .. 2"),
        ([0, 1], "it must spend at most 5, got 6"),
    ],
)
def test_what_a_sampler_may_not_buy_is_refused_with_its_name(candidates, bought, message):
    with pytest.raises(InputError, match=f"sampler 'test': .*{message}"):
        sample(giving(bought), candidates([3, 3, 3]), 5, rng=np.random.default_rng(0))


def test_what_a_sampler_buys_comes_back_in_its_order(candidates):
    bought = sample(giving([2, 0]), candidates([3, 3, 3]), 6, rng=np.random.default_rng(0))
    assert bought.tolist() == [2, 0]


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"]])
def test_ids_that_are_not_sorted_or_repeat_are_refused(ids):
    with pytest.raises(InputError, match=f"sorted and distinct, got {ids[0]!r} before {ids[1]!r}"):
        Candidates(document_ids=ids, costs=np.array([1, 1]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"document_ids": [], "costs": np.array([], dtype=np.int64)}, "at least one document"),
        ({"costs": np.array([1, 0])}, "must cost at least 1, got 0 at position 1"),
        ({"costs": np.array([1.0, 2.0])}, "a vector of integers"),
        ({"costs": np.array([1])}, "costs must cover 2 documents, got 1"),
        (
            {"measures": {"age": np.zeros(3)}},
            "measure 'age' must be 2 float64 numbers, got float64",
        ),
        ({"measures": {"age": np.zeros(2, np.float32)}}, "'age' must be .*, got float32"),
        ({"embeddings": np.ones((1, 1), np.float32)}, "embeddings must cover 2 documents, got 1"),
        ({"embeddings": np.ones((3, 1), np.float32)}, "embeddings must cover 2 documents, got 3"),
        ({"topics": topics_from_names(["a"], None)}, "topics must cover 2 documents, got 1"),
        ({"topics": topics_from_names(["a"] * 3, None)}, "topics must cover 2 documents, got 3"),
        ({"labels": np.array([None], dtype=object)}, "labels must cover 2 documents, got 1"),
    ],
)
def test_candidates_that_do_not_fit_together_are_refused(candidates, changed, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(candidates([1, 2]), **changed)


def test_a_measure_that_is_not_there_is_told_with_those_that_are(candidates):
    documents = candidates([1], height=[1.0], age=[2.0])
    assert documents.measure("age").tolist() == [2.0]
    with pytest.raises(
        InputError, match=r"the measure 'weight'; the candidates have: age, height$"
    ):
        documents.measure("weight")
    with pytest.raises(InputError, match=r"the candidates have: none$"):
        candidates([1]).measure("weight")


INPUTS = {
    "embeddings": np.eye(2, dtype=np.float32),
    "topics": topics_from_names(["a", "b"], None),
    "labels": np.array(["x", None], dtype=object),
    "texts": lambda: iter([["one"], ["two"]]),
}


def test_a_caller_may_have_none_of_the_inputs(candidates):
    documents = candidates([1, 2])
    assert [getattr(documents, name) for name in INPUTS] == [None] * 4


def test_inputs_of_the_right_length_come_back_as_they_are(candidates):
    documents = dataclasses.replace(candidates([1, 2]), **INPUTS)
    assert all(getattr(documents, name) is given for name, given in INPUTS.items())
    assert [list(documents.texts()), list(documents.texts())] == [[["one"], ["two"]]] * 2


@pytest.mark.parametrize("lacking", sorted(INPUTS))
def test_an_input_that_a_sampler_needs_and_is_missing_is_refused_by_name(candidates, lacking):
    others = {name: given for name, given in INPUTS.items() if name != lacking}
    documents = dataclasses.replace(candidates([1, 2]), **others)
    with pytest.raises(InputError) as error:
        sample(giving([0], INPUTS), documents, 5, rng=np.random.default_rng(0))
    assert str(error.value) == f"sampler 'test': it needs {lacking}; the candidates have none"


def test_of_several_missing_inputs_the_first_by_name_is_told(candidates):
    with pytest.raises(InputError, match="it needs embeddings"):
        sample(giving([0], INPUTS), candidates([1]), 5, rng=np.random.default_rng(0))


def test_an_input_that_no_sampler_asked_for_may_be_missing(candidates):
    documents = dataclasses.replace(candidates([1, 2]), labels=INPUTS["labels"])
    spec = giving([1], ["labels"])
    assert sample(spec, documents, 5, rng=np.random.default_rng(0)).tolist() == [1]


def test_what_is_required_comes_back_and_none_is_refused():
    assert required(0, "count") == 0  # only None is missing
    with pytest.raises(InputError, match=r"^it needs count; the candidates have none$"):
        required(None, "count")
