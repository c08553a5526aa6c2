"""Influence of documents on targets under a language model, by the curvature of its layers.

Notation: v_j = mean gradient over the examples of target j of their mean token loss (that of the
completion where there is a prompt), g = gradient of the summed loss of a document, H = curvature of
the layers that are tracked, u_j = (H + lam I)^-1 v_j.

    value of a document = <u, g>,   u = mean_j u_j / sqrt(v_j . u_j)

Larger is better: to first order, what a unit of weight of the document takes off target loss. Under
H the values of target j have a standard deviation of about sqrt(v_j . u_j), so that dividing by it
lets each target weigh the same, at the cost of one pass over the documents for all of them.

Source: Quad (Zhang et al. 2025, arXiv 2409.16986) for attention layers and their Kronecker factors,
EK-FAC of Grosse et al. 2023 (arXiv 2308.03296); exact damping, and the weights of targets, are our
choice. Cost: the sample of the curvature is read twice, a target once, a document once when asked
for; a forward and a backward pass each. Caveat: a value is per document, and grows with its length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.curvature import Damping, Identity, Labels
from databourse.influence.curvature_records import records_of
from databourse.influence.eigenbasis import EKFac, KFac, fit_ekfac, kfac
from databourse.influence.kronecker import fit_covariances
from databourse.influence.layers import Layers, layer_shapes, tracked_layers
from databourse.influence.per_example import captured, inner_products, mean_gradient
from databourse.influence.weighted_documents import (
    WeightedDocument,
    completions,
    whole_documents,
)
from databourse.language_models.model import LanguageModel
from databourse.progress import ProgressReport, silent
from databourse.targets import TargetSet

FloatArray = npt.NDArray[np.float64]
Direction = Mapping[str, FloatArray]
"""u by layer, shape (d_out, d_in) each."""
CurvatureKind = Literal["ekfac", "kfac", "identity"]


@dataclass(frozen=True, kw_only=True)
class InfluenceSettings:
    """How influence is measured.

    Attributes:
        layers: whose gradients count.
        curvature: H, or the identity: then a value is a dot product of gradients.
        labels: of the losses that H is fitted on: drawn from the model (its Fisher matrix), or the
            documents' own.
        damping: lam as a share of the mean eigenvalue of each layer, >= 0.
        batch_tokens: the most tokens of a pass, padding included, >= 1; it bounds memory.
        most_tokens: of a document; None for all.
    """

    layers: Layers = "attention"
    curvature: CurvatureKind = "ekfac"
    labels: Labels = "sampled"
    damping: float = 0.1
    batch_tokens: int = 2_048
    most_tokens: int | None = None


def fit_curvature(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    settings: InfluenceSettings,
    seed: int,
    threads: int,
    progress: ProgressReport = silent,
) -> EKFac | KFac | Identity:
    """Return the curvature of a model over a sample of the pool.

    Args:
        model: the model.
        texts: of the sample.
        settings: which curvature.
        seed: of the labels that are drawn from the model.
        threads: on a CPU, passes at a time; they change no number.
        progress: told of documents read: each twice for "ekfac", once for "kfac".

    Raises:
        InputError: the sample has no token.
    """
    layers = tracked_layers(model, settings.layers)
    if settings.curvature == "identity":
        return Identity(layer_shapes(model, layers))
    documents = whole_documents(model, texts, most_tokens=settings.most_tokens)

    def records() -> Any:  # noqa: ANN401 - an iterator of records
        passes = captured(
            model,
            documents,
            layers,
            output="loss",
            batch_tokens=settings.batch_tokens,
            threads=threads,
            sampled_seed=seed if settings.labels == "sampled" else None,
            progress=progress,
        )
        return records_of(passes, labels=settings.labels)

    bases = kfac(fit_covariances(records(), model_id=model.model_id))
    if settings.curvature == "kfac":
        return bases
    return fit_ekfac(bases, records(), unit="document")


def target_direction(
    model: LanguageModel,
    curvature: EKFac | KFac | Identity,
    targets: Sequence[TargetSet],
    *,
    settings: InfluenceSettings,
    threads: int,
) -> dict[str, FloatArray]:
    """Return u: along which the loss of all targets falls.

    Args:
        model: the model.
        curvature: of the same model and layers.
        targets: at least one.
        settings: as of the curvature.
        threads: on a CPU, passes at a time; they change no number.

    Raises:
        InputError: there is no target, or one without a token to score or without a gradient.
    """
    if not targets:
        raise InputError("influence is on targets, got none; name one in the config")
    layers = tracked_layers(model, settings.layers)
    total: dict[str, FloatArray] = {}
    for target in targets:
        gradient = mean_gradient(
            model,
            _examples(model, target, settings),
            layers,
            output="loss",
            batch_tokens=settings.batch_tokens,
            threads=threads,
        )
        solved = curvature.ihvp(gradient, Damping(settings.damping))
        size = sum(float((gradient[layer] * solved[layer]).sum()) for layer in layers)
        if not size > 0:
            raise InputError(f"target {target.name!r} has no gradient: no token of it is scored")
        for layer in layers:
            share = solved[layer] / math.sqrt(size) / len(targets)
            total[layer] = total[layer] + share if layer in total else share
    return total


def document_influences(
    model: LanguageModel,
    texts: Sequence[str],
    direction: Direction,
    *,
    settings: InfluenceSettings,
    threads: int,
    progress: ProgressReport = silent,
) -> FloatArray:
    """Return <u, g> of each document, shape (n,), larger is better; 0 for one without a token.

    Args:
        model: the model of the direction.
        texts: of the documents.
        direction: from `target_direction`.
        settings: of the direction.
        threads: on a CPU, passes at a time; they change no number.
        progress: told of finished documents.
    """
    return inner_products(
        model,
        whole_documents(model, texts, most_tokens=settings.most_tokens),
        direction,
        output="loss",
        batch_tokens=settings.batch_tokens,
        threads=threads,
        progress=progress,
    )


def _examples(
    model: LanguageModel, target: TargetSet, settings: InfluenceSettings
) -> list[WeightedDocument]:
    return completions(
        model,
        target.texts,
        target.prompt_characters,
        loss="mean",
        most_tokens=settings.most_tokens,
    )
