"""Curvature of the training loss, and the damped inverse of it times a gradient (iHVP).

Notation: document b has L_b tokens, n documents have N in all, N / n = Lbar on average. Of a linear
layer, a_bt is its input at a token, d_bt the gradient of the document's SUMMED token loss before
its activation, G_b = sum_t d_bt a_bt^T (d_out x d_in) the document's gradient.

What every H here stands for, layer by layer: the mean over documents of the Fisher matrix of a
document's summed loss,

    H = (1 / n) sum_b E[vec(G_b) vec(G_b)^T],    vec = row by row,    (S kron A) vec(V) = vec(S V A)

so a document weighs in H by its number of tokens, as it does in the summed training loss, whose
curvature is n H; the value of one document by v^T H^-1 g is therefore n times its effect.

Damping is added to every eigenvalue, iHVP = (H + lam I)^-1 v. Its default is a share of the mean
eigenvalue of each layer (0.1 as Grosse et al., 2308.03296, have it), and so does not change when
losses are scaled or documents are longer; an absolute one is in units of H.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError

FloatArray = npt.NDArray[np.float64]
Labels = Literal["sampled", "data"]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Damping:
    """What is added to every eigenvalue of a curvature.

    Attributes:
        amount: finite, >= 0; 0 leaves the curvature as it is, and a singular one is then refused.
        unit: "mean_eigenvalue": `amount` is a share of the mean eigenvalue of each layer;
            "absolute": it is lam itself.
    """

    amount: float
    unit: Literal["mean_eigenvalue", "absolute"] = "mean_eigenvalue"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0.0):
            raise InputError(f"damping must be finite and >= 0, got {self.amount!r}")
        if self.unit not in ("mean_eigenvalue", "absolute"):
            raise InputError(
                f"damping must be in 'mean_eigenvalue' or 'absolute', got {self.unit!r}"
            )

    def strength(self, mean_eigenvalue: float) -> float:
        """Return lam, in the unit of the eigenvalues."""
        return self.amount if self.unit == "absolute" else self.amount * mean_eigenvalue


DEFAULT_DAMPING = Damping(0.1)


@dataclass(frozen=True)
class Sample:
    """What a curvature was fitted on.

    Attributes:
        model_id: what decides the gradients: equal ids mean equal parameters.
        labels: "sampled": losses were of labels drawn from the model itself (the Fisher matrix);
            "data": of the data's own labels (the empirical Fisher matrix).
        n_documents: n.
        n_tokens: N, the real ones: no padding.
    """

    model_id: str
    labels: Labels
    n_documents: int
    n_tokens: int

    @property
    def tokens_per_document(self) -> float:
        """Lbar."""
        return self.n_tokens / self.n_documents


class Curvature(Protocol):
    """Something whose damped inverse can be applied to gradients, layer by layer."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """Layers and their (d_out, d_in)."""

    def ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return (H + lam I)^-1 times gradients of shape (..., d_out, d_in), one for each layer."""


