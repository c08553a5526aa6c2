"""TRAK: influence in the kernel of projected gradients, over an ensemble of checkpoints.

Notation: phi_i = P^T grad f(z_i), the k projected features of document i, Phi the (n, k) matrix of
them, phi_x those of target x, Q_i = -dl/df at document i, m = 1..M checkpoints, each with its own
parameters and its own P. K_m = Phi_m^T Phi_m / n + lam_m I, lam_m = c * tr(Phi_m^T Phi_m / n) / k.

    value(x, i) = [ mean_m phi_m(x)^T K_m^-1 phi_m(i) / n ] * [ mean_m Q_m(i) ]

Source: Park, Georgiev, Ilyas, Leclerc & Madry 2023 (arXiv 2303.14186): with c = 0 the kernel is
their (Phi^T Phi)^-1. The ensemble is a *product of means*, not a mean of products. The damping
lam, relative to the mean eigenvalue, is not the paper's; nothing is renormalised, so the unit is
theirs: the effect on the output at x of one document among the n of the kernel. In practice only
the ranking of the values is good.

Orientation, larger is better, without any turn of sign:
- "margin": f is a margin that training raises, l = log(1 + e^-f), Q = 1 - p, and both sides give
  gradients of f. The value is by how much document i raises the margin at x.
- "loss": f = -l, Q = 1, which is our reconstruction for language models, where the paper gives no
  output. Both sides may give gradients of the *loss*: the sign of f cancels in the product. The
  value is phi_x^T H^-1 phi_i with H = Phi^T Phi + n lam I: by how much i lowers the loss at x.
Gradients of a loss on one side and of a margin on the other turn every sign and cannot be told.

The kernel of documents is not the Hessian of a language model; features of single tokens as its
rows are closer (`kernel_rows`), at the cost of the pass over tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.curvature import DEFAULT_DAMPING, Damping
from databourse.influence.lds import BoolArray, FloatArray, IntArray, sign_of
from databourse.influence.outputs import Output
from databourse.influence.second_moment import SecondMoment, fit_second_moment

_CHUNK_ROWS = 512  # rows per matrix product: the same whatever the blocks, so results are too


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Projected features of some documents.

    Attributes:
        positions: rows of the documents in order of document_id, shape (b,), integers >= 0.
        features: phi, shape (b, k), float32 or float64.
        output_weights: Q, shape (b,), >= 0; None means 1 for all.
    """

    positions: IntArray
    features: NDArray[Any]
    output_weights: FloatArray | None = None


Blocks = Callable[[], Iterable[RowBlock]]
"""Starts a pass over the blocks of one checkpoint; every pass gives the same rows."""


