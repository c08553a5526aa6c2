import math

import numpy as np
import pytest

from databourse.language_models.losses import TokenLosses


def entropies(counts, entropy_sums):
    return TokenLosses(
        token_counts=np.array(counts, dtype=np.int64),
        loss_sums=np.full(len(counts), 1e6),  # must not matter
        entropy_sums=np.array(entropy_sums, dtype=np.float64),
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"prefer": "low"}, [-2.0, -1.0, -3.0, -2.0]),
        ({"prefer": "high"}, [2.0, 1.0, 3.0, 2.0]),
        # ranks 1/2, 1/6, 5/6
        ({}, [0.0, -1 / 3, -1 / 3, -2 / 9]),
    ],
)
def test_values_are_those_computed_by_hand(score, pool, entry, expected):
    # mean entropies 2, 1, 3, none
    losses = entropies([2, 5, 1, 0], [4.0, 5.0, 3.0, 0.0])
    result = score({"name": "generative_entropy", **entry}, pool(n=4, text_losses=losses))
    np.testing.assert_allclose(result.values, expected, rtol=1e-15)
    assert result.details == {"judged_documents": 3}


def test_a_model_that_finds_every_token_equally_likely_reaches_the_maximum(score, pool):
    # T tokens, each preceded by the uniform distribution over 50,000
    counts = np.array([1, 7, 1000])
    losses = entropies(counts, counts * math.log(50_000))
    entry = {"name": "generative_entropy", "prefer": "high"}
    values = score(entry, pool(n=3, text_losses=losses)).values
    np.testing.assert_allclose(values, math.log(50_000), rtol=1e-15)


def test_values_equal_a_slow_twin_over_distributions(score, pool):
    rng = np.random.default_rng(8)
    documents = [rng.dirichlet(np.ones(6), size=count) for count in (1, 4, 9)]
    slow = [
        sum(-sum(p * math.log(p) for p in row) for row in document.tolist()) / len(document)
        for document in documents
    ]
    sums = [float(-(each * np.log(each)).sum()) for each in documents]
    losses = entropies([len(each) for each in documents], sums)
    entry = {"name": "generative_entropy", "prefer": "high"}
    np.testing.assert_allclose(score(entry, pool(n=3, text_losses=losses)).values, slow, rtol=1e-12)
