import numpy as np
import pytest

from databourse.errors import InputError
from databourse.neighbours import nearest_neighbours, search


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(n, dimension, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dimension))
    return unit(centres[rng.integers(0, 5, n)] + 0.4 * rng.normal(size=(n, dimension)))


def slow_twin(vectors, k):
    """Every pair in turn, sorted by rounded cosine descending, then position."""
    wide = vectors.astype(np.float64)
    positions, similarities = [], []
    for i, query in enumerate(wide):
        cosines = []
        for j, other in enumerate(wide):
            length = np.sqrt((query @ query) * (other @ other))
            cosines.append((-round(float(query @ other) / length, 6), j))
        best = sorted(pair for pair in cosines if pair[1] != i)[:k]
        positions.append([j for _, j in best])
        similarities.append([-cosine for cosine, _ in best])
    return np.array(positions), np.array(similarities, dtype=np.float32)


def test_neighbours_of_four_directions_are_those_computed_by_hand():
    vectors = unit([[1, 0], [0, 1], [1, 1], [-1, 0]])

    found = nearest_neighbours(vectors, 2)

    assert found.positions.tolist() == [[2, 1], [2, 0], [0, 1], [1, 2]]
    expected = [[0.707107, 0.0], [0.707107, 0.0], [0.707107, 0.707107], [0.0, -0.707107]]
    np.testing.assert_array_equal(found.similarities, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(("n", "dimension", "k"), [(2, 3, 1), (60, 8, 7), (300, 16, 10)])
def test_neighbours_equal_the_slow_twin(n, dimension, k):
    vectors = clustered(n, dimension, seed=n)
    vectors[n // 2] = vectors[0]  # a duplicate

    found = nearest_neighbours(vectors, k)

    positions, similarities = slow_twin(vectors, k)
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_array_equal(found.similarities, similarities)


def test_neighbours_equal_the_slow_twin_when_lengths_are_off_by_half_a_thousandth():
    rng = np.random.default_rng(4)
    vectors = clustered(120, 8, seed=4) * rng.uniform(0.9995, 1.0005, (120, 1)).astype(np.float32)

    found = nearest_neighbours(vectors, 5)

    np.testing.assert_array_equal(found.positions, slow_twin(vectors, 5)[0])


def test_neighbours_do_not_depend_on_the_block_size_or_the_workers(monkeypatch):
    vectors = clustered(500, 24, seed=1)
    expected = nearest_neighbours(vectors, 6)
    for block, workers in [(1, 1), (17, 3), (499, 2)]:
        monkeypatch.setattr(search, "_BLOCK_ROWS", block)
        monkeypatch.setattr(search, "_BLOCK_CELLS", 1 << 30)
        found = nearest_neighbours(vectors, 6, workers=workers)
        assert found.positions.tobytes() == expected.positions.tobytes()
        assert found.similarities.tobytes() == expected.similarities.tobytes()


def test_permuted_rows_give_permuted_neighbours():
    vectors = clustered(200, 24, seed=2)
    order = np.random.default_rng(0).permutation(200)
    expected, found = nearest_neighbours(vectors, 4), nearest_neighbours(vectors[order], 4)
    np.testing.assert_array_equal(order[found.positions], expected.positions[order])
    np.testing.assert_array_equal(found.similarities, expected.similarities[order])


def test_the_first_neighbours_do_not_depend_on_how_many_are_asked_for():
    vectors = np.repeat(clustered(40, 8, seed=3), 3, axis=0)  # ties everywhere
    few, many = nearest_neighbours(vectors, 5), nearest_neighbours(vectors, 50)
    np.testing.assert_array_equal(few.positions, many.positions[:, :5])


def test_equal_vectors_are_neighbours_of_each_other_in_order_of_position_and_never_of_themselves():
    vectors = unit([[3, 4]] * 4)
    found = nearest_neighbours(vectors, 3)
    assert found.positions.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert (found.similarities == 1.0).all()


def test_similarities_that_differ_below_six_decimals_are_ties_broken_by_position():
    far, near = np.cos(0.7 + 2e-7), np.cos(0.7)  # position 2 is nearer by 1e-7
    vectors = unit([[1, 0], [far, np.sin(0.7 + 2e-7)], [near, np.sin(0.7)]])
    assert nearest_neighbours(vectors, 2).positions[0].tolist() == [1, 2]


def test_k_is_clipped_to_the_other_documents_and_the_request_is_reported():
    found = nearest_neighbours(unit([[1, 0], [0, 1], [1, 1]]), 10)
    assert (found.k, found.requested) == (2, 10)
    alone = nearest_neighbours(unit([[1, 0]]), 10)
    assert alone.positions.shape == alone.similarities.shape == (1, 0)


def test_progress_adds_up_to_the_number_of_documents():
    told = []
    nearest_neighbours(clustered(600, 4, seed=5), 2, progress=told.append)
    assert sum(told) == 600


def test_neighbours_of_ten_duplicated_thousands_stay_affordable(monkeypatch):
    computed = []
    real = search.paired_dots
    monkeypatch.setattr(search, "paired_dots", lambda a, b: computed.append(len(a)) or real(a, b))
    nearest_neighbours(np.tile(unit([[1, 2, 2]]), (2000, 1)), 3)
    assert sum(computed) < 100  # pairs of equal vectors are computed once per block


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[np.nan, 0.0]], "finite"),
        ([[np.inf, 0.0]], "finite"),
        ([[1.0, 1.0]], "length 1"),
        ([[0.0, 0.0]], "length 1"),
    ],
)
def test_vectors_that_are_not_finite_and_unit_are_refused_with_their_row(vectors, message):
    rows = np.array([[1.0, 0.0], *vectors], dtype=np.float32)
    with pytest.raises(InputError, match=message) as caught:
        nearest_neighbours(rows, 1)
    assert "first 1 (length" in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_vectors_without_rows_or_columns_are_refused(shape):
    with pytest.raises(InputError, match="shape"):
        nearest_neighbours(np.zeros(shape, dtype=np.float32), 1)


@pytest.mark.parametrize(("k", "workers"), [(0, 1), (1, 0)])
def test_fewer_than_one_neighbour_or_worker_is_refused(k, workers):
    with pytest.raises(InputError, match=f"k={k}, workers={workers}"):
        nearest_neighbours(unit([[1, 0], [0, 1]]), k, workers=workers)
