"""Damping, identity and Adam's diagonal; laws that hold for the curvature of layers of any kind."""

import itertools
import math

import numpy as np
import pytest
import torch

from databourse.errors import InputError
from databourse.influence.curvature import (
    AdamDiagonal,
    Damping,
    Identity,
    adam_diagonal,
    damped_eigenvalues,
)
from databourse.influence.eigenbasis import fit_ekfac, kfac
from databourse.influence.kronecker import LayerRecord, fit_covariances

SHAPES = {"up": (5, 3), "down": (3, 5)}


def _records(seed=0):
    rng = np.random.default_rng(seed)
    return [
        LayerRecord(
            layer,
            torch.from_numpy(rng.normal(size=(12, 4, d_in))),
            torch.from_numpy(rng.normal(size=(12, 4, d_out))),
            "data",
        )
        for layer, (d_out, d_in) in SHAPES.items()
    ]


def _curvature(kind):
    if kind == "identity":
        return Identity(SHAPES)
    if kind == "adam":
        rng = np.random.default_rng(1)
        return adam_diagonal(
            {layer: rng.random(size=shape) for layer, shape in SHAPES.items()},
            step=3,
            beta2=0.9,
            epsilon=1e-8,
        )
    plain = kfac(fit_covariances(_records(), model_id="m"))
    return plain if kind == "kfac" else fit_ekfac(plain, _records(), unit="document")


def _vectors(seed=5, leading=()):
    rng = np.random.default_rng(seed)
    return {layer: rng.normal(size=(*leading, *shape)) for layer, shape in SHAPES.items()}


@pytest.fixture(params=["identity", "adam", "kfac", "ekfac"])
def curvature(request):
    return _curvature(request.param)


def _dot(left, right):
    return sum(float((left[layer] * right[layer]).sum()) for layer in SHAPES)


def test_damping_is_a_share_of_the_mean_eigenvalue_or_absolute():
    assert Damping(0.1).strength(20.0) == 2.0
    assert Damping(0.1, "absolute").strength(20.0) == 0.1


@pytest.mark.parametrize("amount", [-0.1, math.nan, math.inf])
def test_damping_that_is_no_finite_amount_is_refused(amount):
    with pytest.raises(InputError, match="damping must be finite and >= 0, got"):
        Damping(amount)


def test_damping_in_an_unknown_unit_is_refused():
    with pytest.raises(InputError, match="'mean_eigenvalue' or 'absolute', got 'percent'"):
        Damping(0.1, "percent")


def test_identity_without_damping_returns_the_gradient_and_with_a_tenth_divides_by_1_1():
    gradients = {"a": np.array([[11.0, -22.0]])}
    identity = Identity({"a": (1, 2)})

    np.testing.assert_array_equal(identity.ihvp(gradients, Damping(0.0))["a"], gradients["a"])
    np.testing.assert_allclose(identity.ihvp(gradients)["a"], [[10.0, -20.0]], rtol=1e-15)


def test_adam_divides_by_the_corrected_root_plus_epsilon():
    # v / (1 - 0.5^1) = 4 and 16, roots 2 and 4, plus 1
    adam = adam_diagonal({"a": np.array([[2.0, 8.0]])}, step=1, beta2=0.5, epsilon=1.0)

    solved = adam.ihvp({"a": np.array([[6.0, 20.0]])}, Damping(0.0))["a"]

    np.testing.assert_allclose(solved, [[2.0, 4.0]], rtol=1e-15)
    # damping by its mean: (3 + 5) / 2 = 4 is added to both
    damped = adam.ihvp({"a": np.array([[7.0, 18.0]])}, Damping(1.0))["a"]
    np.testing.assert_allclose(damped, [[1.0, 2.0]], rtol=1e-15)


