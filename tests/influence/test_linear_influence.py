import math

import numpy as np
import pytest
import threadpoolctl
from scipy.stats import spearmanr

from databourse.errors import InputError
from databourse.influence import linear_influence
from databourse.influence.linear_influence import (
    cross_fitted_influence,
    influence_on,
    leave_one_out_influence,
    mean_gradients,
    self_influence,
    target_directions,
    training_hessian,
    values_along,
)
from databourse.influence.softmax_regression import (
    contrasts,
    curvature_at,
    fit_proxy,
    losses,
    margins,
    mean_loss,
    objective,
    predict_log_proba,
)


def documents(n_documents, dimension, n_classes, seed):
    """Return unit rows around one centre per class, fixed by the dimension, and their classes."""
    centres = np.random.default_rng(dimension).normal(size=(n_classes, dimension))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_documents)
    rows = centres[labels] + 1.3 * rng.normal(size=(n_documents, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def toy_a(n_documents, seed, dimension=20):
    """Return features of falling scale and labels of a logistic model, the same for all seeds."""
    slopes = np.random.default_rng(99).normal(scale=math.sqrt(4 / dimension), size=dimension)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_documents, dimension)) * np.linspace(1.5, 0.3, dimension)
    labels = (rng.random(n_documents) < 1 / (1 + np.exp(-rows @ slopes))).astype(np.int64)
    return rows.astype(np.float32), labels


def full_space(proxy, embeddings, labels):
    """Return the gradient, C (d + 1) numbers, and the curvature of each loss, one by one."""
    posteriors = np.exp(predict_log_proba(proxy, embeddings))
    gradients, curvatures = [], []
    for p, embedding, label in zip(posteriors, embeddings, labels, strict=True):
        row = np.append(embedding.astype(np.float64), 1.0)
        gradients.append(np.kron(p - np.eye(len(p))[label], row))
        curvatures.append(np.kron(np.diag(p) - np.outer(p, p), np.outer(row, row)))
    return np.array(gradients), np.array(curvatures)


def refitted_without(places, embeddings, labels, proxy):
    """Yield the proxy refitted without each of these documents."""
    for left_out in places:
        weights = np.ones(len(labels))
        weights[left_out] = 0
        yield fit_proxy(
            embeddings,
            labels,
            n_classes=proxy.n_classes,
            l2=proxy.l2,
            weights=weights,
            start=proxy.coefficients,
        )


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(name="pool", scope="module")
def _pool():
    """Return embeddings, labels, weights, a proxy of them, and two sets of targets."""
    embeddings, labels = documents(60, 4, 3, seed=1)
    weights = np.random.default_rng(2).uniform(0, 2, 60)
    weights[:3] = 0
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=0.4, weights=weights)
    return embeddings, labels, weights, proxy, [documents(n, 4, 3, seed=n) for n in (7, 5)]


