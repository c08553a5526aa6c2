import math

import numpy as np
import pytest
import threadpoolctl
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from databourse.errors import InputError
from databourse.influence.softmax_regression import (
    SoftmaxRegression,
    accuracy,
    contrasts,
    curvature_at,
    curvature_product,
    fit_proxy,
    losses,
    macro_f1,
    margins,
    mean_loss,
    objective,
    predict_log_proba,
)


def documents(n_documents=90, dimension=5, n_classes=3, seed=0):
    """Return unit rows around one centre per class, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_documents)
    rows = rng.normal(size=(n_classes, dimension))[labels] + rng.normal(
        size=(n_documents, dimension)
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def known_proxy(coefficients, class_weights=None):
    coefficients = np.array(coefficients, dtype=np.float64)
    weights = np.ones(len(coefficients)) if class_weights is None else np.array(class_weights)
    return SoftmaxRegression(coefficients, weights, l2=1.0)


def test_intercepts_of_documents_that_all_look_alike_are_those_computed_by_hand():
    # five documents at 0, four of class 0: with p_0 = 2/3 the slope by the first intercept is
    # -4 (1 - 2/3) + 2/3 + l2 ln(2) / 2, which is 0 at l2 = 4 / (3 ln 2)
    embeddings = np.zeros((5, 1), dtype=np.float32)
    labels = np.array([0, 0, 1, 0, 0])

    proxy = fit_proxy(embeddings, labels, n_classes=2, l2=4 / (3 * math.log(2)))

    half = math.log(2) / 2
    np.testing.assert_allclose(proxy.coefficients, [[0, half], [0, -half]], atol=1e-12)
    np.testing.assert_allclose(
        predict_log_proba(proxy, embeddings[:1]), [[math.log(2 / 3), math.log(1 / 3)]], rtol=1e-12
    )
    loss = -(4 * math.log(2 / 3) + math.log(1 / 3)) / 5
    assert mean_loss(proxy, embeddings, label_index=labels) == pytest.approx(loss, rel=1e-12)
    assert proxy.class_weights.tolist() == [4, 1]
    assert (proxy.n_classes, proxy.dimension) == (2, 1)


@pytest.mark.parametrize(
    ("n_classes", "l2"),
    [(2, 0.6), (3, 0.3), (5, 0.3)],  # scikit-learn's two classes share one row: half the penalty
)
def test_coefficients_are_those_of_scikit_learn_with_a_column_of_ones(n_classes, l2):
    embeddings, labels = documents(n_classes=n_classes)
    ones = np.ones((len(labels), 1))
    twin = LogisticRegression(C=1 / 0.3, fit_intercept=False, tol=1e-10, max_iter=5000)
    twin.fit(np.hstack([embeddings.astype(np.float64), ones]), labels)

    found = fit_proxy(embeddings, labels, n_classes=n_classes, l2=l2)

    expected = twin.coef_ if n_classes == 2 else twin.coef_[1:] - twin.coef_[:1]
    slopes = found.coefficients[1:] - found.coefficients[:1]
    np.testing.assert_allclose(slopes, expected, atol=1e-6)  # where lbfgs stops


def test_gradient_of_the_objective_is_its_slope_in_every_direction():
    embeddings, labels = documents(n_documents=12, dimension=3)
    labels[4] = -1
    rng = np.random.default_rng(1)
    theta, weights = rng.normal(size=(3, 4)), rng.uniform(0, 2, 12)

    def value(theta):
        return objective(theta, embeddings, label_index=labels, l2=0.7, weights=weights)[0]

    _, gradient = objective(theta, embeddings, label_index=labels, l2=0.7, weights=weights)

    step = 1e-6
    slopes = [
        (value(theta + step * unit) - value(theta - step * unit)) / (2 * step)
        for unit in np.eye(12).reshape(12, 3, 4)
    ]
    np.testing.assert_allclose(gradient.ravel(), slopes, rtol=1e-7, atol=1e-8)


def test_objective_is_the_weighted_sum_of_losses_plus_the_penalty():
    theta = np.array([[0.0, math.log(3)], [0.0, 0.0]])  # p = 3/4, 1/4 everywhere
    embeddings, labels = np.ones((3, 1), dtype=np.float32), np.array([0, 1, -1])

    found, _ = objective(
        theta, embeddings, label_index=labels, l2=2.0, weights=np.array([1.0, 3.0, 9.0])
    )

    assert found == pytest.approx(-math.log(3 / 4) - 3 * math.log(1 / 4) + math.log(3) ** 2)


def test_curvature_products_are_differences_of_the_gradient():
    embeddings, labels = documents(n_documents=15, dimension=3, n_classes=4)
    rng = np.random.default_rng(2)
    theta, weights = rng.normal(size=(4, 4)), rng.uniform(0, 2, 15)
    weights[3] = 0
    basis, direction = contrasts(4), rng.normal(size=(3, 4))

    def gradient(theta):
        return objective(theta, embeddings, label_index=labels, l2=0.2, weights=weights)[1]

    found = curvature_product(curvature_at(theta, embeddings, weights=weights, l2=0.2), direction)

    step = 1e-5 * (basis @ direction)
    expected = basis.T @ (gradient(theta + step) - gradient(theta - step)) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_contrasts_are_orthonormal_and_each_sums_to_zero(n_classes):
    basis = contrasts(n_classes)
    np.testing.assert_allclose(basis.T @ basis, np.eye(n_classes - 1), atol=1e-15)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-15)


@pytest.mark.parametrize("l2", [1e-6, 1.0, 1e6])
def test_the_fit_ends_where_the_gradient_is_rounding_even_if_classes_can_be_separated(l2):
    embeddings, labels = documents(n_documents=40, dimension=60)  # more dimensions than documents

    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=l2)

    _, gradient = objective(proxy.coefficients, embeddings, label_index=labels, l2=l2)
    assert np.linalg.norm(gradient) <= 2e-13 * (40 * math.sqrt(2) + l2)
    np.testing.assert_allclose(proxy.coefficients.sum(axis=0), 0, atol=1e-12)


def test_where_the_fit_starts_does_not_change_where_it_ends():
    embeddings, labels = documents()
    start = np.random.default_rng(3).normal(scale=20, size=(3, 6))
    cold = fit_proxy(embeddings, labels, n_classes=3, l2=0.1)
    warm = fit_proxy(embeddings, labels, n_classes=3, l2=0.1, start=start)
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=1e-10)


def test_weight_zero_is_a_document_left_out_and_two_is_one_that_is_there_twice():
    embeddings, labels = documents()
    weights = np.ones(90)
    weights[:30], weights[30:45] = 0, 2
    times = weights.astype(int)

    found = fit_proxy(embeddings, labels, n_classes=3, l2=0.5, weights=weights)

    expected = fit_proxy(
        np.repeat(embeddings, times, axis=0), np.repeat(labels, times), n_classes=3, l2=0.5
    )
    np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-11)
    assert found.class_weights.tolist() == expected.class_weights.tolist()


def test_documents_without_a_label_train_nothing():
    embeddings, labels = documents()
    labels[::3] = -1
    found = fit_proxy(embeddings, labels, n_classes=3, l2=0.5)
    kept = labels != -1
    expected = fit_proxy(embeddings[kept], labels[kept], n_classes=3, l2=0.5)
    assert found.coefficients.tobytes() == expected.coefficients.tobytes()


def test_other_numbers_for_the_classes_give_the_same_rows_in_that_order():
    embeddings, labels = documents(n_classes=4)
    order = np.array([2, 0, 3, 1])
    one = fit_proxy(embeddings, labels, n_classes=4, l2=0.5)
    other = fit_proxy(embeddings, order[labels], n_classes=4, l2=0.5)
    np.testing.assert_allclose(other.coefficients[order], one.coefficients, atol=1e-10)


def test_a_class_without_documents_is_never_the_most_probable_and_finite():
    embeddings, labels = documents(n_classes=2)
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=0.5)
    log_p = predict_log_proba(proxy, embeddings)
    assert proxy.class_weights[2] == 0
    assert np.isfinite(log_p).all()
    assert (log_p.argmax(axis=1) != 2).all()
    assert np.exp(log_p[:, 2]).mean() < 0.05


def test_number_of_threads_changes_no_bit():
    embeddings, labels = documents(n_documents=3000, dimension=96)
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            proxy = fit_proxy(embeddings, labels, n_classes=3, l2=0.5)
            log_p = predict_log_proba(proxy, embeddings)
            found.append(proxy.coefficients.tobytes() + log_p.tobytes())
    assert found[0] == found[1]


def test_margins_are_the_class_against_all_others_however_sure_the_proxy_is():
    # logits are 0, 1000 x, -1000 x
    proxy = known_proxy([[0, 0], [1000, 0], [-1000, 0]])
    embeddings = np.array([[1], [1], [0]], dtype=np.float32)
    labels = np.array([1, 2, 0])

    found = margins(proxy, embeddings, label_index=labels)

    np.testing.assert_allclose(found, [1000, -2000, -math.log(2)], rtol=1e-15)
    own = losses(proxy, embeddings, label_index=labels)
    np.testing.assert_allclose(own, [0, 2000, math.log(3)], atol=1e-12)


def test_log_posteriors_and_losses_are_those_of_scipy():
    embeddings, labels = documents(n_documents=30)
    proxy = known_proxy(np.random.default_rng(4).normal(size=(3, 6)))
    logits = embeddings.astype(np.float64) @ proxy.coefficients[:, :5].T + proxy.coefficients[:, 5]
    expected = logits - logsumexp(logits, axis=1, keepdims=True)

    np.testing.assert_allclose(predict_log_proba(proxy, embeddings), expected, atol=1e-12)
    own = expected[np.arange(30), labels]
    np.testing.assert_allclose(losses(proxy, embeddings, label_index=labels), -own, atol=1e-12)
    found = margins(proxy, embeddings, label_index=labels)
    np.testing.assert_allclose(found, own - np.log1p(-np.exp(own)), atol=1e-10)


def test_accuracy_and_macro_f1_are_those_counted_by_hand():
    # predicts class 0 below 0 and class 1 above; class 2 never, class 3 neither
    proxy = known_proxy([[-1, 0], [1, 0], [0, -50], [0, -50]])
    embeddings = np.array([[-1], [-1], [1], [1], [1]], dtype=np.float32)
    labels = np.array([0, 1, 1, 1, 2])

    assert accuracy(proxy, embeddings, label_index=labels) == 3 / 5
    # F1 of class 0: 2 * 1 / (1 + 2), of 1: 2 * 2 / (3 + 3), of 2: 0; class 3 is left out
    found = macro_f1(proxy, embeddings, label_index=labels)
    assert found == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_classes": 1}, "two classes"),
        ({"l2": 0.0}, "l2 must be"),
        ({"l2": math.nan}, "l2 must be"),
        ({"label_index": np.array([0, 1, 2])}, r"in \[-1, 2\), got 2 at row 2"),
        ({"label_index": np.array([0, 1, -2])}, "got -2 at row 2"),
        ({"label_index": np.array([0.0, 1.0, 1.0])}, "whole number"),
        ({"label_index": np.array([0, 1])}, "one whole number per document"),
        ({"label_index": np.array([-1, -1, -1])}, "nothing to train on"),
        ({"weights": np.array([1.0, -1.0, 1.0])}, "got .*-1.* at row 1"),
        ({"weights": np.array([1.0, math.nan, 1.0])}, "at row 1"),
        ({"weights": np.array([1.0, 1.0])}, "one per document"),
        ({"weights": np.zeros(3)}, "nothing to train on"),
        ({"start": np.zeros((2, 2))}, r"shape \(2, 3\)"),
        ({"embeddings": np.ones(3, dtype=np.float32)}, r"\(n, d\)"),
        ({"embeddings": np.array([[1, 1], [1, np.inf], [1, 1]], np.float32)}, "row 1 of 3"),
    ],
)
def test_a_fit_refuses_what_is_outside_its_domain(changes, message):
    arguments = {
        "embeddings": np.eye(3, 2, dtype=np.float32),
        "label_index": np.array([0, 1, 1]),
        "n_classes": 2,
        "l2": 1.0,
        **changes,
    }
    with pytest.raises(InputError, match=message):
        fit_proxy(arguments.pop("embeddings"), arguments.pop("label_index"), **arguments)


def test_embeddings_of_another_length_and_missing_labels_are_refused():
    proxy = known_proxy([[0, 0], [1, 0]])
    with pytest.raises(InputError, match="have the 1 dimensions"):
        predict_log_proba(proxy, np.ones((2, 3), dtype=np.float32))
    with pytest.raises(InputError, match=r"in \[0, 2\), got -1 at row 1"):
        margins(proxy, np.ones((2, 1), dtype=np.float32), label_index=np.array([0, -1]))
    with pytest.raises(InputError, match="got none"):
        mean_loss(proxy, np.ones((0, 1), dtype=np.float32), label_index=np.zeros(0, dtype=int))
