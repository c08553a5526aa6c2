import numpy as np
import pytest

from databourse.density.spread import effective_groups, weight_spread
from databourse.errors import InputError


def test_the_spread_of_weights_worked_by_hand():
    # weights 1, 1, 1, 3: shares 1/6, 1/6, 1/6, 1/2
    for shift in (0.0, 900.0, -900.0):
        found = weight_spread(np.log([1.0, 1.0, 1.0, 3.0]) + shift)
        assert found.ratio == pytest.approx(3.0)
        assert found.effective_share == pytest.approx(36 / 12 / 4)
        assert found.distance_from_uniform == pytest.approx(0.25)
        assert not found.is_nearly_uniform


def test_equal_weights_are_uniform():
    found = weight_spread(np.full(7, -3.0))
    assert (found.ratio, found.effective_share) == (1.0, pytest.approx(1.0))
    assert found.distance_from_uniform == pytest.approx(0.0, abs=1e-15)
    assert found.is_nearly_uniform


def test_a_ratio_of_one_and_a_half_is_where_diverse_may_be_said():
    assert weight_spread(np.log([1.0, 1.499])).is_nearly_uniform
    assert not weight_spread(np.log([1.0, 1.501])).is_nearly_uniform


def test_effective_groups_worked_by_hand():
    assert effective_groups([5.0, 5.0, 5.0, 5.0]) == pytest.approx(4.0)
    assert effective_groups([5.0, 0.0]) == 1.0
    # entropy of 1/4 and 3/4: 0.25 ln 4 + 0.75 ln(4/3)
    assert effective_groups([1.0, 3.0]) == pytest.approx(4**0.25 * (4 / 3) ** 0.75)


@pytest.mark.parametrize("weights", [[], [np.nan], [0.0, -np.inf]])
def test_weights_that_are_not_finite_are_refused(weights):
    with pytest.raises(InputError, match="log weights must be finite"):
        weight_spread(np.array(weights))


@pytest.mark.parametrize("sizes", [[], [0.0], [-1.0, 2.0], [np.nan], [np.inf]])
def test_groups_of_no_size_are_refused(sizes):
    with pytest.raises(InputError, match="sizes must be finite"):
        effective_groups(sizes)