@dataclass(frozen=True)
class Identity:
    """H = I, for the gradient dot product: what other curvatures have to beat.

    Its iHVP is v / (1 + lam), as for any other H; with damping 0 it is v itself.
    """

    shapes: dict[str, Shape]

    def ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return v / (1 + lam) for gradients of shape (..., d_out, d_in), one for each layer.

        Raises:
            InputError: layers or shapes differ from those of this curvature, or a number of a
                gradient is not finite.
        """
        divisor = 1.0 + damping.strength(1.0)
        checked = checked_vectors(vectors, self.shapes)
        return {layer: vector / divisor for layer, vector in checked.items()}


@dataclass(frozen=True)
class AdamDiagonal:
    """H = diag(sqrt(v) + epsilon), what Adam divides by; see `adam_diagonal`.

    Attributes:
        diagonals: of each layer, shape (d_out, d_in), > 0.
    """

    diagonals: dict[str, FloatArray]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Layers and their (d_out, d_in)."""
        return {layer: (each.shape[0], each.shape[1]) for layer, each in self.diagonals.items()}

    def ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return (H + lam I)^-1 v of shape (..., d_out, d_in), one for each layer.

        Raises:
            InputError: layers or shapes differ from those of this curvature, a number of a gradient
                is not finite, or an entry of H + lam I is 0.
        """
        return {
            layer: vector / damped_eigenvalues(self.diagonals[layer], damping, layer=layer)
            for layer, vector in checked_vectors(vectors, self.shapes).items()
        }


def adam_diagonal(
    second_moments: Mapping[str, npt.NDArray[Any]], *, step: int, beta2: float, epsilon: float
) -> AdamDiagonal:
    """Return the curvature that Adam's state stands for: sqrt(v / (1 - beta2^step)) + epsilon.

    Both are as torch.optim.Adam has them; LESS's code leaves out the correction and adds epsilon
    inside of the root instead.

    Args:
        second_moments: v, `exp_avg_sq` of each layer's weight, shape (d_out, d_in), >= 0.
        step: steps taken, >= 1.
        beta2: in [0, 1).
        epsilon: >= 0.

    Raises:
        InputError: one of them is outside of its domain.
    """
    if not (step >= 1 and 0.0 <= beta2 < 1.0 and 0.0 <= epsilon < math.inf):
        raise InputError(
            "adam must have step >= 1, beta2 in [0, 1) and a finite epsilon >= 0, "
            f"got step={step}, beta2={beta2}, epsilon={epsilon}"
        )
    diagonals = {}
    for layer, moments in second_moments.items():
        values = np.asarray(moments, dtype=np.float64)
        if values.ndim != 2 or not np.isfinite(values).all() or (values < 0.0).any():
            raise InputError(
                f"second moments of layer {layer!r} must be a finite matrix >= 0 (d_out, d_in), "
                f"got shape {values.shape}; take exp_avg_sq of the layer's weight"
            )
        diagonals[layer] = np.sqrt(values / (1.0 - beta2**step)) + epsilon
    return AdamDiagonal(diagonals)


def checked_vectors(
    vectors: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, Shape]
) -> dict[str, FloatArray]:
    """Return gradients in float64, in the order of `shapes`.

    Raises:
        InputError: they are of other layers or other shapes, or hold numbers that are not finite.
    """
    check_layers(vectors, shapes, "gradients")
    checked = {}
    for layer, shape in shapes.items():
        vector = np.asarray(vectors[layer], dtype=np.float64)
        if vector.ndim < 2 or vector.shape[-2:] != shape:
            raise InputError(
                f"gradients of layer {layer!r} must have shape (..., d_out, d_in) = (..., "
                f"{shape[0]}, {shape[1]}), got {vector.shape}"
            )
        if not np.isfinite(vector).all():
            raise InputError(f"gradients of layer {layer!r} hold numbers that are not finite")
        checked[layer] = vector
    return checked


def check_layers(found: Mapping[str, object], expected: Mapping[str, object], what: str) -> None:
    """Pass if two mappings have the same layers.

    Raises:
        InputError: they do not; names those that are missing and those that are not known.
    """
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise InputError(
            f"{what} must be of exactly the layers of the curvature: missing {missing}, unknown "
            f"{unknown}; take both from the same list of layers"
        )


def damped_eigenvalues(
    eigenvalues: FloatArray, damping: Damping, *, layer: str, rounding: float = 0.0
) -> FloatArray:
    """Return eigenvalues + lam, all of them large enough to divide by.

    Args:
        eigenvalues: of one layer, any shape, >= 0.
        damping: a share is of their mean.
        layer: its name, for the error.
        rounding: the share of the largest one below which one may be a rounding error of 0.

    Raises:
        InputError: one of the sums is 0, or too small to be told from it.
    """
    damped = eigenvalues + damping.strength(float(eigenvalues.mean()))
    smallest, largest = float(damped.min()), float(damped.max())
    if not smallest > rounding * largest:  # written this way round so that NaN fails too
        raise InputError(
            f"the curvature of layer {layer!r} is singular: eigenvalues {smallest:.3g} to "
            f"{largest:.3g} after damping {damping.amount} ({damping.unit}); damp it more, or fit "
            "it on more documents"
        )
    return damped
