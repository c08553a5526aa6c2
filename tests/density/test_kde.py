import math

import numpy as np
import pytest

from databourse.density import kde
from databourse.density.kde import exact_l2_sums, exact_sign_sums
from databourse.errors import InputError


def slow_l2_sum(query, data, bandwidth, power):
    total = 0.0
    for point in data.tolist():
        ratio = math.dist(query.tolist(), point)
        if ratio == 0:
            total += 1.0
            continue
        t = bandwidth / ratio
        phi = 0.5 * math.erfc(t / math.sqrt(2))  # Phi(-t)
        tail = 2 / (math.sqrt(2 * math.pi) * t) * (1 - math.exp(-t * t / 2))
        total += (1 - 2 * phi - tail) ** power
    return total


@pytest.mark.parametrize("power", [1, 4])
def test_sums_equal_a_slow_twin_however_they_are_cut(power, monkeypatch):
    data = np.random.default_rng(0).normal(size=(150, 5))
    expected = [slow_l2_sum(each, data, 0.7, power) for each in data[:40]]
    for cells in (1 << 20, 1000, 1):
        monkeypatch.setattr(kde, "_BLOCK_CELLS", cells)
        found = exact_l2_sums(data[:40], data, bandwidth=0.7, hashes_per_row=power)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sums_of_the_sign_kernel_worked_by_hand():
    data = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    # right angles count 1/2, opposite ones 0
    np.testing.assert_allclose(exact_sign_sums(data, data), [1.5, 2.0, 1.5], rtol=1e-12)
    squared = exact_sign_sums(data, data, hashes_per_row=2)
    np.testing.assert_allclose(squared, [1.25, 1.5, 1.25], rtol=1e-12)


def test_copies_count_one_each():
    data = np.repeat(np.random.default_rng(1).normal(size=(1, 64)), 7, axis=0)
    np.testing.assert_allclose(exact_l2_sums(data, data, bandwidth=0.5), 7.0, rtol=1e-6)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(InputError, match=r"\(3, 2\) and \(3, 4\)"):
        exact_l2_sums(np.zeros((3, 2)), np.zeros((3, 4)), bandwidth=1.0)
