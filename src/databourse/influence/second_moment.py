"""The second moment of projected gradients: documents as samples, one k x k matrix.

    K = Phi^T Phi / n,    iHVP = (K + lam I)^-1 phi by Cholesky, never by an inverse

Phi (n x k) holds one projected gradient per row. This is TRAK's and DsDm's kernel, divided by n so
that damping does not depend on how many documents there are; LoGra has one for each layer. In the
eigenbasis of K, with coordinates divided by the root of each eigenvalue kap_r, a score is

    sum over r of kap_r / (kap_r + lam) * c_r(target) * c_r(document)      (LoGra, 2405.13954)

so damping keeps the directions of large kap softly, as a projection keeps k of them.

Memory: 3 k^2 numbers of float64, and blocks of at most 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, lapack

from databourse.errors import InputError
from databourse.influence.curvature import DEFAULT_DAMPING, Damping, FloatArray

_BLOCK_CELLS = 1 << 22  # 32 MiB of float64, of which two exist at a time


@dataclass(frozen=True)
class SecondMoment:
    """K of projected gradients.

    Attributes:
        matrix: K, shape (k, k), float64.
        n_documents: n.
        features_id: what decides the features: model, layers and projection.
    """

    matrix: FloatArray
    n_documents: int
    features_id: str

    def ihvp(self, features: npt.NDArray[Any], damping: Damping = DEFAULT_DAMPING) -> FloatArray:
        """Return (K + lam I)^-1 phi of each row, shape (m, k), or (k,) for one.

        Args:
            features: projected gradients by the same projection, shape (m, k) or (k,), finite.
            damping: its share is of the mean eigenvalue, tr K / k.

        Raises:
            InputError: shapes differ, a number is not finite, there is no damping and fewer
                documents than k, or K + lam I is singular to float64.
        """
        size = len(self.matrix)
        vectors = np.asarray(features, dtype=np.float64)
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != size:
            raise InputError(f"features must have shape (m, {size}), got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise InputError("features to precondition hold numbers that are not finite")
        if damping.amount == 0.0 and self.n_documents < size:
            raise InputError(
                f"the second moment of {self.n_documents:,} documents in {size:,} dimensions is "
                "singular; set damping > 0, or fit it on more documents"
            )
        damped = self.matrix.copy()
        damped[np.diag_indices(size)] += damping.strength(float(np.trace(self.matrix)) / size)
        norm = float(np.abs(damped).sum(axis=0).max())
        factor, failed = lapack.dpotrf(damped, lower=True, overwrite_a=True)
        # the reciprocal condition number: below k epsilon no digit of a solution is right
        condition = 0.0 if failed else float(lapack.dpocon(factor, norm, uplo="L")[0])
        if not condition > size * np.finfo(np.float64).eps:
            raise InputError(
                f"the second moment is singular: reciprocal condition {condition:.3g} after damping"
                f" {damping.amount} ({damping.unit}); damp it more, or look for features that are "
                "always 0 or copies of others"
            )
        solved: FloatArray = cho_solve((factor, True), vectors.T).T
        return solved


def fit_second_moment(blocks: Iterable[npt.NDArray[Any]], *, features_id: str) -> SecondMoment:
    """Return K of projected gradients, summed in float64 whatever their type.

    It does not depend on how documents are put into blocks, but for rounding.

    Args:
        blocks: projected gradients, shape (b, k) each, float16, float32 or float64; consumed once.
        features_id: see `SecondMoment`.

    Raises:
        InputError: there is no document, widths differ, or a number is not finite (in float16,
            beyond 65,504: scale features before they are stored).
    """
    total: FloatArray | None = None
    n_documents = 0
    for block in blocks:
        if (
            block.ndim != 2
            or block.shape[1] == 0
            or (total is not None and block.shape[1] != len(total))
        ):
            width = "k" if total is None else len(total)
            raise InputError(f"blocks of features must have shape (b, {width}), got {block.shape}")
        if total is None:
            total = np.zeros((block.shape[1],) * 2)
        size = max(1, _BLOCK_CELLS // block.shape[1])
        for start in range(0, len(block), size):
            rows = block[start : start + size].astype(np.float64)
            if not np.isfinite(rows).all():
                raise InputError(
                    f"features of a document after the first {n_documents + start:,} are not "
                    f"finite ({block.dtype}); scale features before they are stored"
                )
            total += rows.T @ rows
        n_documents += len(block)
    if total is None or n_documents == 0:
        raise InputError("a second moment cannot be fitted on no documents; give it features")
    return SecondMoment(total / n_documents, n_documents, features_id)
