"""Curvature of a real, tiny transformer, from what its passes capture."""

import numpy as np
import pytest

from databourse.influence.curvature import Sample
from databourse.influence.curvature_records import records_of
from databourse.influence.eigenbasis import fit_ekfac, kfac
from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.kronecker import fit_covariances
from databourse.influence.layers import tracked_layers
from databourse.influence.per_example import captured
from databourse.influence.weighted_documents import WeightedDocument, whole_documents


def _records(model, documents, *, seed=None, batch_tokens=64):
    passes = captured(
        model,
        documents,
        tracked_layers(model, "all"),
        output="loss",
        batch_tokens=batch_tokens,
        sampled_seed=seed,
    )
    return records_of(passes, labels="data" if seed is None else "sampled")


def test_eigenvalues_hold_the_squared_length_of_documents_gradients(tiny_model, tiny_texts):
    """A rotation keeps lengths: sum of Lam = mean |G_b|^2, G_b by one backward pass for each."""
    documents = whole_documents(tiny_model, tiny_texts)
    layers = tracked_layers(tiny_model, "all")
    gradients = loop_gradients(tiny_model, documents, layers, output="loss")

    bases = kfac(fit_covariances(_records(tiny_model, documents), model_id="m"))
    fitted = fit_ekfac(bases, _records(tiny_model, documents, batch_tokens=200), unit="document")

    assert list(fitted.shapes) == list(layers)
    for layer in layers:
        expected = np.square(gradients[layer]).sum() / len(documents)
        assert fitted.eigenvalues(layer).sum() == pytest.approx(expected, rel=1e-4)  # float32


def test_documents_and_tokens_are_counted_once_in_windows_and_padding(tiny_model):
    ids = np.arange(1, 61, dtype=np.int64)
    documents = [  # contexts of 32: one, two and three windows
        WeightedDocument(np.resize(ids, length), np.ones(length, dtype=np.float32))
        for length in (5, 33, 90)
    ]

    fitted = fit_covariances(_records(tiny_model, documents), model_id="m")

    assert fitted.sample == Sample("m", "data", n_documents=3, n_tokens=5 + 33 + 90)


def test_tokens_that_can_carry_no_gradient_are_not_counted(tiny_model):
    ids = np.arange(1, 41, dtype=np.int64)
    weights = np.zeros(40, dtype=np.float32)
    weights[[2, 35]] = 1.0  # in windows of 32: the third token of one, the fourth of the next

    fitted = fit_covariances(_records(tiny_model, [WeightedDocument(ids, weights)]), model_id="m")

    assert (fitted.sample.n_documents, fitted.sample.n_tokens) == (1, 3 + 4)


@pytest.mark.parametrize(
    ("seed", "least", "most"),
    [(1, 0.95, 1.05), (None, 1.2, 1.6)],  # measured: 1.0001 and 1.396
    ids=["sampled", "data"],
)
def test_products_of_different_tokens_vanish_for_sampled_labels_alone(
    tiny_model, tiny_texts, seed, least, most
):
    """Of a layer after the last attention, whose d_t is of the loss of token t alone."""
    documents = whole_documents(tiny_model, tiny_texts * 20)
    records = list(_records(tiny_model, documents, seed=seed, batch_tokens=512))
    bases = kfac(fit_covariances(records, model_id="m"))
    lam = {
        unit: fit_ekfac(bases, records, unit=unit).eigenvalues("transformer.h.1.mlp.c_proj").sum()
        for unit in ("document", "token")
    }
    assert bases.sample.labels == ("data" if seed is None else "sampled")
    assert least < lam["document"] / lam["token"] < most