@dataclass(frozen=True, kw_only=True)
class KernelSummary:
    """What the values of one checkpoint depend on besides its features."""

    features_id: str
    """What decided the features: model, layers and projection."""
    n_rows: int
    n_features: int
    mean_eigenvalue: float
    """Of Phi^T Phi / n."""
    damping: Damping
    """As asked for."""
    damping_strength: float
    """lam, in the unit of the eigenvalues."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrakValues:
    """Values of every document for every target, and what they were made with."""

    values: FloatArray
    """Shape (n, n_targets), larger is better."""
    output: Output
    soft_threshold: float
    kernels: tuple[KernelSummary, ...]
    """One for each checkpoint."""


class TrakEnsemble:
    """Values accumulated over checkpoints, in the memory of n * n_targets numbers.

    With the mean features of a whole target set as one target (`mean_features`) the values are the
    means over that set, at the cost of one target: they are linear in the target's features.
    """

    def __init__(
        self,
        *,
        n_documents: int,
        n_targets: int,
        output: Output,
        damping: Damping = DEFAULT_DAMPING,
    ) -> None:
        """Begin an ensemble without checkpoints.

        Args:
            n_documents: n >= 1.
            n_targets: rows of target features that every checkpoint gives, >= 1.
            output: what features are gradients of; see the module.
            damping: a tenth of the mean eigenvalue by default; tune it on targets or subsets that
                are not reported. None at all needs n >= k independent rows.

        Raises:
            InputError: an argument is outside its domain.
        """
        if n_documents < 1 or n_targets < 1:
            raise InputError(
                f"an ensemble needs documents and targets, got {n_documents} and {n_targets}"
            )
        sign_of(output)
        self._n_documents, self._n_targets = n_documents, n_targets
        self._output: Output = output
        self._damping = damping
        self._kernel_products = np.zeros((n_documents, n_targets))
        self._output_weights = np.zeros(n_documents)
        self._kernels: list[KernelSummary] = []

    def add(
        self,
        blocks: Blocks,
        target_features: NDArray[Any],
        *,
        features_id: str,
        kernel_rows: Iterable[NDArray[Any]] | None = None,
        parts: Sequence[int] | None = None,
    ) -> KernelSummary:
        """Add a checkpoint: one pass for its kernel, one for the values; all of it or nothing.

        Args:
            blocks: starts a pass over the features of all n documents, each once.
            target_features: phi_x by the same checkpoint and projection, shape (n_targets, k).
            features_id: what decides the features: model, layers and projection; another one for
                every checkpoint.
            kernel_rows: rows of the kernel where they are not the documents: a sample of them, or
                features of their tokens; blocks of shape (b, k).
            parts: features of each layer, in order, k in all, for a kernel of its own for each, as
                K-FAC has a curvature: products of features of two layers count as 0 in K. Each is
                damped by its own mean eigenvalue. None for one kernel. Not the paper's.

        Returns:
            What the kernel was.

        Raises:
            InputError: a block is malformed, a document is missing or comes twice, output weights
                do not go with the output, the checkpoint was added before, or its kernel is
                singular.
        """
        if features_id in {kernel.features_id for kernel in self._kernels}:
            raise InputError(f"features {features_id!r} were added before; add each once")
        check_features(target_features, n_features=None, what="target")
        if len(target_features) != self._n_targets:
            raise InputError(f"expected {self._n_targets} target rows, got {len(target_features)}")
        n_features = target_features.shape[1]
        rows = self._kernel_rows(blocks, n_features) if kernel_rows is None else kernel_rows
        moment = fit_second_moment(
            (chunk for _, chunk in chunks_of(_nowhere(rows), n_features=n_features)),
            features_id=features_id,
        )
        # K is of means: over n it is the kernel of sums, whose unit is the effect of one document
        solved = _solved(moment, target_features, self._damping, parts) / moment.n_documents
        products = np.empty((self._n_documents, self._n_targets))
        weights = np.ones(self._n_documents)
        for positions, features in self._scored_chunks(blocks, n_features, weights):
            products[positions] = features @ solved
        self._kernel_products += products
        self._output_weights += weights
        summary = _summary(moment, self._damping)
        self._kernels.append(summary)
        return summary

    def values(self, *, soft_threshold: float = 0.0) -> TrakValues:
        """Return the product of the two means, soft-thresholded.

        Args:
            soft_threshold: lambda >= 0, in the unit of the values: each is moved so far towards 0,
                at most to 0. Not linear: of mean target features it thresholds the mean. Choose it
                by validation, as the paper does.

        Raises:
            InputError: no checkpoint was added, or the threshold is not >= 0.
        """
        if not self._kernels:
            raise InputError("an ensemble without checkpoints has no values; add one first")
        n_checkpoints = len(self._kernels)
        mean_weights = self._output_weights / n_checkpoints
        products = self._kernel_products / n_checkpoints * mean_weights[:, None]
        return TrakValues(
            values=soft_thresholded(products, threshold=soft_threshold),
            output=self._output,
            soft_threshold=soft_threshold,
            kernels=tuple(self._kernels),
        )

    def _kernel_rows(self, blocks: Blocks, n_features: int) -> Iterator[NDArray[Any]]:
        for block in covering(blocks(), n_documents=self._n_documents, n_features=n_features):
            yield block.features

    def _scored_chunks(
        self, blocks: Blocks, n_features: int, weights: FloatArray
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield chunks of one size with their positions, and fill in the output weights."""

        def noted() -> Iterator[RowBlock]:
            covered = covering(blocks(), n_documents=self._n_documents, n_features=n_features)
            for block in covered:
                if self._output == "margin":
                    weights[block.positions] = _given_weights(block)
                elif block.output_weights is not None and (block.output_weights != 1).any():
                    raise InputError(
                        "with output loss every Q is 1: leave output_weights out, or give "
                        "gradients of margins and output margin"
                    )
                yield block

        return chunks_of(noted(), n_features=n_features)


