"""Where garbage lands in a pool that the reference model was trained on, garbage and all.

What docs/methods.md says of real pools holds on a small one: sentences of a grammar, some of which
are shuffled, say one phrase over and over, or are random characters.
"""

import numpy as np
import pytest

from databourse.language_models.cross_fitting import score_cross_fitted
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import TrainingSettings, train_cross_fitted
from databourse.selection.intervals import mean_percentile_ranks
from databourse.signals.inputs import TokenLosses

ADJECTIVES = "old new small large quiet bright cold warm early late"
NOUNS = "mast sail rope anchor tide harbour keel crew rudder deck wave compass"
VERBS = "lifts drops finds leaves follows carries turns holds meets clears"
PLACES = "near under over before after beside"
PRINTED = [chr(code) for code in (*range(0x21, 0x7F), *range(0xAE, 0x100))]
KINDS = ("shuffled", "repeated", "random")
N_DOCUMENTS, N_EACH = 200, 12
SETTINGS = TrainingSettings(layers=2, width=32, context_tokens=64, epochs=4, evaluations=1)


def sentence(rng):
    """Return a sentence of the grammar."""
    classes = (ADJECTIVES, NOUNS, VERBS, ADJECTIVES, NOUNS, PLACES, NOUNS)
    one, who, verb, two, what, place, where = (str(rng.choice(each.split())) for each in classes)
    return f"the {one} {who} {verb} the {two} {what} {place} the {where} ."


def spoilt(text, kind, rng):
    """Return garbage of a kind, about as long as the text it is made of."""
    words = text.split()
    if kind == "shuffled":
        return " ".join(rng.permutation(words).tolist())
    if kind == "repeated":
        first = int(rng.integers(len(words) - 4))
        return " ".join((words[first : first + 4] * len(words))[: len(words)])
    return "".join(rng.choice(PRINTED, size=len(text)).tolist())


@pytest.fixture(scope="module")
def documents():
    """Return texts and the kind of each."""
    rng = np.random.default_rng(17)
    texts = [" ".join(sentence(rng) for _ in range(3)) for _ in range(N_DOCUMENTS)]
    kinds = np.array(["clean"] * N_DOCUMENTS, dtype=object)
    for number, kind in enumerate(KINDS):
        for place in range(number * N_EACH, (number + 1) * N_EACH):
            texts[place], kinds[place] = spoilt(texts[place], kind, rng), kind
    return texts, kinds


def losses_of(texts, trained_on):
    """Return what models say of texts that were trained on some of the texts of the other half."""
    ids = [f"{number:05d}" for number in range(len(texts))]
    models = train_cross_fitted(
        [ids[place] for place in trained_on],
        [texts[place] for place in trained_on],
        folds=2,
        tokenizer=train_tokenizer(texts, vocabulary_size=400),
        settings=SETTINGS,
        seed=17,
        threads=1,
    )
    scores = score_cross_fitted(
        [each.model for each in models],
        ids,
        texts,
        window_tokens=SETTINGS.context_tokens,
        overlap_tokens=SETTINGS.context_tokens // 2,
        threads=1,
    )
    return TokenLosses(
        token_counts=scores.token_counts,
        loss_sums=scores.loss_sums,
        entropy_sums=scores.entropy_sums,
    )


@pytest.fixture(scope="module")
def losses(documents):
    """Return what models say that were trained on the garbage too."""
    texts, _ = documents
    return losses_of(texts, range(len(texts)))


@pytest.fixture
def ranks(documents, losses, pool, score):
    """Return a function that gives the percentile ranks by a signal, by kind."""
    texts, kinds = documents

    def find(entry):
        values = score(entry, pool(texts=texts, text_losses=losses)).values
        found = mean_percentile_ranks([values])
        return {kind: found[kinds == kind] for kind in ("clean", *KINDS)}

    return find


def test_shuffled_words_and_random_characters_have_a_higher_loss_than_any_clean_document(ranks):
    found = ranks({"name": "perplexity", "prefer": "high"})
    assert found["shuffled"].min() > found["clean"].max()
    assert found["random"].min() > found["clean"].max()


def test_shuffled_words_raise_the_loss_by_far_more_than_the_entropy(documents, losses, pool, score):
    texts, kinds = documents
    gaps = {}
    for name in ("perplexity", "generative_entropy"):
        entry = {"name": name, "prefer": "high"}
        values = score(entry, pool(texts=texts, text_losses=losses)).values
        gaps[name] = np.median(values[kinds == "shuffled"]) - np.median(values[kinds == "clean"])
    assert gaps["perplexity"] > 1.5  # nats
    assert abs(gaps["generative_entropy"]) < 0.6


def test_repetition_has_no_low_loss_under_a_model_too_small_to_copy(ranks):
    found = ranks({"name": "perplexity", "prefer": "high"})
    assert np.median(found["repeated"]) > np.median(found["clean"])


def test_the_middle_of_perplexity_puts_shuffled_words_and_random_characters_last(ranks):
    found = ranks("perplexity")
    for kind in ("shuffled", "random"):
        assert np.median(found[kind]) < 0.3
    assert np.median(found["clean"]) > 0.5


def test_entropy_of_words_sees_repetition_and_is_blind_to_order(ranks, documents, score, pool):
    found = ranks("information_entropy")
    assert found["repeated"].max() < found["clean"].min()
    rng = np.random.default_rng(5)
    texts = [text for text, kind in zip(*documents, strict=True) if kind == "clean"]
    shuffled = [spoilt(text, "shuffled", rng) for text in texts]
    before, after = (score("information_entropy", pool(texts=each)) for each in (texts, shuffled))
    np.testing.assert_array_equal(before.values, after.values)


def test_surprisal_rewards_random_characters_above_all(ranks):
    found = ranks({"name": "surprisal", "table_bits": 12})
    assert found["random"].min() > max(found[kind].max() for kind in ("clean", "shuffled"))
    assert np.median(found["shuffled"]) > np.median(found["clean"])


def test_random_characters_look_easier_to_a_model_that_was_trained_on_them(documents, losses):
    texts, kinds = documents
    unseen = losses_of(texts, np.flatnonzero(kinds == "clean").tolist())
    is_random = kinds == "random"
    gap = np.median(unseen.mean_losses[is_random]) - np.median(losses.mean_losses[is_random])
    assert gap > 1  # nat
