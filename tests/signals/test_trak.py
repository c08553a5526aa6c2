import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.influence.pool_gradients import CheckpointGradients, trak_by_target
from databourse.influence.trak import RowBlock
from databourse.targets import TargetSet

TASK = [
    TargetSet(
        name="a",
        texts=["example"],
        labels=np.array([None], dtype=object),
        prompt_characters=np.zeros(1, dtype=np.int64),
    )
]


def checkpoint(features, targets, *, name="one", block=7, weights=None):
    def blocks():
        for first in range(0, len(features), block):
            rows = np.arange(first, min(first + block, len(features)))
            own = None if weights is None else weights[rows]
            yield RowBlock(rows, features[rows], own)

    output = "loss" if weights is None else "margin"
    return CheckpointGradients(name, output, blocks, targets)


def by_hand(features, target, damping):
    n, k = features.shape
    moment = features.T.astype(np.float64) @ features / n
    strength = damping * np.trace(moment) / k
    solved = np.linalg.solve(moment + strength * np.eye(k), target.mean(axis=0))
    return features @ solved / n


@pytest.fixture(name="ensemble")
def _ensemble():
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(50, 6)).astype(np.float32) for _ in range(2)]
    targets = [
        {name: rng.normal(size=(m, 6)).astype(np.float32) for name, m in (("a", 3), ("b", 5))}
        for _ in range(2)
    ]
    return features, targets


def test_values_are_the_mean_over_checkpoints_of_the_formula(ensemble):
    features, targets = ensemble
    found = trak_by_target(
        [checkpoint(features[i], targets[i], name=str(i)) for i in range(2)],
        n_documents=50,
        damping=0.3,
    )
    for name in ("a", "b"):
        expected = np.mean([by_hand(features[i], targets[i][name], 0.3) for i in range(2)], axis=0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-8)


def test_weights_of_the_output_are_averaged_apart_from_the_products(ensemble):
    features, targets = ensemble
    weights = [np.linspace(0.1, 0.9, 50), np.linspace(0.8, 0.2, 50)]
    found = trak_by_target(
        [checkpoint(features[i], targets[i], name=str(i), weights=weights[i]) for i in range(2)],
        n_documents=50,
        damping=0.3,
    )
    products = np.mean([by_hand(features[i], targets[i]["a"], 0.3) for i in range(2)], axis=0)
    np.testing.assert_allclose(
        found["a"], products * np.mean(weights, axis=0), rtol=1e-4, atol=1e-8
    )


def test_checkpoints_of_other_targets_are_refused(ensemble):
    features, targets = ensemble
    with pytest.raises(InputError, match="must have the same targets and output; two has others"):
        trak_by_target(
            [
                checkpoint(features[0], targets[0]),
                checkpoint(features[1], {"a": targets[1]["a"]}, name="two"),
            ],
            n_documents=50,
            damping=0.1,
        )
    with pytest.raises(InputError, match="at least one checkpoint, got none"):
        trak_by_target([], n_documents=50, damping=0.1)


def test_the_signal_standardises_targets_and_ranks_documents(score, pool, ensemble):
    features, targets = ensemble
    loud = {"a": targets[0]["a"], "b": 100 * targets[0]["b"]}
    tokens = np.arange(1, 51, dtype=np.int64)
    inputs = pool(
        n=50, vectors=None, tokens=tokens, targets=TASK, gradients=[checkpoint(features[0], loud)]
    )
    values = score({"name": "trak", "scale": "values"}, inputs).values
    parts = [by_hand(features[0], loud[name], 0.1) for name in ("a", "b")]
    standardised = [(each - each.mean()) / each.std() for each in parts]
    np.testing.assert_allclose(values, np.mean(standardised, axis=0), rtol=1e-4, atol=1e-6)
    ranks = score("trak", inputs).values
    assert (np.argsort(ranks) == np.argsort(values)).all()
    assert 0 < ranks.min() < ranks.max() < 1


def test_values_per_token_are_divided_before_they_are_standardised(score, pool, ensemble):
    features, targets = ensemble
    tokens = np.arange(1, 51, dtype=np.int64)
    inputs = pool(
        n=50,
        vectors=None,
        tokens=tokens,
        targets=TASK,
        gradients=[checkpoint(features[0], targets[0])],
    )
    found = score({"name": "trak", "scale": "values", "per": "token"}, inputs).values
    parts = [by_hand(features[0], targets[0][name], 0.1) / tokens for name in ("a", "b")]
    expected = np.mean([(each - each.mean()) / each.std() for each in parts], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_kernel_for_each_layer_is_the_sum_of_values_by_layer(ensemble):
    features, targets = ensemble
    made = checkpoint(features[0], targets[0])
    parted = dataclasses.replace(made, parts=(4, 2))
    found = trak_by_target([parted], n_documents=50, damping=0.3, kernel="layers")
    for name in ("a", "b"):
        expected = sum(
            by_hand(features[0][:, own], targets[0][name][:, own], 0.3)
            for own in (slice(0, 4), slice(4, 6))
        )
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-8)
    one = dataclasses.replace(made, parts=(6,))
    whole = trak_by_target([made], n_documents=50, damping=0.3)
    same = trak_by_target([one], n_documents=50, damping=0.3, kernel="layers")
    np.testing.assert_array_equal(same["a"], whole["a"])


def test_a_kernel_for_each_layer_of_summed_features_is_refused(ensemble):
    features, targets = ensemble
    made = checkpoint(features[0], targets[0])
    with pytest.raises(InputError, match="project two_sided"):
        trak_by_target([made], n_documents=50, damping=0.3, kernel="layers")
    wrong = dataclasses.replace(made, parts=(4, 1))
    with pytest.raises(InputError, match="6 features in all"):
        trak_by_target([wrong], n_documents=50, damping=0.3, kernel="layers")
