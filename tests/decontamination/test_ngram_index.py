import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.decontamination.ngram_index import NgramIndex
from databourse.errors import InputError


def arrays(texts):
    return [np.array(text, dtype=np.int32) for text in texts]


def windows(text, ngram):
    return [tuple(text[i : i + ngram]) for i in range(len(text) - ngram + 1)]


def found(index, stream):
    positions, numbers = index.find(np.array(stream, dtype=np.int32))
    return {
        position: tuple(index.words_of(number))
        for position, number in zip(positions.tolist(), numbers.tolist(), strict=True)
    }


def test_windows_are_found_where_they_stand_and_never_across_an_unknown_word():
    index = NgramIndex(arrays([[0, 1, 2, 3], [2, 3]]), ngram=2)
    assert len(index) == 3  # 01 12 23; 23 stands in both texts
    assert found(index, [0, 1, -1, 2, 3, 0, -2, 1, 2]) == {0: (0, 1), 3: (2, 3), 7: (1, 2)}
    at = {tuple(index.words_of(number)): index.n_texts[number] for number in range(3)}
    assert at == {(0, 1): 1, (1, 2): 1, (2, 3): 2}
    assert index.occurrences(np.array([index.numbers[2]])).tolist() == [2, 4]
    assert index.numbers.tolist()[3::2] == [-1, -1]  # no room for two words in their text


texts = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=6)


@given(
    texts, st.lists(st.integers(-2, 6), max_size=40), st.integers(1, 5), st.sampled_from([1, 64])
)
def test_the_index_agrees_with_a_set_of_tuples_even_if_nearly_all_hashes_collide(
    texts, stream, ngram, hash_bits
):
    index = NgramIndex(arrays(texts), ngram=ngram, hash_bits=hash_bits)
    known = {window for text in texts for window in windows(text, ngram)}
    expected = {i: each for i, each in enumerate(windows(stream, ngram)) if each in known}

    assert len(index) == len(known)
    assert found(index, stream) == expected
    for number in range(len(index)):
        window = tuple(index.words_of(number))
        assert index.n_texts[number] == sum(window in windows(text, ngram) for text in texts)


def test_one_bit_of_hash_does_make_hashes_collide():
    index = NgramIndex(arrays([range(50)]), ngram=3, hash_bits=1)
    assert len(np.unique(index._hashes)) <= 2
    assert len(index) == 48


def test_the_most_frequent_ngrams_come_first_and_those_never_counted_not_at_all():
    index = NgramIndex(arrays([[5, 6, 7, 8]]), ngram=1)
    counts = np.zeros(4, np.int64)
    counts[index.numbers] = [1, 3, 0, 1]  # of the words 5, 6, 7, 8
    assert [index.words_of(n) for n in index.most_frequent(counts, at_most=9)] == [[6], [5], [8]]
    assert [index.words_of(n) for n in index.most_frequent(counts, at_most=2)] == [[6], [5]]


@pytest.mark.parametrize("bad", [{"ngram": 0}, {"ngram": 2, "hash_bits": 0}])
def test_bounds_are_kept(bad):
    with pytest.raises(InputError, match="ngram must be >= 1 and hash_bits"):
        NgramIndex([], **bad)
