"""K-FAC and EK-FAC: curvature in the eigenbasis of S kron A, where its inverse is a division.

With A = Q_A diag(la) Q_A^T, S = Q_S diag(ls) Q_S^T (see `databourse.influence.kronecker`),

    (H + lam I)^-1 V = Q_S [ (Q_S^T V Q_A) / (Lam + lam) ] Q_A^T               (exact damping)

    K-FAC:   Lam = Lbar ls la^T
    EK-FAC:  Lam_oi = mean over documents of ((Q_S^T G_b Q_A)_oi)^2     (Grosse et al., 2308.03296)

Both estimate the same H, that of a document's summed loss, so one absolute damping fits both. Of
all matrices with these eigenvectors, EK-FAC's is the nearest to the Fisher matrix of the sample.

Memory per layer in float64: d_in^2 + d_out^2 for the bases, + d_in d_out for EK-FAC's eigenvalues;
an iHVP adds a few arrays of its vector's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.curvature import (
    DEFAULT_DAMPING,
    Damping,
    FloatArray,
    Sample,
    Shape,
    check_layers,
    checked_vectors,
    damped_eigenvalues,
)
from databourse.influence.kronecker import (
    Covariances,
    LayerRecord,
    SeenDocuments,
    check_shape,
    real_tokens,
)
from databourse.language_models.model import import_torch

if TYPE_CHECKING:
    import torch

Unit = Literal["document", "token"]

_BLOCK_CELLS = 1 << 21  # 16 MiB of float64, of which two exist at a time
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class KFacLayer:
    """The eigenbasis of one layer's A and S.

    Attributes:
        input_basis: Q_A, shape (d_in, d_in), eigenvectors in columns.
        input_eigenvalues: la, shape (d_in,), >= 0.
        gradient_basis: Q_S, shape (d_out, d_out).
        gradient_eigenvalues: ls, shape (d_out,), >= 0.
    """

    input_basis: FloatArray
    input_eigenvalues: FloatArray
    gradient_basis: FloatArray
    gradient_eigenvalues: FloatArray


@dataclass(frozen=True)
class EKFacLayer:
    """The eigenbasis of one layer's A and S, and eigenvalues fitted in it.

    Attributes:
        input_basis: Q_A, shape (d_in, d_in), eigenvectors in columns.
        gradient_basis: Q_S, shape (d_out, d_out).
        eigenvalues: Lam, shape (d_out, d_in), >= 0.
    """

    input_basis: FloatArray
    gradient_basis: FloatArray
    eigenvalues: FloatArray


@dataclass(frozen=True)
class KFac:
    """H = Lbar (S kron A) of each layer, and what A and S were fitted on."""

    layers: dict[str, KFacLayer]
    sample: Sample

    @property
    def shapes(self) -> dict[str, Shape]:
        """Layers and their (d_out, d_in)."""
        return _shapes(self.layers)

    def eigenvalues(self, layer: str) -> FloatArray:
        """Return Lbar ls la^T of a layer, shape (d_out, d_in)."""
        own = self.layers[layer]
        scaled = self.sample.tokens_per_document * own.gradient_eigenvalues
        return np.outer(scaled, own.input_eigenvalues)

    def ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return (Lbar S kron A + lam I)^-1 v of shape (..., d_out, d_in), one for each layer.

        Raises:
            InputError: layers or shapes differ from those of this curvature, a number of a gradient
                is not finite, or H + lam I is singular.
        """
        return {
            layer: _divided(self.layers[layer], vector, self._damped(layer, damping))
            for layer, vector in checked_vectors(vectors, self.shapes).items()
        }

    def factored_tikhonov_ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return (S' + sqrt(lam)/pi I)^-1 v (A + sqrt(lam) pi I)^-1, with S' = Lbar S.

        pi = sqrt((tr A / d_in) / (tr S' / d_out)). This is the inverse of ANOTHER matrix than
        H + lam I: it has all terms of it and two more, and so shrinks more. For comparison.

        Args:
            vectors: gradients, shape (..., d_out, d_in), one for each layer.
            damping: its share is of the mean of the same eigenvalues as in `ihvp`.

        Raises:
            InputError: as `ihvp`.
        """
        return {
            layer: _divided(self.layers[layer], vector, self._tikhonov(layer, damping))
            for layer, vector in checked_vectors(vectors, self.shapes).items()
        }

    def _damped(self, layer: str, damping: Damping) -> FloatArray:
        eigenvalues = self.eigenvalues(layer)
        return damped_eigenvalues(
            eigenvalues, damping, layer=layer, rounding=_rounding(eigenvalues)
        )

    def _tikhonov(self, layer: str, damping: Damping) -> FloatArray:
        exact = self._damped(layer, damping)  # refuses what cannot be divided by
        own = self.layers[layer]
        scaled = self.sample.tokens_per_document * own.gradient_eigenvalues
        root = math.sqrt(damping.strength(float(self.eigenvalues(layer).mean())))
        if root == 0.0:
            return exact
        if not (own.input_eigenvalues.any() and scaled.any()):
            raise InputError(
                f"factored damping needs traces of A and S > 0, layer {layer!r} has one of 0; "
                "leave it out, or use exact damping"
            )
        pi = math.sqrt(own.input_eigenvalues.mean() / scaled.mean())
        return np.outer(scaled + root / pi, own.input_eigenvalues + root * pi)


@dataclass(frozen=True)
class EKFac:
    """H of each layer by eigenvalues fitted in the eigenbasis of S kron A.

    Attributes:
        layers: bases and eigenvalues.
        sample: what the eigenvalues were fitted on.
        basis_sample: what the bases were fitted on.
        unit: "document" if an eigenvalue is the mean of squares of documents' gradients, "token" if
            it is Lbar times that of single tokens' d a^T; see `fit_ekfac`.
    """

    layers: dict[str, EKFacLayer]
    sample: Sample
    basis_sample: Sample
    unit: Unit

    @property
    def shapes(self) -> dict[str, Shape]:
        """Layers and their (d_out, d_in)."""
        return _shapes(self.layers)

    def eigenvalues(self, layer: str) -> FloatArray:
        """Return Lam of a layer, shape (d_out, d_in)."""
        return self.layers[layer].eigenvalues

    def ihvp(
        self, vectors: Mapping[str, npt.NDArray[Any]], damping: Damping = DEFAULT_DAMPING
    ) -> dict[str, FloatArray]:
        """Return (H + lam I)^-1 v of shape (..., d_out, d_in), one for each layer.

        Raises:
            InputError: layers or shapes differ from those of this curvature, a number of a gradient
                is not finite, or H + lam I is singular.
        """
        solved = {}
        for layer, vector in checked_vectors(vectors, self.shapes).items():
            eigenvalues = self.eigenvalues(layer)
            damped = damped_eigenvalues(
                eigenvalues, damping, layer=layer, rounding=_rounding(eigenvalues)
            )
            solved[layer] = _divided(self.layers[layer], vector, damped)
        return solved


def kfac(covariances: Covariances) -> KFac:
    """Return the K-FAC curvature of fitted covariances: their eigenbases, in float64."""
    layers = {}
    for layer, factors in covariances.layers.items():
        input_eigenvalues, input_basis = np.linalg.eigh(factors.inputs)
        gradient_eigenvalues, gradient_basis = np.linalg.eigh(factors.gradients)
        # A and S are sums of squares: what is below 0 is a rounding error of 0
        layers[layer] = KFacLayer(
            input_basis,
            np.maximum(input_eigenvalues, 0.0),
            gradient_basis,
            np.maximum(gradient_eigenvalues, 0.0),
        )
    return KFac(layers, covariances.sample)


def fit_ekfac(bases: KFac, records: Iterable[LayerRecord], *, unit: Unit) -> EKFac:
    """Return the EK-FAC curvature: eigenvalues fitted from documents, in the bases given.

    Sums are made in float64, and do not depend on how documents are put into batches or padded, but
    for rounding. No more than 32 MiB of documents' gradients exist at a time, beside float64 copies
    of the rotated tokens of one record.

    Args:
        bases: fitted on the same model, whose `model_id` the result takes over.
        records: of the same layers and labels; of the same documents, or others; consumed once.
        unit: "document": Lam_oi = mean over documents of ((Q_S^T G_b Q_A)_oi)^2, as published
            (windows of one document are terms of their own: see `LayerRecord`).
            "token": Lbar times the mean over tokens of ((Q_S^T d a^T Q_A)_oi)^2, which leaves out
            products of different tokens; in expectation the same where tokens' d a^T are
            uncorrelated. Our addition: with the data's labels, and few documents, those products
            are mostly noise.

    Raises:
        InputError: records differ from the bases in layers, shapes or labels; or as
            `fit_covariances` does.
    """
    if unit not in ("document", "token"):
        raise InputError(f"unit must be 'document' or 'token', got {unit!r}")
    sums = {layer: np.zeros(shape) for layer, shape in bases.shapes.items()}
    seen = SeenDocuments()
    placed: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for record in records:
        if record.layer not in sums:
            check_layers({record.layer: None, **sums}, sums, "records")
        inputs, gradients = real_tokens(record)
        check_shape(record.layer, (gradients.shape[1], inputs.shape[1]), sums[record.layer].shape)
        if record.labels != bases.sample.labels:
            raise InputError(
                f"records of layer {record.layer!r} have labels {record.labels!r}, but the bases "
                f"were fitted on {bases.sample.labels!r}; fit both on one kind"
            )
        seen.add(record, n_tokens=len(inputs))
        if record.layer not in placed:
            placed[record.layer] = _bases_on(inputs.device, bases.layers[record.layer])
        input_basis, gradient_basis = placed[record.layer]
        rotated = inputs.double() @ input_basis, gradients.double() @ gradient_basis
        if unit == "token":
            sums[record.layer] += (rotated[1].square().T @ rotated[0].square()).cpu().numpy()
        else:
            _add_squares(sums[record.layer], record, *rotated)
    sample = seen.sample(bases.sample.model_id)
    check_layers(placed, sums, "records")
    layers = {
        layer: EKFacLayer(own.input_basis, own.gradient_basis, sums[layer] / sample.n_documents)
        for layer, own in bases.layers.items()
    }
    return EKFac(layers, sample, bases.sample, unit)


def _bases_on(device: torch.device, layer: KFacLayer) -> tuple[torch.Tensor, torch.Tensor]:
    own = import_torch()
    input_basis, gradient_basis = (
        own.from_numpy(basis).to(device) for basis in (layer.input_basis, layer.gradient_basis)
    )
    return input_basis, gradient_basis


def _add_squares(
    total: FloatArray, record: LayerRecord, inputs: torch.Tensor, gradients: torch.Tensor
) -> None:
    """Add the squares of each document's rotated gradient, blocks of documents and rows at a time.

    Args:
        total: the sum, shape (d_out, d_in).
        record: tells which real tokens are of which document.
        inputs: a Q_A of the real tokens, shape (n_tokens, d_in).
        gradients: d Q_S of them, shape (n_tokens, d_out).
    """
    n_documents, width = record.inputs.shape[:2]
    if record.real is not None:  # padding is 0 from here on: it adds nothing to a sum over tokens
        inputs, gradients = (_padded(each, record.real) for each in (inputs, gradients))
    inputs = inputs.reshape(n_documents, width, -1)
    gradients = gradients.reshape(n_documents, width, -1)
    d_out, d_in = total.shape
    rows = min(d_out, max(1, _BLOCK_CELLS // d_in))
    documents = max(1, _BLOCK_CELLS // (rows * d_in))
    for first in range(0, n_documents, documents):
        some = slice(first, first + documents)
        for top in range(0, d_out, rows):
            part = slice(top, top + rows)
            products = gradients[some, :, part].transpose(1, 2) @ inputs[some]
            total[part] += products.square_().sum(dim=0).cpu().numpy()


def _padded(tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    filled = tokens.new_zeros((*real.shape, tokens.shape[1]))
    filled[real] = tokens
    return filled


def _divided(
    layer: KFacLayer | EKFacLayer, vectors: FloatArray, divisors: FloatArray
) -> FloatArray:
    """Return Q_S [(Q_S^T V Q_A) / divisors] Q_A^T of each V, shape (..., d_out, d_in)."""
    rotated = layer.gradient_basis.T @ vectors @ layer.input_basis
    solved: FloatArray = layer.gradient_basis @ (rotated / divisors) @ layer.input_basis.T
    return solved


def _shapes(layers: Mapping[str, KFacLayer] | Mapping[str, EKFacLayer]) -> dict[str, Shape]:
    return {layer: (len(own.gradient_basis), len(own.input_basis)) for layer, own in layers.items()}


def _rounding(eigenvalues: FloatArray) -> float:
    """Return which share of the largest eigenvalue an eigenvalue of 0 may come out as."""
    return sum(eigenvalues.shape) * _EPSILON
