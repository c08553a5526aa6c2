"""Scores of attributions: what is chosen where, what they are compared with, and the ceiling."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from databourse.attribution.bank import Bank
from databourse.attribution.scoring import (
    Attribution,
    attainable_score,
    noise_ceiling,
    scored_attributions,
)
from databourse.errors import InputError
from databourse.influence.datamodels import random_subsets

N_DOCUMENTS, N_EXAMPLES, N_SUBSETS = 40, 12, 30


def attribution(name, *values, kind="attribution"):
    variants = {f"damping {place}": each for place, each in enumerate(values)}
    return Attribution(name=name, kind=kind, says="a test", variants=variants)


def resamples():
    return np.random.default_rng(9)


@pytest.fixture(name="truth")
def _truth():
    """Return effects of documents, and a bank whose losses they decide up to noise."""
    rng = np.random.default_rng(4)
    effects = rng.normal(size=(N_DOCUMENTS, N_EXAMPLES))
    masks = random_subsets(N_DOCUMENTS, share=0.5, n_subsets=N_SUBSETS, rng=rng)
    noise = rng.normal(size=(2, N_SUBSETS, N_EXAMPLES))
    return effects, Bank(
        masks=masks,
        outputs=-(masks @ effects) + 2.0 * noise,
        output="loss",
        set_names=np.array(["a"] * 8 + ["b"] * 4, dtype=object),
        is_tuning=np.arange(N_EXAMPLES) % 2 == 0,
    )


def test_the_score_is_the_mean_rank_correlation_over_the_reported_examples_alone(truth):
    effects, bank = truth
    guess = effects + np.random.default_rng(5).normal(size=effects.shape)
    (found,) = scored_attributions([attribution("guess", guess)], bank, rng=resamples())
    by_hand = [
        spearmanr(-(bank.masks @ guess)[:, j], bank.outputs.mean(axis=0)[:, j]).statistic
        for j in (1, 3, 5, 7, 9, 11)
    ]
    assert found.lds.score == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert found.lds.n_targets == 6
    assert found.by_set == pytest.approx({"a": np.mean(by_hand[:4]), "b": np.mean(by_hand[4:])})
    assert found.lds.low < found.lds.score < found.lds.high
    assert found.tuning == {}


def test_a_setting_is_chosen_on_the_tuning_half_although_another_is_better_on_the_reported(truth):
    effects, bank = truth
    good_where_tuned, good_where_reported = effects.copy(), effects.copy()
    good_where_tuned[:, ~bank.is_tuning] *= -1
    good_where_reported[:, bank.is_tuning] *= -1
    (found,) = scored_attributions(
        [attribution("tuned", good_where_reported, good_where_tuned)], bank, rng=resamples()
    )
    assert found.setting == "damping 1"
    assert found.lds.score < -0.5
    assert found.tuning["damping 1"] > 0.5 > -0.5 > found.tuning["damping 0"]


def test_the_first_and_the_last_setting_are_at_the_edge_and_one_between_is_not(truth):
    effects, bank = truth
    noise = np.random.default_rng(6).normal(size=effects.shape)
    edges = [
        scored_attributions([attribution("one", *values)], bank, rng=resamples())[0].is_at_edge
        for values in (
            (effects, noise, noise),
            (noise, effects, noise),
            (noise, noise, effects),
            (effects,),
        )
    ]
    assert edges == [True, False, True, False]


def test_a_difference_is_paired_and_the_baseline_has_none(truth):
    effects, bank = truth
    noise = np.random.default_rng(6).normal(size=effects.shape)
    best, base = scored_attributions(
        [attribution("best", effects), attribution("base", noise, kind="baseline")],
        bank,
        rng=resamples(),
        baseline="base",
    )
    assert base.over_baseline is None
    assert best.over_baseline.difference == pytest.approx(best.lds.score - base.lds.score)
    assert best.over_baseline.low > 0
    same, twin = scored_attributions(
        [attribution("same", effects), attribution("twin", 3 * effects)],
        bank,
        rng=resamples(),
        baseline="twin",
    )
    # the same ranking under the same resamples: exactly nothing is between them
    assert (same.over_baseline.low, same.over_baseline.high) == (0.0, 0.0)
    assert (same.lds.low, same.lds.high) == (twin.lds.low, twin.lds.high)


def test_values_for_no_example_are_scored_on_all(truth):
    _, bank = truth
    (found,) = scored_attributions(
        [attribution("length", np.arange(N_DOCUMENTS, dtype=float))], bank, rng=resamples()
    )
    assert found.lds.n_targets == 6


def test_names_that_repeat_and_an_unknown_baseline_are_refused(truth):
    effects, bank = truth
    one = attribution("one", effects)
    with pytest.raises(InputError, match="distinct names"):
        scored_attributions([one, one], bank, rng=resamples())
    with pytest.raises(InputError, match="baseline 'two'"):
        scored_attributions([one], bank, rng=resamples(), baseline="two")
    with pytest.raises(InputError, match="has no values"):
        scored_attributions([attribution("none")], bank, rng=resamples())


def test_the_ceiling_is_the_agreement_of_two_seeds_on_the_reported_half(truth):
    _, bank = truth
    first, second = bank.outputs[:, :, 1::2]
    by_hand = np.mean([spearmanr(first[:, j], second[:, j]).statistic for j in range(6)])
    found = noise_ceiling(bank, rng=resamples(), n_resamples=200)
    assert found.agreement == pytest.approx(by_hand, rel=1e-9)
    assert found.low < found.agreement < found.high
    assert found.attainable == pytest.approx(math.sqrt(2 * by_hand / (1 + by_hand)))


def test_one_seed_has_no_ceiling(truth):
    _, bank = truth
    alone = dataclasses.replace(bank, outputs=bank.outputs[:1])
    assert noise_ceiling(alone, rng=resamples()) is None


def bank_of(outputs):
    """Return a bank of these outputs that tunes on the first example."""
    n_examples = outputs.shape[2]
    return Bank(
        masks=random_subsets(10, share=0.5, n_subsets=outputs.shape[1], rng=resamples()),
        outputs=outputs,
        output="loss",
        set_names=np.array(["a"] * n_examples, dtype=object),
        is_tuning=np.arange(n_examples) < 1,
    )


@pytest.mark.parametrize("n_independent", [1, 6])
def test_the_interval_of_the_ceiling_holds_the_truth_as_often_as_it_says(n_independent):
    # signal and noise of equal variance: Pearson's r is 0.5, Spearman's 6 / pi asin(r / 2) = 0.483;
    # where all examples are one, subsets alone make the interval
    truth = 6 / math.pi * math.asin(0.25)
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(20):
        outputs = rng.normal(size=(40, n_independent)) + rng.normal(size=(2, 40, n_independent))
        bank = bank_of(np.repeat(outputs, 6 // n_independent, axis=2))
        found = noise_ceiling(bank, rng=rng, n_resamples=60)
        held += found.low - 0.02 <= truth <= found.high + 0.02
    assert held >= 16  # 95 % of 20 is 19, with a standard deviation of 1


def test_the_interval_of_the_ceiling_knows_that_examples_differ():
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(400, 9))
    noise = rng.normal(size=(2, 400, 9)) * np.where(np.arange(9) % 2, 100.0, 0.0)
    found = noise_ceiling(bank_of(signal + noise), rng=rng, n_resamples=100)
    # the reported ones agree to 0 or 1, four each: the mean of 8 draws has a deviation of 0.18
    assert found.agreement == pytest.approx(0.5, abs=0.05)
    assert 0.45 < found.high - found.low < 0.9


def test_knowing_the_expected_output_reaches_about_what_is_called_attainable():
    rng = np.random.default_rng(7)
    signal = rng.normal(size=4_000)
    outputs = signal + rng.normal(size=(3, 4_000))
    agreement = spearmanr(outputs[0], outputs[1]).statistic
    reached = spearmanr(signal, outputs.mean(axis=0)).statistic
    # ranks of normal variables: Spearman's r is 0.03 below Pearson's at most
    assert attainable_score(agreement, n_seeds=3) == pytest.approx(reached, abs=0.03)


@pytest.mark.parametrize(
    ("agreement", "n_seeds", "expected"), [(0.25, 1, 0.5), (1.0, 3, 1.0), (0.0, 2, 0), (-0.4, 2, 0)]
)
def test_attainable_scores_at_the_ends(agreement, n_seeds, expected):
    assert attainable_score(agreement, n_seeds=n_seeds) == expected
