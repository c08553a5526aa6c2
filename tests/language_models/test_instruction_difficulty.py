"""The two numbers called IFD."""

import math

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.language_models.instruction_difficulty import loss_ratio, perplexity_ratio


def test_losses_of_one_and_two_give_a_half_and_one_over_e():
    conditioned, unconditioned = np.array([1.0]), np.array([2.0])
    assert loss_ratio(conditioned, unconditioned) == pytest.approx([0.5])
    assert perplexity_ratio(conditioned, unconditioned) == pytest.approx([0.36787944117144233])


def test_the_two_rank_documents_differently():
    # quotients 0.5 and 0.9; differences -0.1 and -1.0
    conditioned, unconditioned = np.array([0.1, 9.0]), np.array([0.2, 10.0])
    assert np.diff(loss_ratio(conditioned, unconditioned)) > 0
    assert np.diff(perplexity_ratio(conditioned, unconditioned)) < 0


def test_both_are_one_where_the_prompt_changes_nothing():
    losses = np.array([0.01, 3.0, 700.0])
    assert loss_ratio(losses, losses).tolist() == [1, 1, 1]
    assert perplexity_ratio(losses, losses).tolist() == [1, 1, 1]


def test_edges_are_nan_and_infinite_without_a_warning():
    conditioned = np.array([math.nan, 0.0, 1.0, 2000.0])
    unconditioned = np.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(
        loss_ratio(conditioned, unconditioned), [math.nan, math.nan, math.inf, math.inf]
    )
    np.testing.assert_allclose(
        perplexity_ratio(conditioned, unconditioned), [math.nan, 1.0, math.e, math.inf]
    )


def test_negative_losses_and_other_shapes_are_refused():
    with pytest.raises(InputError, match="unconditioned losses must be >= 0"):
        loss_ratio(np.array([1.0]), np.array([-1.0]))
    with pytest.raises(InputError, match="same documents"):
        perplexity_ratio(np.zeros(2), np.zeros(3))
