import dataclasses
import math

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals.folds import document_folds


@pytest.fixture
def texts():
    """Return 200 sentences over a small vocabulary; "market" and "price" are 7 of 10 words."""
    rng = np.random.default_rng(5)
    words = ["market", "price", "trader", "token", "budget", "topic", "signal", "oracle"]
    shares = [0.35, 0.35, *[0.05] * 6]
    return [" ".join(rng.choice(words, rng.integers(9, 30), p=shares)) for _ in range(200)]


def test_surprisal_is_the_mean_of_bits_computed_by_hand(score, pool):
    ids = ["a", "b"]  # folds 0 and 1 of two
    assert document_folds(ids, 2).tolist() == [0, 1]
    inputs = pool(texts=["a", "aab"], document_ids=ids)
    values = score({"name": "surprisal", "order": 1, "folds": 2}, inputs).values
    # scored by "aab": 6 seen 3 times; after 6, 1 twice and 2 once
    assert values[0] == pytest.approx(-math.log2(3.0625 / 4 * 2.125 / 5))
    # scored by "a": 6 once, then 1 once, never 2
    high, low_a, low_b = (1 + 1 / 16) / 2, (1 + 1 / 16) / 2, (1 / 16) / 2
    expected = -(2 * math.log2(high * low_a) + math.log2(high * low_b)) / 3
    assert values[1] == pytest.approx(expected)


def test_random_bytes_are_the_most_surprising_and_a_common_phrase_repeated_the_least(
    score, pool, texts
):
    rng = np.random.default_rng(0)
    noise = "".join(chr(each) for each in rng.integers(33, 2000, 60))
    values = score("surprisal", pool(texts=[*texts, noise, "market price " * 20])).values
    assert np.argmax(values) == 200
    assert values[200] > 2 * np.delete(values, 200).max()
    assert np.argmin(values) == 201


def test_values_do_not_depend_on_the_batches(score, pool, texts):
    texts = [*texts, "long " * 40_000]  # more than one piece and one chunk
    results = [score("surprisal", pool(texts=texts, batch=size)).values for size in (1, 7, 1000)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_values_follow_a_permutation_of_the_documents(score, pool, texts):
    inputs = pool(texts=texts)
    order = np.random.default_rng(2).permutation(len(texts))
    permuted = pool(
        texts=[texts[i] for i in order], document_ids=[inputs.document_ids[i] for i in order]
    )
    np.testing.assert_array_equal(
        score("surprisal", permuted).values, score("surprisal", inputs).values[order]
    )


def test_an_empty_text_has_zero_bits_and_disturbs_no_other(score, pool):
    values = score("surprisal", pool(texts=["", "héllo", "", "h", ""])).values
    assert values[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert (values[[1, 3]] > 0).all()
    assert score("surprisal", pool(texts=["", ""])).values.tolist() == [0.0, 0.0]


def test_one_document_has_pure_chance(score, pool):
    assert score("surprisal", pool(texts=["日本語"])).values.tolist() == [8.0]


def test_progress_adds_up_to_the_number_of_documents(score, pool, texts):
    told = []
    score("surprisal", pool(texts=[*texts, ""], progress=told.append))
    assert sum(told) == 201


@pytest.mark.parametrize(("given", "came"), [(["a"], "got 1"), (["a"] * 3, "got at least 3")])
def test_another_number_of_texts_than_documents_is_refused(score, pool, given, came):
    inputs = dataclasses.replace(pool(texts=["a", "b"]), texts=lambda: iter([given]))
    with pytest.raises(InputError, match=f"'surprisal': texts must cover 2 documents, {came}"):
        score("surprisal", inputs)