def _solved(
    moment: SecondMoment,
    target_features: NDArray[Any],
    damping: Damping,
    parts: Sequence[int] | None,
) -> FloatArray:
    """Return K^-1 phi_x as columns, shape (k, n_targets), K of one block or of one per part."""
    n_features = len(moment.matrix)
    widths = [n_features] if parts is None else list(parts)
    if sum(widths) != n_features or min(widths) < 1:
        raise InputError(
            f"parts of a kernel must be >= 1 and {n_features} features in all, got {widths}"
        )
    ends = np.cumsum(widths)
    solved = []
    for width, end in zip(widths, ends.tolist(), strict=True):
        own = slice(end - width, end)
        part = SecondMoment(moment.matrix[own, own], moment.n_documents, moment.features_id)
        solved.append(part.ihvp(target_features[:, own], damping).T)
    return np.concatenate(solved)


def mean_features(features_by_target: Mapping[str, NDArray[Any]]) -> FloatArray:
    """Return the mean feature of each target set, shape (n_sets, k), in the order of the mapping.

    Scoring it once is the same as averaging the values of the set's examples, because values are
    linear in the features of the target. It is not so of cosines (LESS) or soft thresholds.

    Args:
        features_by_target: phi_x of every set, shapes (m, k), m >= 1.

    Raises:
        InputError: there is no set, one is empty, or their features differ in number.
    """
    if not features_by_target:
        raise InputError("there must be at least one target set, got none")
    n_features = next(iter(features_by_target.values())).shape[-1]
    for name, features in features_by_target.items():
        check_features(features, n_features=n_features, what=f"target {name!r}")
    return np.stack(
        [features.mean(axis=0, dtype=np.float64) for features in features_by_target.values()]
    )


def soft_thresholded(values: FloatArray, *, threshold: float) -> FloatArray:
    """Return sign(v) * max(|v| - threshold, 0).

    Args:
        values: any shape.
        threshold: >= 0; 0 changes nothing.

    Raises:
        InputError: the threshold is not >= 0 and finite.
    """
    if not 0 <= threshold < np.inf:
        raise InputError(f"a soft threshold must be >= 0 and finite, got {threshold!r}")
    shrunk: FloatArray = np.sign(values) * np.maximum(np.abs(values) - threshold, 0.0)
    return shrunk


def covering(
    blocks: Iterable[RowBlock], *, n_documents: int, n_features: int
) -> Iterator[RowBlock]:
    """Yield blocks, having checked that they hold every document exactly once.

    Args:
        blocks: one pass.
        n_documents: n.
        n_features: k.

    Raises:
        InputError: a block is malformed, or a document is missing or comes twice.
    """
    is_seen: BoolArray = np.zeros(n_documents, dtype=np.bool_)
    for block in blocks:
        positions = block.positions
        if positions.ndim != 1 or len(positions) != len(block.features):
            raise InputError(
                f"a block must hold one position per row of features, got shapes "
                f"{positions.shape} and {block.features.shape}"
            )
        check_features(block.features, n_features=n_features, what="document", rows=positions)
        if not (positions.min() >= 0 and positions.max() < n_documents):
            raise InputError(
                f"positions must be in 0 .. {n_documents - 1}, got {positions.min()} .. "
                f"{positions.max()}"
            )
        distinct, counts = np.unique(positions, return_counts=True)
        twice = distinct[is_seen[distinct] | (counts > 1)]
        if twice.size:
            raise InputError(f"document {twice[0]} comes twice in one pass; give each once")
        is_seen[positions] = True
        yield block
    missing = np.flatnonzero(~is_seen)
    if missing.size:
        raise InputError(
            f"a pass must hold all {n_documents:,} documents, {missing.size:,} are missing, the "
            f"first at {missing[0]}"
        )


