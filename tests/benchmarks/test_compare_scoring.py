"""Scorers compared: the same losses, and ratios taken within a round."""

import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def comparison():
    """Return the modules of the comparison, which import others of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
        from benchmarks.language_models import compare_scoring, scorers

        yield compare_scoring, scorers


def run(wall, losses):
    """Return one measurement."""
    cost = {"wall_seconds": wall, "cpu_seconds": 2 * wall, "peak_bytes": 300}
    return {"cost": cost, "bytes_before": 100, "losses": losses}


def test_ratios_are_taken_within_a_round(comparison):
    compare_scoring, scorers = comparison
    measured = {
        scorers.YARDSTICK: [run(4.0, [2.0, 8.0]), run(40.0, [2.0, 8.0])],
        "other": [run(2.0, [2.0, 8.0]), run(10.0, [2.2, 7.0])],
    }
    found = compare_scoring.candidates_of(measured, np.array([1, 4]))["other"]
    assert found["times_as_fast"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert found["tokens_per_second"]["most"] == 2.5  # 5 tokens in 2 s
    assert found["bytes_above_model"]["median"] == 200
    # 0.2 of one token is less than 1.0 of four
    assert found["largest_difference_per_token"] == pytest.approx(0.25)


def test_every_scorer_finds_the_same_losses(comparison):
    import torch

    from databourse.language_models.tokenizer import train_tokenizer
    from databourse.language_models.training import TrainingSettings, train_reference_model

    compare_scoring, scorers = comparison
    texts = [f"the {word} and the rain " * (1 + number % 5) for number, word in enumerate("abcdef")]
    texts = [
        *texts,
        *(f"{text} {number}" for number, text in enumerate(texts * 4)),
        "",
        "x y " * 99,
    ]
    tokenizer = train_tokenizer(texts, vocabulary_size=280)
    settings = TrainingSettings(layers=1, width=16, context_tokens=64, epochs=1, evaluations=1)
    kept = compare_scoring.within(texts, tokenizer, settings.context_tokens)
    assert kept == texts[:-2]  # an empty one, and one that is too long
    model = train_reference_model(
        [str(number) for number in range(len(kept))],
        kept,
        tokenizer=tokenizer,
        settings=settings,
        seed=1,
        threads=1,
    ).model
    before = torch.get_num_threads()
    try:
        found = {name: score(model, kept, 1) for name, score in scorers.SCORERS.items()}
    finally:
        torch.set_num_threads(before)
    expected = found.pop(scorers.YARDSTICK)
    assert len(found) == 3
    for sums in found.values():
        np.testing.assert_allclose(sums, expected, rtol=1e-5)
