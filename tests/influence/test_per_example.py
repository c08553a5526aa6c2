import numpy as np
import pytest
import torch

from databourse.errors import InputError
from databourse.influence.capture import capturing
from databourse.influence.gradient_twins import loop_gradients, vmap_gradients
from databourse.influence.layers import layer_weights, tracked_layers
from databourse.influence.per_example import (
    captured,
    full_gradients,
    gradient_features,
    inner_products,
    mean_gradient,
)
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import (
    WeightedDocument,
    completions,
    plan_gradients,
    whole_documents,
)

_CONTEXT = 32
_TWO_SIDED = Projection(kind="two_sided", seed=3, size=4)
_SJLT = Projection(kind="sjlt", seed=3, size=64, nonzeros=4)


def gradients_of(model, documents, layers, *, output="loss", batch_tokens=128, threads=1, most=50):
    """Return whole gradients by layer, in order of the documents."""
    found = {}
    for positions, block in full_gradients(
        model,
        documents,
        layers,
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        most_documents=most,
    ):
        for name, each in block.items():
            found.setdefault(name, np.full((len(documents), *each.shape[1:]), np.nan))
            found[name][positions] = each
    return found


def features_of(model, documents, projection=_TWO_SIDED, *, output="loss", threads=1, tokens=128):
    """Return features and Q in order of the documents."""
    layers = tracked_layers(model, "all")
    batches = list(
        gradient_features(
            model,
            documents,
            layers=layers,
            projection=projection,
            output=output,
            batch_tokens=tokens,
            threads=threads,
        )
    )
    positions = np.concatenate([each.positions for each in batches])
    assert sorted(positions) == list(range(len(documents)))
    order = np.argsort(positions)
    return (
        np.concatenate([each.features for each in batches])[order],
        np.concatenate([each.out_to_loss for each in batches])[order],
    )


def relative_error(found, expected):
    """Return the largest |found - expected| / |expected| of norms of documents, over layers."""
    worst = 0.0
    for name, each in expected.items():
        flat = each.reshape(len(each), -1)
        difference = np.linalg.norm(found[name].reshape(len(each), -1) - flat, axis=1)
        worst = max(worst, (difference / np.maximum(np.linalg.norm(flat, axis=1), 1e-30)).max())
    return worst


@pytest.fixture(scope="module")
def double_model(make_model):
    return make_model(dtype=torch.float64)


@pytest.fixture(scope="module")
def documents(tiny_model, tiny_texts):
    """Return short documents and, of completions, one of two windows and one of three."""
    long = np.arange(1, 61)
    ids = [np.resize(long, length).astype(np.int64) for length in (33, 90)]
    more = [
        WeightedDocument(each, np.linspace(0.5, 2, len(each), dtype=np.float32)) for each in ids
    ]
    return [*whole_documents(tiny_model, tiny_texts[:10]), *more]


