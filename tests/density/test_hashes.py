import math

import numpy as np
import pytest

from databourse.dedup.shingles import ShingleSets
from databourse.density.hashes import (
    L2Hashes,
    Projections,
    SignHashes,
    draw_l2_hashes,
    draw_min_hashes,
    draw_sign_hashes,
    l2_kernel,
    min_hash_kernel,
    sign_kernel,
)
from databourse.errors import InputError

TRIALS = 400_000


def codes_of(family, items):
    return np.concatenate([block.codes(0, family.n_hashes) for block in family.blocks(items)], 1)


def collision_shares(codes):
    """Return how often item 0 collides with each other one."""
    return (codes[:, 1:] == codes[:, :1]).mean(axis=0)


def five_sigma(kernel, trials):
    return 5 * np.sqrt(kernel * (1 - kernel) / trials)


def direction(seed, dimension):
    drawn = np.random.default_rng(seed).normal(size=dimension)
    return drawn / np.linalg.norm(drawn)


def test_the_l2_kernel_has_the_values_of_its_table():
    # Datar et al. 2004, section 3.2, at r = 1; printed to five places
    distances = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
    expected = [1.0, 0.80053, 0.60955, 0.36875, 0.19542, 0.09922]
    np.testing.assert_allclose(l2_kernel(distances, bandwidth=1.0), expected, atol=6e-6)
    # only the ratio of distance and bandwidth counts
    np.testing.assert_allclose(l2_kernel(3 * distances, bandwidth=3.0), expected, atol=6e-6)


def test_the_l2_kernel_falls_like_one_over_the_distance():
    # sqrt(2 / pi) = 0.798: 1 - 0.798 c / r near, 0.399 r / c far away
    near, far = l2_kernel(np.array([1e-3, 1e4]), bandwidth=1.0)
    assert near == pytest.approx(1 - 0.7978846e-3, abs=1e-9)
    assert far == pytest.approx(0.39894228e-4, rel=1e-6)
    assert l2_kernel(np.array([np.inf]), bandwidth=1.0).tolist() == [0.0]


def test_the_sign_kernel_has_the_values_of_its_table():
    cosines = np.cos([0.0, 0.3, 1.0, 2.0, math.pi])
    np.testing.assert_allclose(
        sign_kernel(cosines), [1.0, 0.90451, 0.68169, 0.36338, 0.0], atol=6e-6
    )
    assert sign_kernel(np.array([1 + 1e-15, -1 - 1e-15])).tolist() == [1.0, 0.0]


def test_vectors_share_an_l2_code_as_often_as_the_kernel_says():
    distances = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    vectors = np.outer([0.0, *distances], direction(1, 8)).astype(np.float32)
    rng = np.random.default_rng(5)
    family = draw_l2_hashes(TRIALS, dimension=8, bandwidth=1.0, longest=4.0, rng=rng)
    kernel = np.array([0.80053, 0.60955, 0.36875, 0.19542, 0.09922])
    shares = collision_shares(codes_of(family, vectors))
    assert (np.abs(shares - kernel) <= five_sigma(kernel, TRIALS)).all()


def test_vectors_share_a_sign_as_often_as_the_kernel_says():
    angles = np.array([0.3, 0.6, 1.0, 2.0, 3.0])
    plane, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 2)))
    corners = np.stack([np.cos([0.0, *angles]), np.sin([0.0, *angles])], axis=1)
    vectors = (corners @ plane.T).astype(np.float32)
    family = draw_sign_hashes(TRIALS, dimension=8, rng=np.random.default_rng(6))
    kernel = 1 - angles / math.pi
    shares = collision_shares(codes_of(family, vectors))
    # rounding moves a unit vector by 1e-4 at most, and the kernel by a third of it
    assert (np.abs(shares - kernel) <= five_sigma(kernel, TRIALS) + 1e-4).all()


@pytest.mark.parametrize("bits", [32, 1, 3])
def test_sets_share_a_min_hash_as_often_as_the_kernel_says(bits):
    trials = 40_000
    keys = np.sort(np.random.default_rng(3).integers(0, 1 << 64, 200, dtype=np.uint64))
    # of 100 keys, the first set has all and the others are shifted by 0, 10, 33, 60, 100
    shifts = [0, 0, 10, 33, 60, 100]
    sets = ShingleSets(
        np.concatenate([keys[shift : shift + 100] for shift in shifts]), np.arange(0, 601, 100)
    )
    jaccard = np.array([1.0, 90 / 110, 67 / 133, 40 / 160, 0.0])
    kernel = jaccard + (1 - jaccard) / 2**bits
    family = draw_min_hashes(trials, bits=bits, rng=np.random.default_rng(7))
    shares = collision_shares(codes_of(family, sets))
    # the functions are pairwise independent only: the least of 100 is off by less than 0.004
    assert (np.abs(shares - kernel) <= five_sigma(kernel, trials) + 0.004).all()
    np.testing.assert_array_equal(min_hash_kernel(jaccard, bits=bits), kernel)


@pytest.mark.parametrize("power", [2, 4])
def test_concatenated_hashes_have_the_power_of_the_kernel(power):
    trials = 100_000
    vectors = np.outer([0.0, 0.25, 0.5, 1.0], direction(4, 8)).astype(np.float32)
    rng = np.random.default_rng(8)
    family = draw_l2_hashes(trials * power, dimension=8, bandwidth=1.0, rng=rng)
    codes = codes_of(family, vectors).reshape(trials, power, 4)
    shares = (codes[:, :, 1:] == codes[:, :, :1]).all(axis=1).mean(axis=0)
    kernel = np.array([0.80053, 0.60955, 0.36875]) ** power
    assert (np.abs(shares - kernel) <= five_sigma(kernel, trials)).all()


