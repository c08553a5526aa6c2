"""The bank: what it refuses, and how examples are drawn and halved."""

import numpy as np
import pytest

from databourse.attribution.bank import Bank, drawn_examples, tuning_half
from databourse.errors import InputError


def bank(**changes):
    given = {
        "masks": np.array([[True, False, True], [False, True, True]]),
        "outputs": np.zeros((1, 2, 3)),
        "output": "loss",
        "set_names": np.array(["a", "a", "b"], dtype=object),
        "is_tuning": np.array([True, False, False]),
    }
    return Bank(**{**given, **changes})


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"\(n_seeds, 2, 3\)"):
        bank(outputs=np.zeros((1, 3, 2)))
    with pytest.raises(InputError, match=r"\(n_seeds, 2, 3\)"):
        bank(outputs=np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("all_of_them", "expected"), [(True, "left to report on"), (False, "choose settings on")]
)
def test_one_half_alone_is_refused(all_of_them, expected):
    with pytest.raises(InputError, match=expected):
        bank(is_tuning=np.full(3, all_of_them))


def test_examples_ascend_come_once_and_are_all_taken_where_they_are_few():
    drawn = drawn_examples(50, most=10, rng=np.random.default_rng(1))
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == 10
    assert drawn.max() < 50
    assert drawn_examples(4, most=10, rng=np.random.default_rng(1)).tolist() == [0, 1, 2, 3]
    for n_examples, most in ((1, 10), (10, 1)):
        with pytest.raises(InputError, match="at least 2 examples"):
            drawn_examples(n_examples, most=most, rng=np.random.default_rng(1))


@pytest.mark.parametrize(("n_examples", "tuned"), [(2, 1), (5, 2), (60, 30)])
def test_half_of_the_examples_are_tuned_on_rounded_down(n_examples, tuned):
    assert tuning_half(n_examples, rng=np.random.default_rng(2)).sum() == tuned
