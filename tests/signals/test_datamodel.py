"""Datamodels as a signal: planted effects come back, with their sign, and chance is told."""

import numpy as np
import pytest

from databourse.influence.datamodels import Retrainings, random_subsets, ridge_datamodels
from databourse.seeds import stage_rng

from .conftest import pool, score

N = 30


def retrainings(effects, *, noise=0.0, n_subsets=200, seed=0):
    """Return subsets and losses that are linear in who is a member: 3 - sum of effects + noise."""
    rng = np.random.default_rng(seed)
    masks = random_subsets(N, share=0.5, n_subsets=n_subsets, rng=rng)
    losses = {
        name: 3.0 - masks @ each + noise * rng.normal(size=n_subsets)
        for name, each in effects.items()
    }
    return Retrainings(masks=masks, losses=losses)


def inputs_of(found, *, tokens=None):
    tokens = np.full(N, 10) if tokens is None else tokens
    return pool(n=N, tokens=tokens, targets=(), retrainings=found)


@pytest.mark.parametrize("method", ["ridge", "lasso"])
def test_documents_that_lowered_the_loss_come_first(method):
    effects = np.zeros(N)
    effects[[3, 11]] = [1.0, 0.6]
    effects[20] = -0.8
    inputs = inputs_of(retrainings({"a": effects}, noise=0.05))
    result = score({"name": "datamodel", "method": method, "scale": "values"}, inputs)
    order = np.argsort(-result.values)
    assert order[:2].tolist() == [3, 11]
    assert order[-1] == 20
    assert result.details["subsets"] == 200
    assert result.details["explained"] > 0.9


def test_values_are_the_mean_over_targets_of_standardised_coefficients():
    rng = np.random.default_rng(1)
    effects = {name: rng.normal(size=N) for name in ("a", "b")}
    found = retrainings(effects, noise=0.1)
    inputs = inputs_of(found)
    fitted = ridge_datamodels(
        found.masks,
        np.stack([found.losses["a"], found.losses["b"]], axis=1),
        output="loss",
        rng=stage_rng(inputs.seed, "signal datamodel"),
    ).values
    expected = ((fitted - fitted.mean(axis=0)) / fitted.std(axis=0)).mean(axis=1)
    values = score({"name": "datamodel", "scale": "values"}, inputs).values
    np.testing.assert_allclose(values, expected, atol=1e-9)
    ranks = score("datamodel", inputs).values
    np.testing.assert_array_equal(np.argsort(ranks), np.argsort(expected))


def test_losses_of_pure_chance_explain_nothing():
    found = retrainings({"a": np.zeros(N)}, noise=1.0, n_subsets=60)
    result = score("datamodel", inputs_of(found))
    assert result.details["explained"] < 0.1


def test_per_token_a_long_document_is_worth_less():
    effects = np.zeros(N)
    effects[[3, 11]] = 1.0
    tokens = np.full(N, 10)
    tokens[3] = 1_000
    values = {
        per: score(
            {"name": "datamodel", "scale": "values", "mix": "plain", "per": per},
            inputs_of(retrainings({"a": effects}, noise=0.01), tokens=tokens),
        ).values
        for per in ("document", "token")
    }
    assert values["document"][3] == pytest.approx(values["document"][11], rel=0.1)
    assert values["token"][3] == pytest.approx(values["token"][11] / 100, rel=0.1)