def by_hand(**changes):
    """Return two hashes of two dimensions: w = (1, 0) and (-0.5, 2), r = 2, b / r = 0.5 and 0."""
    directions = np.array([[64, 0], [-32, 128]], dtype=np.float32)
    drawn = Projections(directions=directions, quantum=2.0**-10, longest=4.0)
    offsets = np.array([0.5, 0.0], dtype=np.float32)
    return L2Hashes(projections=drawn, offsets=offsets, bandwidth=2.0)


def test_codes_of_a_family_worked_by_hand():
    vectors = np.array([[1, 0], [0.9, 1], [-1.1, 0], [0, -1]], dtype=np.float32)
    # w . x / r + b / r: 1.0, 0.95, -0.05, 0.5 and -0.25, 0.775, 0.275, -1.0
    assert codes_of(by_hand(), vectors).view(np.int32).tolist() == [[1, 0, -1, 0], [-1, 0, 0, -1]]
    signs = codes_of(SignHashes(projections=by_hand().projections), vectors)
    assert signs.tolist() == [[1, 1, 0, 1], [0, 1, 1, 0]]  # 0 counts as positive


@pytest.mark.parametrize("dimension", [3, 64, 384, 1536])
def test_products_equal_those_of_whole_numbers(dimension):
    rng = np.random.default_rng(9)
    vectors = rng.normal(size=(40, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    vectors[0, 0] = -1
    drawn = draw_sign_hashes(50, dimension=dimension, rng=rng).projections
    # the steepest sum of all: a vector along a direction
    vectors[1] = drawn.directions[0] / np.linalg.norm(drawn.directions[0])
    (rounded,) = drawn.rounded_blocks(vectors.astype(np.float32))
    found = drawn.sums(rounded, 0, 50)
    whole = np.rint(vectors.astype(np.float32).astype(np.float64) / drawn.quantum)
    expected = drawn.directions.astype(np.int64) @ whole.astype(np.int64).T
    assert (found.astype(np.int64) == expected).all()
    # no order of adding can round: not even sums of absolute values reach 2^24
    assert (np.abs(drawn.directions) @ np.abs(whole).T).max() <= 2**24
    assert np.abs(rounded * drawn.quantum - vectors).max() <= drawn.quantum / 2 + 1e-7


def test_codes_do_not_depend_on_the_batch():
    rng = np.random.default_rng(10)
    vectors = rng.normal(size=(4500, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    family = draw_l2_hashes(33, dimension=96, bandwidth=0.3, rng=rng)
    whole = codes_of(family, vectors)
    for batch in (1, 7, 1000):
        starts = range(0, 60, batch) if batch < 1000 else range(0, 4500, batch)
        parts = [codes_of(family, vectors[start : start + batch]) for start in starts]
        joined = np.concatenate(parts, axis=1)
        np.testing.assert_array_equal(joined, whole[:, : joined.shape[1]])
    block = next(family.blocks(vectors))
    np.testing.assert_array_equal(block.codes(5, 9), whole[5:9, : block.n_items])


def test_the_same_seed_draws_the_same_hashes_and_another_others():
    def fingerprints(seed, bandwidth=0.5, bits=32):
        draws = [
            draw_l2_hashes(4, dimension=3, bandwidth=bandwidth, rng=np.random.default_rng(seed)),
            draw_sign_hashes(4, dimension=3, rng=np.random.default_rng(seed)),
            draw_min_hashes(4, bits=bits, rng=np.random.default_rng(seed)),
        ]
        return [each.fingerprint for each in draws]

    assert fingerprints(1) == fingerprints(1)
    assert not set(fingerprints(1)) & set(fingerprints(2))
    assert fingerprints(1)[0] != fingerprints(1, bandwidth=0.6)[0]
    assert fingerprints(1)[2] != fingerprints(1, bits=8)[2]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 0.0], [np.nan, 0.0]], "length at most 1, got length nan at row 1"),
        ([[np.inf, 0.0]], "got length inf at row 0"),
        ([[0.0, 0.0], [1.0, 0.1]], r"got length 1.00499 at row 1"),
        ([[1.0]], r"shape \(n, 2\), got \(1, 1\)"),
        ([1.0, 0.0], r"shape \(n, 2\), got \(2,\)"),
    ],
)
def test_vectors_that_cannot_be_hashed_are_refused(vectors, message):
    family = draw_sign_hashes(4, dimension=2, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=message):
        codes_of(family, np.array(vectors, dtype=np.float32))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_hashes": 0}, "hashes and dimensions must be >= 1, got 0"),
        ({"dimension": 0}, "hashes and dimensions must be >= 1, got 4 and 0"),
        ({"longest": math.inf}, "longest length must be finite and > 0, got inf"),
        ({"longest": 0.0}, "longest length must be finite and > 0, got 0.0"),
        ({"bandwidth": 1e-5}, r"at least 0.0\d+ for 64 dimensions .* got 1e-05"),
        ({"bandwidth": math.nan}, "got nan"),
        ({"bandwidth": math.inf}, "got inf"),
    ],
)
def test_hashes_outside_their_domain_are_refused(changed, message):
    choices = {"n_hashes": 4, "dimension": 64, "longest": 1.0, "bandwidth": 1.0, **changed}
    with pytest.raises(InputError, match=message):
        draw_l2_hashes(choices.pop("n_hashes"), rng=np.random.default_rng(0), **choices)


@pytest.mark.parametrize("bits", [0, 33])
def test_bits_that_a_code_does_not_have_are_refused(bits):
    with pytest.raises(InputError, match=f"bits must be in 1 .. 32, got {bits}"):
        draw_min_hashes(4, bits=bits, rng=np.random.default_rng(0))
