"""Datamodels by regression: planted effects, optimality conditions, and a bank of real refits."""

import numpy as np
import pytest
from scipy.optimize import minimize

from databourse.errors import InputError
from databourse.influence import datamodels
from databourse.influence.datamodels import (
    lasso_datamodels,
    random_subsets,
    retrain_bank,
    ridge_datamodels,
)
from databourse.influence.lds import linear_datamodeling_score


def bernoulli_masks(seed, n_subsets, n_documents):
    return np.random.default_rng(seed).random((n_subsets, n_documents)) < 0.5


def fit(method, masks, outputs, output="loss", *, seed=1, **options):
    rng = np.random.default_rng(seed)
    return method(masks, outputs, output=output, rng=rng, **options)


def planted_losses(masks, noise=0.0):
    """Return losses at two targets that depend on documents 3 and 8, and on 5; and the effects."""
    effects = np.zeros((masks.shape[1], 2))
    effects[3, 0], effects[8, 0], effects[5, 1] = -2.0, 1.0, -0.5
    rng = np.random.default_rng(7)
    return 4.0 + masks @ effects + noise * rng.normal(size=(len(masks), 2)), effects


def test_lasso_of_one_document_is_the_hand_computed_soft_threshold():
    # masks 0, 1, 0, 1, losses 3, 1, 3, 1: slope -2, centred variance 1/4, so at a penalty of a
    # tenth of its largest value (1/2) the slope shrinks to -2 * 0.9
    masks = np.array([[0], [1], [0], [1], [0], [1]], dtype=bool)
    losses = np.array([[3.0], [1.0]] * 3)

    model = fit(lasso_datamodels, masks, losses, grid=[0.1], n_folds=2)

    np.testing.assert_allclose(model.values, [[1.8]], rtol=1e-6)
    assert model.intercepts.tolist() == [2.0]
    assert model.penalties[0] == pytest.approx(0.05)


def test_ridge_of_one_document_is_the_hand_computed_shrunk_slope():
    # slope -2 times variance / (variance + penalty) = 1/4 / (1/4 + 1/4)
    masks = np.array([[0], [1], [0], [1], [0], [1]], dtype=bool)
    losses = np.array([[3.0], [1.0]] * 3)

    model = fit(ridge_datamodels, masks, losses, grid=[1.0], n_folds=2)

    np.testing.assert_allclose(model.values, [[1.0]], rtol=1e-12)


def test_lasso_recovers_planted_sparse_effects():
    masks = bernoulli_masks(0, 120, 60)
    losses, effects = planted_losses(masks, noise=0.05)

    model = fit(lasso_datamodels, masks, losses)

    assert np.argsort(-np.abs(model.values[:, 0]))[:2].tolist() == [3, 8]
    assert np.argmax(np.abs(model.values[:, 1])) == 5
    # noise of a coefficient is 0.05 / sqrt(120 / 4) = 0.01; the penalty shrinks a few of those
    np.testing.assert_allclose(model.values, -effects, atol=0.06)
    assert (model.explained > 0.9).all()


def test_losses_and_margins_give_opposite_values():
    masks = bernoulli_masks(0, 60, 20)
    losses, _ = planted_losses(masks)

    for method in (lasso_datamodels, ridge_datamodels):
        as_loss, as_margin = fit(method, masks, losses), fit(method, masks, losses, "margin")
        np.testing.assert_array_equal(as_loss.values, -as_margin.values)
        assert as_loss.values[3, 0] > 0 > as_loss.values[8, 0]  # document 3 lowers the loss


def test_lasso_satisfies_its_optimality_conditions():
    rng = np.random.default_rng(2)
    for n_subsets, n_documents in ((60, 25), (25, 60)):  # with and without the matrix of documents
        masks = bernoulli_masks(3, n_subsets, n_documents)
        losses = masks @ rng.normal(size=(n_documents, 3)) + rng.normal(size=(n_subsets, 3))

        model = fit(lasso_datamodels, masks, losses, grid=[1.0, 0.3, 0.1])

        coefficients, centred = -model.values, masks - masks.mean(axis=0)
        residuals = losses - losses.mean(axis=0) - centred @ coefficients
        slopes = centred.T @ residuals / n_subsets
        is_zero = coefficients == 0
        penalties = np.broadcast_to(model.penalties, slopes.shape)
        # a subgradient of |w| is in [-1, 1] at 0 and the sign elsewhere; 1e-4 of it for the gap
        # at which the descent stops
        assert (np.abs(slopes) <= penalties * (1 + 1e-3)).all()
        np.testing.assert_allclose(
            slopes[~is_zero], (np.sign(coefficients) * penalties)[~is_zero], rtol=1e-3
        )
        assert is_zero.any()
        assert not is_zero.all()


