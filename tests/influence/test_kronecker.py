"""A and S: averages over real tokens, whatever documents, batches and padding they come in."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from databourse.errors import InputError
from databourse.influence import eigenbasis, kronecker
from databourse.influence.curvature import Sample
from databourse.influence.eigenbasis import fit_ekfac, kfac
from databourse.influence.kronecker import LayerRecord, fit_covariances


def _record(inputs, gradients, *, layer="a", labels="data", real=None):
    return LayerRecord(layer, torch.as_tensor(inputs), torch.as_tensor(gradients), labels, real)


def _documents(lengths, *, d_in=4, d_out=3, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(n, d_in)), rng.normal(size=(n, d_out))) for n in lengths]


def _padded(documents, *, width, layer="a", junk=np.nan):
    """Return one record of documents, padded on the left or right by turns with inputs of junk."""
    d_in, d_out = (each.shape[1] for each in documents[0])
    inputs = np.full((len(documents), width, d_in), junk)
    gradients = np.zeros((len(documents), width, d_out))
    real = np.zeros((len(documents), width), dtype=bool)
    for row, (a, d) in enumerate(documents):
        places = slice(0, len(a)) if row % 2 else slice(width - len(a), width)
        inputs[row, places], gradients[row, places], real[row, places] = a, d, True
    return _record(inputs, gradients, layer=layer, real=torch.from_numpy(real))


def test_two_tokens_by_hand():
    # a: (1, 0), (1, 2); d: 3, 1
    record = _record([[[1.0, 0.0], [1.0, 2.0]]], [[[3.0], [1.0]]], labels="sampled")

    fitted = fit_covariances([record], model_id="m")

    np.testing.assert_array_equal(fitted.layers["a"].inputs, [[1.0, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(fitted.layers["a"].gradients, [[5.0]])
    assert fitted.sample == Sample("m", "sampled", n_documents=1, n_tokens=2)
    assert fitted.sample.tokens_per_document == 2.0


def test_covariances_are_the_means_of_a_loop_over_tokens():
    documents = _documents([5, 1, 3])

    fitted = fit_covariances([_padded(documents, width=7)], model_id="m").layers["a"]

    a_sum, s_sum = np.zeros((4, 4)), np.zeros((3, 3))
    for inputs, gradients in documents:
        for a, d in zip(inputs, gradients, strict=True):
            a_sum += np.outer(a, a)
            s_sum += np.outer(d, d)
    np.testing.assert_allclose(fitted.inputs, a_sum / 9, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fitted.gradients, s_sum / 9, rtol=1e-12, atol=1e-14)


def test_cutting_the_same_tokens_into_documents_differently_changes_only_the_mean_length():
    (whole,) = _documents([10])
    cut = [tuple(each[part] for each in whole) for part in (slice(0, 9), slice(9, 10))]

    one = fit_covariances([_padded([whole], width=10)], model_id="m")
    two = fit_covariances([_padded(cut, width=10)], model_id="m")

    for name in ("inputs", "gradients"):
        np.testing.assert_allclose(
            getattr(two.layers["a"], name), getattr(one.layers["a"], name), rtol=1e-12, atol=1e-14
        )
    assert (one.sample.tokens_per_document, two.sample.tokens_per_document) == (10.0, 5.0)


@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_batches_of_any_size_give_what_one_batch_gives(size, monkeypatch):
    documents = _documents([3, 7, 1, 2, 6, 6, 4, 1, 5, 2, 3])
    at_once = fit_covariances([_padded(documents, width=7)], model_id="m")

    monkeypatch.setattr(kronecker, "_BLOCK_CELLS", 4 * size)  # rows in blocks too
    streamed = fit_covariances(
        (_padded(documents[i : i + size], width=7 + i) for i in range(0, 11, size)), model_id="m"
    )

    assert streamed.sample == at_once.sample
    for name in ("inputs", "gradients"):
        np.testing.assert_allclose(
            getattr(streamed.layers["a"], name),
            getattr(at_once.layers["a"], name),
            rtol=1e-12,  # sums of 40 products in another order
            atol=1e-14,
        )


def test_the_kronecker_product_of_s_and_a_acts_on_rows_laid_end_to_end():
    fitted = fit_covariances([_padded(_documents([6, 6]), width=6)], model_id="m").layers["a"]
    vector = np.random.default_rng(3).normal(size=(3, 4))

    by_dense = np.kron(fitted.gradients, fitted.inputs) @ vector.ravel()

    np.testing.assert_allclose(
        by_dense.reshape(3, 4), fitted.gradients @ vector @ fitted.inputs, rtol=1e-12
    )


def test_sums_of_squares_beyond_float32_are_exact():
    record = _record(
        torch.full((1, 2, 1), 1e25, dtype=torch.float32),
        torch.full((1, 2, 1), 60_000.0, dtype=torch.float16),
    )

    fitted = fit_covariances([record], model_id="m").layers["a"]

    assert fitted.inputs[0, 0] == pytest.approx(1e50, rel=1e-6)  # float32 has 1e25 to 6e-8
    assert fitted.gradients[0, 0] == 60_000.0**2


def test_layers_keep_the_order_in_which_they_come():
    documents = _documents([2, 2])
    records = [_padded(documents, width=2, layer=layer) for layer in ("z", "a", "m")]

    assert list(fit_covariances(records, model_id="m").layers) == ["z", "a", "m"]


def test_padding_that_carries_a_gradient_is_refused():
    record = _padded(_documents([2, 3]), width=4, junk=0.0)
    record.gradients[0, 0, 1] = 1e-30

    with pytest.raises(InputError, match="padding in a record of layer 'a' has a gradient"):
        fit_covariances([record], model_id="m")


@pytest.mark.parametrize("name", ["inputs", "gradients"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_by_layer(name, bad):
    record = _padded(_documents([3]), width=3)
    getattr(record, name)[0, 1, 2] = bad

    with pytest.raises(InputError, match=f"{name} in a record of layer 'a' are not finite"):
        fit_covariances([record], model_id="m")


def test_a_mixture_of_labels_is_refused():
    first = _padded(_documents([3]), width=3)
    second = dataclasses.replace(first, labels="sampled")

    with pytest.raises(InputError, match="has labels 'sampled' after 'data'"):
        fit_covariances([first, second], model_id="m")
    with pytest.raises(InputError, match="'sampled' or 'data', got 'guessed'"):
        fit_covariances([dataclasses.replace(first, labels="guessed")], model_id="m")


def test_layers_that_saw_different_documents_are_refused():
    records = [
        _padded(_documents([3, 3]), width=3, layer="a"),
        _padded(_documents([6]), width=6, layer="b"),
    ]

    with pytest.raises(InputError, match="same documents, got 1 for 'b' and 2 for 'a'"):
        fit_covariances(records, model_id="m")


def test_layers_that_saw_different_tokens_are_refused():
    records = [
        _padded(_documents([3, 3]), width=3, layer="a"),
        _padded(_documents([3, 2]), width=3, layer="b"),
    ]

    with pytest.raises(InputError, match="same tokens, got 5 for 'b' and 6 for 'a'"):
        fit_covariances(records, model_id="m")


def test_one_name_for_two_layers_is_refused():
    records = [
        _padded(_documents([3]), width=3),
        _padded(_documents([3], d_in=5), width=3),
    ]

    with pytest.raises(InputError, match=r"'a' must all have \(d_out, d_in\) = \(3, 4\), got"):
        fit_covariances(records, model_id="m")


@pytest.mark.parametrize(
    ("inputs", "gradients", "real"),
    [((2, 3, 4), (2, 5, 4), None), ((2, 3), (2, 3), None), ((2, 3, 4), (2, 3, 4), (2, 4))],
)
def test_a_record_whose_shapes_do_not_fit_is_refused(inputs, gradients, real):
    mask = None if real is None else torch.ones(real, dtype=torch.bool)
    record = _record(torch.zeros(inputs), torch.zeros(gradients), real=mask)

    with pytest.raises(InputError, match=r"record of layer 'a' must have"):
        fit_covariances([record], model_id="m")


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(InputError, match="cannot be fitted on no records"):
        fit_covariances([], model_id="m")
    with pytest.raises(InputError, match="cannot be fitted on no documents"):
        fit_covariances([_record(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2))], model_id="m")
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    record = _record(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), real=nothing)
    with pytest.raises(InputError, match="cannot be fitted on no tokens"):
        fit_covariances([record], model_id="m")


class _LargestFloat64(TorchDispatchMode):
    """Remembers the most float64 numbers in any tensor that torch makes meanwhile."""

    cells = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.float64:
            self.cells = max(self.cells, made.numel())
        return made


def test_no_more_than_a_bounded_block_of_tokens_is_held_in_float64(monkeypatch):
    monkeypatch.setattr(kronecker, "_BLOCK_CELLS", 100)
    record = _record(torch.ones(50, 40, 4), torch.ones(50, 40, 3))  # 8,000 and 6,000 numbers

    with _LargestFloat64() as largest:
        fit_covariances([record], model_id="m")

    assert 90 < largest.cells <= 100


def test_no_more_than_a_bounded_block_of_document_gradients_exists(monkeypatch):
    monkeypatch.setattr(eigenbasis, "_BLOCK_CELLS", 500)
    record = _record(torch.ones(90, 1, 16), torch.ones(90, 1, 12))  # gradients: 17,280 numbers
    bases = kfac(fit_covariances([record], model_id="m"))

    with _LargestFloat64() as largest:
        fit_ekfac(bases, [record], unit="document")

    assert largest.cells == 90 * 16  # the rotated inputs of the record itself


def test_windows_of_a_document_count_as_one_document():
    # three rows, of documents 7 and 9
    first = _padded(_documents([3, 2]), width=3)
    first = dataclasses.replace(first, documents=np.array([7, 9]))
    second = _padded(_documents([4], seed=1), width=4)
    second = dataclasses.replace(second, documents=np.array([7]))

    fitted = fit_covariances([first, second], model_id="m")

    assert fitted.sample == Sample("m", "data", n_documents=2, n_tokens=9)


def test_documents_that_are_not_told_for_all_rows_are_refused():
    plain = _padded(_documents([3, 2]), width=3)
    told = dataclasses.replace(plain, documents=np.array([0, 1]))

    with pytest.raises(InputError, match="only some of the records say which documents"):
        fit_covariances([told, plain], model_id="m")
    with pytest.raises(InputError, match=r"must have shape \(B,\) = \(2,\), got \(3,\)"):
        fit_covariances([dataclasses.replace(told, documents=np.arange(3))], model_id="m")
