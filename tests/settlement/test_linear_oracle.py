"""The linear proxy as an oracle, against trainings from scratch."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from databourse.errors import InputError
from databourse.influence.softmax_regression import fit_proxy, mean_loss
from databourse.settlement.linear_oracle import LeaveOneOut, linear_utilities
from databourse.signals.inputs import SignalInputs
from databourse.targets import TargetSet

L2 = 0.5
N = 60


def documents(seed=0, unlabelled=()):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, N)
    wrong = rng.random(N) < 0.2
    rows = (rng.normal(size=(N, 5)) + 1.5 * np.eye(3, 5)[classes]).astype(np.float32)
    labels = np.array([f"c{each}" for each in np.where(wrong, (classes + 1) % 3, classes)])
    labels = labels.astype(np.object_)
    labels[list(unlabelled)] = None
    return rows, labels


def target(name="dev", seed=9, m=25, classes=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    codes = rng.choice(classes, m)
    rows = (rng.normal(size=(m, 5)) + 1.5 * np.eye(3, 5)[codes]).astype(np.float32)
    return TargetSet(
        name=name,
        texts=["t"] * m,
        labels=np.array([f"c{each}" for each in codes], dtype=np.object_),
        prompt_characters=np.zeros(m, dtype=np.int64),
        embeddings=rows,
    )


def inputs(*, unlabelled=(), targets=None):
    rows, labels = documents(unlabelled=unlabelled)
    return SignalInputs(
        document_ids=[f"{place:03d}" for place in range(N)],
        seed=0,
        labels=labels,
        embeddings=rows,
        targets=targets or (target(),),
    )


def losses(weights, targets):
    """Return the mean loss of each target under a proxy that is trained from nothing."""
    rows, labels = documents()
    codes = np.array([int(each[1]) for each in labels])
    proxy = fit_proxy(rows, codes, n_classes=3, l2=L2, weights=weights)
    return np.array(
        [
            mean_loss(
                proxy,
                each.embeddings,
                label_index=np.array([int(label[1]) for label in each.labels]),
            )
            for each in targets
        ]
    )


def without(position):
    weights = np.ones(N)
    weights[position] = 0
    return weights


def test_linear_utility_is_the_slope_of_the_target_loss_in_the_weight_of_a_document():
    found = linear_utilities(inputs(), l2=L2)
    step, slopes = 1e-4, []
    for position in range(N):
        more, less = np.ones(N), np.ones(N)
        more[position] += step
        less[position] -= step
        slopes.append(-(losses(more, [target()]) - losses(less, [target()]))[0] / (2 * step))
    np.testing.assert_allclose(found, np.array(slopes) / np.std(slopes), rtol=1e-3, atol=1e-3)


def test_leave_one_out_is_what_training_from_nothing_without_the_document_says():
    asked = np.array([7, 0, 33])
    found = LeaveOneOut(inputs(), l2=L2)(asked)
    rises = np.array([losses(without(each), [target()])[0] for each in asked])
    rises -= losses(None, [target()])[0]
    scale = np.unique((found / rises).round(6))
    assert scale.size == 1  # in units that are the same for all
    assert scale[0] > 0


def test_both_oracles_order_documents_all_but_alike():
    every = np.arange(N)
    exact = LeaveOneOut(inputs(), l2=5.0)(every)
    assert spearmanr(exact, linear_utilities(inputs(), l2=5.0)).statistic > 0.97


def test_a_utility_does_not_depend_on_who_else_is_asked_about():
    oracle = LeaveOneOut(inputs(), l2=L2)
    together = oracle(np.array([3, 4, 5]))
    assert LeaveOneOut(inputs(), l2=L2)(np.array([4]))[0] == together[1]


def test_several_targets_count_the_same_whatever_their_units():
    # the second target is of one class: its influences are of another size
    targets = (target(), target("one", seed=2, m=4, classes=(1,)))
    both = linear_utilities(inputs(targets=targets), l2=L2)
    alone = [linear_utilities(inputs(targets=(each,)), l2=L2) for each in targets]
    np.testing.assert_allclose(both, np.mean(alone, axis=0), rtol=1e-9)
    losses_of_both = LeaveOneOut(inputs(targets=targets), l2=L2)(np.array([5]))
    each = [LeaveOneOut(inputs(targets=(one,)), l2=L2)(np.array([5])) for one in targets]
    np.testing.assert_allclose(losses_of_both, np.mean(each, axis=0), rtol=1e-6)


def test_documents_without_a_label_cannot_be_judged():
    blind = inputs(unlabelled=(2, 11))
    assert np.flatnonzero(np.isnan(linear_utilities(blind, l2=L2))).tolist() == [2, 11]
    found = LeaveOneOut(blind, l2=L2)(np.array([1, 2, 3]))
    assert np.isnan(found).tolist() == [False, True, False]


def test_one_class_teaches_no_proxy():
    rows, _ = documents()
    same = SignalInputs(
        document_ids=[f"{place:03d}" for place in range(N)],
        seed=0,
        labels=np.array(["c0"] * N, dtype=np.object_),
        embeddings=rows,
        targets=(target(),),
    )
    with pytest.raises(InputError, match="at least two classes"):
        linear_utilities(same, l2=L2)
