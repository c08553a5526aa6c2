import numpy as np
import pytest

from databourse.encoders.fine_tuning import (
    FineTuningSettings,
    class_log_probabilities,
    fine_tune,
    load_trainable_encoder,
    plan_steps,
    training_id,
)
from databourse.errors import ConfigError, InputError

pytest.importorskip("sentence_transformers", reason="the extra 'pipeline' is not installed")

SETTINGS = FineTuningSettings(
    learning_rate=5e-3, head_learning_rate=5e-2, batch_tokens=64, most_tokens=12
)


@pytest.fixture(name="encoder", scope="module")
def _encoder(tiny_encoder_folder):
    return load_trainable_encoder(
        str(tiny_encoder_folder), root=tiny_encoder_folder, most_tokens=12
    )


def words(n, seed=0):
    """Return texts of letters of either half of the alphabet, and which half."""
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 2, n)
    halves = ("abcdefghijklm", "nopqrstuvwxyz")
    return ["".join(draw.choice(list(halves[each]), 8)) for each in classes], classes


def trained(encoder, seed=0, tokens=2_000, n=60, **changes):
    texts, classes = words(n)
    return fine_tune(
        encoder,
        encoder.tokenize(texts),
        label_index=classes,
        n_classes=2,
        settings=SETTINGS,
        tokens=tokens,
        seed=seed,
        **changes,
    )


def log_p(encoder, classifier, texts, **more):
    return class_log_probabilities(classifier, encoder.tokenize(texts), **more)


def test_what_was_learnt_is_the_half_of_the_alphabet(encoder):
    texts, classes = words(80, seed=9)
    found = log_p(encoder, trained(encoder), texts)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=1e-6)
    assert (found.argmax(axis=1) == classes).mean() > 0.9


def test_the_same_seed_gives_the_same_classifier_and_another_seed_another(encoder):
    texts, _ = words(10, seed=9)
    first = log_p(encoder, trained(encoder, tokens=300), texts)
    again = log_p(encoder, trained(encoder, tokens=300), texts)
    other = log_p(encoder, trained(encoder, tokens=300, seed=1), texts)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_training_changes_every_weight_of_a_copy_and_none_of_the_start(encoder):
    before = {k: v.clone() for k, v in encoder.model.module.state_dict().items()}
    classifier = trained(encoder, tokens=300)
    after = encoder.model.module.state_dict()
    assert all((before[name] == after[name]).all() for name in before)
    moved = {
        name: bool((before[name] != value).any())
        for name, value in classifier.module.state_dict().items()
    }
    layers = [name for name in moved if "layer.0" in name and name.endswith("weight")]
    assert len(layers) > 5
    assert all(moved[name] for name in layers)


def test_a_document_scores_the_same_in_whatever_batch(encoder):
    classifier = trained(encoder, tokens=300)
    texts = ["ab", "abcdefgh", "n", "xyz"]
    together = log_p(encoder, classifier, texts)
    alone = np.vstack([log_p(encoder, classifier, [text]) for text in texts])
    one_by_one = log_p(encoder, classifier, texts, batch_tokens=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(one_by_one, alone, atol=1e-5)


def test_steps_end_with_the_document_that_reaches_their_tokens():
    class InOrder:
        def permutation(self, n):
            return np.arange(n)

    # tokens read so far: 6, 12 | 16, 22 | 28, 32 | 38, 44, where steps end from 10, 20, 30, 40 on
    planned = plan_steps([6, 6, 4], tokens=40, batch_tokens=10, rng=InOrder())
    assert planned == [[0, 1], [2, 0], [1, 2], [0, 1]]


@pytest.mark.parametrize("longest", [4, 9, 16])
def test_picks_of_long_and_of_short_documents_take_as_many_steps_and_tokens(longest):
    draw = np.random.default_rng(longest)
    lengths = draw.integers(2, longest, 30).tolist()
    planned = plan_steps(lengths, tokens=1_000, batch_tokens=64, rng=draw)
    assert len(planned) == 16  # 1,000 / 64, rounded up
    read = sum(lengths[place] for step in planned for place in step)
    assert 1_000 <= read < 1_000 + longest
    first_epoch = [place for step in planned for place in step][:30]
    assert sorted(first_epoch) == list(range(30))


def test_longer_documents_are_cut(encoder):
    assert [len(each) for each in encoder.tokenize(["abc", "abcdefghijklmnop"])] == [5, 12]


def test_hashing_cannot_be_fine_tuned(tmp_path):
    with pytest.raises(ConfigError, match="'hashing' has no weights, so it cannot be fine-tuned"):
        load_trainable_encoder("hashing", root=tmp_path, most_tokens=12)


def test_what_decides_a_classifier_is_in_its_id(encoder, tiny_encoder_folder):
    shorter = load_trainable_encoder(
        str(tiny_encoder_folder), root=tiny_encoder_folder, most_tokens=8
    )
    other = FineTuningSettings(learning_rate=1e-3)
    ids = {
        training_id(encoder, SETTINGS, threads=1),
        training_id(encoder, SETTINGS, threads=2),
        training_id(encoder, other, threads=1),
        training_id(shorter, SETTINGS, threads=1),
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_index": np.array([0, 2])}, r"labels must be in \[0, 2\)"),
        ({"label_index": np.array([0])}, "a label of each, got 2 and 1"),
        ({"n_classes": 1, "label_index": np.zeros(2, int)}, "at least two classes"),
        ({"tokens": 0}, "tokens to train for must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(encoder, changes, message):
    arguments = {"label_index": np.array([0, 1]), "n_classes": 2, "tokens": 9, **changes}
    with pytest.raises(InputError, match=message):
        fine_tune(encoder, [[2, 5, 3], [2, 6, 3]], settings=SETTINGS, seed=0, **arguments)


@pytest.mark.parametrize("name", ["learning_rate", "batch_tokens", "most_tokens"])
def test_settings_outside_their_domain_are_refused(name):
    with pytest.raises(InputError, match=f"{name} is outside its domain, got 0"):
        FineTuningSettings(**{name: 0})
