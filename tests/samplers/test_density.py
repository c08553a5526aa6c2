import dataclasses

import numpy as np
import pytest

from databourse.density.presets import PAPER, SHARP, DensityPreset
from databourse.errors import InputError
from databourse.samplers.density import draw_by_density
from databourse.samplers.interface import Candidates, sample
from databourse.samplers.registry import sampler_spec
from databourse.selection.sampling import inclusion_probabilities

NEAR = DensityPreset(rows=200, hashes_per_row=4, bandwidth=0.1)
"""Sees copies and nothing else."""


def documents(vectors, costs=None):
    rows = np.asarray(vectors, dtype=np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Candidates(
        document_ids=[f"{i:05d}" for i in range(len(rows))],
        costs=np.ones(len(rows), dtype=np.int64) if costs is None else np.array(costs),
        embeddings=rows.astype(np.float32),
    )


def scattered(n, *, dimension=32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dimension))


def test_three_copies_share_the_chance_of_one():
    pool = documents([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    draw = draw_by_density(pool, 3, preset=NEAR, rng=np.random.default_rng(0))
    # densities 3/5 and 1/5: chances of 1/3, 1/3, 1/3, 1, 1 spend the budget of 3 exactly
    np.testing.assert_allclose(draw.inclusion_probability, [1 / 3] * 3 + [1, 1], rtol=1e-3)
    np.testing.assert_allclose(draw.mean_kernels, [0.6] * 3 + [0.2] * 2, rtol=1e-3)
    assert len(draw.positions) == 3
    assert {3, 4} < set(draw.positions.tolist())
    assert draw.spread.ratio == pytest.approx(3, rel=1e-3)
    np.testing.assert_allclose(draw.weight[draw.positions], [3, 1, 1], rtol=1e-3)
    assert draw.effective_sample_size == pytest.approx(25 / 11, rel=1e-3)


@pytest.mark.parametrize("preset", [NEAR, SHARP, PAPER])
def test_copies_are_drawn_less_than_by_chance_and_the_printed_rule_would_draw_them_more(preset):
    distinct = scattered(1000, seed=1)
    pool = documents(np.concatenate([np.repeat(distinct[:1], 1000, axis=0), distinct]))
    draw = draw_by_density(pool, 400, preset=preset, rng=np.random.default_rng(2))
    assert draw.inclusion_probability[:1000].mean() < 0.2 < draw.inclusion_probability[1001:].mean()
    printed = inclusion_probabilities(
        log_size=np.log(draw.mean_kernels), costs=pool.costs, budget=400
    )
    assert printed[:1000].mean() > 0.2
    if preset is NEAR:  # of 1,001 places 400 are drawn: copies weigh as one
        assert draw.inclusion_probability[:1000].sum() == pytest.approx(0.4, abs=0.02)


def test_documents_are_drawn_as_often_as_their_probabilities_say():
    # 10 documents thrice and 30 once, of costs 1 to 5
    places = scattered(40, dimension=8, seed=3)
    pool = documents(
        np.concatenate([places, places[:10], places[:10]]), costs=1 + np.arange(60) % 5
    )
    preset = dataclasses.replace(NEAR, rows=5)
    drawn, expected, variance = np.zeros(60), np.zeros(60), np.zeros(60)
    rng = np.random.default_rng(4)
    for _ in range(2000):
        draw = draw_by_density(pool, 60, preset=preset, rng=rng)
        probability = draw.inclusion_probability
        drawn[draw.positions] += 1
        expected += probability
        variance += probability * (1 - probability)
    z = (drawn - expected) / np.sqrt(variance)
    assert np.abs(z).max() < 4
    # thrice the copies, a third of the chance
    ratio = expected[10:40].mean() / expected[[*range(10), *range(40, 60)]].mean()
    assert ratio == pytest.approx(3, rel=0.05)


def test_weights_estimate_the_size_of_the_pool():
    pool = documents(scattered(300, dimension=4, seed=5), costs=1 + np.arange(300) % 7)
    preset = dataclasses.replace(SHARP, rows=100, bandwidth=0.6)
    sums = [
        draw_by_density(pool, 200, preset=preset, rng=np.random.default_rng(seed)).weight.sum()
        for seed in range(200)
    ]
    assert abs(np.mean(sums) - 300) < 4 * np.std(sums) / np.sqrt(len(sums))


def test_the_order_of_documents_changes_no_density():
    vectors = scattered(400, seed=6)
    order = np.random.default_rng(7).permutation(400)
    found = [
        draw_by_density(documents(each), 50, preset=PAPER, rng=np.random.default_rng(8))
        for each in (vectors, vectors[order])
    ]
    assert found[1].mean_kernels.tolist() == found[0].mean_kernels[order].tolist()


def test_paper_on_scattered_vectors_is_not_called_diverse():
    pool = documents(scattered(500, dimension=64, seed=9))
    draws = [
        draw_by_density(pool, 100, preset=preset, rng=np.random.default_rng(0))
        for preset in (PAPER, NEAR)
    ]
    for draw in draws:
        assert draw.spread.is_nearly_uniform
        assert draw.spread.ratio < 1.5
        assert draw.spread.distance_from_uniform < 0.05
    # and with copies it is, by the sharp kernel
    copies = documents(np.concatenate([np.ones((50, 64)), scattered(450, dimension=64)]))
    found = draw_by_density(copies, 100, preset=SHARP, rng=np.random.default_rng(0)).spread
    assert not found.is_nearly_uniform


@pytest.mark.parametrize("name", ["density_paper", "density_sharp"])
def test_the_budget_of_tokens_is_spent_but_for_less_than_one_document(name):
    rng = np.random.default_rng(10)
    pool = documents(scattered(300, seed=11), costs=rng.integers(1, 90, 300))
    for budget in (0, 1, 500, 5000):
        bought = sample(sampler_spec(name), pool, budget, rng=np.random.default_rng(budget))
        left = budget - int(pool.costs[bought].sum())
        drawable = pool.costs[pool.costs <= budget]
        assert 0 <= left < (drawable.max() if drawable.size else budget + 1)
    everything = int(pool.costs.sum())
    assert len(sample(sampler_spec(name), pool, everything, rng=rng)) == 300


@pytest.mark.parametrize("name", ["density_paper", "density_sharp"])
def test_a_sampler_without_embeddings_is_refused(name, candidates, buy):
    with pytest.raises(InputError, match=f"sampler '{name}': it needs embeddings"):
        buy(name, candidates([1, 1]), 1)


def test_what_costs_more_than_the_budget_is_never_drawn():
    pool = documents(scattered(4, seed=12), costs=[3, 1, 1, 1])
    draw = draw_by_density(pool, 2, preset=PAPER, rng=np.random.default_rng(0))
    assert draw.inclusion_probability[0] == 0
    assert len(draw.positions) == 2
