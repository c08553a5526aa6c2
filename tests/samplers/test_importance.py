import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.importance.dsir import PUBLISHED, SMOOTHED, pool_importance
from databourse.samplers.importance import SAMPLERS, drawn_by_importance, most_important_first
from databourse.samplers.interface import Candidates, sample
from databourse.targets import TargetSet

SPECS = {spec.name: spec for spec in SAMPLERS}
COMMON = ["the", "of", "and", "to", "in", "that"]
MARKETS = ["shares", "bonds", "rates", "profit"]
KITCHEN = ["oven", "salt", "butter", "flour"]


def texts_about(words, count, rng, length=30):
    return [" ".join(rng.choice([*words, *COMMON], length)) for _ in range(count)]


def target(texts, embeddings=None):
    return TargetSet(
        name="markets",
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.zeros(len(texts), dtype=np.int64),
        embeddings=embeddings,
    )


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def documents(texts, targets, costs=None, **others):
    return Candidates(
        document_ids=[f"{i:05d}" for i in range(len(texts))],
        costs=np.ones(len(texts), dtype=np.int64) if costs is None else np.array(costs),
        texts=lambda: iter([texts[:7], texts[7:]]),
        targets=targets,
        **others,
    )


def buy(name, pool, budget, seed=0):
    return sample(SPECS[name], pool, budget, rng=np.random.default_rng(seed)).tolist()


@pytest.fixture
def pool():
    """Return 200 documents, every fifth about markets, and 40 targets, all with embeddings."""
    rng = np.random.default_rng(11)
    texts = texts_about(KITCHEN, 200, rng)
    texts[::5] = texts_about(MARKETS, 40, rng)
    vectors, target_vectors = rng.normal(size=(200, 6)), rng.normal(size=(40, 6))
    vectors[::5, 0] += 5
    target_vectors[:, 0] += 5
    wanted = target(texts_about(MARKETS, 40, rng), unit(target_vectors))
    return documents(texts, [wanted], embeddings=unit(vectors))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_what_is_like_the_targets_is_bought(pool, name):
    bought = buy(name, pool, 40)
    assert len(bought) == 40
    assert np.mean([each % 5 == 0 for each in bought]) > 0.8  # 0.2 by chance


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_budget_of_tokens_is_never_overspent(pool, name):
    costs = np.random.default_rng(1).integers(1, 30, 200)
    pool = dataclasses.replace(pool, costs=costs)
    for budget in (0, 10, 400):
        bought = buy(name, pool, budget)
        left = budget - int(costs[bought].sum())
        assert left >= 0
        assert (np.delete(costs, bought) > left).all()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_only_a_draw_depends_on_the_generator(pool, name):
    alike = dataclasses.replace(pool, targets=[target(["the oven rates of"], unit(np.eye(6)[:1]))])
    picks = [buy(name, alike, 60, seed) for seed in (1, 1, 2)]
    assert picks[0] == picks[1]
    assert (picks[0] != picks[2]) == SPECS[name].is_random


def test_without_noise_the_order_is_that_of_the_published_weights(pool):
    weights = pool_importance(
        pool.texts, pool.targets[0].texts, n_documents=200, per="document", settings=PUBLISHED
    ).log_weights
    assert buy("dsir_top", pool, 200) == np.argsort(-weights, kind="stable").tolist()


def test_targets_are_taken_together(pool):
    texts = pool.targets[0].texts
    both = dataclasses.replace(pool, targets=[target(texts[:11]), target(texts[11:])])
    for name in ("dsir_top", "dsir", "dsir_mean", "quality_classifier"):
        assert buy(name, both, 50) == buy(name, pool, 50)


def test_short_documents_are_left_out_on_request(pool):
    texts = [text for batch in pool.texts() for text in batch]
    texts[0], texts[1] = "rates rates bonds profit", "shares " * 5
    short = documents(texts, pool.targets)
    for make in (drawn_by_importance, most_important_first):
        found = {}
        for least in (0, 5, 6):
            spec = dataclasses.replace(
                SPECS["dsir"], sampler=make(SMOOTHED, per="document", least_tokens=least)
            )
            found[least] = set(sample(spec, short, 200, rng=np.random.default_rng(0)).tolist())
        assert {0, 1} <= found[0]
        assert found[5] == set(range(1, 200))
        assert found[6] == set(range(2, 200))
    spec = dataclasses.replace(
        SPECS["dsir"], sampler=drawn_by_importance(SMOOTHED, per="document", least_tokens=100)
    )
    with pytest.raises(InputError, match="none of 200 documents can be chosen"):
        sample(spec, short, 200, rng=np.random.default_rng(0))
    spec = dataclasses.replace(
        SPECS["dsir"], sampler=drawn_by_importance(SMOOTHED, per="document", least_tokens=-1)
    )
    with pytest.raises(InputError, match="least_tokens must be >= 0, got -1"):
        sample(spec, short, 200, rng=np.random.default_rng(0))


def test_length_helps_a_sum_and_not_a_mean():
    rng = np.random.default_rng(12)
    texts = [
        *texts_about(MARKETS, 60, rng, length=20),
        *texts_about(MARKETS, 60, rng, length=100),
        *texts_about(KITCHEN, 480, rng, length=40),
    ]
    pool = documents(texts, [target(texts_about(MARKETS, 50, rng))])
    long = {
        name: np.mean([60 <= each < 120 for each in buy(name, pool, 60)])
        for name in ("dsir", "dsir_mean")
    }
    assert long["dsir"] > 0.95
    assert 0.3 < long["dsir_mean"] < 0.8


def test_a_text_without_words_is_not_what_is_bought_by_the_mean(pool):
    texts = [text for batch in pool.texts() for text in batch]
    texts[3] = ""
    bought = buy("dsir_mean", documents(texts, pool.targets), 30)
    assert 3 not in bought
