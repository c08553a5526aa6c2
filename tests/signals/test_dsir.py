import math

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals.computation import compute_signal
from databourse.signals.dsir import SIGNAL, DsirParameters
from databourse.targets import TargetSet


def target(*texts):
    return TargetSet(
        name="task",
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.zeros(len(texts), dtype=np.int64),
    )


def score(inputs, **parameters):
    return compute_signal(SIGNAL, DsirParameters(**parameters), inputs)


def test_values_are_those_computed_by_hand(pool):
    # p = 2/3 of a and 1/3 of b, q = 1/4 of a and 3/4 of b
    inputs = pool(texts=["a b", "b b"], targets=[target("a a"), target("b")])
    found = score(inputs, order=1, pseudo_count=0.0, per="document")
    a, b = math.log(8 / 3), math.log(4 / 9)
    np.testing.assert_allclose(found.values, [a + b, 2 * b], atol=2e-6)
    np.testing.assert_allclose(
        score(inputs, order=1, pseudo_count=0.0).values, [(a + b) / 2, b], atol=2e-6
    )
    assert found.details["divergence"] == pytest.approx((2 * a + b) / 3, rel=1e-5)
    assert (found.details["target_ngrams"], found.details["pool_ngrams"]) == (3, 4)


def test_the_defaults_smooth_by_one_ngram_of_the_pool_per_bucket_and_take_the_mean(pool):
    inputs = pool(texts=["a", "b", "b", "b"], targets=[target(*["a"] * 100)])
    # 10,000 pseudo n-grams of 1/4 and 3/4 beside 100 of 1 and 0
    expected = np.log([2_600 / 10_100 / 0.25, 7_500 / 10_100 / 0.75])
    np.testing.assert_allclose(score(inputs).values[:2], expected, atol=2e-6)


def test_either_hash_says_the_same_but_for_what_collides(pool):
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(list("abcdefghij"), 30)) for _ in range(50)]
    inputs = pool(texts=texts, targets=[target("a b c a b c", "c d e")])
    for buckets, is_same in ((1_000_000, True), (100, False)):
        found = [
            score(inputs, hash_name=each, buckets=buckets, pseudo_count=1e-5).values
            for each in ("splitmix64", "sha256")
        ]
        assert (found[0].tolist() == found[1].tolist()) == is_same


def test_an_empty_text_has_zero_and_batches_change_nothing(pool):
    texts = ["rates rose", "", "bread"]
    one, two = (
        score(pool(texts=texts, batch=size, targets=[target("rates")])).values for size in (1, 3)
    )
    assert one.tobytes() == two.tobytes()
    assert one[1] == 0
    assert one[0] > 0 > one[2]


def test_missing_targets_are_named(pool):
    with pytest.raises(InputError, match="signal 'dsir': it needs targets"):
        score(pool(texts=["a"]))
    with pytest.raises(InputError, match="signal 'dsir': at least one target is needed"):
        score(pool(texts=["a"], targets=[]))


def test_progress_adds_up_to_the_number_of_documents(pool):
    told = []
    score(pool(texts=["a"] * 9, batch=4, targets=[target("a")], progress=told.append))
    assert sum(told) == 9
