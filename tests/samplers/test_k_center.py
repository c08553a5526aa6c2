import dataclasses

import numpy as np
import pytest


def pool(candidates, costs, rows):
    rows = np.asarray(rows, dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return dataclasses.replace(candidates(costs), embeddings=rows)


def test_one_document_of_every_far_group_is_bought_before_a_second_one(candidates, buy):
    rng = np.random.default_rng(3)
    group = rng.permutation(np.repeat(np.arange(10), [200, 90, 40, 20, 10, 5, 4, 3, 2, 1]))
    rows = np.eye(10)[group] + 0.02 * rng.normal(size=(375, 10))
    bought = buy("k_center", pool(candidates, [1] * 375, rows), 10)
    assert sorted(group[bought].tolist()) == list(range(10))


def test_what_does_not_fit_is_no_centre(candidates, buy):
    rows = [[1, 0], [-1, 0], [-1, 0.1], [0, 1], [1, 0.01]]
    # (0, 1) is nearest to the mean; (-1, 0) is not affordable and so covers nothing
    documents = pool(candidates, [4, 50, 4, 4, 4], rows)
    assert buy("k_center", documents, 12) == [3, 0, 2]


@pytest.mark.parametrize("budget", [0, 1, 2])
def test_a_budget_below_every_cost_buys_nothing(candidates, buy, budget):
    assert buy("k_center", pool(candidates, [3, 4], [[1, 0], [0, 1]]), budget) == []
