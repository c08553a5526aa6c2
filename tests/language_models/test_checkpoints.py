"""Checkpoints on the way: the same training, what Adam remembers, and what is read back."""

import itertools

import numpy as np
import pytest

from databourse.errors import InputError, IntegrityError
from databourse.language_models.checkpoints import (
    ADAM_FILE,
    read_moments,
    read_rate,
    save_checkpoint,
)
from databourse.language_models.loading import load_trained_model
from databourse.language_models.optimisation import learning_rate
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import TrainingSettings, train_to_the_end

TEXTS = [f"note {number} of rain and wind and snow" for number in range(12)]
SETTINGS = TrainingSettings(layers=1, width=16, heads=2, context_tokens=16, batch_rows=2)


@pytest.fixture(scope="module", name="tokenizer")
def _tokenizer():
    return train_tokenizer(TEXTS, vocabulary_size=300)


def train(tokenizer, *, tokens=320, **changes):
    return train_to_the_end(
        TEXTS, tokenizer=tokenizer, settings=SETTINGS, tokens=tokens, seed=3, threads=1, **changes
    )


def weights_of(model):
    return {name: each.detach().numpy().copy() for name, each in model.module.named_parameters()}


def test_checkpoints_change_no_weight_and_the_last_is_the_end(tokenizer):
    seen = []

    def keep(checkpoint):
        seen.append((checkpoint.number, checkpoint.steps, weights_of(checkpoint.model)))

    plain = weights_of(train(tokenizer))
    told = weights_of(train(tokenizer, checkpoints=3, keep=keep))
    assert [number for number, *_ in seen] == [1, 2, 3]
    steps = [each for _, each, _ in seen]
    assert steps == [-(-steps[-1] * number // 3) for number in (1, 2, 3)]
    for name, weight in plain.items():
        np.testing.assert_array_equal(told[name], weight)
        np.testing.assert_array_equal(seen[-1][2][name], weight)
    first = seen[0][2]["transformer.h.0.mlp.c_fc.weight"]
    assert np.abs(first - plain["transformer.h.0.mlp.c_fc.weight"]).max() > 1e-3


def test_the_rate_of_a_checkpoint_is_the_mean_since_the_one_before(tokenizer):
    seen = []
    train(tokenizer, checkpoints=2, keep=lambda each: seen.append((each.steps, each.learning_rate)))
    (middle, first), (steps, second) = seen
    rates = [learning_rate(step, steps=steps, settings=SETTINGS) for step in range(1, steps + 1)]
    assert first == pytest.approx(np.mean(rates[:middle]), rel=1e-12)
    assert second == pytest.approx(np.mean(rates[middle:]), rel=1e-12)


def test_moments_are_those_from_which_the_next_checkpoint_follows(tokenizer):
    """With a checkpoint at every step the change between two is AdamW's own step."""
    seen = []

    def keep(checkpoint):
        moments, rate = checkpoint.moments, checkpoint.learning_rate
        seen.append((weights_of(checkpoint.model), moments, rate))

    train(tokenizer, tokens=96, checkpoints=3, keep=keep)
    assert [moments.n_steps for _, moments, _ in seen] == [1, 2, 3]
    for (before, *_), (after, moments, rate) in itertools.pairwise(seen):
        b1, b2 = moments.decays
        for name in ("transformer.h.0.mlp.c_fc.weight", "transformer.h.0.attn.c_proj.bias"):
            mean = moments.first[name].astype(np.float64) / (1 - b1**moments.n_steps)
            root = np.sqrt(moments.second[name].astype(np.float64) / (1 - b2**moments.n_steps))
            decay = SETTINGS.weight_decay if name.endswith("weight") else 0.0
            step = mean / (root + moments.epsilon) + decay * before[name]
            np.testing.assert_allclose(after[name], before[name] - rate * step, atol=2e-6)


def saved(tokenizer, folder):
    kept = []

    def keep(checkpoint):
        save_checkpoint(
            checkpoint,
            folder / str(checkpoint.number),
            fingerprint=f"print-{checkpoint.number}",
            settings=SETTINGS,
            n_documents=len(TEXTS),
        )
        kept.append((weights_of(checkpoint.model), checkpoint))

    train(tokenizer, checkpoints=2, keep=keep)
    return kept


def test_a_saved_checkpoint_is_read_back_to_the_last_bit(tokenizer, tmp_path):
    for number, (weights, checkpoint) in enumerate(saved(tokenizer, tmp_path), start=1):
        folder = tmp_path / str(number)
        found, moments = load_trained_model(folder), read_moments(folder)
        assert found.fingerprint == f"print-{number}"
        for name, weight in weights_of(found.model).items():
            np.testing.assert_array_equal(weight, weights[name])
        for kind in ("first", "second"):
            expected = getattr(checkpoint.moments, kind)
            assert set(getattr(moments, kind)) == set(expected) == set(weights)
            for name, each in getattr(moments, kind).items():
                np.testing.assert_array_equal(each, expected[name])
        assert (moments.n_steps, moments.decays) == (checkpoint.steps, (0.9, 0.95))
        assert moments.epsilon == checkpoint.moments.epsilon
        assert read_rate(folder) == checkpoint.learning_rate


def test_moments_that_were_changed_are_found(tokenizer, tmp_path):
    saved(tokenizer, tmp_path)
    file = tmp_path / "1" / ADAM_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="train it again"):
        read_moments(tmp_path / "1")
    with pytest.raises(IntegrityError, match="train it again"):
        read_rate(tmp_path / "1")
    (tmp_path / "2" / ADAM_FILE).unlink()
    with pytest.raises(IntegrityError, match="train it again"):
        read_moments(tmp_path / "2")


@pytest.mark.parametrize("checkpoints", [0, 1_000])
def test_more_checkpoints_than_steps_are_refused(tokenizer, checkpoints):
    with pytest.raises(InputError, match=r"has 1 to .* checkpoints"):
        train(tokenizer, checkpoints=checkpoints)