def test_values_are_those_computed_by_hand_where_all_documents_look_alike():
    # p_0 = 2/3 (see test_softmax_regression); one contrast moves, (1, -1) / sqrt(2), of curvature
    # 5 * 2 p_0 p_1 + l2; there the slope of a loss is -sqrt(2)/3 for class 0, 2 sqrt(2)/3 for 1
    embeddings, labels = np.zeros((5, 1), dtype=np.float32), np.array([0, 0, 1, 0, 0])
    l2 = 4 / (3 * math.log(2))
    proxy = fit_proxy(embeddings, labels, n_classes=2, l2=l2)
    targets = [(embeddings[:1], np.array([0])), (embeddings[:1], np.array([1]))]

    found = influence_on(proxy, embeddings, label_index=labels, targets=targets)

    curvature = 20 / 9 + l2
    good, bad, best = 2 / 9 / curvature, -4 / 9 / curvature, 8 / 9 / curvature
    expected = [[good, bad], [good, bad], [bad, best], [good, bad], [good, bad]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    left_out = leave_one_out_influence(proxy, embeddings, label_index=labels, targets=targets)
    rest = curvature / (curvature - 4 / 9)
    np.testing.assert_allclose(left_out, np.array(expected) * rest, rtol=1e-12)
    own = self_influence(proxy, embeddings, label_index=labels)
    np.testing.assert_allclose(own, [good, good, best, good, good], rtol=1e-12)


def test_the_hessian_is_the_differences_of_the_gradient(pool):
    embeddings, labels, weights, proxy, _ = pool
    basis = contrasts(3)

    def gradient(beta):
        theta = proxy.coefficients + basis @ beta.reshape(2, 5)
        _, slope = objective(theta, embeddings, label_index=labels, l2=0.4, weights=weights)
        return (basis.T @ slope).ravel()

    curvature = curvature_at(proxy.coefficients, embeddings, weights=weights, l2=0.4)
    found = training_hessian(curvature)

    columns = [(gradient(1e-5 * unit) - gradient(-1e-5 * unit)) / 2e-5 for unit in np.eye(10)]
    np.testing.assert_allclose(found, np.array(columns).T, rtol=1e-7, atol=1e-8)


def test_values_are_those_of_dense_matrices_over_all_classes(pool):
    embeddings, labels, weights, proxy, targets = pool
    gradients, curvatures = full_space(proxy, embeddings, labels)
    hessian = np.einsum("n,nab->ab", weights, curvatures) + 0.4 * np.eye(15)
    means = np.array([full_space(proxy, *each)[0].mean(axis=0) for each in targets])
    arguments = {"label_index": labels, "weights": weights}

    plain = influence_on(proxy, embeddings, targets=targets, **arguments)
    left_out = leave_one_out_influence(proxy, embeddings, targets=targets, **arguments)
    own = self_influence(proxy, embeddings, **arguments)

    inverse = np.linalg.inv(hessian)
    np.testing.assert_allclose(plain, gradients @ inverse @ means.T, atol=1e-12)
    np.testing.assert_allclose(own, np.einsum("na,ab,nb->n", gradients, inverse, gradients))
    without = [
        means @ np.linalg.solve(hessian - weight * each, gradient)
        for weight, each, gradient in zip(weights, curvatures, gradients, strict=True)
    ]
    np.testing.assert_allclose(left_out, without, atol=1e-12)
    assert relative_error(left_out, plain) > 0.01  # or the two would not be told apart
    np.testing.assert_allclose(left_out[:3], plain[:3], atol=1e-12)  # of weight 0


def test_conjugate_gradients_give_what_cholesky_gives(pool):
    embeddings, labels, weights, proxy, targets = pool
    found = [
        influence_on(
            proxy, embeddings, label_index=labels, targets=targets, weights=weights, solver=solver
        )
        for solver in ("cholesky", "conjugate_gradients", "auto")
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-11 * np.abs(found[0]).max())
    assert found[2].tobytes() == found[0].tobytes()


def test_beyond_the_limit_auto_takes_conjugate_gradients_and_leave_one_out_refuses(
    pool, monkeypatch
):
    embeddings, labels, weights, proxy, targets = pool
    arguments = {"label_index": labels, "weights": weights}
    expected = influence_on(
        proxy, embeddings, targets=targets, solver="conjugate_gradients", **arguments
    )
    monkeypatch.setattr(linear_influence, "CHOLESKY_LIMIT", 9)  # there are 2 * 5 rows

    found = influence_on(proxy, embeddings, targets=targets, **arguments)

    assert found.tobytes() == expected.tobytes()
    with pytest.raises(InputError, match="10 rows is above the limit of 9"):
        leave_one_out_influence(proxy, embeddings, targets=targets, **arguments)
    with pytest.raises(InputError, match="10 rows is above the limit of 9"):
        self_influence(proxy, embeddings, **arguments)


def test_values_on_a_set_are_the_mean_of_the_values_on_its_members(pool):
    embeddings, labels, weights, proxy, targets = pool
    members = [(targets[0][0][i : i + 1], targets[0][1][i : i + 1]) for i in range(7)]
    arguments = {"label_index": labels, "weights": weights}
    for values_of in (influence_on, leave_one_out_influence):
        one_by_one = values_of(proxy, embeddings, targets=members, **arguments)
        at_once = values_of(proxy, embeddings, targets=targets[:1], **arguments)
        np.testing.assert_allclose(one_by_one.mean(axis=1), at_once[:, 0], rtol=0, atol=1e-10)


def test_self_influence_is_the_influence_on_oneself(pool):
    embeddings, labels, weights, proxy, _ = pool
    selves = [(embeddings[i : i + 1], labels[i : i + 1]) for i in range(60)]
    arguments = {"label_index": labels, "weights": weights}
    values = influence_on(proxy, embeddings, targets=selves, **arguments)
    found = self_influence(proxy, embeddings, **arguments)
    np.testing.assert_allclose(found, np.diag(values), atol=1e-13)
    assert (found > 0).all()


def test_many_documents_are_valued_in_blocks_as_they_are_at_once(pool, monkeypatch):
    embeddings, labels, weights, proxy, targets = pool
    arguments = {"label_index": labels, "weights": weights, "targets": targets}
    whole = [
        each(proxy, embeddings, **arguments) for each in (influence_on, leave_one_out_influence)
    ]
    monkeypatch.setattr(linear_influence, "_BLOCK_DOCUMENTS", 7)
    parts = [
        each(proxy, embeddings, **arguments) for each in (influence_on, leave_one_out_influence)
    ]
    np.testing.assert_allclose(parts, whole, atol=1e-13)


def test_a_document_of_weight_zero_changes_no_value_and_one_of_weight_two_is_two(pool):
    embeddings, labels, _, _, targets = pool
    weights = np.ones(60)
    weights[:10], weights[10:20] = 0, 2
    times = weights.astype(int)
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=0.4, weights=weights)
    copied, copied_labels = np.repeat(embeddings, times, axis=0), np.repeat(labels, times)
    copies = fit_proxy(copied, copied_labels, n_classes=3, l2=0.4)

    found = influence_on(proxy, embeddings, label_index=labels, targets=targets, weights=weights)

    expected = influence_on(copies, copied, label_index=copied_labels, targets=targets)
    np.testing.assert_allclose(np.repeat(found, times, axis=0), expected, atol=1e-10)


