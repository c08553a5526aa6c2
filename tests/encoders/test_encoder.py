import threading
import time

import numpy as np
import pytest

from databourse.encoders.encoder import (
    Batch,
    BatchPlan,
    TokenEncoder,
    check_threads,
    padded,
    plan_batches,
)
from databourse.errors import InputError, IntegrityError

PLAN = BatchPlan(batch_tokens=32, length_multiple=8)


class LetterModel:
    """One token per letter; a vector is the letter counts, scaled to norm 1. Notes what it sees."""

    def __init__(self):
        self.shapes, self.workers, self.left = {}, 0, 0
        self.lock = threading.Lock()

    def tokenize(self, texts):
        return [[ord(letter) - ord("a") + 1 for letter in text] for text in texts]

    def forward(self, token_ids, mask):
        time.sleep(0.001 * (token_ids[0, 0] % 3))  # batches finish out of order
        vectors = np.zeros((len(token_ids), 27), dtype=np.float32)
        for row, (own, is_own) in enumerate(zip(token_ids, mask, strict=True)):
            np.add.at(vectors[row], own[is_own == 1], 1)
            with self.lock:
                key = "".join(chr(ord("a") - 1 + each) for each in own[is_own == 1])
                self.shapes.setdefault(key, set()).add(token_ids.shape)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def enter_worker(self):
        self.workers += 1

    def leave(self):
        self.left += 1


def letter_encoder(threads=1):
    return TokenEncoder("letters", 27, 20, LetterModel(), PLAN, threads)


def letter_texts(n):
    rng = np.random.default_rng(3)
    return ["".join(rng.choice(list("abcdef"), rng.integers(1, 21))) for _ in range(n)]


def test_batches_hold_every_document_once_longest_first_and_in_order():
    assert plan_batches([3, 20, 9, 8, 17, 5, 1, 2], PLAN, max_tokens=64) == [
        Batch((1,), 1, 24),
        Batch((4,), 1, 24),
        Batch((2,), 2, 16),
        Batch((0, 3, 5, 6), 4, 8),
        Batch((7,), 4, 8),
    ]


def test_padding_never_exceeds_the_limit_of_the_model():
    assert plan_batches([18, 20], PLAN, max_tokens=20) == [Batch((0,), 1, 20), Batch((1,), 1, 20)]


def test_a_document_longer_than_a_batch_is_a_batch_of_its_own():
    assert plan_batches([100], PLAN, max_tokens=200) == [Batch((0,), 1, 104)]


def test_rows_are_padded_and_filled_up_with_the_last_document():
    tokens, mask = padded([[5, 6, 7], [8]], Batch((0, 1), 4, 4), BatchPlan(16, 4, pad_token_id=9))
    assert tokens.tolist() == [[5, 6, 7, 9], [8, 9, 9, 9], [8, 9, 9, 9], [8, 9, 9, 9]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_padding_comes_first_where_the_model_wants_it():
    tokens, mask = padded([[5, 6]], Batch((0,), 1, 4), BatchPlan(16, 4, pads_left=True))
    assert (tokens.tolist(), mask.tolist()) == ([[0, 0, 5, 6]], [[0, 0, 1, 1]])


def test_vectors_come_back_in_the_order_of_the_texts():
    texts = letter_texts(100)
    vectors = letter_encoder(threads=3).encode(texts)
    expected = np.array([[text.count(each) for each in "abcdef"] for text in texts], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_array_equal(vectors[:, 1:7], expected)


def test_the_shape_in_which_a_document_is_computed_depends_on_the_document_alone():
    texts = letter_texts(100)
    encoder = letter_encoder(threads=2)
    for part in (texts, texts[::-1], texts[:7], texts[40:41], *([text] for text in texts[:10])):
        encoder.encode(part)
    assert {len(shapes) for shapes in encoder.model.shapes.values()} == {1}


def test_texts_are_worked_through_in_bounded_parts(monkeypatch):
    texts = letter_texts(50)
    whole = letter_encoder().encode(texts)
    monkeypatch.setattr("databourse.encoders.encoder._TEXTS_AT_ONCE", 7)
    np.testing.assert_array_equal(letter_encoder().encode(texts), whole)


def test_progress_counts_every_text():
    told = []
    letter_encoder().encode(letter_texts(50), progress=told.append)
    assert sum(told) == 50
    assert max(told) <= 4


def test_no_texts_have_no_vectors():
    assert letter_encoder().encode([]).shape == (0, 27)


def test_workers_are_prepared_and_the_process_restored_after_an_error():
    encoder = letter_encoder(threads=2)
    encoder.encode(letter_texts(50))
    assert 1 <= encoder.model.workers <= 2
    assert encoder.model.left == 1
    with pytest.raises(IndexError):
        encoder.encode(["{{"])  # beyond z: the toy model has no such entry
    assert encoder.model.left == 2


def test_a_vector_that_is_not_finite_is_an_error():
    with pytest.warns(RuntimeWarning), pytest.raises(IntegrityError, match="letters gave a vector"):
        # An empty text has no letter: the toy model divides by its norm, 0.
        TokenEncoder("letters", 27, 20, EmptyFriendlyModel(), PLAN, 1).encode([""])


class EmptyFriendlyModel(LetterModel):
    def forward(self, token_ids, mask):
        vectors = np.zeros((len(token_ids), 27), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def tokenize(self, texts):
        return [[1] for _ in texts]


def test_threads_must_be_positive():
    with pytest.raises(InputError, match="threads must be >= 1, got 0"):
        check_threads(0)
