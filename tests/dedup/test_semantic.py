import numpy as np
import pyarrow as pa
import pytest

from databourse.dedup.semantic import find_semantic_duplicates
from databourse.errors import InputError

ANGLES = {"a": 0, "b": 10, "c": 20, "d": 90}  # degrees; cos 10 = 0.984808, cos 20 = 0.939693


def on_circle(degrees):
    radians = np.deg2rad(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def found(ids, vectors, lengths, **settings):
    table = find_semantic_duplicates(
        pa.array(ids, pa.string()), vectors, np.asarray(lengths), **{"threshold": 0.95, **settings}
    )
    return [tuple(row.values()) for row in table.to_pylist()]


def twin(ids, vectors, lengths, threshold):
    """Apply the rule document by document, pair by pair."""
    survivors, dropped = [], []
    for one in sorted(range(len(ids)), key=lambda place: (-lengths[place], ids[place])):
        best = None
        for other in survivors:
            a, b = vectors[one].astype(float), vectors[other].astype(float)
            cosine = round(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 6)
            if cosine >= threshold and (best is None or cosine > best[1]):
                best = ids[other], cosine
        if best is None:
            survivors.append(one)
        else:
            dropped.append((ids[one], *best))
    return sorted(dropped)


def clustered(rng, n_documents, *, spread):
    centres = rng.normal(size=(12, 16))
    rows = centres[rng.integers(0, 12, n_documents)] + spread * rng.normal(size=(n_documents, 16))
    rows[1::7] = rows[::7][: len(rows[1::7])]  # some are equal
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_longest_stands_for_those_that_resemble_it_and_no_chain_reaches_further():
    ids, vectors = list(ANGLES), on_circle(list(ANGLES.values()))

    assert found(ids, vectors, [9, 8, 7, 6]) == [("b", "a", 0.984808)]  # c resembles b alone
    assert found(ids, vectors, [8, 9, 7, 6]) == [("a", "b", 0.984808), ("c", "b", 0.984808)]


def test_the_most_similar_survivor_stands_for_a_document_and_the_first_among_equals():
    vectors = on_circle([0, 30, 20])
    assert found("abc", vectors, [9, 8, 7], threshold=0.9) == [("c", "b", 0.984808)]
    between = on_circle([0, 40, 20])
    for block in (1, 2, 3):
        settings = {"threshold": 0.9, "block_documents": block}
        assert found("abc", between, [7, 7, 7], **settings) == [("c", "a", 0.939693)]


def test_of_equal_lengths_the_smallest_id_survives():
    assert found("abc", on_circle([5, 5, 5]), [1, 1, 1], threshold=1.0) == [
        ("b", "a", 1.0),
        ("c", "a", 1.0),
    ]


@pytest.mark.parametrize("spread", [0.02, 0.15, 0.4])
def test_the_plain_twin_agrees_whatever_the_blocks_threads_and_order(spread, monkeypatch):
    rng = np.random.default_rng(7)
    vectors = clustered(rng, 180, spread=spread)
    lengths = rng.integers(1, 20, 180)
    ids = [f"{number:03d}" for number in range(180)]
    expected = twin(ids, vectors, lengths, 0.95)
    monkeypatch.setattr("databourse.dedup.semantic.BLOCK_SURVIVORS", 11)

    for block, workers in ((1, 1), (7, 2), (64, 3), (512, 1)):
        settings = {"block_documents": block, "workers": workers}
        assert found(ids, vectors, lengths, **settings) == expected
    assert expected


def test_a_second_pass_drops_nothing_and_representatives_survive():
    rng = np.random.default_rng(8)
    vectors, lengths = clustered(rng, 150, spread=0.2), rng.integers(1, 9, 150)
    ids = [f"{number:03d}" for number in range(150)]

    dropped = found(ids, vectors, lengths)

    gone = {document for document, _, _ in dropped}
    assert 0 < len(gone) < 150
    assert not gone & {representative for _, representative, _ in dropped}
    stay = [place for place in range(150) if ids[place] not in gone]
    assert found([ids[place] for place in stay], vectors[stay], lengths[stay]) == []


def test_a_cosine_at_the_threshold_counts():
    exactly = 0.984808  # of the pair, to 6 decimals
    assert found("ab", on_circle([0, 10]), [2, 1], threshold=exactly)
    assert not found("ab", on_circle([0, 10]), [2, 1], threshold=exactly + 1e-6)


def test_no_document_and_one_document_have_no_duplicates():
    assert found([], np.empty((0, 3), np.float32), []) == []
    assert found(["a"], on_circle([3]), [5]) == []


def test_vectors_that_are_no_vectors_are_refused():
    broken = on_circle([0, 10])
    broken[1, 0] = np.nan
    with pytest.raises(InputError, match="1 of 2 rows are not"):
        found("ab", broken, [1, 1])
    with pytest.raises(InputError, match="one document_id, vector and length"):
        found("ab", on_circle([0, 10, 20]), [1, 1])
    for wrong in ({"threshold": 0.0}, {"threshold": 1.1}, {"workers": 0}, {"block_documents": 0}):
        with pytest.raises(InputError, match="threshold must be in"):
            found("ab", on_circle([0, 10]), [1, 1], **wrong)
