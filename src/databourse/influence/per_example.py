"""Gradients of single documents under a language model, many at a time.

A batch is computed by hooks on linear maps (`databourse.influence.capture`), windows of a document
add up, and only what is asked for leaves: features, inner products, a weighted sum, or the
gradients themselves. Every number is of ONE document and the sum over its tokens; a batch is
planned by lengths alone and computed by one thread, so the number of threads changes nothing, and
another batch size changes rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError, IntegrityError
from databourse.influence.capture import CapturedPass
from databourse.influence.gradient_batches import BatchSums, computed_batches
from databourse.influence.layers import layer_shapes
from databourse.influence.outputs import Output
from databourse.influence.projecting import Projector
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import GradientBatch, WeightedDocument
from databourse.language_models.model import LanguageModel, import_torch
from databourse.progress import ProgressReport, silent

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

GRADIENT_REVISION = 1
"""Of windows, output functions and sums: raise it when a document gets other gradients."""


class FeatureBatch(NamedTuple):
    """Features of some documents.

    Attributes:
        positions: which documents, shape (b,), int64, in no order.
        features: P^T g, shape (b, k), float32: of the loss, or of the margin.
        out_to_loss: Q, shape (b,): 1 for "loss", in [0, 1] for "margin" (0 without a token).
    """

    positions: IntArray
    features: npt.NDArray[np.float32]
    out_to_loss: FloatArray


class GradientBlock(NamedTuple):
    """Whole gradients of some documents: positions (b,), and (b, d_out, d_in) by layer, float32."""

    positions: IntArray
    gradients: Mapping[str, npt.NDArray[np.float32]]


def captured(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    output: Output,
    batch_tokens: int,
    threads: int = 1,
    sampled_seed: int | None = None,
    progress: ProgressReport = silent,
) -> Iterator[CapturedPass]:
    """Yield inputs and gradients of layers, pass by pass: for curvature, and to build on.

    Args:
        model: the model, in evaluation mode.
        documents: any number.
        layers: names, as `tracked_layers` gives them.
        output: what is derived; see `databourse.influence.outputs`.
        batch_tokens: the most tokens of a batch, padding included.
        threads: on a CPU, batches computed at a time; they change no number.
        sampled_seed: None for the documents' own tokens as labels, a seed for tokens drawn from the
            model. Draws depend on seed, position of the document and place of the token alone.
        progress: told of finished documents.

    Raises:
        InputError: an argument is outside its domain; see `Capture`.
        UnknownNameError: the model has no such layer.
        IntegrityError: a loss is not finite.
    """
    for _, passes in computed_batches(
        model,
        documents,
        layers,
        work=lambda _, passes: list(passes),
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        sampled_seed=sampled_seed,
        progress=progress,
    ):
        yield from passes


def gradient_features(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    *,
    layers: Sequence[str],
    projection: Projection,
    output: Output,
    batch_tokens: int,
    threads: int,
    progress: ProgressReport = silent,
) -> Iterator[FeatureBatch]:
    """Yield projected gradients of documents, each document once.

    A two-sided projection never forms a gradient: phi = sum_t (P_out^T d_t) (P_in^T a_t)^T. Others
    form those of a few documents and one layer at a time.

    Args:
        model, documents, layers, output, batch_tokens, threads, progress: as `captured`.
        projection: what the features are.

    Raises:
        As `captured`; IntegrityError also if a feature is not finite.
    """
    projector = Projector(projection, layer_shapes(model, layers))

    def work(batch: GradientBatch, passes: Iterator[CapturedPass]) -> FeatureBatch:
        sums = BatchSums(batch)
        features = np.zeros((len(batch.positions), projector.n_features))
        for each in passes:
            np.add.at(features, sums.add(each), projector.of_pass(each))
        if not np.isfinite(features).all():
            raise IntegrityError(f"model {model.model_id} gave a gradient that is not finite")
        return FeatureBatch(sums.positions, features.astype(np.float32), sums.out_to_loss(output))

    for _, found in computed_batches(
        model,
        documents,
        layers,
        work=work,
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        progress=progress,
    ):
        yield found


def inner_products(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    vectors: Mapping[str, npt.NDArray[np.floating]],
    *,
    output: Output,
    batch_tokens: int,
    threads: int,
    progress: ProgressReport = silent,
) -> FloatArray:
    """Return sum over layers of <U_l, G_bl> = sum_t d_t^T U_l a_t, shape (n,); no G is formed.

    Args:
        model, documents, output, batch_tokens, threads, progress: as `captured`.
        vectors: U by layer, shape (d_out, d_in) each, finite; its keys are the layers.

    Raises:
        As `captured`; InputError also if a vector has another shape than its layer.
    """
    torch = import_torch()
    shapes = layer_shapes(model, list(vectors))
    for name, shape in shapes.items():
        if vectors[name].shape != shape:
            raise InputError(
                f"vector of layer {name} must have shape {shape}, got {vectors[name].shape}"
            )
    like = next(model.module.parameters())
    held = {name: torch.from_numpy(np.array(each)).to(like) for name, each in vectors.items()}

    def work(batch: GradientBatch, passes: Iterator[CapturedPass]) -> FloatArray:
        sums = BatchSums(batch)
        products = np.zeros(len(batch.positions))
        for each in passes:
            by_row = np.zeros(len(each.documents))
            for name, d in each.gradients.items():
                both = (d @ held[name].to(d.dtype)) * each.inputs[name]
                by_row += both.sum(dim=(1, 2), dtype=torch.float64).cpu().numpy()
            np.add.at(products, sums.add(each), by_row)
        return products

    found = np.zeros(len(documents))
    for batch, products in computed_batches(
        model,
        documents,
        list(vectors),
        work=work,
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        progress=progress,
    ):
        found[list(batch.positions)] = products
    return found


def mean_gradient(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    output: Output,
    batch_tokens: int,
    threads: int,
    weights: FloatArray | None = None,
    progress: ProgressReport = silent,
) -> dict[str, FloatArray]:
    """Return sum_j w_j G_j by layer, shape (d_out, d_in) each, float64: a target's gradient.

    Args:
        model, documents, layers, output, batch_tokens, threads, progress: as `captured`.
        weights: w, shape (m,), finite; None for 1 / m, the mean.

    Raises:
        As `captured`; InputError also if there is no document or weights are not such.
    """
    if not documents:
        raise InputError("expected at least one document to take a mean gradient of, got none")
    shares = np.full(len(documents), 1 / len(documents)) if weights is None else weights
    if shares.shape != (len(documents),) or not np.isfinite(shares).all():
        raise InputError(
            f"weights must be finite, one per document ({len(documents):,}), got {shares!r}"
        )
    torch = import_torch()
    shapes = layer_shapes(model, layers)

    def work(_: GradientBatch, passes: Iterator[CapturedPass]) -> dict[str, FloatArray]:
        total = {name: np.zeros(shape) for name, shape in shapes.items()}
        for each in passes:
            own = torch.from_numpy(shares[each.documents])
            for name, d in each.gradients.items():
                scaled = (d * own.to(d).view(-1, 1, 1)).flatten(0, 1)
                a = each.inputs[name].flatten(0, 1).to(d.dtype)
                total[name] += (scaled.t() @ a).double().cpu().numpy()
        return total

    total = {name: np.zeros(shape) for name, shape in shapes.items()}
    for _, found in computed_batches(
        model,
        documents,
        layers,
        work=work,
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        progress=progress,
    ):
        for name, each in found.items():
            total[name] += each
    return total


def full_gradients(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    output: Output,
    batch_tokens: int,
    threads: int,
    most_documents: int,
    progress: ProgressReport = silent,
) -> Iterator[GradientBlock]:
    """Yield whole gradients of documents, each document once.

    Args:
        model, documents, layers, output, batch_tokens, threads, progress: as `captured`.
        most_documents: of a block, >= 1: it bounds memory, as some 2 * threads + 1 blocks exist.

    Raises: as `captured`.
    """
    shapes = layer_shapes(model, layers)

    def work(batch: GradientBatch, passes: Iterator[CapturedPass]) -> GradientBlock:
        sums = BatchSums(batch)
        found = {
            name: np.zeros((len(batch.positions), *shape), dtype=np.float32)
            for name, shape in shapes.items()
        }
        for each in passes:
            rows = sums.add(each)
            for name, d in each.gradients.items():
                formed = d.transpose(1, 2) @ each.inputs[name].to(d.dtype)
                np.add.at(found[name], rows, formed.float().cpu().numpy())
        return GradientBlock(sums.positions, found)

    for _, block in computed_batches(
        model,
        documents,
        layers,
        work=work,
        output=output,
        batch_tokens=batch_tokens,
        threads=threads,
        most_documents=most_documents,
        progress=progress,
    ):
        yield block
