from collections import Counter

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals import byte_ngrams
from databourse.signals.byte_ngrams import ByteCounts, pack_texts


def fitted(texts, folds, *, order, table_bits=22, n_folds=2):
    counts = ByteCounts(order=order, folds=n_folds, table_bits=table_bits)
    for packed in pack_texts([texts], order=order):
        counts.add(packed, np.asarray(folds))
    return counts.finish()


def probabilities(model, texts, folds, order):
    (packed,) = pack_texts([texts], order=order)
    return model.probabilities(packed, np.asarray(folds))


def after(context, order):
    """Return texts packed as one: each of the 256 bytes after a context."""
    return byte_ngrams._packed([(0, context, bytes([byte])) for byte in range(256)], order - 1)


class SlowTwin:
    """The formula of the module, with dictionaries and one symbol at a time."""

    def __init__(self, texts, folds, order):
        self.order = order
        self.counts = [{} for _ in range(max(folds) + 1)]
        for text, own in zip(texts, folds, strict=True):
            for state, symbol in self.events(text.encode()):
                for fold, counts in enumerate(self.counts):
                    if fold != own:
                        counts.setdefault(state, Counter())[symbol] += 1

    def events(self, data):
        padded = b"\x00" * (self.order - 1) + data
        for i, byte in enumerate(data):
            for m in range(self.order):
                context = padded[i + self.order - 1 - m : i + self.order - 1]
                yield (context, None), byte >> 4
                yield (context, byte >> 4), byte & 15

    def probability(self, context, byte, fold):
        result = 1.0
        for high, symbol in ((None, byte >> 4), (byte >> 4, byte & 15)):
            estimate = 1 / 16
            for m in range(self.order):
                seen = self.counts[fold].get((context[len(context) - m :], high), Counter())
                total, types = sum(seen.values()), len(seen)
                if total:
                    estimate = (seen[symbol] + types * estimate) / (total + types)
            result *= estimate
        return result

    def of_text(self, text, fold):
        padded = b"\x00" * (self.order - 1) + text.encode()
        return [
            self.probability(padded[i : i + self.order - 1], padded[i + self.order - 1], fold)
            for i in range(len(text.encode()))
        ]


def test_probabilities_are_those_computed_by_hand():
    # "a" is 6,1 and "b" is 6,2 in halves; "a" is scored by the counts of "aab" alone
    texts, folds = ["a", "aab"], [0, 1]
    high = (3 + 1 / 16) / (3 + 1)  # a half of 6, seen 3 times, 1 type
    low = (2 + 2 / 16) / (3 + 2)  # after 6: 1 twice, 2 once
    found = probabilities(fitted(texts, folds, order=1), texts, folds, 1)
    assert found[0] == pytest.approx(high * low, rel=1e-15)
    # at the start of a text only "a" was seen, once
    found = probabilities(fitted(texts, folds, order=2), texts, folds, 2)
    assert found[0] == pytest.approx((1 + high) / 2 * (1 + low) / 2, rel=1e-15)


def test_a_fold_that_only_its_own_texts_saw_gives_pure_chance():
    found = probabilities(fitted(["aaaa"], [0], order=3), ["aaaa"], [0], 3)
    assert found.tolist() == [1 / 256] * 4


TEXTS = ["the cat sat", "the hat", "Ünïcödé ☃ the", "", "cat cat cat\n\n", "a", "zebra 7"]
FOLDS = [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("order", "table_bits"), [(1, 8), (2, 13), (3, 21)])
def test_probabilities_equal_the_slow_twin(order, table_bits):
    # 8 (order - 1) + 5 bits: nothing is hashed
    model = fitted(TEXTS, FOLDS, order=order, table_bits=table_bits, n_folds=3)
    twin = SlowTwin(TEXTS, FOLDS, order)
    expected = [
        p for text, fold in zip(TEXTS, FOLDS, strict=True) for p in twin.of_text(text, fold)
    ]
    np.testing.assert_allclose(probabilities(model, TEXTS, FOLDS, order), expected, rtol=1e-12)


def test_hashed_contexts_that_do_not_collide_equal_the_slow_twin_too():
    model = fitted(TEXTS, FOLDS, order=5, table_bits=20, n_folds=3)
    twin = SlowTwin(TEXTS, FOLDS, 5)
    expected = [
        p for text, fold in zip(TEXTS, FOLDS, strict=True) for p in twin.of_text(text, fold)
    ]
    np.testing.assert_allclose(probabilities(model, TEXTS, FOLDS, 5), expected, rtol=1e-12)


@pytest.mark.parametrize("table_bits", [8, 18])
@pytest.mark.parametrize(
    "context", [b"\x00\x00\x00\x00", b"the ", b"\xff\xfe\xfd\xfc", b" \xc3\xbc?"]
)
def test_probabilities_sum_to_one_over_the_next_byte_whatever_collides(table_bits, context):
    model = fitted(TEXTS * 5, FOLDS * 5, order=5, table_bits=table_bits, n_folds=3)
    packed = after(context, 5)
    for fold in range(3):
        found = model.probabilities(packed, np.array([fold]))
        assert found.min() > 0
        assert found.sum() == pytest.approx(1.0, abs=1e-12)


def test_no_text_is_scored_by_counts_of_its_own_fold():
    before = fitted(TEXTS, FOLDS, order=4, n_folds=3)
    changed = ["something else", *TEXTS[1:]]  # in fold 0, with TEXTS[3] and TEXTS[6]
    now = fitted(changed, FOLDS, order=4, n_folds=3)
    same, other = ["zebra 7", "the hat"], [0, 1]
    old, new = (probabilities(model, same, other, 4) for model in (before, now))
    np.testing.assert_array_equal(old[:7], new[:7])
    assert (old[7:] != new[7:]).any()


def test_chunks_and_pieces_of_any_size_give_the_same_probabilities(monkeypatch):
    texts = [text * 9 for text in TEXTS]
    expected = probabilities(fitted(texts, FOLDS, order=5, n_folds=3), texts, FOLDS, 5)
    monkeypatch.setattr(byte_ngrams, "_PIECE_BYTES", 3)
    monkeypatch.setattr(byte_ngrams, "_CHUNK_BYTES", 7)
    model = fitted(texts, FOLDS, order=5, n_folds=3)
    parts = [
        model.probabilities(packed, np.array(FOLDS)) for packed in pack_texts([texts], order=5)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("wrong", [{"order": 0}, {"order": 9}, {"folds": 1}, {"table_bits": 7}])
def test_a_model_outside_its_bounds_is_refused(wrong):
    with pytest.raises(InputError, match="order must be"):
        ByteCounts(**({"order": 2, "folds": 2, "table_bits": 8} | wrong))


def test_a_fold_beyond_the_width_of_a_count_is_refused(monkeypatch):
    monkeypatch.setattr(byte_ngrams, "_FOLD_BYTES", 10)
    with pytest.raises(InputError, match="less than 4 GiB of text, got 11 bytes; raise folds"):
        fitted(["hello world"], [0], order=2)
