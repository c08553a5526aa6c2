"""Features of Adam's steps: against a real optimiser, and against the slow way."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from databourse.errors import InputError
from databourse.influence.adam_features import adam_steps_of, step_features
from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.layers import layer_shapes, layer_weights, tracked_layers
from databourse.influence.less import AdamState, adam_steps
from databourse.influence.projecting import Projector
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import whole_documents
from databourse.language_models.training import AdamMoments

SJLT = Projection(kind="sjlt", seed=5, size=64, nonzeros=4)
DECAYS, EPSILON, RATE = (0.9, 0.95), 1e-8, 1e-3


def moments_of(model, *, n_steps=4, seed=1):
    """Return moments of about the size of gradients, in the shapes of parameters."""
    rng = np.random.default_rng(seed)
    shapes = {name: tuple(each.shape) for name, each in model.module.named_parameters()}
    return AdamMoments(
        first={name: rng.normal(0, 0.1, each).astype("f4") for name, each in shapes.items()},
        second={name: rng.uniform(0.01, 0.1, each).astype("f4") for name, each in shapes.items()},
        n_steps=n_steps,
        decays=DECAYS,
        epsilon=EPSILON,
    )


def features_of(model, documents, steps, *, batch_tokens=128, threads=1):
    rows = np.full((len(documents), 64), np.nan)
    for batch in step_features(
        model,
        documents,
        projection=SJLT,
        steps=steps,
        batch_tokens=batch_tokens,
        threads=threads,
    ):
        rows[batch.positions] = batch.features
        assert (batch.out_to_loss == 1).all()
    return rows


def test_a_step_is_the_change_that_a_real_optimiser_makes_of_a_weight(make_model, tiny_texts):
    model = make_model()
    layers = tracked_layers(model, "all")
    moments = moments_of(model)
    steps = adam_steps_of(model, layers, moments, include_momentum=True)
    document = whole_documents(model, tiny_texts[:1], loss="mean")
    gradients = loop_gradients(model, document, layers, output="loss")
    found = steps.of_gradients({name: each.astype("f4") for name, each in gradients.items()})

    module = copy.deepcopy(model.module).double()
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=RATE, betas=DECAYS, eps=EPSILON)
    for name, each in parameters.items():
        optimizer.state[each] = {
            "step": torch.tensor(float(moments.n_steps)),
            "exp_avg": torch.tensor(moments.first[name].astype("f8")),
            "exp_avg_sq": torch.tensor(moments.second[name].astype("f8")),
        }
    own = dataclasses.replace(model, module=module)
    before = {name: each.detach().clone() for name, each in layer_weights(own, layers).items()}
    ids = torch.tensor([[model.start_token_id, *document[0].token_ids.tolist()]])
    module(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    after = layer_weights(own, layers)
    for name in layers:
        change = (before[name] - after[name].detach()).numpy() / RATE
        np.testing.assert_allclose(found[name][0], change, rtol=1e-4, atol=1e-5)


def test_features_are_projected_steps_of_single_documents(make_model, tiny_texts):
    model = make_model()
    layers = tracked_layers(model, "attention")
    moments = moments_of(model)
    steps = adam_steps_of(model, layers, moments, include_momentum=True)
    documents = whole_documents(model, tiny_texts[:5], loss="mean")
    gradients = loop_gradients(model, documents, layers, output="loss")
    formed = {}
    for name, each in gradients.items():
        state = AdamState(
            first=moments.first[f"{name}.weight"].T.ravel().astype("f8"),
            second=moments.second[f"{name}.weight"].T.ravel().astype("f8"),
            n_steps=4,
            first_decay=0.9,
            second_decay=0.95,
            epsilon=EPSILON,
        )
        formed[name] = adam_steps(each.reshape(5, -1), state).reshape(each.shape)
    expected = Projector(SJLT, layer_shapes(model, layers)).of_gradients(
        {name: each.astype("f4") for name, each in formed.items()}
    )
    found = features_of(model, documents, steps)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_threads_and_batches_change_no_feature_beyond_rounding(make_model, tiny_texts):
    model = make_model()
    layers = tracked_layers(model, "all")
    steps = adam_steps_of(model, layers, moments_of(model), include_momentum=True)
    documents = whole_documents(model, tiny_texts, loss="mean")
    one = features_of(model, documents, steps)
    np.testing.assert_array_equal(features_of(model, documents, steps, threads=2), one)
    np.testing.assert_allclose(
        features_of(model, documents, steps, batch_tokens=40), one, rtol=1e-3, atol=1e-3
    )


def test_without_momentum_a_document_of_no_token_takes_no_step(make_model):
    model = make_model()
    layers = tracked_layers(model, "all")
    documents = whole_documents(model, ["", "rain wind"], loss="mean")
    moments = moments_of(model)
    still = adam_steps_of(model, layers, moments, include_momentum=False)
    moved = adam_steps_of(model, layers, moments, include_momentum=True)
    assert not features_of(model, documents, still)[0].any()
    assert features_of(model, documents, moved)[0].any()
    assert still.steps_id != moved.steps_id
    other = adam_steps_of(model, layers, moments_of(model, seed=2), include_momentum=True)
    assert other.steps_id != moved.steps_id


def test_moments_of_another_model_are_refused(make_model):
    model = make_model()
    layers = tracked_layers(model, "all")
    moments = moments_of(model)
    name = f"{layers[0]}.weight"
    lacking = {each: values for each, values in moments.first.items() if each != name}
    with pytest.raises(InputError, match="lack"):
        adam_steps_of(
            model, layers, dataclasses.replace(moments, first=lacking), include_momentum=True
        )
    turned = {**moments.first, name: moments.first[name].T}
    with pytest.raises(InputError, match="shape of the weight"):
        adam_steps_of(
            model, layers, dataclasses.replace(moments, first=turned), include_momentum=True
        )


@pytest.mark.gpu
def test_a_gpu_gives_the_gradients_and_steps_of_the_cpu(make_model, tiny_texts):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    model = make_model()
    layers = tracked_layers(model, "all")
    moments = moments_of(model)
    documents = whole_documents(model, tiny_texts, loss="mean")
    expected = features_of(
        model, documents, adam_steps_of(model, layers, moments, include_momentum=True)
    )
    on_gpu = dataclasses.replace(model, module=copy.deepcopy(model.module).cuda())
    found = features_of(
        on_gpu, documents, adam_steps_of(on_gpu, layers, moments, include_momentum=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