@pytest.mark.parametrize("output", ["loss", "margin"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_hooks_give_the_gradients_of_a_loop_over_examples(
    make_model, documents, output, dtype, tolerance
):
    model = make_model(dtype=dtype)
    layers = tracked_layers(model, "all")
    expected = loop_gradients(model, documents, layers, output=output)
    found = {name: np.zeros_like(each) for name, each in expected.items()}
    # whole gradients leave in float32: here they are formed from what was captured
    for each in captured(model, documents, layers, output=output, batch_tokens=128):
        for name, d in each.gradients.items():
            formed = (d.transpose(1, 2) @ each.inputs[name]).double().numpy()
            np.add.at(found[name], each.documents, formed)
    assert relative_error(found, expected) < tolerance


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_hooks_give_the_gradients_of_a_loop_for_other_architectures(make_model, documents, kind):
    model = make_model(kind)
    assert model.head == {"llama": "separate", "gemma": "inside"}[kind]
    layers = tracked_layers(model, "all")
    for output in ("loss", "margin"):
        expected = loop_gradients(model, documents, layers, output=output)
        found = gradients_of(model, documents, layers, output=output)
        assert relative_error(found, expected) < 5e-6  # its norms sum squares in float32


@pytest.mark.parametrize("output", ["loss", "margin"])
def test_a_mapped_functional_gradient_gives_those_of_the_loop(double_model, documents, output):
    layers = tracked_layers(double_model, "all")
    expected = loop_gradients(double_model, documents, layers, output=output)
    found = vmap_gradients(double_model, documents, layers, output=output)
    assert relative_error(found, expected) < 1e-12


def test_gradients_of_documents_add_up_to_the_gradient_of_the_batch(double_model, tiny_texts):
    documents = whole_documents(double_model, tiny_texts)
    layers = tracked_layers(double_model, "all")
    length = max(len(each.token_ids) for each in documents)
    ids = torch.zeros((len(documents), length), dtype=torch.int64)
    labels = torch.full((len(documents), length), -100)
    for row, each in enumerate(documents):
        ids[row, 1 : len(each.token_ids)] = torch.from_numpy(each.token_ids[:-1])
        labels[row, : len(each.token_ids)] = torch.from_numpy(each.token_ids)
    logits = double_model.module(input_ids=ids).logits
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
    weights = layer_weights(double_model, layers)
    bases = [double_model.module.get_submodule(name).weight for name in layers]
    expected = dict(zip(layers, torch.autograd.grad(loss, bases), strict=True))
    found = mean_gradient(
        double_model,
        documents,
        layers,
        output="loss",
        batch_tokens=100,
        threads=1,
        weights=np.ones(len(documents)),
    )
    for name in layers:
        own = expected[name].t() if weights[name].shape != expected[name].shape else expected[name]
        if own.shape[0] == own.shape[1]:  # Conv1D of a square map: shapes do not tell
            own = expected[name].t()
        np.testing.assert_allclose(found[name], own.numpy(), rtol=1e-10, atol=1e-12)


def test_the_gradient_of_a_long_document_is_the_sum_over_its_windows(double_model):
    ids = (np.arange(75, dtype=np.int64) * 7) % 60 + 1
    layers = tracked_layers(double_model, "mlp")
    document = WeightedDocument(ids, np.ones(75, dtype=np.float32))
    total = 0.0
    for part in (ids[:32], ids[32:64], ids[64:]):
        inputs = torch.from_numpy(np.concatenate([[0], part[:-1]]))
        log_p = double_model.module(input_ids=inputs[None]).logits[0].log_softmax(-1)
        total = total - log_p[torch.arange(len(part)), torch.from_numpy(part)].sum()
    name = layers[0]
    expected = torch.autograd.grad(total, double_model.module.get_submodule(name).weight)[0].t()
    found = mean_gradient(
        double_model, [document], layers, output="loss", batch_tokens=40, threads=1
    )
    np.testing.assert_allclose(found[name], expected.numpy(), rtol=1e-10, atol=1e-12)


def test_a_document_has_the_same_gradient_alone_and_beside_longer_ones(tiny_model, documents):
    layers = tracked_layers(tiny_model, "all")
    together = gradients_of(tiny_model, documents, layers, batch_tokens=10_000)
    alone = gradients_of(tiny_model, documents, layers, batch_tokens=1)
    # float32: sums of up to 90 tokens in another order
    assert relative_error(together, alone) < 1e-6


def test_padding_has_no_gradient_at_all(tiny_model, documents):
    layers = tracked_layers(tiny_model, "all")
    some = False
    for each in captured(tiny_model, documents, layers, output="loss", batch_tokens=10_000):
        padding = torch.from_numpy(~each.is_token)
        some = some or bool(padding.any())
        for d in each.gradients.values():
            assert not d[padding].any()
        assert not each.weights[~each.is_token].any()
    assert some


def test_threads_change_no_bit(tiny_model, documents):
    one = features_of(tiny_model, documents, threads=1, tokens=64)
    three = features_of(tiny_model, documents, threads=3, tokens=64)
    np.testing.assert_array_equal(one[0], three[0])
    np.testing.assert_array_equal(one[1], three[1])


@pytest.mark.parametrize("projection", [_TWO_SIDED, _SJLT])
def test_batch_size_changes_features_by_rounding_alone(tiny_model, documents, projection):
    small, _ = features_of(tiny_model, documents, projection, tokens=1)
    large, _ = features_of(tiny_model, documents, projection, tokens=10_000)
    np.testing.assert_allclose(large, small, atol=1e-5 * np.abs(small).max())


def test_gradients_are_those_of_evaluation_mode(make_model, tiny_texts):
    model = make_model()
    assert model.module.config.resid_pdrop > 0
    documents = whole_documents(model, tiny_texts[:3])
    np.testing.assert_array_equal(
        features_of(model, documents)[0], features_of(model, documents)[0]
    )
    model.module.train()
    with pytest.raises(InputError, match="training mode"):
        features_of(model, documents)


def test_a_two_sided_feature_is_the_explicit_kronecker_product(double_model, documents):
    layers = tracked_layers(double_model, "all")
    gradients = loop_gradients(double_model, documents, layers, output="loss")
    parts = []
    for name in layers:
        d_out, d_in = gradients[name].shape[1:]
        both = np.kron(
            _TWO_SIDED.side(name, "out", d_out).astype(float),
            _TWO_SIDED.side(name, "in", d_in).astype(float),
        )
        parts.append(gradients[name].reshape(len(documents), -1) @ both)
    expected = np.concatenate(parts, axis=1)
    found, _ = features_of(double_model, documents)
    assert found.shape == (len(documents), 8 * 16)
    # features are float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    "projection",
    [
        _SJLT,
        Projection(kind="rademacher", seed=3, size=20),
        Projection(kind="gaussian", seed=3, size=20),
    ],
)
def test_a_summed_feature_is_the_explicit_product_with_the_whole_gradient(
    double_model, documents, projection
):
    layers = tracked_layers(double_model, "all")
    gradients = loop_gradients(double_model, documents, layers, output="loss")
    expected = np.zeros((len(documents), projection.size))
    for name in layers:
        flat = gradients[name].reshape(len(documents), -1)
        expected += flat @ projection.dense(name, 0, flat.shape[1]).astype(float)
    found, _ = features_of(double_model, documents, projection)
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())


