"""Values of the linear proxy: against the gradients written out, and against retraining."""

import numpy as np
import pytest

from databourse.attribution.linear_values import gradient_dot_values, influence_values
from databourse.attribution.retraining import LinearRetraining
from databourse.influence.softmax_regression import fit_proxy

N_CLASSES, L2 = 3, 2.0


@pytest.fixture(name="pool")
def _pool():
    """Return embeddings and classes of 30 documents, one without a label, and of 4 examples."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(34, 4)).astype(np.float32)
    labels = rng.integers(N_CLASSES, size=34)
    labels[5] = -1
    return rows[:30], labels[:30], rows[30:], labels[30:]


def values(function, pool):
    rows, labels, example_rows, example_labels = pool
    proxy = fit_proxy(rows, labels, n_classes=N_CLASSES, l2=L2)
    found = function(
        proxy,
        rows,
        label_index=labels,
        example_embeddings=example_rows,
        example_labels=example_labels,
    )
    return proxy, found


def gradient(proxy, row, label):
    """Return (p - e) x^T, written out."""
    x = np.append(row.astype(np.float64), 1.0)
    logits = proxy.coefficients @ x
    p = np.exp(logits - logits.max())
    p /= p.sum()
    p[label] -= 1
    return np.outer(p, x).ravel()


def test_a_gradient_dot_is_the_product_of_two_gradients_and_0_without_a_label(pool):
    rows, labels, example_rows, example_labels = pool
    proxy, found = values(gradient_dot_values, pool)
    for i in (0, 3, 29):
        for j in range(4):
            expected = gradient(proxy, rows[i], labels[i]) @ gradient(
                proxy, example_rows[j], example_labels[j]
            )
            assert found[i, j] == pytest.approx(expected, rel=1e-6)
    assert found[5].tolist() == [0] * 4


def test_influence_foretells_what_leaving_a_document_out_does_to_each_example(pool):
    rows, labels, example_rows, example_labels = pool
    _, found = values(influence_values, pool)
    retraining = LinearRetraining(
        embeddings=rows,
        label_index=labels,
        example_embeddings=example_rows,
        example_labels=example_labels,
        n_classes=N_CLASSES,
        l2=L2,
    )

    def losses(positions):
        return retraining.losses(positions, seed=0, alive=lambda done: None)

    everything = losses(np.arange(30))
    effects = np.stack([losses(np.delete(np.arange(30), i)) - everything for i in range(30)])
    assert found[5].tolist() == [0] * 4
    assert np.abs(effects[5]).max() < 1e-9
    for j in range(4):
        # first order of 1 document in 30: close, and of the right sign
        assert np.corrcoef(effects[:, j], found[:, j])[0, 1] > 0.98


def test_a_retraining_depends_on_its_documents_and_not_on_seed_or_start(pool):
    rows, labels, example_rows, example_labels = pool

    def losses(seed, start=None, positions=range(20)):
        retraining = LinearRetraining(
            embeddings=rows,
            label_index=labels,
            example_embeddings=example_rows,
            example_labels=example_labels,
            n_classes=N_CLASSES,
            l2=L2,
            start=start,
        )
        return retraining.losses(np.array(positions), seed=seed, alive=lambda done: None)

    full = fit_proxy(rows, labels, n_classes=N_CLASSES, l2=L2)
    assert losses(1).tolist() == losses(2).tolist()
    np.testing.assert_allclose(losses(1, full.coefficients), losses(1), rtol=1e-9)
    assert np.abs(losses(1) - losses(1, positions=range(10, 30))).min() > 1e-6
