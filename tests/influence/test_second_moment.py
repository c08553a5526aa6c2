"""The projected second moment against dense solves, and the laws of its damping."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.influence import second_moment
from databourse.influence.curvature import Damping
from databourse.influence.second_moment import fit_second_moment


def _features(n=40, k=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) * np.linspace(3.0, 0.1, k)


def _fit(*blocks):
    return fit_second_moment(blocks, features_id="f")


def test_two_documents_by_hand():
    # K = ((2, 0) (2, 0)^T + (0, 4) (0, 4)^T) / 2 = diag(2, 8), mean eigenvalue 5
    fitted = _fit(np.array([[2.0, 0.0], [0.0, 4.0]]))

    np.testing.assert_array_equal(fitted.matrix, [[2.0, 0.0], [0.0, 8.0]])
    np.testing.assert_allclose(fitted.ihvp(np.array([4.0, 4.0]), Damping(0.0)), [2.0, 0.5])
    np.testing.assert_allclose(fitted.ihvp(np.array([14.0, 26.0]), Damping(1.0)), [2.0, 2.0])
    np.testing.assert_allclose(
        fitted.ihvp(np.array([6.0, 6.0]), Damping(4.0, "absolute")), [1.0, 0.5]
    )


@pytest.mark.parametrize("damping", [Damping(0.0), Damping(0.1), Damping(2.0, "absolute")])
def test_cholesky_is_the_dense_solve(damping):
    features, targets = _features(), _features(n=5, seed=1)
    kernel = features.T @ features / 40
    lam = damping.strength(np.trace(kernel) / 7)

    solved = _fit(features).ihvp(targets, damping)

    expected = np.linalg.solve(kernel + lam * np.eye(7), targets.T).T
    np.testing.assert_allclose(solved, expected, rtol=1e-10)


def test_one_target_is_as_a_row_of_many():
    fitted, targets = _fit(_features()), _features(n=3, seed=1)

    for row, expected in zip(targets, fitted.ihvp(targets), strict=True):
        np.testing.assert_allclose(fitted.ihvp(row), expected, rtol=1e-12)


@given(st.lists(st.integers(1, 39), max_size=6))
def test_blocks_of_any_size_give_what_one_block_gives(cuts):
    features = _features()
    edges = [0, *sorted(set(cuts)), 40]
    blocks = [features[start:stop] for start, stop in itertools.pairwise(edges)]

    streamed = _fit(*blocks)

    assert streamed.n_documents == 40
    np.testing.assert_allclose(streamed.matrix, _fit(features).matrix, rtol=1e-12, atol=1e-14)


def test_a_block_beyond_the_bound_is_taken_in_parts(monkeypatch):
    features = _features().astype(np.float32)
    whole = _fit(features).matrix

    monkeypatch.setattr(second_moment, "_BLOCK_CELLS", 15)  # two rows of 7

    np.testing.assert_allclose(_fit(features).matrix, whole, rtol=1e-12, atol=1e-14)


def test_no_more_than_the_bound_is_held_in_float64():
    features = np.ones((1 << 20, 16), dtype=np.float16)  # 128 MiB in float64

    tracemalloc.start()
    _fit(features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1.3 * (64 << 20)


def test_sums_of_float16_features_do_not_overflow():
    # one product, 9e6, is far beyond what float16 holds (65,504)
    features = np.full((50_000, 2), 3_000.0, dtype=np.float16)

    np.testing.assert_array_equal(_fit(features).matrix, np.full((2, 2), 9e6))


def test_sums_of_float32_features_keep_small_documents():
    # added one by one in float32, ones are lost beside 1e9
    features = np.array([[1e5]] + [[1.0]] * 1000, dtype=np.float32)
    blocks = [features[i : i + 1] for i in range(1001)]

    assert _fit(*blocks).matrix[0, 0] == pytest.approx((1e10 + 1000) / 1001, rel=1e-15)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_features_that_overflowed_are_refused(bad):
    features = np.ones((4, 3), dtype=np.float16)
    features[2, 1] = bad

    with pytest.raises(InputError, match=r"after the first 4 are not finite \(float16\)"):
        _fit(np.ones((4, 3)), features)


def test_fewer_documents_than_dimensions_are_refused_without_damping():
    fitted = _fit(_features(n=6, k=7))

    with pytest.raises(
        InputError, match="second moment of 6 documents in 7 dimensions is singular"
    ):
        fitted.ihvp(np.ones(7), Damping(0.0))
    assert np.isfinite(fitted.ihvp(np.ones(7), Damping(0.1))).all()


@pytest.mark.parametrize("what", ["always 0", "a copy", "a sum"])
def test_a_singular_second_moment_is_refused_without_damping(what):
    features = _features()
    features[:, 3] = {
        "always 0": 0.0,
        "a copy": features[:, 2],
        "a sum": features[:, 0] - features[:, 5],
    }[what]
    fitted = _fit(features)

    with pytest.raises(InputError, match="the second moment is singular: reciprocal condition"):
        fitted.ihvp(np.ones(7), Damping(0.0))
    assert np.isfinite(fitted.ihvp(np.ones(7))).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_flat_cloud_that_rounding_lifts_is_refused_without_damping(seed):
    # the seventh direction is a sum of rounding errors: a factor may exist, but means nothing
    features = _features(k=6, seed=seed) @ np.random.default_rng(seed).normal(size=(6, 7))

    with pytest.raises(InputError, match="the second moment is singular"):
        _fit(features).ihvp(np.ones(7), Damping(0.0))


def test_features_that_are_all_zero_are_refused_even_with_damping():
    with pytest.raises(InputError, match="the second moment is singular"):
        _fit(np.zeros((9, 2))).ihvp(np.ones(2))


def test_an_infinite_damping_gives_the_direction_of_the_gradient():
    targets = _features(n=3, seed=1)

    solved = _fit(_features()).ihvp(targets, Damping(1e12, "absolute"))

    np.testing.assert_allclose(1e12 * solved, targets, rtol=0, atol=1e-9)


def test_a_square_projection_leaves_undamped_scores_unchanged():
    features, targets = _features(n=60, k=9), _features(n=4, k=9, seed=1)
    left, right = (
        np.linalg.qr(each)[0] for each in np.random.default_rng(2).normal(size=(2, 9, 9))
    )
    projection = left * np.linspace(0.3, 2.0, 9) @ right  # well conditioned: K squares it

    plain = features @ _fit(features).ihvp(targets, Damping(0.0)).T
    projected = features @ projection
    through = projected @ _fit(projected).ihvp(targets @ projection, Damping(0.0)).T

    np.testing.assert_allclose(through, plain, rtol=0, atol=1e-8 * np.abs(plain).max())
    # with damping it is another question, and an unscaled projection changes the answer
    damped = features @ _fit(features).ihvp(targets, Damping(1.0, "absolute")).T
    other = projected @ _fit(projected).ihvp(targets @ projection, Damping(1.0, "absolute")).T
    assert np.abs(other - damped).max() > 0.01 * np.abs(damped).max()


def test_damping_by_a_share_does_not_depend_on_how_features_are_scaled_or_repeated():
    features, targets = _features(), _features(n=3, seed=1)
    plain = _fit(features).ihvp(targets, Damping(0.1))

    np.testing.assert_allclose(
        1e6 * _fit(1e3 * features).ihvp(targets, Damping(0.1)), plain, rtol=1e-10
    )
    np.testing.assert_allclose(
        _fit(features, features, features).ihvp(targets, Damping(0.1)), plain, rtol=1e-10
    )


@pytest.mark.parametrize("lam", [1e-3, 0.3, 20.0])
def test_damping_keeps_each_direction_by_its_share_as_logra_has_it(lam):
    """LoGra, 2405.13954: scores are sum_r kap_r / (kap_r + lam) c_r(target) c_r(document)."""
    features, targets = _features(), _features(n=3, seed=1)
    eigenvalues, basis = np.linalg.eigh(features.T @ features / 40)

    scores = targets @ _fit(features).ihvp(features, Damping(lam, "absolute")).T

    expected = np.zeros((3, 40))
    for kap, direction in zip(eigenvalues, basis.T, strict=True):
        c_target = targets @ direction / np.sqrt(kap)
        c_document = features @ direction / np.sqrt(kap)
        expected += kap / (kap + lam) * np.outer(c_target, c_document)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(3,), (3, 6), (2, 3, 7)])
def test_targets_of_another_width_are_refused(shape):
    with pytest.raises(InputError, match=r"features must have shape \(m, 7\), got"):
        _fit(_features()).ihvp(np.zeros(shape))


def test_a_target_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="features to precondition hold numbers that are not"):
        _fit(_features()).ihvp(np.full(7, np.nan))


def test_blocks_of_different_widths_are_refused():
    with pytest.raises(InputError, match=r"must have shape \(b, 7\), got \(2, 5\)"):
        _fit(_features(), np.zeros((2, 5)))
    with pytest.raises(InputError, match=r"must have shape \(b, k\), got \(5,\)"):
        _fit(np.zeros(5))


def test_no_document_is_refused():
    with pytest.raises(InputError, match="cannot be fitted on no documents"):
        _fit()
    with pytest.raises(InputError, match="cannot be fitted on no documents"):
        _fit(np.zeros((0, 4)))
