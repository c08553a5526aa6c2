"""Which generations mean the same: cosines, chains of judgements, rules of entailment."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.encoders.hashing import HashingEncoder
from databourse.errors import InputError
from databourse.language_models.meaning import (
    EmbeddingJudge,
    connected_groups,
    groups_by_vectors,
    may_mean_the_same,
    means_the_same,
)
from databourse.signals.semantic_entropy import meaning_groups


def angles(*degrees):
    """Return unit vectors of a plane, shape (1, R, 2)."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)[np.newaxis].astype(np.float32)


def by_angle(*degrees, threshold, numbers=None, empty=None):
    n = len(degrees)
    return groups_by_vectors(
        angles(*degrees),
        np.array([range(n) if numbers is None else numbers]),
        empty=np.array([[False] * n if empty is None else empty]),
        threshold=threshold,
    ).tolist()[0]


def test_groups_of_four_vectors_by_hand():
    # cos 10 = 0.985, cos 30 = 0.866, cos 40 = 0.766, cos 80 = 0.174
    assert by_angle(0, 80, 10, 40, threshold=0.98) == [0, 1, 0, 2]
    assert by_angle(0, 80, 10, 40, threshold=0.8) == [0, 1, 0, 0]  # 0 and 40 through 10
    assert by_angle(0, 80, 10, 40, threshold=0.76) == [0, 0, 0, 0]
    assert by_angle(0, 80, 10, 40, threshold=-1.0) == [0, 0, 0, 0]


def test_a_cosine_at_the_threshold_means_the_same():
    vectors = np.array([[[1.0, 0.0], [0.6, 0.8]]])
    numbers, empty = np.array([[0, 1]]), np.zeros((1, 2), dtype=bool)
    for threshold, expected in ((0.6, [[0, 0]]), (np.nextafter(0.6, 1), [[0, 1]])):
        found = groups_by_vectors(vectors, numbers, empty=empty, threshold=threshold)
        assert found.tolist() == expected


def test_equal_texts_mean_the_same_whatever_their_vectors():
    assert by_angle(0, 90, 0, threshold=1.0, numbers=[5, 5, 7]) == [0, 0, 0]
    assert by_angle(0, 90, 45, threshold=1.0, numbers=[5, 6, 5]) == [0, 1, 0]


def test_empty_texts_mean_the_same_as_each_other_and_as_nothing_else():
    found = by_angle(0, 0, 0, 0, threshold=0.0, numbers=[0, 1, 0, 2], empty=[1, 0, 1, 0])
    assert found == [0, 1, 0, 1]


@given(st.integers(1, 7), st.integers(0, 3), st.integers(0, 2**32 - 1), st.floats(-1, 1))
def test_groups_are_those_of_asking_pair_by_pair(n, documents, seed, threshold):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(documents, n, 3))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    numbers = rng.integers(0, n + 1, size=(documents, n))
    empty = numbers == 0
    found = groups_by_vectors(vectors, numbers, empty=empty, threshold=threshold)
    for document in range(documents):

        def same(one, other, document=document):
            if numbers[document, one] == numbers[document, other]:
                return True
            if empty[document, one] or empty[document, other]:
                return False
            cosine = sum(vectors[document, one, i] * vectors[document, other, i] for i in range(3))
            return bool(cosine >= threshold)

        assert found[document].tolist() == meaning_groups(range(n), same).tolist()


@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_connected_groups_are_those_of_union_find(n, seed, share):
    same = np.random.default_rng(seed).random((2, n, n)) < share
    found = connected_groups(same)
    for own, judged in zip(found, same, strict=True):
        expected = meaning_groups(range(n), lambda i, j, j2=judged: bool(j2[i, j] or j2[j, i]))
        assert own.tolist() == expected.tolist()


def test_a_long_chain_joins_its_ends():
    links = np.zeros((1, 9, 9), dtype=bool)
    order = [8, 0, 7, 1, 6, 2, 5, 3]  # 4 stays alone
    for one, other in itertools.pairwise(order):
        links[0, one, other] = True
    assert connected_groups(links).tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]


def test_no_document_and_no_generation_have_no_group():
    assert connected_groups(np.zeros((0, 3, 3), dtype=bool)).shape == (0, 3)
    assert connected_groups(np.zeros((2, 0, 0), dtype=bool)).shape == (2, 0)


