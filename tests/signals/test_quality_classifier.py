import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals.computation import compute_signal
from databourse.signals.quality_classifier import SIGNAL, QualityClassifierParameters
from databourse.targets import TargetSet


def target(texts, embeddings=None):
    return TargetSet(
        name="task",
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.zeros(len(texts), dtype=np.int64),
        embeddings=embeddings,
    )


def score(inputs, **parameters):
    return compute_signal(SIGNAL, QualityClassifierParameters(**parameters), inputs)


def texts_of(words, count, rng):
    return [" ".join(rng.choice([*words, "the", "of"], 20)) for _ in range(count)]


@pytest.fixture
def news(pool, unit):
    """Return inputs with texts and embeddings of 100 documents; those like the targets are last."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(160, 5))
    vectors[80:, 0] += 5
    return pool(
        unit(vectors[:100]),
        texts=texts_of(["oven", "salt"], 80, rng) + texts_of(["bonds", "rates"], 20, rng),
        targets=[target(texts_of(["bonds", "rates"], 60, rng), unit(vectors[100:]))],
    )


@pytest.mark.parametrize("features", ["ngrams", "embeddings"])
def test_what_is_like_the_targets_scores_highest(news, features):
    found = score(news, features=features)
    assert (np.argsort(-found.values)[:20] >= 80).mean() > 0.9
    # a fifth of the pool is as good as a target: 0.9 is all that can be reached
    assert 0.8 < found.details["held_out_auc"] < 0.95
    assert found.details["held_out_log_loss"] < np.log(2)
    assert 0 <= found.details["calibration_error"] < 0.3
    assert [found.details[each] for each in ("targets", "negatives", "unjudged")] == [60, 100, 0]


def test_it_needs_what_it_sees_and_nothing_else(news):
    assert SIGNAL.needs_of(QualityClassifierParameters()) == {"texts", "targets"}
    by_vectors = QualityClassifierParameters(features="embeddings")
    assert SIGNAL.needs_of(by_vectors) == {"embeddings", "targets"}
    kinds = [
        SIGNAL.fingerprint(QualityClassifierParameters(features=each), news)
        for each in ("ngrams", "embeddings")
    ]
    assert kinds[0] != kinds[1]


def test_a_target_without_embeddings_is_named(news, pool):
    inputs = pool(news.embeddings, texts=["a"] * 100, targets=[target(["a", "b"])])
    with pytest.raises(InputError, match="signal 'quality_classifier': target 'task' has no embed"):
        score(inputs, features="embeddings")


def test_fewer_negatives_and_folds_are_obeyed(news):
    found = score(news, most_negatives=50, folds=2)
    assert found.details["negatives"] == 50
    assert (found.values != score(news).values).any()


@pytest.mark.parametrize("features", ["ngrams", "embeddings"])
def test_progress_adds_up_to_the_number_of_documents(pool, unit, features):
    told = []
    vectors = unit(np.random.default_rng(0).normal(size=(9, 3)))
    inputs = pool(
        vectors,
        texts=[f"word{i}" for i in range(9)],
        targets=[target(["x", "y z"], vectors[:2])],
        progress=told.append,
    )
    score(inputs, features=features)
    assert sum(told) == 9
