import numpy as np
import pytest

from databourse.errors import ConfigError, InputError


@pytest.fixture
def vectors(unit):
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 12))
    return unit(centres[rng.integers(0, 3, 90)] + 0.5 * rng.normal(size=(90, 12)))


@pytest.fixture
def topics():
    return [f"topic-{i % 3}" for i in range(90)]


def test_rarity_is_the_mean_distance_computed_by_hand(score, pool, unit):
    vectors = unit([[1, 0], [0, 1], [3, 4], [-1, 0]])
    # cosines of 0: 0.6 (to 2), 0 (to 1), -1 (to 3)
    assert score({"name": "rarity", "k": 2}, pool(vectors)).values.tolist() == [
        0.7,  # ((1 - .6) + (1 - 0)) / 2
        0.6,  # ((1 - .8) + (1 - 0)) / 2
        0.3,  # ((1 - .8) + (1 - .6)) / 2
        1.3,  # ((1 - 0) + (1 + .6)) / 2
    ]


def test_rarity_equals_a_slow_twin(score, pool, vectors):
    wide = vectors.astype(np.float64)
    twin = [
        np.mean(sorted(1 - wide[i] @ wide[j] for j in range(90) if j != i)[:7]) for i in range(90)
    ]
    values = score({"name": "rarity", "k": 7}, pool(vectors)).values
    np.testing.assert_allclose(values, twin, atol=2e-6)  # cosines are rounded to 6 decimals


def test_rarity_uses_the_first_k_of_more_neighbours(score, pool, vectors):
    few = score({"name": "rarity", "k": 3}, pool(vectors, k=3)).values
    many = score({"name": "rarity", "k": 3}, pool(vectors, k=50)).values
    np.testing.assert_array_equal(few, many)


def test_rarity_and_diversity_are_invariant_to_rotation(score, pool, vectors, topics):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))
    rotated = (vectors @ rotation).astype(np.float32)
    for name in ("rarity", "diversity"):
        before = score(name, pool(vectors, topics=topics)).values
        after = score(name, pool(rotated, topics=topics)).values
        np.testing.assert_allclose(after, before, atol=2e-6)  # float32 vectors, 6 decimals


def test_rarity_and_diversity_follow_a_permutation_of_the_documents(score, pool, vectors, topics):
    order = np.random.default_rng(1).permutation(90)
    permuted = [topics[i] for i in order]
    for name in ("rarity", "diversity"):
        before = score(name, pool(vectors, topics=topics)).values
        after = score(name, pool(vectors[order], topics=permuted)).values
        np.testing.assert_allclose(after, before[order], atol=1e-6)


def test_duplicates_have_no_rarity_and_an_outlier_has_the_most(score, pool, unit):
    vectors = unit([[1, 0, 0]] * 11 + [[0, 1, 0.1]])
    values = score("rarity", pool(vectors)).values
    assert values[:11].tolist() == [0.0] * 11
    assert values[11] == 1.0


def test_rarity_of_a_lone_document_is_zero(score, pool, unit):
    result = score("rarity", pool(unit([[1, 0]])))
    assert (result.values.tolist(), result.details["k"]) == ([0.0], 0)


def test_a_small_pool_is_averaged_over_all_the_others(score, pool, unit):
    result = score("rarity", pool(unit([[1, 0], [0, 1], [-1, 0]])))
    assert (result.values.tolist(), result.details["k"]) == ([1.5, 1.0, 1.5], 2)


def test_more_neighbours_than_were_computed_are_refused(score, pool, vectors):
    with pytest.raises(ConfigError, match="'rarity': k = 20 asks for more neighbours than the 10"):
        score({"name": "rarity", "k": 20}, pool(vectors, k=10))


def test_diversity_is_the_distance_to_the_own_centroid_computed_by_hand(score, pool, unit):
    inputs = pool(unit([[1, 0], [0, 1], [0, -1]]), topics=["b", "b", "a"])
    # centroid of b: (1, 1) / sqrt 2; the only document of a is its centroid
    assert score("diversity", inputs).values.tolist() == [0.292893, 0.292893, 0.0]


def test_diversity_is_one_minus_the_similarity_of_the_topics_table(score, pool, vectors, topics):
    inputs = pool(vectors, topics=topics)
    np.testing.assert_allclose(
        score("diversity", inputs).values, 1.0 - inputs.topics.similarities, atol=1e-7
    )


def test_diversity_without_centroids_is_refused(score, pool, unit):
    inputs = pool(unit([[1, 0]]))
    bare = pool(n=1)
    with pytest.raises(InputError, match="need centroids of dimension 2, got None"):
        score("diversity", type(inputs)(**{**vars(inputs), "topics": bare.topics}))
