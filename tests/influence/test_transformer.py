"""Influence under a transformer: by finite differences, by its parts, and as a direction."""

import dataclasses

import numpy as np
import pytest
import torch

from databourse.errors import InputError
from databourse.influence.curvature import Damping
from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.layers import layer_weights, tracked_layers
from databourse.influence.per_example import mean_gradient
from databourse.influence.transformer import (
    InfluenceSettings,
    document_influences,
    fit_curvature,
    target_direction,
)
from databourse.influence.weighted_documents import completions, whole_documents
from databourse.targets import TargetSet

SETTINGS = InfluenceSettings(curvature="identity", damping=0.0, batch_tokens=256)


def target(texts, name="task", cuts=None):
    return TargetSet(
        name=name,
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.array(cuts or [0] * len(texts), dtype=np.int64),
    )


def values_of(model, texts, targets, settings, seed=0):
    curvature = fit_curvature(model, texts, settings=settings, seed=seed, threads=1)
    direction = target_direction(model, curvature, targets, settings=settings, threads=1)
    return document_influences(model, texts, direction, settings=settings, threads=1)


def test_without_curvature_a_value_is_the_dot_product_of_gradients(trained_model, tiny_texts):
    layers = tracked_layers(trained_model, "attention")
    examples = ["rain wind storm", "bread oven salt knife"]
    found = values_of(trained_model, tiny_texts[:5], [target(examples)], SETTINGS)
    own = loop_gradients(
        trained_model, whole_documents(trained_model, tiny_texts[:5]), layers, output="loss"
    )
    asked = completions(trained_model, examples, [0, 0], loss="mean")
    wanted = loop_gradients(trained_model, asked, layers, output="loss")
    v = {layer: wanted[layer].mean(axis=0) for layer in layers}
    size = np.sqrt(sum(float((v[layer] ** 2).sum()) for layer in layers))
    expected = sum((own[layer] * v[layer]).sum(axis=(1, 2)) for layer in layers) / size
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_along_a_document_of_high_value_lowers_target_loss_more(trained_model, make_model):
    examples = target(["rain wind storm cloud sun", "storm flood hail mist fog rain"])
    texts = ["storm rain wind hail cloud sun", "share bond price trader profit loss"]
    values = values_of(trained_model, texts, [examples], SETTINGS)
    layers = tracked_layers(trained_model, "attention")
    wanted = completions(trained_model, examples.texts, [0, 0], loss="mean")

    def target_loss(model):
        rows = [torch.tensor([[0, *each.token_ids.tolist()]]) for each in wanted]
        with torch.no_grad():
            return np.mean([float(model.module(row, labels=row).loss) for row in rows])

    gains = []
    for text in texts:
        model = dataclasses.replace(trained_model, module=make_model(deviation=0.06).module)
        model.module.load_state_dict(trained_model.module.state_dict())
        model.module.eval()
        before = target_loss(model)
        own = whole_documents(model, [text])
        gradient = mean_gradient(model, own, layers, output="loss", batch_tokens=256, threads=1)
        weights = layer_weights(model, layers)
        step = 1e-4
        with torch.no_grad():
            for layer in layers:
                weights[layer] -= step * torch.from_numpy(gradient[layer]).to(weights[layer])
        gains.append((before - target_loss(model)) / step)
    assert values[0] > values[1]
    assert gains[0] > gains[1]
    # one constant turns values into gains: the size of the target gradient
    assert gains[0] / gains[1] == pytest.approx(values[0] / values[1], rel=0.1)


@pytest.mark.parametrize("kind", ["kfac", "ekfac"])
def test_the_direction_is_the_damped_inverse_times_the_target_gradient(
    trained_model, tiny_texts, kind
):
    settings = dataclasses.replace(SETTINGS, curvature=kind, damping=0.3)
    curvature = fit_curvature(trained_model, tiny_texts, settings=settings, seed=3, threads=1)
    layers = tracked_layers(trained_model, "attention")
    one = target(["mast sail rope anchor"])
    direction = target_direction(trained_model, curvature, [one], settings=settings, threads=1)
    v = mean_gradient(
        trained_model,
        completions(trained_model, one.texts, [0], loss="mean"),
        layers,
        output="loss",
        batch_tokens=256,
        threads=1,
    )
    u = curvature.ihvp(v, Damping(0.3))
    size = np.sqrt(sum(float((v[layer] * u[layer]).sum()) for layer in layers))
    for layer in layers:
        np.testing.assert_allclose(direction[layer], u[layer] / size, rtol=1e-6, atol=1e-9)


def test_targets_of_unlike_gradients_weigh_the_same(trained_model, tiny_texts):
    loud = target(["rain bread mast share loss"], "loud")
    # a prompt that is not scored, and one token that is: another size of gradient
    quiet = target(["rain wind storm cloud"], "quiet", cuts=[len("rain wind storm ")])
    both = values_of(trained_model, tiny_texts, [loud, quiet], SETTINGS)
    alone = [values_of(trained_model, tiny_texts, [each], SETTINGS) for each in (loud, quiet)]
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, rtol=1e-5, atol=1e-7)


def test_threads_and_passes_change_rounding_alone(trained_model, tiny_texts):
    settings = dataclasses.replace(SETTINGS, curvature="ekfac", damping=0.1)
    examples = [target(["bread oven salt"])]
    one = values_of(trained_model, tiny_texts, examples, settings)
    small = dataclasses.replace(settings, batch_tokens=64)
    np.testing.assert_allclose(
        one, values_of(trained_model, tiny_texts, examples, small), rtol=1e-3, atol=1e-4
    )


def test_a_target_without_a_scored_token_is_refused(trained_model, tiny_texts):
    with pytest.raises(InputError, match="'task' has no gradient"):
        values_of(
            trained_model, tiny_texts, [target(["rain wind"], cuts=[len("rain wind")])], SETTINGS
        )
    with pytest.raises(InputError, match="influence is on targets, got none"):
        values_of(trained_model, tiny_texts, [], SETTINGS)
