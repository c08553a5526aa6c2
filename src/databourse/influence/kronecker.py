"""Averages over tokens of a a^T and d d^T: the two factors of each layer's curvature.

    A = (1 / N) sum over all tokens of a a^T     (d_in x d_in)
    S = (1 / N) sum over all tokens of d d^T     (d_out x d_out)        H ~ Lbar (S kron A)

See `databourse.influence.curvature` for the notation. Both are averages over TOKENS, and every real
token weighs the same in both, whichever document it is in: cutting the same tokens into documents
differently changes neither, only Lbar = N / n. (Gradients of a document's MEAN loss would make d
smaller by L_b: then long documents would weigh more in A and less in S.) The step from H to
Lbar (S kron A) supposes that a and d are independent, and that gradients of different tokens of a
document are uncorrelated. Labels sampled from the model make the second true of the loss of each
token; the data's own labels do not.

Memory: d_in^2 + d_out^2 numbers of float64 for each layer, and blocks of at most 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.curvature import FloatArray, Labels, Sample, Shape

if TYPE_CHECKING:
    import torch

_BLOCK_CELLS = 1 << 22  # 32 MiB of float64, of which two exist at a time


@dataclass(frozen=True)
class LayerRecord:
    """What one linear layer saw and felt in one batch of B rows, each padded to T tokens.

    A row is a document, or one of the windows of a long one: these are terms of their own in every
    sum, but count as one document. Products of different windows are so left out of H; like those
    of different tokens, they are 0 in expectation where labels are sampled. A layer's bias is left
    out too, unless its inputs carry a constant 1 as one more number.

    Attributes:
        layer: its name.
        inputs: a, shape (B, T, d_in), of any floating type, on any device that has float64.
        gradients: d, shape (B, T, d_out), likewise: of the sum over tokens of the losses of ONE
            document each, never of a mean over tokens or documents. It must be 0 at padding.
        labels: what the losses were of; see `Sample`.
        real: shape (B, T), True where there is a token that can carry a gradient, False at padding,
            whose inputs are never read; None: everywhere.
        documents: shape (B,), which document each row is of, counted over all records, not one;
            None: every row of every record is a document of its own.
    """

    layer: str
    inputs: torch.Tensor
    gradients: torch.Tensor
    labels: Labels
    real: torch.Tensor | None = None
    documents: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class LayerCovariances:
    """A and S of one layer.

    Attributes:
        inputs: A, shape (d_in, d_in), float64.
        gradients: S, shape (d_out, d_out), float64.
    """

    inputs: FloatArray
    gradients: FloatArray


@dataclass(frozen=True)
class Covariances:
    """A and S of every layer, and what they were fitted on."""

    layers: dict[str, LayerCovariances]
    sample: Sample


def fit_covariances(records: Iterable[LayerRecord], *, model_id: str) -> Covariances:
    """Return A and S of every layer that has records, in the order in which the layers come.

    Sums are made in float64, and do not depend on how documents are put into batches or padded, but
    for rounding (1e-12 of the largest entry).

    Args:
        records: one for each layer and batch, in any order; consumed once.
        model_id: see `Sample`.

    Raises:
        InputError: there is no record or no token, a record does not fit its layer, numbers are not
            finite, labels are mixed, or layers saw different numbers of documents or tokens.
    """
    sums: dict[str, LayerCovariances] = {}
    seen = SeenDocuments()
    for record in records:
        inputs, gradients = real_tokens(record)
        seen.add(record, n_tokens=len(inputs))
        shape = (gradients.shape[1], inputs.shape[1])
        total = sums.setdefault(
            record.layer, LayerCovariances(np.zeros((shape[1],) * 2), np.zeros((shape[0],) * 2))
        )
        check_shape(record.layer, shape, (len(total.gradients), len(total.inputs)))
        _add_products(total.inputs, inputs)
        _add_products(total.gradients, gradients)
    sample = seen.sample(model_id)
    layers = {
        layer: LayerCovariances(total.inputs / sample.n_tokens, total.gradients / sample.n_tokens)
        for layer, total in sums.items()
    }
    return Covariances(layers, sample)


def real_tokens(record: LayerRecord) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a and d of a record's real tokens alone, shapes (n_tokens, d_in), (n_tokens, d_out).

    Raises:
        InputError: shapes do not fit each other, numbers are not finite, or padding has a gradient.
    """
    inputs, gradients, real = record.inputs, record.gradients, record.real
    shapes = tuple(tuple(each.shape) for each in (inputs, gradients))
    if inputs.ndim != 3 or gradients.ndim != 3 or shapes[0][:2] != shapes[1][:2]:
        raise InputError(
            f"a record of layer {record.layer!r} must have inputs (B, T, d_in) and gradients "
            f"(B, T, d_out), got {shapes[0]} and {shapes[1]}"
        )
    if real is None:
        kept = inputs.flatten(0, 1), gradients.flatten(0, 1)
    elif tuple(real.shape) != shapes[0][:2]:
        raise InputError(
            f"real of a record of layer {record.layer!r} must have shape (B, T) = "
            f"{shapes[0][:2]}, got {tuple(real.shape)}"
        )
    else:
        if bool((gradients[~real] != 0).any()):
            raise InputError(
                f"padding in a record of layer {record.layer!r} has a gradient that is not 0; "
                "leave it out of the loss, and let no token attend to it"
            )
        kept = inputs[real], gradients[real]
    for name, values in zip(("inputs", "gradients"), kept, strict=True):
        if not bool(values.isfinite().all()):
            raise InputError(
                f"{name} in a record of layer {record.layer!r} are not finite; compute them in "
                "float32, and keep such documents out"
            )
    return kept


