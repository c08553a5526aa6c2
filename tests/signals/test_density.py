import math

import numpy as np
import pytest

from databourse.density.kde import exact_l2_sums
from databourse.density.presets import PAPER, SHARP
from databourse.errors import ConfigError, InputError
from databourse.signals.density import DensityParameters, preset_of


def test_copies_are_worth_less_by_the_log_of_their_number(unit, pool, score):
    # three copies and one document at a right angle, which a kernel of (0.028)^4 does not see
    inputs = pool(unit([[1, 0], [1, 0], [1, 0], [0, 1]]))
    result = score({"name": "density", "bandwidth": 0.1}, inputs)
    # estimates take n / B = 0.0002 off
    expected = [math.log(4 / 3)] * 3 + [math.log(4)]
    np.testing.assert_allclose(result.values, expected, atol=2e-4)
    assert result.details["bandwidth"] == 0.1
    assert result.details["weight_ratio"] == pytest.approx(3, rel=1e-3)
    assert not result.details["nearly_uniform"]


def test_a_lone_document_is_worth_nothing(unit, pool, score):
    assert score("density", pool(unit([[1, 2, 3]]))).values.tolist() == [0.0]


def test_values_follow_the_exact_density(unit, pool, score):
    rng = np.random.default_rng(1)
    crowd = rng.normal(size=(300, 8)) * 0.3 + 1
    vectors = unit(np.concatenate([crowd, rng.normal(size=(100, 8))]))
    result = score("density", pool(vectors))
    exact = exact_l2_sums(vectors, vectors, bandwidth=result.details["bandwidth"], hashes_per_row=4)
    np.testing.assert_allclose(result.values, -np.log(exact / 400), atol=0.4)
    assert np.corrcoef(result.values, -np.log(exact))[0, 1] > 0.98
    assert result.values[300:].mean() > result.values[:300].mean() + 1


def test_paper_is_nearly_uniform_and_says_so(unit, pool, score):
    vectors = unit(np.random.default_rng(2).normal(size=(300, 64)))
    paper = score({"name": "density", "preset": "paper"}, pool(vectors)).details
    assert paper["bandwidth"] == 1.0
    assert paper["nearly_uniform"]
    assert paper["weight_ratio"] < 1.2
    assert paper["effective_share"] > 0.99


def test_the_order_of_documents_changes_no_value_at_a_given_bandwidth(unit, pool, score):
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(200, 16)))
    order = rng.permutation(200)
    entry = {"name": "density", "bandwidth": 0.7, "rows": 100}
    values = score(entry, pool(vectors)).values
    assert score(entry, pool(vectors[order])).values.tolist() == values[order].tolist()


def test_the_angle_can_take_the_place_of_the_distance(unit, pool, score):
    inputs = pool(unit([[1, 0], [1, 0], [0, 1], [-1, 0]]))
    entry = {"name": "density", "family": "sign", "hashes_per_row": 1}
    result = score(entry, inputs)
    # kernels 1, 1, 1/2, 0 of the first; 1/2 everywhere of the third; 5 sd of 1,000 rows
    expected = np.log([4 / 2.5, 4 / 2.5, 4 / 2.5, 4 / 1.5])
    np.testing.assert_allclose(result.values, expected, atol=0.1)
    assert result.details["bandwidth"] is None


def test_parameters_change_the_preset():
    assert preset_of(DensityParameters()) == SHARP
    assert preset_of(DensityParameters(preset="paper")) == PAPER
    changed = preset_of(DensityParameters(rows=7, hashes_per_row=2, bandwidth=0.5))
    assert (changed.rows, changed.hashes_per_row, changed.bandwidth) == (7, 2, 0.5)


def test_a_bandwidth_for_the_angle_is_refused(unit, pool, score):
    with pytest.raises(ConfigError, match=r"family 'sign' has no bandwidth, got 0.5; leave it out"):
        score({"name": "density", "family": "sign", "bandwidth": 0.5}, pool(unit([[1, 0], [0, 1]])))


def test_a_bandwidth_too_small_for_the_vectors_is_refused(unit, pool, score):
    with pytest.raises(InputError, match="signal 'density': the bandwidth must be at least"):
        score({"name": "density", "bandwidth": 1e-5}, pool(unit([[1, 0], [0, 1]])))
