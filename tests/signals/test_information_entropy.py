import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.signals.information_entropy import entropy_bits, words_and_marks

words = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60)


def bits(score, pool, texts):
    entry = {"name": "information_entropy", "normalise": False}
    return score(entry, pool(texts=texts)).values.tolist()


def test_entropies_are_those_computed_by_hand(score, pool):
    texts = ["a b a c", "a a a a", "a b c d"]
    assert bits(score, pool, texts) == [1.5, 0.0, 2.0]
    # divided by log2 4
    assert score("information_entropy", pool(texts=texts)).values.tolist() == [0.75, 0.0, 1.0]


def test_one_word_and_no_word_have_no_entropy_of_either_kind(score, pool):
    texts = ["word", "", "  \n\t ", "."]
    for values in (
        bits(score, pool, texts),
        score("information_entropy", pool(texts=texts)).values,
    ):
        assert list(values) == [0.0] * 4
        assert not np.signbit(values).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, the HAT.", ["the", "cat", ",", "the", "hat", "."]),
        ("don't stop!!", ["don", "'", "t", "stop", "!", "!"]),
        ("x_1 = 3.14", ["x", "_", "1", "=", "3", ".", "14"]),
        ("a\u00a0b\u2003c\u200bd\x1fe\x00f", ["a", "b", "c", "d", "e", "f"]),  # spaces of all kinds
        ("so\u00adft \ufeffstart", ["soft", "start"]),  # soft hyphen, byte order mark
        ("日本のテスト", ["日", "本", "の", "テ", "ス", "ト"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are marks, not letters
        ("e\u0301te\u0301 ÉTÉ", ["e\u0301te\u0301", "été"]),  # a combining accent stays in its word
        ("한국어 말", ["한국어", "말"]),
        ("hi🙂🙂", ["hi", "🙂", "🙂"]),
        ("\ud800", ["\ud800"]),
    ],
)
def test_a_text_is_cut_into_words_and_marks(text, expected):
    assert words_and_marks(text) == expected


@given(st.text("aZé9 .\u0301\u200b\u200d\u00a0\u00adßİ日ック한हि_½²🙂\n\x00", max_size=30))
def test_words_hold_no_space_and_lose_no_letter(text):
    found = words_and_marks(text)
    assert all(word and not any(map(str.isspace, word)) for word in found)
    letters = [each for each in text.lower() if each.isalnum()]
    assert [each for each in "".join(found) if each.isalnum()] == letters


def slow_bits(tokens):
    return -sum(n / len(tokens) * math.log2(n / len(tokens)) for n in Counter(tokens).values())


@given(words)
def test_bits_equal_a_slow_twin_and_lie_within_their_bounds(tokens):
    found = entropy_bits(tokens)
    assert found == pytest.approx(slow_bits(tokens), abs=1e-12)
    assert 0 <= found <= math.log2(len(set(tokens))) <= math.log2(len(tokens))


@given(words, st.randoms())
def test_neither_order_nor_names_nor_doubling_changes_a_bit(tokens, random):
    found = entropy_bits(tokens)
    shuffled = list(tokens)
    random.shuffle(shuffled)
    renamed = [chr(ord("z") - ord(each) + ord("a")) for each in shuffled]
    assert entropy_bits(renamed) == found
    assert entropy_bits(tokens + tokens) == found


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 12_345])
def test_words_that_are_all_different_reach_the_maximum_and_never_pass_it(n):
    found = entropy_bits(map(str, range(n)))
    assert found == pytest.approx(math.log2(n), rel=1e-14)
    assert found <= math.log2(n)


def test_a_document_repeated_keeps_its_bits_and_loses_share_of_the_maximum(score, pool):
    texts = ["one two three four", "one two three four " * 8]
    assert bits(score, pool, texts) == [2.0, 2.0]
    # 32 words: 2 of 5 bits
    assert score("information_entropy", pool(texts=texts)).values.tolist() == [1.0, 0.4]


def test_a_value_depends_on_its_own_document_alone(score, pool):
    texts = ["to be or not to be", "that is the question", "", "the the the cat"]
    whole = score("information_entropy", pool(texts=texts)).values
    for batch, (first, last) in itertools.product([1, 3], [(0, 4), (1, 3), (3, 4)]):
        part = score("information_entropy", pool(texts=texts[first:last], batch=batch)).values
        np.testing.assert_array_equal(part, whole[first:last])


def test_texts_that_do_not_cover_the_documents_are_refused(score, pool):
    for texts in (["a"], ["a"] * 3):
        with pytest.raises(InputError, match=f"texts must cover 2 documents, got {len(texts)}$"):
            score("information_entropy", pool(n=2, texts=texts))


def test_progress_adds_up_to_the_documents(score, pool):
    told = []
    score("information_entropy", pool(texts=["a b"] * 7, batch=3, progress=told.append))
    assert told == [3, 3, 1]