def check_shape(layer: str, found: Shape, expected: Shape) -> None:
    """Pass if a record is of its layer's shape.

    Raises:
        InputError: it is not.
    """
    if found != expected:
        raise InputError(
            f"records of layer {layer!r} must all have (d_out, d_in) = {expected}, got {found}; "
            "one name stands for two layers"
        )


class SeenDocuments:
    """Counts the documents and tokens of each layer, and holds all records to the same labels."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._named: dict[str, int] = {}
        self._documents: set[int] = set()
        self._tokens: dict[str, int] = {}
        self._labels: Labels | None = None

    def add(self, record: LayerRecord, *, n_tokens: int) -> None:
        """Count one record.

        Raises:
            InputError: its labels are not known, or not those of the records before it, or there
                is not one document for each row.
        """
        if record.labels not in ("sampled", "data"):
            raise InputError(f"labels must be 'sampled' or 'data', got {record.labels!r}")
        if self._labels not in (None, record.labels):
            raise InputError(
                f"a record of layer {record.layer!r} has labels {record.labels!r} after "
                f"{self._labels!r}; fit one curvature for each"
            )
        self._labels = record.labels
        n_rows = int(record.inputs.shape[0])
        named = [] if record.documents is None else record.documents.tolist()
        if record.documents is not None and record.documents.shape != (n_rows,):
            raise InputError(
                f"documents of a record of layer {record.layer!r} must have shape (B,) = "
                f"({n_rows},), got {record.documents.shape}"
            )
        self._documents.update(named)
        self._named[record.layer] = self._named.get(record.layer, 0) + len(named)
        self._rows[record.layer] = self._rows.get(record.layer, 0) + n_rows
        self._tokens[record.layer] = self._tokens.get(record.layer, 0) + n_tokens

    def sample(self, model_id: str) -> Sample:
        """Return what all layers saw.

        Raises:
            InputError: nothing, or not the same number of rows and tokens, or only some of the rows
                had the number of their document.
        """
        labels = self._labels
        if labels is None:
            raise InputError("a curvature cannot be fitted on no records; give it some")
        for name, counts in (("documents", self._rows), ("tokens", self._tokens)):
            if not any(counts.values()):
                raise InputError(f"a curvature cannot be fitted on no {name}; give it records")
            few = min(counts, key=counts.__getitem__)
            many = max(counts, key=counts.__getitem__)
            if counts[few] != counts[many]:
                raise InputError(
                    f"all layers must see the same {name}, got {counts[few]:,} for {few!r} and "
                    f"{counts[many]:,} for {many!r}; give a record of every layer for every batch"
                )
        if any(self._named.values()) and self._named != self._rows:
            raise InputError(
                "only some of the records say which documents their rows are of; give all of them "
                "the numbers, or none"
            )
        layer = next(iter(self._rows))
        n_documents = len(self._documents) or self._rows[layer]
        return Sample(model_id, labels, n_documents, self._tokens[layer])


def _add_products(total: FloatArray, rows: torch.Tensor) -> None:
    """Add rows^T rows to a sum: products in float64 where the rows are, the sum on the CPU."""
    size = max(1, _BLOCK_CELLS // rows.shape[1])
    for start in range(0, len(rows), size):
        block = rows[start : start + size].double()
        total += (block.T @ block).cpu().numpy()