def test_adam_without_damping_is_a_real_step_of_torch():
    rng = np.random.default_rng(2)
    weight = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.01, betas=(0.9, 0.99), eps=1e-6)
    for _ in range(4):
        before = weight.detach().clone()
        weight.grad = torch.from_numpy(rng.normal(size=(3, 2)))
        optimizer.step()
    state = optimizer.state[weight]
    mean = state["exp_avg"].numpy() / (1 - 0.9**4)
    adam = adam_diagonal({"w": state["exp_avg_sq"].numpy()}, step=4, beta2=0.99, epsilon=1e-6)

    change = (weight.detach() - before).numpy()

    np.testing.assert_allclose(
        -0.01 * adam.ihvp({"w": mean}, Damping(0.0))["w"], change, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("moments", "step", "match"),
    [
        ([[-1.0]], 1, "second moments of layer 'a' must be a finite matrix >= 0"),
        ([[math.nan]], 1, "second moments of layer 'a'"),
        ([1.0], 1, r"second moments of layer 'a' .* got shape \(1,\)"),
        ([[1.0]], 0, "adam must have step >= 1"),
    ],
)
def test_adam_refuses_a_state_that_cannot_be(moments, step, match):
    with pytest.raises(InputError, match=match):
        adam_diagonal({"a": np.array(moments)}, step=step, beta2=0.9, epsilon=0.0)


def test_a_weight_that_never_moved_needs_damping_or_an_epsilon():
    adam = AdamDiagonal({"a": np.array([[0.0, 1.0]])})

    with pytest.raises(InputError, match="curvature of layer 'a' is singular"):
        adam.ihvp({"a": np.ones((1, 2))}, Damping(0.0))
    np.testing.assert_allclose(adam.ihvp({"a": np.ones((1, 2))}, Damping(1.0))["a"], [[2, 2 / 3]])


def test_an_infinite_damping_gives_the_direction_of_the_gradient(curvature):
    gradients = _vectors()

    solved = curvature.ihvp(gradients, Damping(1e12, "absolute"))

    for layer, gradient in gradients.items():
        # (H + lam)^-1 = (1/lam) (1 - H/lam + ...), and H is below 1e2 here
        np.testing.assert_allclose(1e12 * solved[layer], gradient, rtol=0, atol=1e-9)


def test_a_value_does_not_change_when_document_and_target_change_places(curvature):
    left, right = _vectors(1), _vectors(2)

    assert _dot(left, curvature.ihvp(right)) == pytest.approx(
        _dot(right, curvature.ihvp(left)), rel=1e-12
    )
    assert _dot(left, curvature.ihvp(left)) > 0.0


def test_more_damping_shrinks_every_gradient(curvature):
    lengths = [
        math.sqrt(_dot(solved, solved))
        for amount in (0.01, 0.1, 1.0, 10.0)
        for solved in [curvature.ihvp(_vectors(), Damping(amount))]
    ]

    assert all(less > more for less, more in itertools.pairwise(lengths))


def test_many_gradients_at_once_are_as_one_by_one(curvature):
    many = _vectors(leading=(2, 3))

    solved = curvature.ihvp(many)

    for index in np.ndindex(2, 3):
        one = curvature.ihvp({layer: many[layer][index] for layer in SHAPES})
        for layer in SHAPES:
            np.testing.assert_allclose(solved[layer][index], one[layer], rtol=1e-12, atol=1e-14)


def test_float32_gradients_are_solved_in_float64(curvature):
    single = {layer: each.astype(np.float32) for layer, each in _vectors().items()}

    assert {each.dtype for each in curvature.ihvp(single).values()} == {np.dtype(np.float64)}


def test_gradients_of_other_layers_are_refused_by_name(curvature):
    gradients = _vectors()
    gradients["head"] = gradients.pop("down")

    with pytest.raises(InputError, match=r"missing \['down'\], unknown \['head'\]"):
        curvature.ihvp(gradients)
    with pytest.raises(InputError, match=r"missing \[\], unknown \['head'\]"):
        curvature.ihvp({**_vectors(), "head": np.ones((2, 2))})


def test_gradients_that_lie_the_other_way_round_are_refused(curvature):
    gradients = {layer: each.T for layer, each in _vectors().items()}

    with pytest.raises(InputError, match=r"'up' must have shape .* \(\.\.\., 5, 3\), got \(3, 5\)"):
        curvature.ihvp(gradients)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused(curvature, bad):
    gradients = _vectors()
    gradients["down"][1, 2] = bad

    with pytest.raises(InputError, match="gradients of layer 'down' hold numbers that are not"):
        curvature.ihvp(gradients)


def test_an_eigenvalue_below_rounding_counts_as_zero():
    eigenvalues = np.array([1.0, 1e-17])

    assert damped_eigenvalues(eigenvalues, Damping(0.0), layer="a").min() == 1e-17
    with pytest.raises(InputError, match=r"1e-17 to 1 after damping 0.0 .* damp it more"):
        damped_eigenvalues(eigenvalues, Damping(0.0), layer="a", rounding=1e-15)
