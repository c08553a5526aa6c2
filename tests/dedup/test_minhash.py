import math

import numpy as np
import pytest

from databourse.dedup.minhash import (
    Banding,
    band_keys,
    candidate_probability,
    choose_banding,
    draw_hash_family,
    signatures,
)
from databourse.dedup.shingles import ShingleSets
from databourse.errors import InputError


def planted_pairs(similarity, n_pairs, rng, union=200):
    """Sets 2i and 2i + 1 share round(similarity * union) of `union` random hashes."""
    common = round(similarity * union)
    rest = (union - common) // 2
    sets = []
    for _ in range(n_pairs):
        pool = rng.integers(0, 2**64, common + 2 * rest, dtype=np.uint64)
        sets += [np.sort(pool[: common + rest]), np.sort(np.r_[pool[:common], pool[-rest:]])]
    starts = np.cumsum([0, *map(len, sets)])
    return ShingleSets(np.concatenate(sets), starts)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_a_signature_is_the_least_hash_of_each_function(count):
    family = draw_hash_family(11, np.random.default_rng(5))
    keys = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    sets = ShingleSets(np.r_[keys, np.uint64(9 << 32)], np.array([0, count, count + 1]))
    expected = [
        [
            min(
                (int(a) * (int(key) >> 32) + int(c)) % 2**32  # unbounded integers: no overflow
                for key in own
            )
            for a, c in zip(family.multipliers, family.increments, strict=True)
        ]
        for own in (keys, [9 << 32])
    ]
    assert signatures(sets, family).tolist() == expected


def test_a_hash_function_gives_no_two_keys_the_same_value():
    family = draw_hash_family(64, np.random.default_rng(0))
    assert (family.multipliers % 2 == 1).all()  # odd: invertible modulo 2^32


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.9])
def test_the_share_of_equal_entries_estimates_jaccard_with_its_stated_error(similarity):  # DD-2
    n_pairs, n = 400, 128
    rng = np.random.default_rng(11)
    sets = planted_pairs(similarity, n_pairs, rng)
    estimates = []
    for i in range(n_pairs):  # new functions per pair: estimates are independent
        pair = slice(sets.starts[2 * i], sets.starts[2 * i + 2])
        own = ShingleSets(sets.hashes[pair], sets.starts[2 * i : 2 * i + 3] - pair.start)
        signature = signatures(own, draw_hash_family(n, rng))
        estimates.append((signature[0] == signature[1]).mean())
    deviation = math.sqrt(similarity * (1 - similarity) / n)
    assert abs(np.mean(estimates) - similarity) < 4 * deviation / math.sqrt(n_pairs)
    # A sample s.d. of 400 has a relative error of 1/sqrt(800) = 3.5 %: four of them.
    assert abs(np.std(estimates) / deviation - 1) < 0.14


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_planted_pairs_share_a_band_as_often_as_the_formula_says(similarity):  # DD-1
    n_pairs, banding = 1500, Banding(bands=14, rows=8)
    rng = np.random.default_rng(23)
    hits = 0
    for _ in range(10):  # ten families of functions, 150 pairs each
        sets = planted_pairs(similarity, n_pairs // 10, rng)
        keys = band_keys(signatures(sets, draw_hash_family(112, rng)), banding)
        hits += int((keys[0::2] == keys[1::2]).any(axis=1).sum())
    expected = candidate_probability(similarity, bands=14, rows=8)
    # Four binomial standard errors; pairs under one family are weakly dependent, hence 1/n more.
    error = 4 * math.sqrt(expected * (1 - expected) / n_pairs) + 1 / n_pairs
    assert abs(hits / n_pairs - expected) < error


def test_hashes_are_uniform_over_their_range():  # DD-6
    # One key per set: its signature entry is the hash itself. 4 functions x 40,000 keys, 64 cells.
    keys = np.random.default_rng(2).integers(0, 2**64, 40_000, dtype=np.uint64)
    sets = ShingleSets(keys, np.arange(len(keys) + 1))
    hashed = signatures(sets, draw_hash_family(4, np.random.default_rng(3)))
    for function in range(4):
        for bits in (hashed[:, function] >> 26, hashed[:, function] & 63):
            counts = np.bincount(bits, minlength=64)
            chi_square = float(((counts - 625) ** 2 / 625).sum())
            assert 30 < chi_square < 110  # 63 degrees of freedom: p within 1e-4 on either side


def test_each_member_of_a_set_is_its_minimum_equally_often():
    rng = np.random.default_rng(4)
    keys = np.sort(rng.integers(0, 2**64, 8, dtype=np.uint64))
    family = draw_hash_family(8000, rng)
    alone = signatures(ShingleSets(keys, np.arange(9)), family)
    counts = np.bincount(alone.argmin(axis=0), minlength=8)
    assert ((counts - 1000) ** 2 / 1000).sum() < 27  # 7 degrees of freedom, p = 3e-4


def test_a_band_key_depends_on_every_row_of_its_band_and_on_no_other():
    signature = np.arange(12, dtype=np.uint32)[None, :]
    banding = Banding(bands=3, rows=4)
    keys = band_keys(signature, banding)
    for entry in range(12):
        other = signature.copy()
        other[0, entry] += 1
        changed = (band_keys(other, banding) != keys)[0]
        assert changed.tolist() == [band == entry // 4 for band in range(3)]


@pytest.mark.parametrize(
    ("similarity", "expected"), [(0.5, 0.053), (0.6, 0.211), (0.7, 0.565), (0.8, 0.924), (1, 1)]
)
def test_candidate_probability_has_the_published_values_of_fourteen_bands_of_eight(
    similarity, expected
):
    assert candidate_probability(similarity, bands=14, rows=8) == pytest.approx(expected, abs=5e-4)


def test_the_chosen_banding_is_the_longest_that_keeps_the_recall():
    assert choose_banding(0.8, permutations=128, recall=0.99) == Banding(bands=21, rows=6)
    assert candidate_probability(0.8, bands=21, rows=6) == pytest.approx(0.9983, abs=1e-4)
    assert candidate_probability(0.8, bands=18, rows=7) == pytest.approx(0.9855, abs=1e-4)
    assert choose_banding(1.0, permutations=16, recall=0.99) == Banding(bands=1, rows=16)


def test_a_recall_out_of_reach_is_refused():
    with pytest.raises(InputError, match="raise permutations or the threshold"):
        choose_banding(0.1, permutations=16, recall=0.99)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, float("nan")])
def test_a_threshold_outside_its_domain_is_refused(threshold):
    with pytest.raises(InputError):
        choose_banding(threshold, permutations=128, recall=0.99)
    if threshold != 0:
        with pytest.raises(InputError):
            candidate_probability(threshold, bands=1, rows=1)
