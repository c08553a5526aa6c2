"""Uncertainty: how undecided a cheap model is about a document that it has not seen.

With labels: entropy, margin or least confidence (Settles 2009, Active Learning Literature Survey,
3.1) of the class posterior of a softmax-regression probe on the embeddings, trained on the labelled
documents of the other folds. Without: the surprisal of `databourse.signals.surprisal`. Which one is
used depends on the labels alone and is part of the signal's version.

Source: "uncertainty" is one of the three signals of Jha et al. 2025 (arXiv 2510.02456, abstract);
its formula there is not known to us. Cost: `folds` regressions, each iterations * n * d *
n_classes. Caveat: label noise and garbage are uncertain too; posteriors of a linear probe are not
calibrated.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from databourse.errors import ConfigError
from databourse.signals import surprisal
from databourse.signals.folds import document_folds
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.labels import NO_LABEL, trainable_codes
from databourse.signals.probe import MEASURES, can_train, out_of_fold, probe_fingerprint
from databourse.signals.specification import SignalParameters, SignalSpec


class UncertaintyParameters(SignalParameters):
    """The probe, and when it is used."""

    by: Literal["auto", "labels", "text"] = Field(
        default="auto",
        description="Probe on labels, surprisal of the text, or the probe wherever labels allow.",
    )
    measure: Literal["entropy", "margin", "least_confidence"] = Field(
        default="entropy", description="What is taken of the probe's class posterior."
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="A document is scored by a probe of the other folds."
    )
    inverse_penalty: float = Field(
        default=1.0, gt=0, le=1e6, description="C of the probe: the larger, the closer it fits."
    )
    smallest_class: int = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="Classes with fewer labelled documents do not train.",
    )


def uncertainty(parameters: UncertaintyParameters, inputs: SignalInputs) -> SignalResult:
    """Return the probe's measure (see `probe`) or, without usable labels, bits per byte.

    `details["model"]` says which.

    Raises:
        ConfigError: `by: labels` and there are not two classes to tell apart.
    """
    model = fingerprint(parameters, inputs)
    if not _uses_labels(parameters, inputs):
        result = surprisal.surprisal(surprisal.SurprisalParameters(), inputs)
        return SignalResult(values=result.values, details={"model": model})
    codes = trainable_codes(
        required(inputs.labels, "labels"), smallest_class=parameters.smallest_class
    )
    # In order of id, so that the sums of the regression do not depend on the order of the input.
    order = np.argsort(np.array(inputs.document_ids, dtype=np.object_), kind="stable")
    folds = document_folds(inputs.document_ids, parameters.folds)
    values = np.empty(inputs.n_documents, dtype=np.float64)
    values[order] = out_of_fold(
        required(inputs.embeddings, "embeddings")[order],
        codes[order],
        folds[order],
        measure=MEASURES[parameters.measure],
        inverse_penalty=parameters.inverse_penalty,
        progress=inputs.progress,
    )
    training = codes[codes != NO_LABEL]
    return SignalResult(
        values=values,
        details={
            "model": model,
            "training_documents": int(training.size),
            "classes": int(np.unique(training).size),
        },
    )


def fingerprint(parameters: UncertaintyParameters, inputs: SignalInputs) -> str:
    """Return the identity of the model that the labels allow.

    Raises:
        ConfigError: `by: labels` and there are not two classes to tell apart.
    """
    if _uses_labels(parameters, inputs):
        return probe_fingerprint()
    defaults = surprisal.SurprisalParameters()
    return f"{surprisal.fingerprint(defaults, inputs)}; revision {surprisal.SIGNAL.revision}"


def _uses_labels(parameters: UncertaintyParameters, inputs: SignalInputs) -> bool:
    if parameters.by == "text":
        return False
    codes = trainable_codes(
        required(inputs.labels, "labels"), smallest_class=parameters.smallest_class
    )
    folds = document_folds(inputs.document_ids, parameters.folds)
    usable = can_train(codes, folds, parameters.folds)
    if parameters.by == "labels" and not usable:
        training = codes[codes != NO_LABEL]
        raise ConfigError(
            "signal 'uncertainty': by = 'labels' needs two classes left when any fold is taken "
            f"away; of classes with at least {parameters.smallest_class} documents there are "
            f"{np.unique(training).size} with {training.size:,} documents; set by to 'auto' or "
            "'text', lower smallest_class, or label more documents"
        )
    return usable


SIGNAL = SignalSpec(
    name="uncertainty",
    scope="pool",
    needs=frozenset({"texts", "labels", "embeddings"}),
    parameters=UncertaintyParameters,
    compute=uncertainty,
    fingerprint=fingerprint,
    revision=1,
    summary="how undecided an out-of-fold probe is on the label, or without labels the surprisal",
    orientation="large: the model would learn from it, or it is mislabelled",
    cost="one softmax regression per fold on the embeddings; without labels that of surprisal",
)