def test_logistic_leave_one_out_is_within_five_per_cent_of_refitting_and_plain_influence_is_not():
    # on the margin f of each target, as the reference has it: loss = ln(1 + exp(-f)) falls by
    # 1 - p = 1 - exp(-loss) where f rises by 1
    embeddings, labels = toy_a(400, seed=0)
    targets, target_labels = toy_a(30, seed=1)
    singles = [(targets[i : i + 1], target_labels[i : i + 1]) for i in range(30)]
    proxy = fit_proxy(embeddings, labels, n_classes=2, l2=2.0)  # a ridge of 1 on the slopes
    places = np.arange(0, 400, 10)
    before = margins(proxy, targets, label_index=target_labels)
    expected = np.array(
        [
            before - margins(refitted, targets, label_index=target_labels)
            for refitted in refitted_without(places, embeddings, labels, proxy)
        ]
    )
    per_margin = -np.expm1(-losses(proxy, targets, label_index=target_labels))
    arguments = {"label_index": labels, "targets": singles}

    newton = leave_one_out_influence(proxy, embeddings, **arguments)[places] / per_margin
    plain = influence_on(proxy, embeddings, **arguments)[places] / per_margin

    assert relative_error(newton, expected) <= 0.05
    assert np.corrcoef(newton.ravel(), expected.ravel())[0, 1] >= 0.999
    assert relative_error(plain, expected) > 0.05
    assert relative_error(plain, expected) > 2 * relative_error(newton, expected)


def test_multi_class_values_are_near_those_of_refitting_without_each_document():
    embeddings, labels = documents(160, 6, 4, seed=3)
    targets, target_labels = documents(20, 6, 4, seed=4)
    singles = [(targets[i : i + 1], target_labels[i : i + 1]) for i in range(20)]
    proxy = fit_proxy(embeddings, labels, n_classes=4, l2=0.5)
    places = np.arange(0, 160, 4)
    before = losses(proxy, targets, label_index=target_labels)
    expected = np.array(
        [
            losses(refitted, targets, label_index=target_labels) - before
            for refitted in refitted_without(places, embeddings, labels, proxy)
        ]
    )
    arguments = {"label_index": labels, "targets": singles}

    newton = leave_one_out_influence(proxy, embeddings, **arguments)[places]
    plain = influence_on(proxy, embeddings, **arguments)[places]

    assert np.corrcoef(plain.ravel(), expected.ravel())[0, 1] >= 0.99
    assert np.corrcoef(newton.ravel(), expected.ravel())[0, 1] >= 0.999
    assert relative_error(newton, expected) < relative_error(plain, expected) / 2


