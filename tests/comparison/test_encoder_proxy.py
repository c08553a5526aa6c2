import dataclasses

import numpy as np
import pytest

from databourse.comparison.proxies import encoder_proxy
from databourse.encoders.fine_tuning import FineTuningSettings, load_trainable_encoder
from databourse.errors import InputError
from databourse.samplers.interface import Candidates
from databourse.targets import TargetSet

pytest.importorskip("sentence_transformers", reason="the extra 'pipeline' is not installed")

SETTINGS = FineTuningSettings(
    learning_rate=5e-3, head_learning_rate=5e-2, batch_tokens=64, most_tokens=12
)
HALVES = ("abcdefghijklm", "nopqrstuvwxyz")


def words(n, seed):
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 2, n)
    return ["".join(draw.choice(list(HALVES[each]), 8)) for each in classes], classes


def examples(texts, labels):
    return TargetSet(
        name="exam",
        texts=tuple(texts),
        labels=np.array(labels, dtype=object),
        prompt_characters=np.zeros(len(texts), dtype=np.int64),
    )


@pytest.fixture(name="proxy", scope="module")
def _proxy(tiny_encoder_folder):
    texts, classes = words(80, 0)
    labels = np.array([f"half {each}" for each in classes], dtype=object)
    labels[5] = None
    exam, truth = words(60, 1)
    candidates = Candidates(
        document_ids=[f"{i:03d}" for i in range(80)],
        costs=np.ones(80, dtype=np.int64),
        labels=labels,
        texts=lambda: iter([texts[:30], texts[30:]]),
    )
    encoder = load_trainable_encoder(
        str(tiny_encoder_folder), root=tiny_encoder_folder, most_tokens=12
    )
    made = encoder_proxy(
        candidates,
        [examples(exam, [f"half {each}" for each in truth])],
        encoder=encoder,
        settings=SETTINGS,
    )
    return dataclasses.replace(made, training_tokens=1_500)


def measured(proxy, positions, seed=0):
    found = proxy.measure(np.array(positions), seed=seed)
    return {(each.target, each.metric): each.value for each in found}


def test_what_was_learnt_is_measured_on_the_test_set(proxy):
    found = measured(proxy, range(80))
    assert set(found) == {("exam", name) for name in ("accuracy", "macro_f1", "loss")}
    assert found["exam", "accuracy"] > 0.9
    assert found["exam", "macro_f1"] > 0.9
    assert found["exam", "loss"] < np.log(2) / 2


def test_wrong_labels_teach_less(proxy):
    flipped = np.where(proxy.label_index >= 0, 1 - proxy.label_index, -1)
    wrong = dataclasses.replace(proxy, label_index=flipped)
    assert measured(wrong, range(80))["exam", "accuracy"] < 0.1


def test_a_measurement_depends_on_pick_and_seed_alone(proxy):
    some = dataclasses.replace(proxy, training_tokens=300)
    assert measured(some, range(20)) == measured(some, range(19, -1, -1))
    assert measured(some, range(20)) != measured(some, range(20), seed=1)


def test_documents_without_label_train_nothing(proxy):
    some = dataclasses.replace(proxy, training_tokens=300)
    assert measured(some, [1, 5, 9]) == measured(some, [1, 9])
    with pytest.raises(InputError, match="no document of the pick has a label"):
        measured(some, [5])


def test_the_id_names_the_tokens_that_are_read(proxy):
    other = dataclasses.replace(proxy, training_tokens=99)
    assert other.proxy_id != proxy.proxy_id
    assert other.proxy_id.startswith("encoder-")
