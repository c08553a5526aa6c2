"""Values by language models: against gradients taken one by one."""

import numpy as np
import pytest

from databourse.attribution.causal_values import (
    curvature_values,
    directions_megabytes,
    trak_values,
)
from databourse.attribution.retraining import CausalRetraining
from databourse.errors import InputError
from databourse.influence.curvature import Identity
from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.layers import layer_shapes, tracked_layers
from databourse.influence.pool_gradients import CheckpointGradients
from databourse.influence.trak import RowBlock
from databourse.influence.transformer import InfluenceSettings
from databourse.influence.weighted_documents import completions, whole_documents
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import TrainingSettings, train_to_the_end

TEXTS = ["rain and wind", "sun", "", "the storm took the roof and the sail", "wind"]
EXAMPLES = (["rain then storm", "sun and wind"], [5, 0])
SETTINGS = InfluenceSettings(layers="attention", batch_tokens=64)
TRAINING = TrainingSettings(layers=1, width=8, heads=2, context_tokens=16, batch_rows=4)


@pytest.fixture(name="tokenizer", scope="module")
def _tokenizer():
    return train_tokenizer(TEXTS, vocabulary_size=270)


@pytest.fixture(name="model", scope="module")
def _model(tokenizer):
    return train_to_the_end(
        TEXTS, tokenizer=tokenizer, settings=TRAINING, tokens=200, seed=3, threads=1
    )


def test_values_of_identity_are_products_of_the_gradients_of_a_plain_loop(model):
    layers = tracked_layers(model, "attention")

    def flat(documents):
        found = loop_gradients(model, documents, layers, output="loss")
        return np.concatenate([found[name].reshape(len(documents), -1) for name in layers], axis=1)

    documents = flat(whole_documents(model, TEXTS))
    examples = flat(completions(model, *EXAMPLES, loss="mean"))

    shapes = layer_shapes(model, layers)
    found = curvature_values(
        model,
        TEXTS,
        examples=EXAMPLES,
        curvatures={"identity": (Identity(shapes), (0.0, 1.0))},
        settings=SETTINGS,
        threads=1,
    )
    # single precision on both sides
    np.testing.assert_allclose(found["identity", 0.0], documents @ examples.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found["identity", 1.0], documents @ examples.T / 2, rtol=1e-4, atol=1e-6
    )
    assert found["identity", 0.0][2].tolist() == [0, 0]


def test_trak_values_are_those_of_the_kernel_written_out_for_the_chosen_examples():
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(30, 4)) for _ in range(2)]
    of_targets = [{"a": rng.normal(size=(5, 4)), "b": rng.normal(size=(3, 4))} for _ in range(2)]
    checkpoints = [
        CheckpointGradients(
            f"model {n}",
            "loss",
            lambda n=n: iter([RowBlock(np.arange(30), rows[n])]),
            of_targets[n],
        )
        for n in range(2)
    ]
    examples = {"b": np.array([2]), "a": np.array([0, 4])}

    found = trak_values(checkpoints, examples, n_documents=30, dampings=(0.1,))

    expected = np.zeros((30, 3))
    for n in range(2):
        kernel = rows[n].T @ rows[n]
        kernel = kernel + 0.1 * np.trace(kernel) / 4 * np.eye(4)
        chosen = np.stack([of_targets[n]["b"][2], *of_targets[n]["a"][[0, 4]]])
        expected += rows[n] @ np.linalg.inv(kernel) @ chosen.T / 2
    assert list(found) == [0.1]
    np.testing.assert_allclose(found[0.1], expected, rtol=1e-9)


def test_trak_needs_checkpoints_that_know_the_targets():
    with pytest.raises(InputError, match="at least one checkpoint"):
        trak_values([], {"a": np.array([0])}, n_documents=3)
    lone = CheckpointGradients("model", "loss", lambda: iter(()), {"a": np.ones((1, 2))})
    with pytest.raises(InputError, match="no features of target 'b'"):
        trak_values([lone], {"b": np.array([0])}, n_documents=3)


def test_directions_of_a_thousand_weights_take_four_bytes_each():
    assert directions_megabytes(1_000, n_examples=10, n_settings=5) == pytest.approx(0.2)


def retraining(tokenizer, **changes):
    given = {
        "texts": TEXTS,
        "prompts": ["rain", ""],
        "completions": [" then storm", "sun and wind"],
        "tokenizer": tokenizer,
        "settings": TRAINING,
        "training_tokens": 200,
    }
    return CausalRetraining(**{**given, **changes})


def losses(proxy, positions, seed):
    return proxy.losses(np.array(positions), seed=seed, alive=lambda done: None)


def test_a_retraining_depends_on_its_documents_and_its_seed(tokenizer):
    proxy = retraining(tokenizer)
    first = losses(proxy, [0, 1, 3], 1)
    assert first.shape == (2,)
    assert losses(proxy, [0, 1, 3], 1).tolist() == first.tolist()
    assert losses(proxy, [0, 1, 3], 2).tolist() != first.tolist()
    assert losses(proxy, [0, 3, 4], 1).tolist() != first.tolist()


def test_the_loss_is_the_mean_of_the_completion_alone(tokenizer):
    untrained = retraining(tokenizer, training_tokens=1)
    whole, _ = losses(retraining(tokenizer, prompts=["", ""]), [0], 1)
    given, _ = losses(retraining(tokenizer), [0], 1)
    assert given != whole
    # a model that has hardly learnt spreads its mass over the vocabulary
    mean, _ = losses(untrained, [0], 1)
    assert mean == pytest.approx(np.log(tokenizer.vocabulary_size), rel=0.05)


def test_an_example_without_a_completion_is_named(tokenizer):
    with pytest.raises(InputError, match="example 1 has no token"):
        losses(retraining(tokenizer, completions=["storm", ""]), [0], 1)


def test_what_decides_the_losses_is_in_the_id_of_the_proxy(tokenizer):
    proxy = retraining(tokenizer)
    others = [retraining(tokenizer, training_tokens=201), retraining(tokenizer, device="cuda")]
    assert len({each.proxy_id for each in (proxy, *others)}) == 3
    assert retraining(tokenizer).proxy_id == proxy.proxy_id