def test_sums_of_values_rank_half_subsets_as_refitting_does_and_of_shuffled_values_do_not():
    # toy A of the reference: 0.964 for the exact influence of 400 documents in 20 dimensions, 0.81
    # for the dot product of gradients; 60 subsets are within some 0.01 of 200
    embeddings, labels = toy_a(400, seed=5)
    targets, target_labels = toy_a(60, seed=6)
    proxy = fit_proxy(embeddings, labels, n_classes=2, l2=2.0)
    singles = [(targets[i : i + 1], target_labels[i : i + 1]) for i in range(60)]
    values = influence_on(proxy, embeddings, label_index=labels, targets=singles)
    gradients, _ = full_space(proxy, embeddings, labels)
    dots = gradients @ full_space(proxy, targets, target_labels)[0].T
    rng = np.random.default_rng(7)
    kept = np.array([rng.permutation(400) < 200 for _ in range(60)]).astype(np.float64)
    falls = []
    for weights in kept:
        subset = fit_proxy(
            embeddings, labels, n_classes=2, l2=2.0, weights=weights, start=proxy.coefficients
        )
        falls.append(-losses(subset, targets, label_index=target_labels))
    falls = np.array(falls)

    def score(values):
        sums = kept @ values
        return np.mean([spearmanr(sums[:, j], falls[:, j]).statistic for j in range(60)])

    assert score(values) == pytest.approx(0.964, abs=0.02)
    assert score(dots) < score(values) - 0.05
    assert abs(score(values[rng.permutation(400)])) < 0.1  # its sd is about 0.02
    assert score(-values) < -0.9


@pytest.fixture(name="noisy", scope="module")
def _noisy():
    """Return embeddings, labels of which a fifth is wrong, which these are, and clean targets."""
    embeddings, truth = documents(600, 8, 3, seed=8)
    rng = np.random.default_rng(9)
    is_wrong = rng.random(600) < 0.2
    given = np.where(is_wrong, (truth + rng.integers(1, 3, 600)) % 3, truth)
    return embeddings, given, is_wrong, documents(300, 8, 3, seed=10)


def test_the_better_half_by_value_trains_a_better_proxy_than_all_and_the_worse_half_a_worse(noisy):
    embeddings, labels, _, targets = noisy
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=1.0)
    values = influence_on(proxy, embeddings, label_index=labels, targets=[targets])[:, 0]
    order = np.argsort(-values, kind="stable")
    test = documents(1000, 8, 3, seed=11)

    def loss(rows):
        subset = fit_proxy(embeddings[rows], labels[rows], n_classes=3, l2=1.0)
        return mean_loss(subset, test[0], label_index=test[1])

    assert loss(order[:300]) < loss(np.arange(600)) < loss(order[300:])


def test_wrong_labels_have_negative_values_on_clean_targets(noisy):
    embeddings, labels, is_wrong, targets = noisy
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=1.0)
    values = influence_on(proxy, embeddings, label_index=labels, targets=[targets])[:, 0]
    assert np.quantile(values[is_wrong], 0.8) < 0
    assert np.quantile(values[~is_wrong], 0.2) > 0 > values[is_wrong].mean()


def test_cross_fitted_values_are_those_of_newcomers_to_a_proxy_of_the_other_folds(noisy):
    embeddings, labels, _, targets = noisy
    labels, folds = labels[:90].copy(), np.arange(90) % 3
    labels[5] = -1
    weights = np.random.default_rng(1).uniform(0.5, 2, 90)

    found = cross_fitted_influence(
        embeddings[:90],
        labels,
        folds=folds,
        n_classes=3,
        l2=1.0,
        targets=[targets],
        weights=weights,
    )

    for fold in range(3):
        others = np.flatnonzero((folds != fold) & (labels >= 0))
        members = np.flatnonzero((folds == fold) & (labels >= 0))
        proxy = fit_proxy(
            embeddings[others], labels[others], n_classes=3, l2=1.0, weights=weights[others]
        )
        _, curvatures = full_space(proxy, embeddings[others], labels[others])
        hessian = np.einsum("n,nab->ab", weights[others], curvatures) + np.eye(27)
        gradients, _ = full_space(proxy, embeddings[members], labels[members])
        mean = full_space(proxy, *targets)[0].mean(axis=0)
        expected = gradients @ np.linalg.solve(hessian, mean)
        np.testing.assert_allclose(found[members, 0], expected, atol=1e-10)
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [5]


def test_a_wrong_label_that_holds_a_direction_alone_hides_from_itself_but_not_when_cross_fitted():
    embeddings, labels = documents(40, 60, 2, seed=12)  # dimensions enough to fit any label
    labels[0] = 1 - labels[0]
    targets, arguments = [documents(200, 60, 2, seed=13)], {"n_classes": 2, "l2": 0.01}
    proxy = fit_proxy(embeddings, labels, **arguments)

    inside = influence_on(proxy, embeddings, label_index=labels, targets=targets)[:, 0]
    outside = cross_fitted_influence(
        embeddings, labels, folds=np.arange(40) % 4, targets=targets, **arguments
    )[:, 0]

    assert outside[0] < 5 * inside[0] < 0


