import dataclasses

import numpy as np
import pytest

from databourse.coverage import facility_location
from databourse.errors import InputError

ALL = ("facility_location", "facility_location_exact", "facility_location_per_token")


def pool(candidates, costs, rows):
    rows = np.asarray(rows, dtype=np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return dataclasses.replace(candidates(costs), embeddings=rows)


@pytest.mark.parametrize("name", ALL)
def test_the_middles_of_the_largest_groups_are_bought_first(candidates, buy, name):
    # three groups of 5, 3 and 1 directions; the first of each group is its middle
    turned = np.radians([0, -8, 8, -4, 4, 120, 115, 125, 240])
    rows = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    assert buy(name, pool(candidates, [1] * 9, rows), 3) == [0, 5, 8]


def test_up_to_the_number_of_neighbours_the_sparse_sampler_is_the_exact_one(candidates, buy):
    rows = np.random.default_rng(4).normal(size=(65, 7))
    documents = pool(candidates, list(range(1, 66)), rows)
    for budget in (50, 500):
        bought = buy("facility_location", documents, budget)
        assert bought == buy("facility_location_exact", documents, budget)


def test_per_token_more_documents_and_shorter_ones_are_bought(candidates, buy):
    rng = np.random.default_rng(5)
    documents = pool(candidates, rng.integers(1, 100, 150), rng.normal(size=(150, 5)))
    plain = buy("facility_location", documents, 1_000)
    per_token = buy("facility_location_per_token", documents, 1_000)
    assert len(per_token) > 1.5 * len(plain)
    assert documents.costs[per_token].mean() < documents.costs[plain].mean()


@pytest.mark.parametrize("name", ALL)
def test_equal_vectors_are_bought_by_document_id(candidates, buy, name):
    assert buy(name, pool(candidates, [3] * 5, [[1, 2]] * 5), 10) == [0, 1, 2]


@pytest.mark.parametrize("name", ALL)
def test_a_budget_below_every_cost_buys_nothing(candidates, buy, name):
    assert buy(name, pool(candidates, [3, 4], [[1, 0], [0, 1]]), 2) == []


def test_more_documents_than_all_pairs_are_kept_of_is_one_clear_error(candidates, buy, monkeypatch):
    monkeypatch.setattr(facility_location, "MOST_EXACT", 2)
    documents = pool(candidates, [1] * 3, np.eye(3))
    with pytest.raises(InputError, match="'facility_location_exact': all similarities are kept"):
        buy("facility_location_exact", documents, 2)
