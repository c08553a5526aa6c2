import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.influence.softmax_regression import fit_proxy, mean_loss
from databourse.signals.folds import document_folds
from databourse.targets import TargetSet


def target_set(vectors, labels, name="task"):
    return TargetSet(
        name=name,
        texts=tuple(f"example {i}" for i in range(len(labels))),
        labels=np.array(labels, dtype=object),
        prompt_characters=np.zeros(len(labels), dtype=np.int64),
        embeddings=vectors,
    )


@pytest.fixture(name="planted", scope="module")
def _planted():
    """Return vectors of three classes, labels of which 30 of 240 are wrong, and clean examples."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 300)
    rows = np.eye(8)[truth] * 1.5 + 0.6 * rng.normal(size=(300, 8))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = np.array([f"class {each}" for each in truth], dtype=object)
    given = names[:240].copy()
    given[:30] = [f"class {(each + 1) % 3}" for each in truth[:30]]
    return vectors[:240], given, target_set(vectors[240:], names[240:])


def test_a_value_is_the_gain_by_a_little_weight_under_a_proxy_that_never_saw_the_fold(
    score, pool, planted
):
    vectors, labels, target = planted
    inputs = pool(vectors, labels=labels, targets=[target])
    entry = {"name": "influence", "folds": 2, "scale": "values", "mix": "plain", "l2": 2.0}
    found = score(entry, inputs).values
    codes = np.array([int(each[-1]) for each in labels])
    wanted = np.array([int(each[-1]) for each in target.labels])
    folds = document_folds(inputs.document_ids, 2)
    step = 1e-4
    for document in (0, 5, 100, 239):
        others = folds != folds[document]

        def target_loss(weight, document=document, others=others):
            rows = np.concatenate([vectors[others], vectors[[document]]])
            label = np.concatenate([codes[others], codes[[document]]])
            weights = np.ones(len(rows))
            weights[-1] = weight
            proxy = fit_proxy(rows, label, n_classes=3, l2=2.0, weights=weights)
            return mean_loss(proxy, target.embeddings, label_index=wanted)

        gain = (target_loss(0.0) - target_loss(step)) / step
        assert found[document] == pytest.approx(gain, rel=1e-3, abs=1e-7)


def test_wrong_labels_are_at_the_bottom_and_ranks_keep_the_order(score, pool, planted):
    vectors, labels, target = planted
    inputs = pool(vectors, labels=labels, targets=[target])
    ranks = score("influence", inputs).values
    values = score({"name": "influence", "scale": "values"}, inputs).values
    assert (np.argsort(ranks) == np.argsort(values)).all()
    assert ranks[:30].mean() < 0.2
    assert 0 < ranks.min() < ranks.max() < 1


def test_targets_of_unlike_spread_weigh_the_same_only_when_standardised(score, pool, planted):
    vectors, labels, target = planted
    # one example only, and of one class: far larger gradients than the mean over sixty
    narrow = target_set(-target.embeddings[:1], target.labels[:1], "narrow")
    inputs = pool(vectors, labels=labels, targets=[target, narrow])

    def likeness(mix):
        both = score({"name": "influence", "mix": mix, "scale": "values"}, inputs).values
        alone = score(
            {"name": "influence", "scale": "values"},
            pool(vectors, labels=labels, targets=[narrow]),
        ).values
        return np.corrcoef(both, alone)[0, 1]

    assert likeness("plain") > likeness("z_scored") + 0.1


def test_a_document_without_a_label_gets_the_mean_and_trains_nothing(score, pool, planted):
    vectors, labels, target = planted
    labels = labels.copy()
    labels[7] = None
    result = score(
        {"name": "influence", "scale": "values"}, pool(vectors, labels=labels, targets=[target])
    )
    assert result.values[7] == pytest.approx(np.delete(result.values, 7).mean())
    assert result.details["judged_documents"] == 239


def test_examples_of_a_label_that_the_pool_lacks_are_left_out_and_counted(score, pool, planted):
    vectors, labels, target = planted
    more = target_set(
        np.concatenate([target.embeddings, target.embeddings[:2]]),
        [*target.labels, "unheard of", None],
    )
    plain = score("influence", pool(vectors, labels=labels, targets=[target]))
    result = score("influence", pool(vectors, labels=labels, targets=[more]))
    assert result.values.tolist() == plain.values.tolist()
    assert result.details["target_examples"] == 60
    assert result.details["target_examples_of_unknown_label"] == 2
    with pytest.raises(InputError, match="no example of target 'task' has one; the pool has class"):
        score(
            "influence",
            pool(vectors, labels=labels, targets=[target_set(target.embeddings[:1], ["other"])]),
        )


def test_a_pool_without_labels_is_refused_before_anything_is_computed(score, pool, planted):
    vectors, _, target = planted
    with pytest.raises(ConfigError, match="needs labels of at least two classes"):
        score("influence", pool(vectors, targets=[target]))