def chunks_of(
    blocks: Iterable[RowBlock], *, n_features: int
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield the rows of blocks as float64 in chunks of one size, so that block size is no matter.

    A matrix product may round differently with its shape. Rows in the same order meet the same
    products here, hence the same bits.

    Args:
        blocks: positions may be empty where they are of no interest.
        n_features: k.

    Yields:
        Positions and features of at most 512 rows; overwritten by the next chunk.

    Raises:
        InputError: features are not (b, k), finite.
    """
    chunk = np.empty((_CHUNK_ROWS, n_features))
    places: IntArray = np.zeros(_CHUNK_ROWS, dtype=np.int64)
    filled = 0
    for block in blocks:
        features = block.features
        check_features(features, n_features=n_features, what="document")
        taken = 0
        while taken < len(features):
            n_rows = min(_CHUNK_ROWS - filled, len(features) - taken)
            chunk[filled : filled + n_rows] = features[taken : taken + n_rows]
            if block.positions.size:
                places[filled : filled + n_rows] = block.positions[taken : taken + n_rows]
            filled, taken = filled + n_rows, taken + n_rows
            if filled == _CHUNK_ROWS:
                yield places, chunk
                filled = 0
    if filled:
        yield places[:filled], chunk[:filled]


def check_features(
    features: NDArray[Any], *, n_features: int | None, what: str, rows: IntArray | None = None
) -> None:
    """Refuse features that are not a finite matrix of k >= 1 columns.

    Args:
        features: shape (b, k), float32 or float64; b >= 1.
        n_features: k; None for any.
        what: whose they are, for the message.
        rows: names of the rows for the message; their places by default.

    Raises:
        InputError: says what came, and where. Half precision is refused: sums of its squares
            overflow, and small gradients are already lost.
    """
    if features.dtype not in (np.float32, np.float64):
        raise InputError(f"{what} features must be float32 or float64, got {features.dtype}")
    if features.ndim != 2 or not features.size or n_features not in (None, features.shape[1]):
        expected = "n_features" if n_features is None else n_features
        raise InputError(
            f"{what} features must have shape (rows, {expected}), got {features.shape}"
        )
    is_bad = ~np.isfinite(features).all(axis=1)
    if is_bad.any():
        place = int(np.flatnonzero(is_bad)[0])
        raise InputError(
            f"{what} features must be finite, row {place if rows is None else rows[place]} is not"
        )


def _nowhere(rows: Iterable[NDArray[Any]]) -> Iterator[RowBlock]:
    nowhere = np.empty(0, dtype=np.int64)
    return (RowBlock(nowhere, block) for block in rows)


def _summary(moment: SecondMoment, damping: Damping) -> KernelSummary:
    n_features = len(moment.matrix)
    mean_eigenvalue = float(np.trace(moment.matrix)) / n_features
    return KernelSummary(
        features_id=moment.features_id,
        n_rows=moment.n_documents,
        n_features=n_features,
        mean_eigenvalue=mean_eigenvalue,
        damping=damping,
        damping_strength=damping.strength(mean_eigenvalue),
    )


def _given_weights(block: RowBlock) -> FloatArray:
    weights = block.output_weights
    if weights is None or weights.shape != block.positions.shape:
        raise InputError(
            "with output margin every document needs its Q = 1 - p: give output_weights, one per "
            "position"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError("output weights Q must be finite and >= 0; they are -dl/df")
    return weights
