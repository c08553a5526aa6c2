import dataclasses

import numpy as np
import pytest

from databourse.samplers.interface import sample
from databourse.samplers.registry import sampler_spec
from databourse.topics import topics_from_names

BOTH = ("semdedup", "semdedup_kmeans")


def pool(candidates, costs, rows, names=None):
    rows = np.asarray(rows, dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = ["one"] * len(rows) if names is None else names
    return dataclasses.replace(
        candidates(costs), embeddings=rows, topics=topics_from_names(names, rows)
    )


@pytest.mark.parametrize("name", BOTH)
def test_planted_near_copies_go_first(candidates, buy, name):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 32))
    copies = rng.permutation(300)[:60]
    kept = np.setdiff1d(np.arange(300), copies)
    rows[copies] = rows[kept[:60]] + 1e-3 * rng.normal(size=(60, 32))
    documents = pool(candidates, [1] * 300, rows)
    bought = set(buy(name, documents, 240))
    # of each pair one is there; which one depends on the distance to the centroid
    for copy, original in zip(copies.tolist(), kept[:60].tolist(), strict=True):
        assert len({copy, original} & bought) == 1


def test_the_least_redundant_are_bought_first_in_the_order_computed_by_hand(candidates, buy):
    turned = np.radians([0, 60, 90])  # redundancies -1, cos 30, 0
    documents = pool(candidates, [1] * 3, np.stack([np.cos(turned), np.sin(turned)], axis=1))
    assert buy("semdedup", documents, 3) == [0, 2, 1]


def test_topics_are_searched_apart(candidates, buy):
    rows = [[1, 0], [0, 1], [1, 0], [0, 1]]
    together = pool(candidates, [1] * 4, rows)
    apart = pool(candidates, [1] * 4, rows, ["a", "a", "b", "b"])
    assert buy("semdedup", together, 2) == [0, 1]
    assert buy("semdedup", apart, 2) == [0, 2]  # each topic's first; no copy is seen


@pytest.mark.parametrize("name", BOTH)
def test_equal_vectors_are_bought_by_document_id(candidates, buy, name):
    documents = pool(candidates, [3] * 5, [[1, 2]] * 5)
    assert buy(name, documents, 10) == [0, 1, 2]


@pytest.mark.parametrize("name", BOTH)
def test_a_larger_budget_buys_all_that_a_smaller_one_bought(candidates, buy, name):
    rows = np.random.default_rng(1).normal(size=(80, 5))
    documents = pool(candidates, [1] * 80, rows)
    few, many = buy(name, documents, 20), buy(name, documents, 50)
    assert many[:20] == few


def test_without_random_choices_the_generator_is_left_as_it_was(candidates):
    documents = pool(candidates, [1] * 9, np.random.default_rng(1).normal(size=(9, 3)))
    rng = np.random.default_rng(5)
    sample(sampler_spec("semdedup"), documents, 5, rng=rng)
    assert rng.integers(1_000_000) == np.random.default_rng(5).integers(1_000_000)
