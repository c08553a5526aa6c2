import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.coverage import redundancy
from databourse.coverage.clusters import centroid_cosines
from databourse.coverage.redundancy import redundancies


def angles(*degrees):
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_the_redundancy_of_three_directions_is_that_computed_by_hand():
    # mean direction of 0, 60 and 90 degrees is 52; order by cosine to it: 0, 90, 60
    found = redundancies(angles(0, 60, 90), np.zeros(3, dtype=np.int64))
    assert found.tolist() == [-1.0, 0.866025, 0.0]


def slow_twin(rows, clusters, cosine):
    typical = centroid_cosines(rows, clusters)
    found = []
    for j in range(len(rows)):
        before = [
            cosine(rows[i], rows[j])
            for i in range(len(rows))
            if clusters[i] == clusters[j] and (typical[i], i) < (typical[j], j)
        ]
        found.append(max(before, default=-1.0))
    return found


@pytest.mark.parametrize(("n", "n_clusters"), [(1, 1), (7, 7), (60, 1), (90, 4)])
def test_redundancies_equal_the_slow_twin(planted, cosine, n, n_clusters):
    rows = planted(n, 7, seed=n)
    clusters = np.random.default_rng(n).integers(0, n_clusters, n) * 3  # some numbers are unused
    found = redundancies(rows, clusters)
    np.testing.assert_allclose(found, slow_twin(rows, clusters, cosine), rtol=0, atol=1e-12)


def test_blocks_of_any_height_give_the_same(planted, monkeypatch):
    rows = planted(200, 9, seed=8)
    clusters = np.zeros(200, dtype=np.int64)
    whole = redundancies(rows, clusters)
    monkeypatch.setattr(redundancy, "_BLOCK_ROWS", 17)
    assert redundancies(rows, clusters).tolist() == whole.tolist()


def test_only_the_first_of_equal_vectors_is_not_redundant(unit):
    found = redundancies(unit([[3, 4, 5]] * 4), np.zeros(4, dtype=np.int64))
    assert found.tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_copies_in_other_clusters_are_not_seen(unit):
    found = redundancies(unit([[3, 4, 5]] * 4), np.array([0, 1, 2, 3]))
    assert found.tolist() == [-1.0] * 4


def test_what_is_dropped_still_eliminates():
    # a chain of 0, 20 and 40 degrees, and three others that pull the mean to 95 degrees
    rows = angles(0, 20, 40, 150, 170, 180)
    clusters = np.zeros(6, dtype=np.int64)
    assert np.argsort(centroid_cosines(rows, clusters)).tolist()[0] == 0
    keeps = redundancies(rows, clusters) <= 0.9  # cos 20 = 0.94, cos 40 = 0.77
    # 40 is more than 20 from what is kept, 0, and yet it goes: 20, itself dropped, is near it
    assert keeps[:3].tolist() == [True, False, False]


@given(st.integers(0, 10_000))
def test_the_order_of_the_documents_changes_no_score_of_distinct_ones(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(25, 5))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    clusters = rng.integers(0, 3, 25)
    turned = rng.permutation(25)
    found = redundancies(rows, clusters)
    assert redundancies(rows[turned], clusters[turned]).tolist() == found[turned].tolist()
