"""What language models say each document is worth to each example: TRAK, EK-FAC, K-FAC, gradients.

Notation: v_j = gradient of the mean token loss of example j's completion, g_i = gradient of the
summed loss of document i, H = curvature of the layers that are tracked.

    trak                    phi_j^T (Phi^T Phi + lam I)^-1 phi_i over projected features
    trak_layers             the same with a kernel for each layer
    ekfac, kfac             v_j^T (H + lam I)^-1 g_i
    gradient_dot            v_j^T g_i, on the same layers

Larger is better. Each is a mean over checkpoints. All curvatures and dampings share one pass over
the documents of a model: the directions of all examples are held (`directions_megabytes`) beside
the gradients of a block of documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.curvature import Curvature, Damping
from databourse.influence.layers import layer_shapes, tracked_layers
from databourse.influence.per_example import full_gradients
from databourse.influence.pool_gradients import CheckpointGradients, Kernel
from databourse.influence.trak import TrakEnsemble
from databourse.influence.transformer import InfluenceSettings
from databourse.influence.weighted_documents import (
    WeightedDocument,
    completions,
    whole_documents,
)
from databourse.language_models.model import LanguageModel
from databourse.progress import ProgressReport, silent

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
"""Shares of a mean eigenvalue to choose from, as influence has to be tuned."""

_BLOCK_DOCUMENTS = 16


def trak_values(
    checkpoints: Sequence[CheckpointGradients],
    examples: Mapping[str, IntArray],
    *,
    n_documents: int,
    dampings: Sequence[float] = DAMPINGS,
    kernel: Kernel = "whole",
) -> dict[float, FloatArray]:
    """Return TRAK's values of each document for each example, by damping, shape (n, m) each.

    Args:
        checkpoints: of one ensemble.
        examples: positions in each target, in the order of the columns.
        n_documents: n.
        dampings: shares of each kernel's mean eigenvalue, >= 0.
        kernel: one of all features, or one for each layer.

    Raises:
        InputError: there is no checkpoint, or it lacks a target.
    """
    if not checkpoints:
        raise InputError("an ensemble needs at least one checkpoint, got none")
    found = {}
    for damping in dampings:
        ensemble = TrakEnsemble(
            n_documents=n_documents,
            n_targets=sum(len(positions) for positions in examples.values()),
            output=checkpoints[0].output,
            damping=Damping(damping),
        )
        for each in checkpoints:
            missing = [name for name in examples if name not in each.targets]
            if missing:
                raise InputError(f"{each.features_id} has no features of target {missing[0]!r}")
            rows = [each.targets[name][positions] for name, positions in examples.items()]
            ensemble.add(
                each.blocks,
                np.concatenate(rows),
                features_id=each.features_id,
                parts=each.parts_of(kernel),
            )
        found[damping] = ensemble.values().values
    return found


def curvature_values(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    examples: tuple[Sequence[str], Sequence[int]],
    curvatures: Mapping[str, tuple[Curvature, Sequence[float]]],
    settings: InfluenceSettings,
    threads: int,
    progress: ProgressReport = silent,
) -> dict[tuple[str, float], FloatArray]:
    """Return v_j^T (H + lam I)^-1 g_i under a model, by curvature and damping, shape (n, m) each.

    Args:
        model: the model.
        texts: of the n documents.
        examples: the m texts, and the length of the prompt at the head of each.
        curvatures: of the tracked layers, and the dampings of each, by name.
        settings: which layers count, and how large a pass may be.
        threads: on a CPU, passes at a time; they change no number.
        progress: told of finished documents.
    """
    layers = tracked_layers(model, settings.layers)
    completed = completions(model, *examples, loss="mean", most_tokens=settings.most_tokens)
    gradients = _flat_by_layer(model, completed, layers, settings=settings, threads=threads)
    directions = {
        (name, damping): _flat(curvature.ihvp(gradients, Damping(damping)), layers)
        for name, (curvature, dampings) in curvatures.items()
        for damping in dampings
    }
    values = {key: np.zeros((len(texts), len(completed))) for key in directions}
    documents = whole_documents(model, texts, most_tokens=settings.most_tokens)
    for block in full_gradients(
        model,
        documents,
        layers,
        output="loss",
        batch_tokens=settings.batch_tokens,
        threads=threads,
        most_documents=_BLOCK_DOCUMENTS,
        progress=progress,
    ):
        rows = _flat(block.gradients, layers)
        for key, direction in directions.items():
            values[key][list(block.positions)] = rows @ direction.T
    return values


def directions_megabytes(n_parameters: int, *, n_examples: int, n_settings: int) -> float:
    """Return the memory of the directions that `curvature_values` holds, in MB of float32.

    Args:
        n_parameters: weights of the tracked layers.
        n_examples: m.
        n_settings: curvatures times dampings.
    """
    return 4e-6 * n_parameters * n_examples * n_settings


def _flat_by_layer(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    settings: InfluenceSettings,
    threads: int,
) -> dict[str, FloatArray]:
    """Return gradients of all documents, shape (m, d_out, d_in) each."""
    shapes = layer_shapes(model, layers)
    found = {name: np.zeros((len(documents), *shape)) for name, shape in shapes.items()}
    for block in full_gradients(
        model,
        documents,
        layers,
        output="loss",
        batch_tokens=settings.batch_tokens,
        threads=threads,
        most_documents=_BLOCK_DOCUMENTS,
    ):
        for name in layers:
            found[name][list(block.positions)] = block.gradients[name]
    return found


def _flat(
    gradients: Mapping[str, NDArray[np.floating]], layers: Sequence[str]
) -> NDArray[np.float32]:
    """Return the gradients of all layers side by side, shape (b, p)."""
    return np.concatenate(
        [gradients[name].reshape(len(gradients[name]), -1) for name in layers], axis=1
    ).astype(np.float32)
