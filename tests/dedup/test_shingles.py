import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.dedup.shingles import (
    jaccard,
    joined,
    mixed,
    shingle_sets,
    utf8_texts,
    words_of,
)
from databourse.errors import InputError


def windows(text, ngram):
    """The obvious twin: shingles as tuples of words."""
    words = words_of(text)
    if len(words) < ngram:
        return {("whole", *(words or text.lower().split()))}
    return {tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)}


def set_jaccard(one, other):
    return round(len(one & other) / len(one | other), 6)


def test_words_are_lower_cased_and_punctuation_only_separates():
    assert words_of("Hello, WORLD! It's (state-of-the-art).") == (
        ["hello", "world", "it", "s", "state", "of", "the", "art"]
    )


def test_digits_and_arithmetic_signs_are_kept():
    assert words_of("Is 3 + 4 = 7, or x - y < 10%?") == (
        ["is", "3", "+", "4", "=", "7", "or", "x", "-", "y", "<", "10"]
    )


def test_ideographs_are_words_of_their_own():
    assert words_of("数据市场 bourse カナ") == ["数", "据", "市", "场", "bourse", "カ", "ナ"]


def test_a_template_with_other_numbers_has_other_shingles():  # DD-7
    one, other = shingle_sets(
        [f"Tom has {n} apples and buys {n + 2} more. How many has he?" for n in (3, 12)], ngram=5
    ).hashes.reshape(2, -1)
    assert 0 < jaccard(one, other) < 0.2


@pytest.mark.parametrize("ngram", [1, 2, 5])
def test_sizes_and_overlaps_equal_those_of_sets_of_tuples(ngram):
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(list("abcdef"), size)) for size in rng.integers(0, 25, 60)]
    texts += ["", "!!!", "???", "?? ?", "a", "a b"]
    sets, expected = shingle_sets(texts, ngram=ngram), [windows(text, ngram) for text in texts]
    assert np.diff(sets.starts).tolist() == [len(each) for each in expected]
    for i in range(len(texts)):
        want = [set_jaccard(expected[i], other) for other in expected]
        assert [jaccard(sets.of(i), sets.of(j)) for j in range(len(texts))] == want


# Words and what parts them; letters whose lower case is another character, two, or depends on what
# follows; digits and spaces of other scripts; ideographs; characters of one to four bytes; half a
# surrogate pair, which only Python strings can hold.
ALPHABET = "ab Z9_-+=*/\u00d7 3x"
ALPHABET += (
    "\t\u00c9\u00e9\u0130\u03a3\u03c3\u03c2\u4e2d\u30ab\u30fb \u3000\u0660\u00aa\u00b2\u212aK"
)
ALPHABET += "\U0001d400\U00010400\u0345\ud800"


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(ALPHABET, max_size=24), max_size=12), ngram=st.integers(1, 4))
def test_compiled_shingles_are_equal_where_those_of_python_are(texts, ngram):
    sets, expected = shingle_sets(texts, ngram=ngram), [windows(text, ngram) for text in texts]
    for i, own in enumerate(expected):
        for j, other in enumerate(expected):
            assert np.intersect1d(sets.of(i), sets.of(j)).size == len(own & other)
        assert len(sets.of(i)) == len(own)


def test_the_lower_case_of_a_character_is_in_lower_case():
    # so a text that Python lower-cased is left as it is by the table
    everything = "".join(map(chr, range(0x110000)))
    assert everything.lower().lower() == everything.lower()


def test_texts_of_arrow_and_of_python_have_the_same_shingles():
    texts = [
        "Ein \u00c9t\u00e9 in f\u00fcnf W\u00f6rtern",
        "",
        "a b c d e f",
        "\u039f\u0394\u039f\u03a3 x",
    ]
    for part in (texts, texts[:3], texts[1:]):
        column = pa.array(texts)[texts.index(part[0]) :][: len(part)]
        assert shingle_sets(column, ngram=2).hashes.tolist() == (
            shingle_sets(part, ngram=2).hashes.tolist()
        )


def test_bytes_of_arrow_are_not_copied():
    column = pa.array(["one", "two"])
    assert utf8_texts(column).data.ctypes.data == column.buffers()[2].address


def test_joined_sets_are_those_of_all_texts_together():
    texts = ["one two three", "four", "five six"]
    whole = shingle_sets(texts, ngram=2)
    parts = joined([shingle_sets(texts[:1], ngram=2), shingle_sets(texts[1:], ngram=2)])
    assert parts.hashes.tolist() == whole.hashes.tolist()
    assert parts.starts.tolist() == whole.starts.tolist()
    assert len(joined([])) == 0


def test_a_text_without_words_is_compared_as_it_stands():
    sets = shingle_sets(["!!!", "???", " !!! ", "", " "], ngram=5)
    values = [int(sets.of(i)[0]) for i in range(5)]
    assert values[0] == values[2] != values[1]
    assert values[3] == values[4] not in values[:3]


def test_shingles_of_a_text_do_not_depend_on_its_company():
    texts = ["one two three four five six", "short", "a b c d e f g h a b c d e", "", "é à"]
    together = shingle_sets(texts, ngram=5)
    for i, text in enumerate(texts):
        alone = shingle_sets([text], ngram=5)
        np.testing.assert_array_equal(together.of(i), alone.hashes)


def test_hashes_do_not_depend_on_the_hash_seed_of_python():
    code = (
        "from databourse.dedup.shingles import shingle_sets;"
        "print(shingle_sets(['to be or not to be'], ngram=5).hashes.tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_no_texts_have_no_shingles():
    assert len(shingle_sets([], ngram=5)) == 0


def test_mixed_is_the_splitmix64_finaliser():
    # First output of splitmix64 seeded with 1234567, from the reference implementation.
    state = np.array([1234567], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    assert mixed(state).tolist() == [6457827717110365317]


def test_an_ngram_of_no_words_is_refused():
    with pytest.raises(InputError, match="ngram must be >= 1 word, got 0"):
        shingle_sets(["a"], ngram=0)


def test_large_strings_are_read_as_strings_are():
    texts = ["one two three", "", "vier fünf", "x = -5"]
    large = pa.array(["before", *texts], pa.large_string())[1:]
    expected = shingle_sets(texts, ngram=2)
    for column in (large, pa.array(texts)):
        found = shingle_sets(column, ngram=2)
        np.testing.assert_array_equal(found.hashes, expected.hashes)
        np.testing.assert_array_equal(found.starts, expected.starts)
