"""LESS as a signal: cosines by hand, the union of targets, and what has no direction."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.influence.pool_gradients import StepCheckpoint, less_by_target
from databourse.influence.trak import RowBlock

from .conftest import pool, score


def checkpoint(steps, targets, rate, *, block=7):
    def blocks():
        for first in range(0, len(steps), block):
            rows = np.arange(first, min(first + block, len(steps)))
            yield RowBlock(rows, steps[rows])

    return StepCheckpoint(blocks, targets, rate)


def rows(*vectors):
    return np.array(vectors, dtype=np.float32)


def test_a_value_is_the_best_target_of_cosines_weighted_by_learning_rates():
    steps = rows([1, 0], [0, 2], [-3, 0])
    first = checkpoint(steps, {"a": rows([2, 0], [0, 1]), "b": rows([0, 5])}, 3.0)
    second = checkpoint(steps[:, ::-1].copy(), {"a": rows([1, 0], [1, 0]), "b": rows([0, 1])}, 1.0)
    found = less_by_target([first, second], n_documents=3)
    # weights 3/4 and 1/4; at the first the two examples of a agree to 1/2 with either axis
    np.testing.assert_allclose(found.by_target["a"], [3 / 8, 3 / 8 + 1 / 4, -3 / 8], atol=1e-12)
    np.testing.assert_allclose(found.by_target["b"], [1 / 4, 3 / 4, -1 / 4], atol=1e-12)
    np.testing.assert_allclose(found.values, [3 / 8, 3 / 4, -1 / 4], atol=1e-12)


def test_an_example_without_a_gradient_is_left_out_and_counted():
    steps = rows([1, 0], [0, 1])
    with_one = checkpoint(steps, {"a": rows([1, 0], [0, 0])}, 1.0)
    without = checkpoint(steps, {"a": rows([1, 0])}, 1.0)
    found = less_by_target([with_one], n_documents=2)
    assert found.examples_without_gradient == 1
    np.testing.assert_array_equal(found.values, less_by_target([without], n_documents=2).values)
    with pytest.raises(InputError, match="no example of target 'b' has a gradient"):
        less_by_target(
            [checkpoint(steps, {"a": rows([1, 0]), "b": rows([0, 0])}, 1.0)], n_documents=2
        )


def test_checkpoints_that_do_not_go_together_are_refused():
    steps = rows([1, 0])
    one = checkpoint(steps, {"a": rows([1, 0])}, 1.0)
    with pytest.raises(InputError, match="at least one checkpoint"):
        less_by_target([], n_documents=1)
    with pytest.raises(InputError, match="same targets"):
        less_by_target([one, checkpoint(steps, {"b": rows([1, 0])}, 1.0)], n_documents=1)


def test_the_signal_ranks_by_the_value_and_gives_it_if_asked():
    rng = np.random.default_rng(3)
    steps, examples = rng.normal(size=(40, 5)), rng.normal(size=(6, 5))
    inputs = pool(
        n=40,
        targets=(),
        steps=[checkpoint(steps.astype("f4"), {"a": examples.astype("f4")}, 0.1)],
    )
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (steps, examples)]
    expected = (unit[0] @ unit[1].T).mean(axis=1)
    values = score({"name": "less", "scale": "values"}, inputs)
    np.testing.assert_allclose(values.values, expected, atol=1e-6)
    assert values.details == {
        "checkpoints": 1,
        "examples_without_gradient": 0,
        "documents_without_step": 0,
    }
    ranks = score("less", inputs).values
    np.testing.assert_array_equal(np.argsort(ranks), np.argsort(expected))
    assert ((ranks > 0) & (ranks < 1)).all()
