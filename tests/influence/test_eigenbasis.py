"""K-FAC and EK-FAC against dense matrices, and against the Fisher matrix that they stand for."""

import dataclasses

import numpy as np
import pytest
import torch

from databourse.errors import InputError
from databourse.influence import eigenbasis
from databourse.influence.curvature import Damping
from databourse.influence.eigenbasis import fit_ekfac, kfac
from databourse.influence.kronecker import LayerRecord, fit_covariances

KINDS = ["kfac", "ekfac", "ekfac by tokens"]


def _record(inputs, gradients, *, layer="a", labels="data", real=None):
    return LayerRecord(layer, torch.as_tensor(inputs), torch.as_tensor(gradients), labels, real)


def _mixed(rng, size):
    """Return a matrix that gives white noise a spectrum from 2^2 down to 0.2^2."""
    return np.linalg.qr(rng.normal(size=(size, size)))[0] * np.linspace(2.0, 0.2, size)


def _toy(d_out=8, d_in=6, *, lengths=(5, 2, 5, 3, 1, 4, 5, 5, 2, 5, 4, 5), seed=0):
    """Return one padded record of documents of some lengths, and the covariances of it."""
    rng = np.random.default_rng(seed)
    n, width = len(lengths), max(lengths)
    real = np.arange(width) < np.array(lengths)[:, None]
    inputs = rng.normal(size=(n, width, d_in)) @ _mixed(rng, d_in).T
    gradients = rng.normal(size=(n, width, d_out)) @ _mixed(rng, d_out).T * real[:, :, None]
    record = _record(inputs, gradients, real=torch.from_numpy(real))
    return record, fit_covariances([record], model_id="m")


def _fitted(kind, record, covariances):
    plain = kfac(covariances)
    if kind == "kfac":
        return plain
    return fit_ekfac(plain, [record], unit="document" if kind == "ekfac" else "token")


def _document_gradients(record):
    """Return vec(G_b) of each document, shape (n, d_out * d_in), by a loop over tokens."""
    d_out, d_in = record.gradients.shape[2], record.inputs.shape[2]
    rows = []
    for b in range(len(record.inputs)):
        gradient = np.zeros((d_out, d_in))
        for t in range(record.inputs.shape[1]):
            if record.real is None or record.real[b, t]:
                gradient += np.outer(record.gradients[b, t].numpy(), record.inputs[b, t].numpy())
        rows.append(gradient.ravel())
    return np.array(rows)


def _fisher(inputs, gradients):
    """Return the dense Fisher matrix of documents of one length: the mean of vec(G) vec(G)^T."""
    rows = np.einsum("bto,bti->boi", gradients, inputs).reshape(len(inputs), -1)
    return rows.T @ rows / len(rows)


def _dense(curvature):
    """Return the curvature of layer "a" as one matrix, from its eigenvectors and eigenvalues."""
    own = curvature.layers["a"]
    basis = np.kron(own.gradient_basis, own.input_basis)
    return basis @ np.diag(curvature.eigenvalues("a").ravel()) @ basis.T


def _solved_densely(matrix, vector, strength):
    damped = matrix + strength * np.eye(len(matrix))
    return np.linalg.solve(damped, vector.ravel()).reshape(vector.shape)


