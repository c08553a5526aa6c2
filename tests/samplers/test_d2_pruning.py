import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.samplers.d2_pruning import SAMPLERS, difficult_and_unlike
from databourse.samplers.interface import sample

SPECS = {spec.name: spec for spec in SAMPLERS}


def pool(candidates, costs, rows, **measures):
    rows = np.asarray(rows, dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return dataclasses.replace(candidates(costs, **measures), embeddings=rows)


def bought(name, documents, budget):
    return sample(SPECS[name], documents, budget, rng=np.random.default_rng(0)).tolist()


@pytest.mark.parametrize(
    ("name", "measure"), [("d2_pruning", "el2n"), ("d2_pruning_perplexity", "mean_token_loss")]
)
def test_the_most_difficult_are_bought_but_one_of_each_group_first(candidates, name, measure):
    # two groups of six directions, far apart, of which the first is the more difficult
    turned = np.radians([0, 1, 2, 3, 4, 5, 180, 181, 182, 183, 184, 185])
    rows = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    values = [1.0, 1.0, 1.3, 1.0, 1.0, 1.0, 0.8, 0.8, 0.9, 0.8, 0.8, 0.8]
    documents = pool(candidates, [1] * 12, rows, **{measure: values})
    found = bought(name, documents, 2)
    assert found == [2, 8]
    by_measure_alone = np.argsort(-np.array(values))[:2].tolist()
    assert set(by_measure_alone) < set(range(6))


def test_a_document_without_difficulty_is_never_bought_and_changes_no_choice(candidates):
    rng = np.random.default_rng(5)
    rows, costs, values = rng.normal(size=(60, 5)), rng.integers(1, 50, 60), rng.uniform(size=60)
    values[rng.integers(0, 60, 9)] = np.nan
    complete = np.flatnonzero(~np.isnan(values))
    holes = pool(candidates, costs, rows, el2n=values)
    alone = pool(candidates, costs[complete], rows[complete], el2n=values[complete])
    for budget in (100, int(costs.sum())):
        expected = complete[bought("d2_pruning", alone, budget)].tolist()
        assert bought("d2_pruning", holes, budget) == expected


def test_any_measure_may_be_the_difficulty(candidates):
    rows = np.random.default_rng(6).normal(size=(30, 4))
    documents = pool(candidates, [1] * 30, rows, age=np.arange(30.0), el2n=np.arange(30.0))
    by_age = difficult_and_unlike("age", neighbours=5, gamma=1.0)
    found = by_age(documents, 9, rng=np.random.default_rng(0)).tolist()
    assert found == bought("d2_pruning", documents, 9)


def test_a_pool_without_any_difficulty_is_one_clear_error(candidates):
    documents = pool(candidates, [1, 1], [[1, 0], [0, 1]], el2n=[np.nan, np.nan])
    with pytest.raises(InputError, match="'d2_pruning': none of 2 documents can be chosen"):
        bought("d2_pruning", documents, 1)


def test_a_measure_below_0_is_no_difficulty(candidates):
    documents = pool(candidates, [1, 1], [[1, 0], [0, 1]], el2n=[0.5, -0.5])
    with pytest.raises(InputError, match="'d2_pruning': difficulties must be in"):
        bought("d2_pruning", documents, 1)
