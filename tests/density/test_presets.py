import dataclasses
import math

import numpy as np
import pytest

from databourse.density.kde import exact_l2_sums, exact_sign_sums
from databourse.density.presets import PAPER, SHARP, DensityPreset, bandwidth_for, pool_density
from databourse.density.spread import effective_groups, weight_spread
from databourse.errors import InputError
from databourse.selection.sampling import inclusion_probabilities


def rng(seed=0):
    return np.random.default_rng(seed)


def unit_vectors(n, dimension, seed=0):
    drawn = rng(seed).normal(size=(n, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def kept_mix(mean_kernels, index):
    """Return how many documents of each cluster are kept, on average, of 20 % by 1 / density."""
    n = len(mean_kernels)
    probability = inclusion_probabilities(
        log_size=-np.log(mean_kernels), costs=np.ones(n, dtype=np.int64), budget=n // 5
    )
    return np.bincount(index, weights=probability)


def test_sharp_draws_from_many_clusters_and_paper_hardly_from_more_than_chance(clusters):
    vectors, index = clusters()
    sizes = np.bincount(index)
    assert effective_groups(sizes) == pytest.approx(4.64, abs=0.005)  # a uniform draw
    sharp = pool_density(vectors, SHARP, rng=rng(1))
    paper = pool_density(vectors, PAPER, rng=rng(1))
    kept_sharp, kept_paper = (kept_mix(each.mean_kernels, index) for each in (sharp, paper))
    assert effective_groups(kept_sharp) >= 6.0
    assert 4.64 < effective_groups(kept_paper) < 5.2
    assert 0.005 <= sharp.mean_kernels.mean() <= 0.05
    assert weight_spread(-np.log(sharp.mean_kernels)).ratio > 4
    assert weight_spread(-np.log(paper.mean_kernels)).is_nearly_uniform
    # the least cluster is kept in a larger share than the largest
    shares = kept_sharp / sizes
    assert shares[0] < 0.17
    assert shares[-1] > 0.27


@pytest.mark.parametrize("preset", [PAPER, dataclasses.replace(SHARP, bandwidth=0.8)])
def test_the_estimate_is_near_the_exact_mean_kernel(clusters, preset):
    vectors, _ = clusters()
    pool = vectors[::5]
    found = pool_density(pool, preset, rng=rng(2))
    exact = exact_l2_sums(
        pool, pool, bandwidth=found.bandwidth, hashes_per_row=preset.hashes_per_row
    )
    errors = found.mean_kernels * len(pool) / exact - 1
    # measured: 1.5 % of one hash, 5 % of four, rms
    assert np.sqrt((errors**2).mean()) < {1: 0.03, 4: 0.1}[preset.hashes_per_row]
    assert abs(errors.mean()) < 0.02


def test_the_sign_family_follows_its_kernel(clusters):
    vectors, _ = clusters()
    pool = vectors[::5]
    preset = DensityPreset(hashes_per_row=8, family="sign", bandwidth=None)
    found = pool_density(pool, preset, rng=rng(3))
    exact = exact_sign_sums(pool, pool, hashes_per_row=8)
    assert found.bandwidth is None
    assert np.sqrt(((found.mean_kernels * len(pool) / exact - 1) ** 2).mean()) < 0.1


@pytest.mark.parametrize(("hashes_per_row", "mean_kernel"), [(1, 0.3), (4, 0.01), (16, 0.05)])
def test_the_bandwidth_gives_the_mean_kernel(hashes_per_row, mean_kernel):
    vectors = unit_vectors(800, 24)
    bandwidth = bandwidth_for(
        vectors, hashes_per_row=hashes_per_row, mean_kernel=mean_kernel, rng=rng(4)
    )
    sums = exact_l2_sums(vectors, vectors, bandwidth=bandwidth, hashes_per_row=hashes_per_row)
    others = (sums - 1).mean() / 799
    assert others == pytest.approx(mean_kernel, rel=0.05)  # of 10,000 pairs in place of 319,600


def test_copies_do_not_move_the_bandwidth():
    vectors = unit_vectors(300, 8)
    choices = {"hashes_per_row": 4, "mean_kernel": 0.01}
    alone = bandwidth_for(vectors, **choices, rng=rng(5))
    twice = bandwidth_for(np.concatenate([vectors, vectors]), **choices, rng=rng(6))
    assert twice == pytest.approx(alone, rel=0.05)


def test_a_pool_of_copies_is_all_one_place():
    copies = np.repeat(unit_vectors(1, 10), 6, axis=0)
    for preset in (PAPER, SHARP):
        found = pool_density(copies, preset, rng=rng())
        assert found.mean_kernels.tolist() == [1.0] * 6
        assert found.bandwidth == 1.0
    assert pool_density(copies[:1], SHARP, rng=rng()).mean_kernels.tolist() == [1.0]


@pytest.mark.parametrize("dimension", [1, 2, 10, 384, 2000])
def test_vectors_nearer_than_hashes_resolve_get_the_least_bandwidth_that_they_do(dimension):
    vectors = np.repeat(unit_vectors(1, dimension), 5, axis=0)
    vectors[1:] = np.nextafter(vectors[1:], np.float32(2))
    found = pool_density(vectors, dataclasses.replace(SHARP, rows=10), rng=rng())
    assert 0 < found.bandwidth < 0.8
    assert (found.mean_kernels > 0.5).all()


def test_estimates_stay_between_one_document_and_all():
    vectors = unit_vectors(500, 32)
    lonely = DensityPreset(rows=3, columns=50, hashes_per_row=8, bandwidth=0.1)
    found = pool_density(vectors, lonely, rng=rng(7))
    assert found.mean_kernels.min() == 1 / 500
    assert found.mean_kernels.max() < 0.1
    crowded = DensityPreset(rows=3, columns=50, hashes_per_row=1, bandwidth=900.0)
    assert pool_density(vectors, crowded, rng=rng(8)).mean_kernels.max() <= 1.0


def test_the_same_generator_gives_the_same_bits_with_any_number_of_threads():
    vectors = unit_vectors(5000, 20)
    found = [
        pool_density(vectors, dataclasses.replace(SHARP, rows=50), rng=rng(9), threads=threads)
        for threads in (1, 2)
    ]
    assert found[0].mean_kernels.tolist() == found[1].mean_kernels.tolist()
    assert found[0].bandwidth == found[1].bandwidth


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": 0}, "rows must be >= 1, got 0"),
        ({"hashes_per_row": 0}, "hashes per row >= 1, got 0.01 and 0"),
        ({"mean_kernel": 1.0}, r"in \(0, 1\) .* got 1.0"),
        ({"mean_kernel": math.nan}, "got nan"),
        ({"columns": 1}, "columns must be in"),
        ({"bandwidth": 1e-4}, "the bandwidth must be at least"),
    ],
)
def test_choices_outside_their_domain_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        pool_density(unit_vectors(5, 4), dataclasses.replace(SHARP, **changed), rng=rng())


def test_vectors_that_are_not_of_length_one_are_refused():
    with pytest.raises(InputError, match="length 1"):
        pool_density(2 * unit_vectors(5, 4), PAPER, rng=rng())
