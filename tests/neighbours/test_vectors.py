import numpy as np

from databourse.neighbours.vectors import paired_cosines, paired_dots, rounded


def test_a_cosine_is_divided_by_both_lengths_and_rounded():
    left = np.array([[3, 4], [1, 0]], dtype=np.float32)
    right = np.array([[4, 3], [0, 5]], dtype=np.float32)
    assert paired_cosines(left, right).tolist() == [0.96, 0.0]


def test_a_zero_vector_has_cosine_zero_with_everything():
    left, right = np.zeros((1, 2), dtype=np.float32), np.ones((1, 2), dtype=np.float32)
    assert paired_cosines(left, right).tolist() == [0.0]


def test_no_rounded_cosine_is_negative_zero():
    assert not np.signbit(rounded(np.array([-1e-9]))).any()


def test_a_dot_product_does_not_depend_on_the_rows_around_it():
    rng = np.random.default_rng(0)
    left = rng.normal(size=(9000, 7)).astype(np.float32)
    right = rng.normal(size=(9000, 7)).astype(np.float32)
    alone = [paired_dots(left[i : i + 1], right[i : i + 1])[0] for i in range(0, 9000, 100)]
    np.testing.assert_array_equal(paired_dots(left, right)[::100], alone)
