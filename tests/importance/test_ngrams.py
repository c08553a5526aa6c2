import hashlib
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.importance.ngrams import (
    PUBLISHED_HASHING,
    NgramHashing,
    bucket_totals,
    count_batches,
    count_documents,
    ngram_counts,
    stacked,
    text_totals,
    token_totals,
    tokens_of,
)

MASK = (1 << 64) - 1


def ngrams_of(text, order):
    tokens = re.findall(r"\w+|[^\w\s]+", text.lower())
    return [
        tuple(tokens[start : start + n])
        for n in range(1, order + 1)
        for start in range(len(tokens) - n + 1)
    ]


def published_bucket(ngram, buckets):
    return int(hashlib.sha256(" ".join(ngram).encode()).hexdigest(), 16) % buckets


def mixed_bucket(ngram, buckets):
    value = 0
    for token in reversed(ngram):
        word = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")
        value = (value * 0x9E3779B97F4A7C15 + word) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return (value ^ (value >> 31)) % buckets


BUCKET = {"sha256": published_bucket, "splitmix64": mixed_bucket}


def one_by_one(texts, hashing):
    counts = np.zeros((len(texts), hashing.buckets), dtype=np.int64)
    for row, text in enumerate(texts):
        for ngram in ngrams_of(text, hashing.order):
            counts[row, BUCKET[hashing.hash_name](ngram, hashing.buckets)] += 1
    return counts


def test_buckets_are_those_of_the_published_library():
    # by get_ngram_counts of data-selection 1.0.3
    expected = {
        **dict.fromkeys([696, 1350, 1379, 1678, 1943, 2935, 3453, 3960, 4345, 4887, 4892], 1),
        **dict.fromkeys([6338, 7620, 8536, 8983], 1),
        **dict.fromkeys([1411, 1441, 4279, 5481, 6297], 2),
    }
    row = ngram_counts(["Hello, world! It's 3.5 it's"], PUBLISHED_HASHING).toarray()[0]
    assert {int(column): int(row[column]) for column in np.flatnonzero(row)} == expected


def test_tokens_are_lower_case_words_and_runs_of_marks():
    assert tokens_of("Héllo_1, WORLD!?\n\tit's 3.5") == [
        *("héllo_1", ",", "world", "!?", "it", "'", "s", "3", ".", "5")
    ]


@pytest.mark.parametrize("hash_name", ["splitmix64", "sha256"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_counts_are_those_of_a_loop_over_ngrams(hash_name, order):
    texts = ["the cat, the cat", "", "One", " \n", "日本 語", "a b c d e a b c", "x y", "the cat"]
    hashing = NgramHashing(order=order, buckets=97, hash_name=hash_name)
    np.testing.assert_array_equal(
        ngram_counts(texts, hashing).toarray(), one_by_one(texts, hashing)
    )


@given(
    texts=st.lists(st.text(alphabet="ab .\nÄ", max_size=12), max_size=6),
    cut=st.integers(0, 6),
    hash_name=st.sampled_from(["splitmix64", "sha256"]),
)
def test_batches_change_no_count(texts, cut, hash_name):
    hashing = NgramHashing(order=3, buckets=50, hash_name=hash_name)
    cut_up = stacked(list(count_batches([texts[:cut], [], texts[cut:]], hashing)), 50)
    np.testing.assert_array_equal(cut_up.toarray(), one_by_one(texts, hashing))


def test_a_batch_longer_than_is_counted_at_once_keeps_its_order():
    texts = [f"number {i} of many" for i in range(4_500)]
    hashing = NgramHashing(buckets=1_000)
    counts = ngram_counts(texts, hashing)
    assert counts.shape == (4_500, 1_000)
    some = [0, 1_999, 2_000, 4_499]
    np.testing.assert_array_equal(
        counts[some].toarray(), one_by_one([texts[i] for i in some], hashing)
    )


@pytest.mark.parametrize("hash_name", ["splitmix64", "sha256"])
def test_the_form_of_line_ends_and_spaces_changes_nothing(hash_name):
    hashing = NgramHashing(hash_name=hash_name)
    rows = ngram_counts(["one two\nthree", "one two\r\nthree", "one  two\u2028three "], hashing)
    rows = rows.toarray()
    np.testing.assert_array_equal(rows[1], rows[0])
    np.testing.assert_array_equal(rows[2], rows[0])
    other = ngram_counts(["one three two"], hashing).toarray()[0]
    assert (other != rows[0]).any()


def test_ngrams_are_spread_evenly_over_buckets():
    texts = [f"w{i}" for i in range(20_000)]
    for hash_name in ("splitmix64", "sha256"):
        hashing = NgramHashing(order=1, buckets=100, hash_name=hash_name)
        totals = bucket_totals(ngram_counts(texts, hashing))
        # chi-square with 99 degrees of freedom: mean 99, sd 14
        assert ((totals - 200) ** 2 / 200).sum() < 99 + 4 * 14


def test_totals_by_bucket_and_by_text_are_sums_of_the_matrix():
    counts = ngram_counts(["a b a", "", "a"], NgramHashing(buckets=7))
    table = counts.toarray()
    assert bucket_totals(counts).tolist() == table.sum(axis=0).tolist()
    assert text_totals(counts).tolist() == [5, 0, 1]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_tokens_are_told_from_the_number_of_ngrams(order):
    texts = [" ".join("abcdefghij"[:n]) for n in range(11)]
    totals = text_totals(ngram_counts(texts, NgramHashing(order=order)))
    assert token_totals(totals, order).tolist() == list(range(11))


@pytest.mark.parametrize(("given_", "came"), [(["a"], "got 1"), (["a"] * 3, "got at least 3")])
def test_another_number_of_texts_than_documents_is_refused(given_, came):
    with pytest.raises(InputError, match=f"texts must cover 2 documents, {came}"):
        list(count_documents([given_], 2, NgramHashing()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"order": 0}, "got 0 and 10000"),
        ({"order": 5}, "order must be 1..4"),
        ({"buckets": 0}, "got 2 and 0"),
        ({"buckets": 2**31}, "buckets 1..2"),
        ({"hash_name": "md5"}, "must be splitmix64 or sha256, got 'md5'"),
    ],
)
def test_hashing_outside_its_domain_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        NgramHashing(**changed)