def test_lasso_equals_a_slow_minimiser_of_its_objective():
    masks = bernoulli_masks(4, 40, 6)
    rng = np.random.default_rng(5)
    losses = masks @ rng.normal(size=(6, 1)) + rng.normal(size=(40, 1))
    model = fit(lasso_datamodels, masks, losses, grid=[0.2])
    centred, target = masks - masks.mean(axis=0), losses[:, 0] - losses.mean()

    def objective(halves):  # w = u - v with u, v >= 0, so that |w| is smooth
        misses = target - centred @ (halves[:6] - halves[6:])
        return misses @ misses / 80 + model.penalties[0] * halves.sum()

    slow = minimize(
        objective, np.ones(12), bounds=[(0, None)] * 12, options={"ftol": 1e-15, "gtol": 1e-10}
    ).x

    np.testing.assert_allclose(-model.values[:, 0], slow[:6] - slow[6:], atol=1e-4)


def test_ridge_equals_the_normal_equations():
    for n_subsets, n_documents in ((50, 20), (20, 50)):
        masks = bernoulli_masks(6, n_subsets, n_documents)
        losses = np.random.default_rng(7).normal(size=(n_subsets, 3))

        model = fit(ridge_datamodels, masks, losses)

        centred = masks - masks.mean(axis=0)
        for column in range(3):
            system = centred.T @ centred / n_subsets + model.penalties[column] * np.eye(n_documents)
            expected = np.linalg.solve(
                system, centred.T @ (losses[:, column] - losses[:, column].mean()) / n_subsets
            )
            np.testing.assert_allclose(-model.values[:, column], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("method", ["lasso", "ridge"])
def test_cross_validation_equals_a_loop_over_folds(method):
    masks = bernoulli_masks(8, 30, 8)
    rng = np.random.default_rng(9)
    losses = masks @ rng.normal(size=(8, 2)) + 2 * rng.normal(size=(30, 2))
    fitter = lasso_datamodels if method == "lasso" else ridge_datamodels
    grid = [0.9, 0.5, 0.2, 0.05] if method == "lasso" else [10.0, 1.0, 0.1, 0.01]
    model = fit(fitter, masks, losses, grid=grid, n_folds=3)

    fold = np.random.default_rng(1).permutation(30) % 3  # the same deal
    centred, centred_losses = masks - masks.mean(axis=0), losses - losses.mean(axis=0)
    for column in range(2):
        errors = []
        for ratio in grid:
            if method == "lasso":
                penalty = ratio * np.abs(centred.T @ centred_losses[:, column]).max() / 30
            else:
                penalty = ratio * np.trace(centred.T @ centred) / 30 / 8
            squares = 0.0
            for held_out in range(3):
                train = fold != held_out
                x = masks[train] - masks[train].mean(axis=0)
                y = losses[train, column] - losses[train, column].mean()
                w = slow_coefficients(method, x, y, penalty)
                test = masks[~train] - masks[train].mean(axis=0)
                misses = losses[~train, column] - losses[train, column].mean() - test @ w
                squares += float(misses @ misses)
            errors.append((squares / 30, penalty))
        least, penalty = min(errors)
        assert model.penalties[column] == pytest.approx(penalty, rel=1e-12)
        assert model.held_out_errors[column] == pytest.approx(least, rel=1e-5)
        assert model.explained[column] == pytest.approx(
            1 - least / losses[:, column].var(), rel=1e-4
        )


def slow_coefficients(method, x, y, penalty):
    """Return ridge by its normal equations, or LASSO by many plain sweeps over coordinates."""
    if method == "ridge":
        return np.linalg.solve(x.T @ x / len(x) + penalty * np.eye(x.shape[1]), x.T @ y / len(x))
    w = np.zeros(x.shape[1])
    for _ in range(500):
        for j in range(len(w)):
            slope = x[:, j] @ (y - x @ w + x[:, j] * w[j]) / len(x)
            w[j] = np.sign(slope) * max(abs(slope) - penalty, 0) / (x[:, j] @ x[:, j] / len(x))
    return w


def test_useless_outputs_are_reported_as_unexplained():
    masks = bernoulli_masks(10, 60, 40)
    noise = np.random.default_rng(11).normal(size=(60, 4))

    for method in (lasso_datamodels, ridge_datamodels):
        assert (fit(method, masks, noise).explained < 0.25).all()


def test_a_penalty_at_the_end_of_the_grid_is_reported():
    masks = bernoulli_masks(0, 120, 20)
    losses, _ = planted_losses(masks)  # without noise the least penalty is best

    assert fit(ridge_datamodels, masks, losses, grid=[1.0, 0.5]).at_edge.all()
    noise = np.random.default_rng(11).normal(size=(120, 2))
    assert not fit(ridge_datamodels, masks, noise, grid=[1e3, 1e-3]).at_edge.any()


def test_subsets_of_one_size_tell_effects_up_to_a_shift():
    rng = np.random.default_rng(12)
    masks = random_subsets(30, share=0.5, n_subsets=200, rng=rng)
    effects = rng.normal(size=(30, 3))

    model = fit(ridge_datamodels, masks, masks @ effects, grid=[1e-9])

    np.testing.assert_allclose(-model.values, effects - effects.mean(axis=0), atol=1e-6)


def least_squares_bank(rng, n_documents=24):
    """Return documents for the mean of their numbers: a model linear in masks of one size."""
    numbers = rng.normal(size=n_documents)

    def train_and_evaluate(documents, seed):
        assert (np.diff(documents) > 0).all()
        mean = numbers[documents].mean()
        return np.array([mean, -2 * mean])

    return numbers, train_and_evaluate


def test_a_bank_of_a_linear_model_gives_its_true_datamodel():
    rng = np.random.default_rng(13)
    numbers, train = least_squares_bank(rng)
    masks = random_subsets(24, share=0.5, n_subsets=80, rng=rng)

    losses = retrain_bank(train, masks, seeds=[0], store={})[0]
    model = fit(ridge_datamodels, masks, losses, grid=[1e-9])

    # the mean of 12 numbers: each adds a twelfth of itself
    truth = (numbers - numbers.mean()) / 12
    np.testing.assert_allclose(model.values, np.outer(truth, [-1, 2]), atol=1e-7)
    fresh = random_subsets(24, share=0.5, n_subsets=40, rng=rng)
    outputs = retrain_bank(train, fresh, seeds=[0], store={})
    score = linear_datamodeling_score(model.values, fresh, outputs, output="loss", rng=rng)
    assert score.score == pytest.approx(1.0, abs=1e-12)


def test_datamodels_of_shuffled_masks_foretell_nothing():
    rng = np.random.default_rng(14)
    _, train = least_squares_bank(rng)
    masks = random_subsets(24, share=0.5, n_subsets=80, rng=rng)
    losses = retrain_bank(train, masks, seeds=[0], store={})[0]

    model = fit(ridge_datamodels, masks[rng.permutation(80)], losses)

    assert (model.explained < 0.2).all()


def test_random_subsets_have_one_size_and_every_document_its_turn():
    masks = random_subsets(10, share=0.3, n_subsets=2_000, rng=np.random.default_rng(0))

    assert masks.dtype == np.bool_
    assert (masks.sum(axis=1) == 3).all()
    # each share is 0.3 with sd sqrt(0.21 / 2000) = 0.010; 4 of those
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.041)
    both = (masks[:, :1] & masks[:, 1:]).mean(axis=0)
    np.testing.assert_allclose(both, 0.3 * 2 / 9, atol=0.023)


