import math

import numpy as np
import pytest

from databourse.coverage.clusters import centroid_cosines, cluster_numbers, root_count


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 2), (4, 2), (5, 3), (100, 10), (101, 11)])
def test_there_are_about_the_square_root_of_n_clusters(n, count):
    assert root_count(n) == count


def test_cosines_to_the_centroid_are_those_computed_by_hand(unit):
    # the mean of (1, 0) and (0, 1) points along (1, 1); the third is alone
    rows = unit([[1, 0], [0, 1], [-1, 0]])
    found = centroid_cosines(rows, np.array([0, 0, 1]))
    assert found.tolist() == [0.707107, 0.707107, 1.0]


def test_a_cluster_whose_members_cancel_out_has_no_centre(unit):
    assert centroid_cosines(unit([[1, 0], [-1, 0]]), np.array([0, 0])).tolist() == [0.0, 0.0]


def test_an_unused_cluster_number_changes_nothing(planted):
    rows = planted(30, 6, seed=1)
    clusters = np.arange(30) % 3
    found = centroid_cosines(rows, clusters * 2)
    assert found.tolist() == centroid_cosines(rows, clusters).tolist()


def test_cosines_to_the_centroid_equal_a_slow_twin(planted, cosine):
    rows = planted(40, 6, seed=2)
    clusters = np.random.default_rng(3).integers(0, 4, 40)
    found = centroid_cosines(rows, clusters)
    for i, row in enumerate(rows):
        mean = sum(rows[j].astype(float) for j in range(40) if clusters[j] == clusters[i])
        assert math.isclose(found[i], cosine(row, mean), abs_tol=2e-6)  # centroids are float32


def test_far_groups_become_clusters_of_their_own(unit):
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), [30, 20, 10])
    rows = unit(np.eye(3)[group] + 0.05 * rng.normal(size=(60, 3)))
    assert cluster_numbers(rows, 3, seed=1).tolist() == group.tolist()  # the largest is first