def test_inner_products_are_those_of_whole_gradients(double_model, documents):
    layers = tracked_layers(double_model, "all")
    gradients = loop_gradients(double_model, documents, layers, output="loss")
    rng = np.random.default_rng(0)
    vectors = {name: rng.standard_normal(each.shape[1:]) for name, each in gradients.items()}
    expected = sum(np.einsum("noi,oi->n", gradients[name], vectors[name]) for name in layers)
    found = inner_products(
        double_model, documents, vectors, output="loss", batch_tokens=64, threads=2
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_weighted_mean_gradient_weighs_documents(double_model, documents):
    layers = tracked_layers(double_model, "attention")
    gradients = loop_gradients(double_model, documents, layers, output="margin")
    shares = np.linspace(-1, 2, len(documents))
    options = {"output": "margin", "batch_tokens": 64, "threads": 1}
    weighted = mean_gradient(double_model, documents, layers, weights=shares, **options)
    plain = mean_gradient(double_model, documents, layers, **options)
    for name, each in gradients.items():
        np.testing.assert_allclose(weighted[name], np.tensordot(shares, each, 1), atol=1e-11)
        np.testing.assert_allclose(plain[name], each.mean(axis=0), atol=1e-11)


def test_the_margins_gradient_is_that_of_finite_differences(make_model, tiny_texts):
    model = make_model(dtype=torch.float64, seed=4)
    document = whole_documents(model, tiny_texts)[2]
    layers = tracked_layers(model, "all")
    inputs = torch.from_numpy(np.concatenate([[0], document.token_ids[:-1]]))[None]
    targets = torch.from_numpy(document.token_ids)

    def margin():
        with torch.no_grad():
            p = model.module(input_ids=inputs).logits[0].softmax(-1)
            p = p[torch.arange(len(targets)), targets]
            return float((p / (1 - p)).log().sum()), float((1 - p).mean())

    found = mean_gradient(model, [document], layers, output="margin", batch_tokens=99, threads=1)
    step = 1e-6
    for name in layers:
        weight = layer_weights(model, [name])[name].detach()
        for place in [(0, 0), (3, 5), (15, 15)]:
            kept = float(weight[place])
            weight[place] = kept + step
            above, _ = margin()
            weight[place] = kept - step
            below, _ = margin()
            weight[place] = kept
            assert found[name][place] == pytest.approx((above - below) / (2 * step), rel=1e-5)
    _, out_to_loss = features_of(model, [document], output="margin")
    assert out_to_loss[0] == pytest.approx(margin()[1], rel=1e-12)


def test_a_step_along_minus_the_gradient_lowers_the_loss(make_model, tiny_texts):
    model = make_model(dtype=torch.float64, seed=2)
    document = whole_documents(model, tiny_texts)[1]
    layers = tracked_layers(model, "all")

    def loss():
        found = captured(model, [document], layers, output="loss", batch_tokens=99)
        return float(next(found).loss_sums[0])

    before = loss()
    gradient = mean_gradient(model, [document], layers, output="loss", batch_tokens=99, threads=1)
    for name, weight in layer_weights(model, layers).items():
        weight.detach().sub_(1e-6 * torch.from_numpy(gradient[name]))
    squares = sum(float((each**2).sum()) for each in gradient.values())
    assert loss() - before == pytest.approx(-1e-6 * squares, rel=1e-2)


def test_the_margin_of_a_token_that_is_certain_is_finite(make_model):
    model = make_model(deviation=3.0, seed=1)
    ids = np.arange(1, 31, dtype=np.int64)
    document = WeightedDocument(ids, np.ones(30, dtype=np.float32))
    found, out_to_loss = features_of(model, [document], output="margin")
    assert np.isfinite(found).all()
    assert 0 <= out_to_loss[0] <= 1


def test_a_document_without_tokens_has_gradient_zero(tiny_model, tiny_texts):
    documents = whole_documents(tiny_model, ["", tiny_texts[0], ""])
    for output, expected in (("loss", 1.0), ("margin", 0.0)):
        found, out_to_loss = features_of(tiny_model, documents, output=output)
        assert not found[[0, 2]].any()
        assert found[1].any()
        np.testing.assert_array_equal(out_to_loss[[0, 2]], expected)


def test_only_the_tokens_of_a_completion_count(double_model):
    text = "rain wind storm cloud sun frost"
    prompt = len("rain wind storm ")
    layers = tracked_layers(double_model, "all")
    options = {"output": "loss", "batch_tokens": 64, "threads": 1}
    whole, start = (
        mean_gradient(double_model, whole_documents(double_model, [each]), layers, **options)
        for each in (text, text[:prompt])
    )
    summed, mean = (
        mean_gradient(
            double_model, completions(double_model, [text], [prompt], loss=loss), layers, **options
        )
        for loss in ("sum", "mean")
    )
    for name in layers:
        np.testing.assert_allclose(summed[name], whole[name] - start[name], atol=1e-12)
        # 1 / 3 is rounded to float32
        np.testing.assert_allclose(mean[name], summed[name] / 3, rtol=1e-6, atol=1e-12)


def test_sampled_labels_depend_on_the_document_and_not_on_its_batch(tiny_model, documents):
    layers = tracked_layers(tiny_model, "mlp")

    def losses(batch_tokens, seed):
        found = np.zeros(len(documents))
        for each in captured(
            tiny_model,
            documents,
            layers,
            output="loss",
            batch_tokens=batch_tokens,
            sampled_seed=seed,
        ):
            np.add.at(found, each.documents, each.loss_sums)
        return found

    np.testing.assert_allclose(losses(1, 7), losses(10_000, 7), rtol=1e-5)
    assert not np.allclose(losses(1, 7), losses(1, 8), rtol=1e-2)


def test_sampled_labels_have_the_models_own_entropy_as_mean_loss(tiny_model):
    ids = np.tile(np.arange(1, 33, dtype=np.int64), 1)
    document = WeightedDocument(ids, np.ones(32, dtype=np.float32))
    inputs = torch.from_numpy(np.concatenate([[0], ids[:-1]]))[None]
    with torch.no_grad():
        log_p = tiny_model.module(input_ids=inputs).logits[0].log_softmax(-1)
    entropy = float(-(log_p.exp() * log_p).sum())
    spread = float((log_p.exp() * log_p**2).sum(-1).sub((log_p.exp() * log_p).sum(-1) ** 2).sum())
    n_documents = 200
    total = sum(
        each.loss_sums.sum()
        for each in captured(
            tiny_model,
            [document] * n_documents,
            tracked_layers(tiny_model, "mlp")[:1],
            output="loss",
            batch_tokens=2_000,
            sampled_seed=1,
        )
    )
    assert abs(total / n_documents - entropy) < 4 * np.sqrt(spread / n_documents)


def test_captures_leave_the_model_as_it_was(tiny_model, documents):
    before = {name: each.clone() for name, each in tiny_model.module.state_dict().items()}
    backends = torch.backends.cuda.flash_sdp_enabled(), torch.get_num_threads()
    features = gradient_features(
        tiny_model,
        documents,
        layers=tracked_layers(tiny_model, "all"),
        projection=_TWO_SIDED,
        output="loss",
        batch_tokens=32,
        threads=2,
    )
    next(features)
    features.close()  # whoever reads stops early
    for _ in range(2):
        assert (torch.backends.cuda.flash_sdp_enabled(), torch.get_num_threads()) == backends
        for module in tiny_model.module.modules():
            assert not module._forward_hooks
        with pytest.raises(InputError), capturing(tiny_model, []):
            pass
    for name, each in tiny_model.module.state_dict().items():
        assert torch.equal(each, before[name])
    assert all(each.grad is None for each in tiny_model.module.parameters())


def test_passes_of_others_meanwhile_are_not_captured(tiny_model, documents):
    layers = tracked_layers(tiny_model, "all")
    expected = gradients_of(tiny_model, documents, layers, batch_tokens=64)
    found = {name: np.zeros_like(each) for name, each in expected.items()}
    for each in captured(tiny_model, documents, layers, output="loss", batch_tokens=64, threads=2):
        tiny_model.module(input_ids=torch.ones((1, 3), dtype=torch.int64))
        for name, d in each.gradients.items():
            np.add.at(found[name], each.documents, (d.mT @ each.inputs[name]).double().numpy())
    assert relative_error(found, expected) < 1e-6


def test_a_frozen_model_has_the_same_gradients(make_model, documents):
    model = make_model()
    expected, _ = features_of(model, documents)
    model.module.requires_grad_(requires_grad=False)
    found, _ = features_of(model, documents)
    np.testing.assert_array_equal(found, expected)


def test_a_token_of_another_vocabulary_is_refused(tiny_model):
    document = WeightedDocument(np.array([64], dtype=np.int64), np.ones(1, dtype=np.float32))
    with pytest.raises(InputError, match=r"token ids must be in \[0, 64\)"):
        features_of(tiny_model, [document])


def test_wrong_arguments_are_refused(tiny_model, documents):
    layers = tracked_layers(tiny_model, "mlp")
    options = {"output": "loss", "batch_tokens": 64, "threads": 1}
    with pytest.raises(InputError, match="at least one document"):
        mean_gradient(tiny_model, [], layers, **options)
    with pytest.raises(InputError, match="one per document"):
        mean_gradient(tiny_model, documents, layers, weights=np.ones(3), **options)
    with pytest.raises(InputError, match=r"must have shape \(64, 16\)"):
        inner_products(tiny_model, documents, {layers[0]: np.ones((16, 64))}, **options)
    with pytest.raises(InputError, match="'loss' or 'margin'"):
        mean_gradient(tiny_model, documents, layers, **{**options, "output": "logit"})
    with pytest.raises(InputError, match="batch_tokens"):
        plan_gradients(documents, context_tokens=_CONTEXT, batch_tokens=0)