@pytest.mark.parametrize(
    ("n_documents", "share", "n_subsets", "said"),
    [
        (10, 0.0, 5, "share in \\(0, 1\\)"),
        (10, 1.0, 5, "share in \\(0, 1\\)"),
        (10, 0.5, 0, "n_subsets must be >= 1"),
        (10, 0.01, 5, "of 10 documents is 0"),
        (1, 0.6, 5, "of 1 documents is 1"),
    ],
)
def test_subsets_of_nothing_or_everything_are_refused(n_documents, share, n_subsets, said):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=said):
        random_subsets(n_documents, share=share, n_subsets=n_subsets, rng=rng)


class InterruptedTrainingError(Exception):
    pass


def test_a_bank_goes_on_where_it_was_interrupted():
    masks = bernoulli_masks(0, 6, 10)
    trained, store, reported = [], {}, []

    def train(documents, seed):
        if len(trained) == 4:
            trained.append("failed")
            raise InterruptedTrainingError
        trained.append((tuple(documents), seed))
        return np.array([documents.sum() + 100.0 * seed, len(documents)])

    with pytest.raises(InterruptedTrainingError):
        retrain_bank(train, masks, seeds=[3, 5], store=store, progress=reported.append)
    assert sum(reported) == len(store) == 4

    outputs = retrain_bank(train, masks, seeds=[3, 5], store=store, progress=reported.append)

    done = [entry for entry in trained if entry != "failed"]
    assert len(done) == len(set(done)) == 12
    assert sum(reported) == 4 + 12
    expected = [
        [[np.flatnonzero(mask).sum() + 100.0 * seed, mask.sum()] for mask in masks]
        for seed in (3, 5)
    ]
    np.testing.assert_array_equal(outputs, expected)
    # more subsets and the seeds turned round: only what is new is trained
    more = np.concatenate([bernoulli_masks(1, 2, 10), masks])
    turned = retrain_bank(train, more, seeds=[5, 3], store=store)
    np.testing.assert_array_equal(turned[::-1, 2:], outputs)
    assert len(trained) - 1 == 12 + 4


