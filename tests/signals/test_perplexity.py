"""Signals that turn a mean of stored losses: perplexity and, of entropies, generative entropy."""

import math

import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.language_models.losses import TokenLosses


def losses(counts, loss_sums, entropy_sums=None):
    return TokenLosses(
        token_counts=np.array(counts, dtype=np.int64),
        loss_sums=np.array(loss_sums, dtype=np.float64),
        entropy_sums=np.array(entropy_sums or [0.0] * len(counts), dtype=np.float64),
    )


# mean losses 2, 1, none, 4, 3
FIVE = losses([4, 10, 0, 1, 2], [8.0, 10.0, 0.0, 4.0, 6.0], [1.0] * 5)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"prefer": "low"}, [-2.0, -1.0, -2.5, -4.0, -3.0]),
        ({"prefer": "high"}, [2.0, 1.0, 2.5, 4.0, 3.0]),
        # ranks 3/8, 1/8, 7/8, 5/8
        ({}, [-0.125, -0.375, -0.25, -0.375, -0.125]),
        ({"centre": 0.125}, [-0.25, 0.0, -0.375, -0.75, -0.5]),
    ],
)
def test_values_are_those_computed_by_hand(score, pool, entry, expected):
    result = score({"name": "perplexity", **entry}, pool(n=5, text_losses=FIVE))
    assert result.values.tolist() == expected
    assert result.details == {"judged_documents": 4}


def test_the_order_is_that_of_the_perplexity_itself(score, pool):
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 50, 30)
    p = [rng.uniform(0.01, 1, count) for count in counts]
    perplexities = [math.prod(each.tolist()) ** (-1 / len(each)) for each in p]
    inputs = pool(n=30, text_losses=losses(counts, [-np.log(each).sum() for each in p]))
    values = score({"name": "perplexity", "prefer": "low"}, inputs).values
    assert np.argsort(-values).tolist() == np.argsort(perplexities).tolist()
    np.testing.assert_allclose(np.exp(-values), perplexities, rtol=1e-12)


def test_values_follow_a_permutation_of_the_documents_bit_by_bit(score, pool):
    rng = np.random.default_rng(2)
    counts, sums, order = rng.integers(0, 5, 40), rng.uniform(0, 9, 40), rng.permutation(40)
    sums[counts == 0] = 0
    for prefer in ("low", "middle", "high"):
        entry = {"name": "perplexity", "prefer": prefer}
        before = score(entry, pool(n=40, text_losses=losses(counts, sums))).values
        after = score(entry, pool(n=40, text_losses=losses(counts[order], sums[order]))).values
        np.testing.assert_array_equal(after, before[order])


def test_length_by_itself_is_not_perplexity(score, pool):
    twice = losses([8, 20, 0, 2, 4], [16.0, 20.0, 0.0, 8.0, 12.0])
    entry = {"name": "perplexity", "prefer": "high"}
    once = score(entry, pool(n=5, text_losses=FIVE)).values.tolist()
    assert score(entry, pool(n=5, text_losses=twice)).values.tolist() == once


@pytest.mark.parametrize("name", ["perplexity", "generative_entropy"])
def test_one_document_and_equal_documents_have_one_value(score, pool, name):
    assert score(name, pool(n=1, text_losses=losses([2], [3.0], [1.0]))).values.tolist() == [0.0]
    same = losses([2, 4, 0], [3.0, 6.0, 0.0], [1.0, 2.0, 0.0])
    assert np.unique(score(name, pool(n=3, text_losses=same)).values).size == 1


@pytest.mark.parametrize("name", ["perplexity", "generative_entropy"])
def test_a_pool_of_empty_texts_is_refused_with_the_name_of_the_signal(score, pool, name):
    with pytest.raises(InputError, match=f"signal '{name}': at least one document must be judged"):
        score(name, pool(n=2, text_losses=losses([0, 0], [0.0, 0.0])))


@pytest.mark.parametrize("name", ["perplexity", "generative_entropy"])
def test_losses_that_are_missing_or_of_another_pool_are_refused(score, pool, name):
    with pytest.raises(InputError, match=f"'{name}': it needs text_losses, not among"):
        score(name, pool(n=2))
    with pytest.raises(InputError, match=r"text_losses must cover 2 documents, got shape \(5,\)"):
        score(name, pool(n=2, text_losses=FIVE))


def test_a_preference_that_does_not_exist_is_refused_with_the_nearest(score, pool):
    with pytest.raises(ConfigError, match=r"one of 'low', 'middle', 'high', got 'hihg'"):
        score({"name": "perplexity", "prefer": "hihg"}, pool(n=5, text_losses=FIVE))
    with pytest.raises(ConfigError, match="centre must be a number >= 0 and <= 1"):
        score({"name": "perplexity", "centre": 1.5}, pool(n=5, text_losses=FIVE))
