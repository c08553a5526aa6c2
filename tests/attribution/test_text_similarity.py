"""tf-idf: weights by hand, and what no word of the pool can tell."""

import math

import numpy as np
import pytest

from databourse.attribution.text_similarity import tfidf_similarity
from databourse.errors import InputError

DOCUMENTS = ["rain rain wind", "wind sun", "sun"]


def weight(times, holding):
    return (1 + math.log(times)) * (1 + math.log((1 + 3) / (1 + holding)))


def test_a_cosine_is_that_of_weights_worked_out_by_hand():
    rain, wind, sun = weight(2, 1), weight(1, 2), weight(1, 2)
    first = math.hypot(rain, wind)
    second = math.hypot(wind, sun)

    found = tfidf_similarity(DOCUMENTS, ["Wind!", "sun, wind"])

    expected = [
        [wind / first, wind / first * (wind / second)],
        [wind / second, 1.0],
        [0.0, sun / second],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_words_that_the_pool_lacks_count_for_nothing():
    found = tfidf_similarity(DOCUMENTS, ["snow", "snow sun", "sun", ""])
    assert found[:, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found[:, 1], found[:, 2], rtol=1e-12)
    assert found[:, 3].tolist() == [0, 0, 0]


def test_a_document_is_most_similar_to_itself_and_nothing_exceeds_one():
    rng = np.random.default_rng(3)
    words = [f"w{number}" for number in range(30)]
    texts = [" ".join(rng.choice(words, size=12)) for _ in range(20)]
    found = tfidf_similarity(texts, texts)
    np.testing.assert_allclose(np.diag(found), 1.0, rtol=1e-12)
    assert found.max() <= 1.0
    assert found.min() >= 0.0
    np.testing.assert_allclose(found, found.T, atol=1e-12)


def test_words_of_one_letter_and_of_other_scripts_are_words():
    found = tfidf_similarity(["a", "b", "дождь"], ["a", "дождь"])
    np.testing.assert_allclose(found, [[1, 0], [0, 0], [0, 1]], rtol=1e-12)


def test_documents_without_a_word_are_refused():
    with pytest.raises(InputError, match="none of 2 documents holds one"):
        tfidf_similarity(["...", "!"], ["rain"])