def test_keys_tell_masks_pools_and_seeds_apart():
    mask = np.array([True, False, True])
    keys = {
        datamodels.subset_key(mask, 0),
        datamodels.subset_key(mask, 1),
        datamodels.subset_key(~mask, 0),
        datamodels.subset_key(np.append(mask, False), 0),  # packs to the same bytes
    }

    assert len(keys) == 4
    assert datamodels.subset_key(mask, 0) in keys


@pytest.mark.parametrize(
    ("trainer", "change", "said"),
    [
        (lambda documents, seed: [np.nan], {}, "subset 0 with seed 0 must be finite"),
        (lambda documents, seed: [1.0] * len(documents), {}, "of shape \\(1,\\), got"),
        (lambda documents, seed: [], {}, "must be finite, of shape"),
        (lambda documents, seed: 1.0, {}, "must be finite, of shape"),
        (lambda documents, seed: [1.0], {"seeds": []}, "seeds must be distinct"),
        (lambda documents, seed: [1.0], {"seeds": [1, 1]}, "seeds must be distinct"),
        (lambda documents, seed: [1.0], {"masks": np.zeros((2, 3), bool)}, "subset 0 holds no"),
        (lambda documents, seed: [1.0], {"masks": np.ones((2, 3))}, "masks must be booleans"),
    ],
)
def test_a_bank_refuses_what_it_cannot_use(trainer, change, said):
    masks = np.array([[True, False, False], [True, True, False]])
    with pytest.raises(InputError, match=said):
        retrain_bank(trainer, **{"masks": masks, "seeds": [0], "store": {}, **change})


def test_a_store_of_another_run_is_refused():
    masks = np.array([[True, False, False], [True, True, False]])
    store = {datamodels.subset_key(masks[1], 0): np.ones(5)}

    with pytest.raises(InputError, match="the store holds another run's"):
        retrain_bank(lambda documents, seed: np.ones(2), masks, seeds=[0], store=store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outputs": np.ones((59, 2))}, "outputs must have shape \\(60, n_targets\\)"),
        ({"outputs": np.full((60, 1), np.inf)}, "got inf at subset 0, target 0"),
        ({"outputs": np.ones((60, 1))}, "the first at 0, are the same for every subset"),
        ({"masks": np.ones((60, 20), bool)}, "all subsets are the same"),
        ({"masks": np.ones((60, 20))}, "masks must be booleans"),
        ({"grid": []}, "a grid of penalties must hold"),
        ({"grid": [0.0]}, "a grid of penalties must hold"),
        ({"grid": [np.inf]}, "a grid of penalties must hold"),
        ({"n_folds": 1}, "n_folds must be in 2 .. 60"),
        ({"n_folds": 61}, "n_folds must be in 2 .. 60"),
        ({"output": "accuracy"}, "output must be 'loss' or 'margin'"),
    ],
)
def test_malformed_regressions_are_refused(change, said):
    masks = bernoulli_masks(0, 60, 20)
    losses, _ = planted_losses(masks)
    for method in (lasso_datamodels, ridge_datamodels):
        with pytest.raises(InputError, match=said):
            fit(method, **{"masks": masks, "outputs": losses, **change})


def test_lasso_penalties_beyond_the_null_model_are_refused():
    masks = bernoulli_masks(0, 60, 20)
    losses, _ = planted_losses(masks)

    with pytest.raises(InputError, match=r"at most 1\.0"):
        fit(lasso_datamodels, masks, losses, grid=[1.5])
    assert not fit(lasso_datamodels, masks, losses, grid=[1.0]).values.any()


def test_descent_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(datamodels, "_MOST_SWEEPS", 1)
    masks = bernoulli_masks(0, 40, 60)
    losses = np.random.default_rng(0).normal(size=(40, 1))

    with pytest.raises(InputError, match="did not converge within 1 sweeps"):
        fit(lasso_datamodels, masks, losses, grid=[1e-3])