def _cosine(left, right):
    return float((left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.parametrize("shape", [(8, 6), (6, 6), (5, 7)])
@pytest.mark.parametrize("strength", [1e-3, 0.5, 40.0])
def test_kfac_is_the_dense_solve_of_s_kron_a_with_exact_damping(shape, strength):
    _, covariances = _toy(*shape)
    own, vector = covariances.layers["a"], np.random.default_rng(1).normal(size=shape)
    scaled = (46 / 12) * np.kron(own.gradients, own.inputs)  # 46 tokens in 12 documents

    solved = kfac(covariances).ihvp({"a": vector}, Damping(strength, "absolute"))["a"]

    expected = _solved_densely(scaled, vector, strength)
    np.testing.assert_allclose(solved, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(8, 6), (6, 6)])
def test_ekfac_is_the_dense_solve_with_the_mean_squares_of_rotated_gradients(shape):
    record, covariances = _toy(*shape)
    own, vector = covariances.layers["a"], np.random.default_rng(1).normal(size=shape)
    basis = np.kron(np.linalg.eigh(own.gradients)[1], np.linalg.eigh(own.inputs)[1])
    diagonal = np.square(_document_gradients(record) @ basis).mean(axis=0)
    dense = basis @ np.diag(diagonal) @ basis.T

    solved = _fitted("ekfac", record, covariances).ihvp({"a": vector}, Damping(0.2))["a"]

    expected = _solved_densely(dense, vector, 0.2 * np.trace(dense) / len(dense))
    np.testing.assert_allclose(solved, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_damping_is_of_the_mean_eigenvalue_of_the_dense_matrix(kind):
    curvature = _fitted(kind, *_toy())
    dense = _dense(curvature)
    vector = {"a": np.random.default_rng(1).normal(size=(8, 6))}

    np.testing.assert_allclose(
        curvature.ihvp(vector, Damping(0.3))["a"],
        curvature.ihvp(vector, Damping(0.3 * np.trace(dense) / 48, "absolute"))["a"],
        rtol=1e-10,
    )


def test_an_inverse_times_the_curvature_is_the_gradient_again():
    _, covariances = _toy(5, 4, lengths=(6,) * 10)
    own, vector = covariances.layers["a"], np.random.default_rng(1).normal(size=(5, 4))

    solved = kfac(covariances).ihvp({"a": vector}, Damping(0.0))["a"]

    np.testing.assert_allclose(6 * own.gradients @ solved @ own.inputs, vector, atol=1e-10)


def test_one_number_in_and_out_by_hand():
    # documents with (a, d): (1, 2), (3, -1), then (2, 1) and (1, 1) together: 4 tokens, 3 documents
    real = torch.tensor([[True, False], [True, False], [True, True]])
    record = _record(
        torch.tensor([[[1.0], [0.0]], [[3.0], [0.0]], [[2.0], [1.0]]]),
        torch.tensor([[[2.0], [0.0]], [[-1.0], [0.0]], [[1.0], [1.0]]]),
        real=real,
    )
    covariances = fit_covariances([record], model_id="m")

    # A = (1 + 9 + 4 + 1) / 4, S = (4 + 1 + 1 + 1) / 4, Lbar = 4 / 3
    assert kfac(covariances).eigenvalues("a")[0, 0] == pytest.approx(4 / 3 * 15 / 4 * 7 / 4)
    # G = 2, -3, 3: (4 + 9 + 9) / 3
    assert _fitted("ekfac", record, covariances).eigenvalues("a")[0, 0] == pytest.approx(22 / 3)
    # d a = 2, -3, 2, 1: Lbar (4 + 9 + 4 + 1) / 4
    tokens = _fitted("ekfac by tokens", record, covariances)
    assert tokens.eigenvalues("a")[0, 0] == pytest.approx(18 / 3)


@pytest.mark.parametrize("unit", ["document", "token"])
@pytest.mark.parametrize("cells", [1, 7, 13, 100, 1 << 20])
def test_eigenvalues_do_not_depend_on_batches_padding_or_blocks(unit, cells, monkeypatch):
    record, covariances = _toy()
    at_once = fit_ekfac(kfac(covariances), [record], unit=unit)
    size = 1 + cells % 5
    parts = [
        _record(
            torch.nn.functional.pad(record.inputs[i : i + size], (0, 0, 0, i), value=torch.nan),
            torch.nn.functional.pad(record.gradients[i : i + size], (0, 0, 0, i)),
            real=torch.nn.functional.pad(record.real[i : i + size], (0, i)),
        )
        for i in range(0, 12, size)
    ]

    monkeypatch.setattr(eigenbasis, "_BLOCK_CELLS", cells)
    streamed = fit_ekfac(kfac(covariances), parts, unit=unit)

    assert streamed.sample == at_once.sample
    np.testing.assert_allclose(
        streamed.eigenvalues("a"), at_once.eigenvalues("a"), rtol=1e-11, atol=1e-13
    )


def test_documents_of_one_token_have_the_same_eigenvalues_by_documents_and_by_tokens():
    record, covariances = _toy(lengths=(1,) * 9)

    documents = _fitted("ekfac", record, covariances).eigenvalues("a")
    tokens = _fitted("ekfac by tokens", record, covariances).eigenvalues("a")

    np.testing.assert_allclose(documents, tokens, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("topics", [3, 12])
def test_ekfac_is_nearer_to_the_dense_fisher_matrix_than_kfac(seed, topics):
    inputs, gradients = _topical_documents(seed, n_documents=600, topics=topics)
    record, fisher = _record(inputs, gradients), _fisher(inputs, gradients)
    covariances = fit_covariances([record], model_id="m")
    errors = {
        kind: np.linalg.norm(_dense(_fitted(kind, record, covariances)) - fisher)
        / np.linalg.norm(fisher)
        for kind in ("kfac", "ekfac")
    }

    assert errors["ekfac"] <= errors["kfac"]
    # a perfect fit would be suspicious: documents' gradients are no product
    assert errors["ekfac"] > 0.1


def test_one_token_with_independent_inputs_and_gradients_is_what_kfac_supposes():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4000, 1, 8)) @ _mixed(rng, 8).T
    gradients = rng.normal(size=(4000, 1, 6)) @ _mixed(rng, 6).T
    vector = rng.normal(size=(6, 8))
    fisher = _fisher(inputs, gradients)
    curvature = kfac(fit_covariances([_record(inputs, gradients)], model_id="m"))

    expected = _solved_densely(fisher, vector, 0.1 * np.trace(fisher) / 48)

    # measured 0.9995 and 0.79 at this seed
    assert _cosine(curvature.ihvp({"a": vector})["a"], expected) > 0.995
    assert _cosine(vector, expected) < 0.9


def _topical_documents(seed, *, n_documents, topics, d_in=8, d_out=6):
    """Return a and d of documents of 8 tokens that share a topic, so that they are correlated."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, topics, size=n_documents)
    means_in, means_out = rng.normal(size=(topics, d_in)), rng.normal(size=(topics, d_out))
    inputs = 0.7 * rng.normal(size=(n_documents, 8, d_in)) + means_in[topic][:, None]
    gradients = 0.7 * rng.normal(size=(n_documents, 8, d_out)) + means_out[topic][:, None]
    return inputs @ _mixed(rng, d_in).T, gradients @ _mixed(rng, d_out).T


@pytest.mark.parametrize("seed", range(3))
def test_with_correlated_tokens_kfac_is_visibly_off_but_better_than_nothing(seed):
    inputs, gradients = _topical_documents(seed, n_documents=2000, topics=12)
    vectors = np.random.default_rng(100 + seed).normal(size=(16, 6, 8))
    fisher = _fisher(inputs, gradients)
    curvature = kfac(fit_covariances([_record(inputs, gradients)], model_id="m"))

    expected = [_solved_densely(fisher, v, 0.1 * np.trace(fisher) / 48) for v in vectors]
    solved = curvature.ihvp({"a": vectors})["a"]
    ours = np.mean([_cosine(*pair) for pair in zip(solved, expected, strict=True)])
    plain = np.mean([_cosine(*pair) for pair in zip(vectors, expected, strict=True)])

    # measured 0.948, 0.958, 0.953 against 0.829, 0.876, 0.811; one token gives 0.9995
    assert plain + 0.05 < ours < 0.98


def test_tokens_with_uncorrelated_gradients_give_the_fisher_matrix_of_the_summed_loss():
    """The scale of H too: Lbar (S kron A), for documents of unlike lengths."""
    rng = np.random.default_rng(0)
    n, width = 20_000, 9
    lengths = rng.integers(1, width + 1, size=n)
    real = np.arange(width) < lengths[:, None]
    shared = rng.normal(size=(n, 1, 4))  # inputs of one document are much alike
    inputs = (shared + 0.5 * rng.normal(size=(n, width, 4))) @ _mixed(rng, 4).T
    gradients = rng.normal(size=(n, width, 3)) @ _mixed(rng, 3).T * real[:, :, None]
    record = _record(inputs, gradients, real=torch.from_numpy(real))
    covariances = fit_covariances([record], model_id="m")
    fisher = _fisher(inputs, gradients)

    for kind in KINDS:
        dense = _dense(_fitted(kind, record, covariances))
        # sampling error of 20,000 documents; without Lbar = 5 it would be 0.8
        assert np.linalg.norm(dense - fisher) < 0.05 * np.linalg.norm(fisher), kind
        assert np.trace(dense) == pytest.approx(np.trace(fisher), rel=0.03), kind


def test_factored_tikhonov_is_the_product_of_two_damped_solves():
    _, covariances = _toy()
    own, vector = covariances.layers["a"], np.random.default_rng(1).normal(size=(8, 6))
    s, a = 46 / 12 * own.gradients, own.inputs
    pi = np.sqrt((np.trace(a) / 6) / (np.trace(s) / 8))
    root = np.sqrt(0.7)

    solved = kfac(covariances).factored_tikhonov_ihvp({"a": vector}, Damping(0.7, "absolute"))["a"]

    left = np.linalg.solve(s + root / pi * np.eye(8), vector)
    expected = np.linalg.solve(a + root * pi * np.eye(6), left.T).T
    np.testing.assert_allclose(solved, expected, rtol=0, atol=1e-12)


def test_factored_tikhonov_is_another_matrix_than_exact_damping():
    curvature = kfac(_toy()[1])
    vector = {"a": np.random.default_rng(1).normal(size=(8, 6))}

    exact = curvature.ihvp(vector, Damping(0.1))["a"]
    factored = curvature.factored_tikhonov_ihvp(vector, Damping(0.1))["a"]

    # measured for this 8 x 6 layer: 61 % of its length, at a cosine of 0.917
    difference = np.linalg.norm(factored - exact) / np.linalg.norm(exact)
    assert 0.5 < difference < 0.7
    assert 0.88 < _cosine(factored, exact) < 0.95


def test_without_damping_factored_and_exact_are_one():
    curvature = kfac(_toy(5, 4, lengths=(6,) * 10)[1])
    vector = {"a": np.random.default_rng(1).normal(size=(5, 4))}

    np.testing.assert_allclose(
        curvature.factored_tikhonov_ihvp(vector, Damping(0.0))["a"],
        curvature.ihvp(vector, Damping(0.0))["a"],
        rtol=1e-12,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_inputs_of_too_low_rank_need_damping(kind, seed):
    record, _ = _toy(seed=seed)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    flat = _record(  # zeros come out as +-1e-16 in a basis that is turned
        record.inputs * torch.tensor([1.0, 1, 1, 1, 1, 0]) @ torch.from_numpy(turned),
        record.gradients,
        real=record.real,
    )
    curvature = _fitted(kind, flat, fit_covariances([flat], model_id="m"))
    vector = {"a": np.ones((8, 6))}

    assert curvature.eigenvalues("a").min() >= 0.0
    with pytest.raises(InputError, match="curvature of layer 'a' is singular"):
        curvature.ihvp(vector, Damping(0.0))
    assert np.isfinite(curvature.ihvp(vector)["a"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_any_gradient_is_refused_even_with_damping(kind):
    record = _record(torch.ones(3, 2, 2), torch.zeros(3, 2, 2))
    curvature = _fitted(kind, record, fit_covariances([record], model_id="m"))

    with pytest.raises(InputError, match="curvature of layer 'a' is singular: eigenvalues 0 to 0"):
        curvature.ihvp({"a": np.ones((2, 2))})


def test_factored_damping_of_a_layer_without_any_gradient_is_refused():
    record = _record(torch.ones(3, 2, 2), torch.zeros(3, 2, 2))
    curvature = kfac(fit_covariances([record], model_id="m"))

    with pytest.raises(InputError, match="traces of A and S > 0, layer 'a' has one of 0"):
        curvature.factored_tikhonov_ihvp({"a": np.ones((2, 2))}, Damping(1.0, "absolute"))


def test_layers_are_solved_apart():
    first, second = _toy(4, 3)[0], _toy(2, 5, seed=1)[0]
    second = dataclasses.replace(second, layer="b")
    both = kfac(fit_covariances([first, second], model_id="m"))
    alone = kfac(fit_covariances([second], model_id="m"))
    vectors = {"a": np.ones((4, 3)), "b": np.ones((2, 5))}

    np.testing.assert_array_equal(both.ihvp(vectors)["b"], alone.ihvp({"b": vectors["b"]})["b"])
    assert both.shapes == {"a": (4, 3), "b": (2, 5)}
    assert fit_ekfac(both, [second, first], unit="document").shapes == both.shapes


def test_what_both_passes_were_fitted_on_is_kept():
    record, covariances = _toy()
    half = dataclasses.replace(
        record, inputs=record.inputs[:3], gradients=record.gradients[:3], real=record.real[:3]
    )

    fitted = fit_ekfac(kfac(covariances), [half], unit="document")

    assert (fitted.sample.n_documents, fitted.sample.n_tokens) == (3, 12)
    assert (fitted.basis_sample.n_documents, fitted.basis_sample.n_tokens) == (12, 46)
    assert fitted.sample.labels == "data"


def test_eigenvalues_from_other_labels_than_the_bases_are_refused():
    record, covariances = _toy()

    with pytest.raises(InputError, match="labels 'sampled', but the bases were fitted on 'data'"):
        fit_ekfac(
            kfac(covariances), [dataclasses.replace(record, labels="sampled")], unit="document"
        )


def test_eigenvalues_from_other_layers_than_the_bases_are_refused():
    record, covariances = _toy()
    other = dataclasses.replace(record, layer="b")
    both = kfac(fit_covariances([record, other], model_id="m"))

    with pytest.raises(InputError, match=r"missing \[\], unknown \['b'\]"):
        fit_ekfac(kfac(covariances), [record, other], unit="document")
    with pytest.raises(InputError, match=r"missing \['b'\], unknown \[\]"):
        fit_ekfac(both, [record], unit="document")
    with pytest.raises(InputError, match=r"\(d_out, d_in\) = \(8, 6\), got \(4, 6\)"):
        fit_ekfac(kfac(covariances), [_toy(4, 6)[0]], unit="document")


def test_an_unknown_unit_is_refused():
    record, covariances = _toy()

    with pytest.raises(InputError, match="'document' or 'token', got 'batch'"):
        fit_ekfac(kfac(covariances), [record], unit="batch")