def test_the_rules_by_hand():
    table = {  # forward, backward: strict, lenient
        ("entailment", "entailment"): (True, True),
        ("entailment", "neutral"): (False, True),
        ("neutral", "entailment"): (False, True),
        ("neutral", "neutral"): (False, False),
        ("entailment", "contradiction"): (False, False),
        ("contradiction", "entailment"): (False, False),
        ("neutral", "contradiction"): (False, False),
        ("contradiction", "neutral"): (False, False),
        ("contradiction", "contradiction"): (False, False),
    }
    for labels, expected in table.items():
        found = tuple(means_the_same(*labels, rule=rule) for rule in ("strict", "lenient"))
        assert found == expected, labels


def test_one_way_settles_what_it_can():
    settled = {
        (label, rule): may_mean_the_same(label, rule=rule)
        for label in ("entailment", "neutral", "contradiction")
        for rule in ("strict", "lenient")
    }
    assert [each for each, is_open in settled.items() if is_open] == [
        ("entailment", "strict"),
        ("entailment", "lenient"),
        ("neutral", "lenient"),
    ]


@pytest.fixture(scope="module")
def encoder():
    return HashingEncoder()


GENERATIONS = [
    ["the rain falls", " the rain falls\n", "the rain is falling", "a bond yield"],
    ["", "  ", "the rain falls", "\n"],
    ["a", "b", "c", "a"],
]
PROMPTS = ["x", "y", "z"]


def test_a_judge_groups_texts_by_their_vectors(encoder):
    texts = ["the rain falls", "the rain is falling", "a bond yield"]
    vectors = encoder.encode(texts)
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > far + 0.1
    judge = EmbeddingJudge(encoder, threshold=(near + far) / 2)
    assert judge.groups(GENERATIONS, PROMPTS).tolist() == [
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [0, 1, 2, 0],
    ]
    stern = EmbeddingJudge(encoder, threshold=1.0)
    assert stern.groups(GENERATIONS, PROMPTS).tolist()[0] == [0, 0, 1, 2]


def test_company_and_parts_change_no_group(encoder, monkeypatch):
    judge = EmbeddingJudge(encoder, threshold=0.5)
    together = judge.groups(GENERATIONS, PROMPTS)
    alone = [judge.groups([row], ["p"])[0].tolist() for row in GENERATIONS]
    assert together.tolist() == alone
    monkeypatch.setattr("databourse.language_models.meaning._DOCUMENTS_AT_ONCE", 2)
    assert judge.groups(GENERATIONS, PROMPTS).tolist() == alone


def test_each_distinct_text_is_encoded_once(encoder):
    told = []
    EmbeddingJudge(encoder, threshold=0.5).groups(GENERATIONS, PROMPTS, progress=told.append)
    assert sum(told) == 7  # three sentences, three letters and the empty text


def test_no_document_is_judged_too(encoder):
    assert EmbeddingJudge(encoder, threshold=0.5).groups([], []).shape[0] == 0


def test_the_id_names_encoder_and_threshold(encoder):
    ids = {EmbeddingJudge(encoder, threshold=each).judge_id for each in (0.8, 0.80001)}
    assert len(ids) == 2
    assert all(encoder.encoder_id in each for each in ids)


def test_arguments_outside_their_domain_are_named(encoder):
    for threshold in (1.1, -1.1, float("nan")):
        with pytest.raises(InputError, match="threshold must be a cosine"):
            EmbeddingJudge(encoder, threshold=threshold)
        with pytest.raises(InputError, match="threshold must be a cosine"):
            by_angle(0, 1, threshold=threshold)
    judge = EmbeddingJudge(encoder, threshold=0.5)
    with pytest.raises(InputError, match="same number of generations, got 1 to 2"):
        judge.groups([["a"], ["a", "b"]], ["x", "y"])
    with pytest.raises(InputError, match="one prompt per document, got 1 for 3"):
        judge.groups(GENERATIONS, ["x"])
    with pytest.raises(InputError, match=r"norm 1, got norms of 0\.5"):
        groups_by_vectors(
            np.full((1, 1, 1), 0.5), np.array([[0]]), empty=np.array([[False]]), threshold=0.5
        )
    with pytest.raises(InputError, match=r"got shapes \(1, 2, 2\), \(1, 1\)"):
        groups_by_vectors(angles(0, 1), np.array([[0]]), empty=np.array([[False]]), threshold=0.5)
    with pytest.raises(InputError, match="judgements of shape"):
        connected_groups(np.zeros((2, 3), dtype=bool))
    with pytest.raises(InputError, match="rule must be one of strict, lenient, got 'mild'"):
        means_the_same("neutral", "neutral", rule="mild")