def test_a_document_without_a_label_or_of_a_class_the_proxy_does_not_know_has_no_value():
    embeddings, labels = documents(30, 4, 3, seed=14)
    labels[3] = -1
    known = labels != 2
    proxy = fit_proxy(embeddings[known], labels[known], n_classes=3, l2=1.0)
    target = [(embeddings[:1], np.array([1]))]
    directions = target_directions(
        proxy, embeddings[known], label_index=labels[known], targets=target
    )

    found = values_along(proxy, embeddings, label_index=labels, directions=directions)

    np.testing.assert_array_equal(np.isnan(found[:, 0]), (labels == 2) | (labels == -1))
    training = {"label_index": labels[known]}
    own = self_influence(proxy, embeddings[known], **training)
    left_out = leave_one_out_influence(proxy, embeddings[known], targets=target, **training)
    unlabelled = labels[known] == -1
    np.testing.assert_array_equal(np.isnan(own), unlabelled)
    np.testing.assert_array_equal(np.isnan(left_out[:, 0]), unlabelled)


def test_a_class_that_only_one_fold_has_is_not_valued_in_it():
    embeddings, labels = documents(40, 4, 2, seed=15)
    folds = np.arange(40) % 4
    labels[folds == 1] = np.arange(10) % 3
    targets = [(embeddings[:8], np.array([0, 1] * 4))]

    found = cross_fitted_influence(
        embeddings, labels, folds=folds, n_classes=3, l2=1.0, targets=targets
    )

    np.testing.assert_array_equal(np.isnan(found[:, 0]), labels == 2)


def test_number_of_threads_changes_no_bit_of_a_value():
    embeddings, labels = documents(2000, 80, 3, seed=16)
    targets = [documents(500, 80, 3, seed=17)]
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            proxy = fit_proxy(embeddings, labels, n_classes=3, l2=1.0)
            arguments = {"label_index": labels, "targets": targets}
            found.append(
                influence_on(proxy, embeddings, **arguments).tobytes()
                + influence_on(
                    proxy, embeddings, solver="conjugate_gradients", **arguments
                ).tobytes()
                + leave_one_out_influence(proxy, embeddings, **arguments).tobytes()
            )
    assert found[0] == found[1]


def test_targets_of_a_class_that_the_pool_lacks_and_empty_sets_are_refused():
    embeddings, labels = documents(30, 4, 2, seed=18)
    proxy = fit_proxy(embeddings, labels, n_classes=3, l2=1.0)
    with pytest.raises(InputError, match="set 1 of the targets has documents of class 2, of which"):
        mean_gradients(proxy, [(embeddings, labels), (embeddings[:2], np.array([0, 2]))])
    with pytest.raises(InputError, match="set 0 of the targets is empty"):
        mean_gradients(proxy, [(embeddings[:0], labels[:0])])
    with pytest.raises(InputError, match=r"in \[0, 3\), got -1 at row 0"):
        mean_gradients(proxy, [(embeddings[:1], np.array([-1]))])


def test_a_proxy_of_other_documents_labels_or_weights_is_refused(pool):
    embeddings, labels, weights, proxy, targets = pool
    wrong = [
        (embeddings, labels, None),
        (embeddings[1:], labels[1:], weights[:-1]),
        (embeddings, (labels + 1) % 3, weights),
    ]
    for rows, codes, of_rows in wrong:
        with pytest.raises(InputError, match="was not fitted on these"):
            influence_on(proxy, rows, label_index=codes, targets=targets, weights=of_rows)
    with pytest.raises(InputError, match="have the 4 dimensions"):
        influence_on(proxy, embeddings[:, :3], label_index=labels, targets=targets)


@pytest.mark.parametrize("solver", ["cholesky", "conjugate_gradients"])
def test_no_set_of_targets_gives_no_column(pool, solver):
    embeddings, labels, weights, proxy, _ = pool
    found = influence_on(
        proxy, embeddings, label_index=labels, targets=[], weights=weights, solver=solver
    )
    assert found.shape == (60, 0)


def test_one_fold_is_no_fold():
    embeddings, labels = documents(10, 4, 2, seed=19)
    with pytest.raises(InputError, match="at least two of them must occur"):
        cross_fitted_influence(
            embeddings,
            labels,
            folds=np.zeros(10, dtype=np.int64),
            n_classes=2,
            l2=1.0,
            targets=[(embeddings, labels)],
        )
