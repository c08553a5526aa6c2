"""EL2N: how far a cheap model that has not seen a document is from its label.

EL2N(x, y) = || p(x) - onehot(y) ||_2, in [0, sqrt 2], with p the class posterior of the out-of-fold
softmax-regression probe on embeddings that `uncertainty` uses; the mean over `fold_assignments`
ways to divide the documents into folds, of which the first is that of `uncertainty`.

A document that cannot be judged (no label, or a class that the probe of its fold was not trained
on) gets the mean over those that can: it is neither punished nor rewarded.

Source: Paul, Ganguli & Dziugaite 2021 (NeurIPS, arXiv 2107.07075), whose score is that norm early
in the training of the network itself, averaged over several initialisations (10 runs). Ours is a
probe on frozen embeddings that never saw the document; a convex fit has no initialisation to
average over, so fold assignments take its place: our choice. Cost: `folds` * `fold_assignments`
regressions, each iterations * n * d * n_classes; 8 bytes per document and class for the posteriors.
Caveat: wrongly labelled documents have the largest values of all (of 10,000 news items with 20 %
wrong labels it finds these with an AUC of 0.81, for one fold assignment as for three; the paper too
finds noise there), so this trader pulls against neighbour_agreement; needs labels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.errors import ConfigError
from databourse.progress import ProgressReport
from databourse.signals.folds import document_folds
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.labels import NO_LABEL, trainable_codes
from databourse.signals.probe import can_train, out_of_fold, probe_fingerprint
from databourse.signals.specification import SignalParameters, SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged


class El2nParameters(SignalParameters):
    """The probe, and how often it is fitted."""

    folds: int = Field(
        default=5, ge=2, le=20, description="A document is scored by a probe of the other folds."
    )
    fold_assignments: int = Field(
        default=3,
        ge=1,
        le=20,
        description="Ways to divide into folds; the mean over them is taken.",
    )
    inverse_penalty: float = Field(
        default=1.0, gt=0, le=1e6, description="C of the probe: the larger, the closer it fits."
    )
    prefer: Literal["high", "low"] = Field(
        default="high",
        description="Hard documents, as its authors do, or easy ones, where labels may be wrong.",
    )
    smallest_class: int = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="Classes with fewer labelled documents do not train.",
    )


def el2n(parameters: El2nParameters, inputs: SignalInputs) -> SignalResult:
    """Return the mean error norm of each document, in [0, sqrt 2]; negative if `prefer` is low.

    Raises:
        ConfigError: there are no two classes left to tell apart when a fold is taken away.
    """
    model = fingerprint(parameters, inputs)
    codes = trainable_codes(
        required(inputs.labels, "labels"), smallest_class=parameters.smallest_class
    )
    # In order of id, so that the sums of the regression do not depend on the order of the input.
    order = np.argsort(np.array(inputs.document_ids, dtype=np.object_), kind="stable")
    vectors = required(inputs.embeddings, "embeddings")[order]
    norms = np.empty((parameters.fold_assignments, inputs.n_documents), dtype=np.float64)
    finished = 0

    def progress(done: int) -> None:
        """Tell of a document when it is done in its share of the assignments."""
        nonlocal finished
        before, finished = finished, finished + done
        inputs.progress(finished // len(norms) - before // len(norms))

    for assignment, folds in enumerate(_assignments(parameters, inputs)):
        norms[assignment, order] = out_of_fold_error_norms(
            vectors,
            codes[order],
            folds[order],
            inverse_penalty=parameters.inverse_penalty,
            progress=progress,
        )
    judged = ~np.isnan(norms)
    times = judged.sum(axis=0)
    values = np.where(judged, norms, 0.0).sum(axis=0) / np.maximum(times, 1)
    values[times == 0] = np.nan
    if parameters.prefer == "low":
        values = -values
    return SignalResult(
        values=with_mean_for_unjudged(values),
        details={
            "model": model,
            "training_documents": int((codes != NO_LABEL).sum()),
            "judged_documents": int((times > 0).sum()),
        },
    )


def out_of_fold_error_norms(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    inverse_penalty: float,
    progress: ProgressReport,
) -> NDArray[np.float64]:
    """Return || p - onehot || of each document under a probe that never saw its fold.

    NaN where there is nothing to compare with: no class, or one with all its members in one fold,
    which the probe of that fold does not know.

    Args:
        vectors: shape (n, d).
        codes: class of each document, -1 for none; `probe.can_train` must hold.
        folds: fold of each document.
        inverse_penalty: C of the L2-penalised softmax regression, > 0.
        progress: told the number of documents done.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    kept: list[NDArray[np.float64]] = []

    def place_of(posteriors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keep the posteriors and return their places, so that each comes back to its document."""
        first = sum(map(len, kept))
        kept.append(posteriors)
        return np.arange(first, first + len(posteriors), dtype=np.float64)

    places = out_of_fold(
        vectors,
        codes,
        folds,
        measure=place_of,
        inverse_penalty=inverse_penalty,
        progress=progress,
    )
    rows = [row for posteriors in kept for row in posteriors]
    norms = np.full(len(codes), np.nan)
    for fold in np.unique(folds).tolist():
        classes = _known_classes(codes, folds, fold)  # the columns of its posteriors
        members = np.flatnonzero((folds == fold) & np.isin(codes, classes))
        if members.size:
            errors = np.stack([rows[int(place)] for place in places[members]])
            errors[np.arange(members.size), np.searchsorted(classes, codes[members])] -= 1.0
            norms[members] = np.sqrt((errors * errors).sum(axis=1))
    return norms


def fingerprint(parameters: El2nParameters, inputs: SignalInputs) -> str:
    """Return the identity of the probe, once it is sure that it can be trained.

    Raises:
        ConfigError: there are no two classes left to tell apart when a fold is taken away, or no
            class that another fold knows.
    """
    codes = trainable_codes(
        required(inputs.labels, "labels"), smallest_class=parameters.smallest_class
    )
    assignments = _assignments(parameters, inputs)
    usable = all(can_train(codes, folds, parameters.folds) for folds in assignments)
    if not usable or not any(_can_judge(codes, folds) for folds in assignments):
        training = codes[codes != NO_LABEL]
        raise ConfigError(
            "signal 'el2n' needs two classes left when any fold is taken away, and one in several "
            f"folds; of classes with at least {parameters.smallest_class} documents there are "
            f"{np.unique(training).size} with {training.size:,} documents; label more documents "
            "(label: ... of a source), lower smallest_class or remove the signal"
        )
    return probe_fingerprint()


def _known_classes(
    codes: NDArray[np.int64], folds: NDArray[np.int64], fold: int
) -> NDArray[np.int64]:
    """Return the classes that the probe of a fold was trained on, ascending."""
    return np.unique(codes[(folds != fold) & (codes != NO_LABEL)])


def _can_judge(codes: NDArray[np.int64], folds: NDArray[np.int64]) -> bool:
    """Tell whether some document has a class that the probe of its fold was trained on."""
    return any(
        np.isin(codes[folds == fold], _known_classes(codes, folds, fold)).any()
        for fold in np.unique(folds).tolist()
    )


def _assignments(parameters: El2nParameters, inputs: SignalInputs) -> list[NDArray[np.int64]]:
    """Return the folds of each assignment; the first is that of `uncertainty`."""
    ids = inputs.document_ids
    others = [
        document_folds([f"{number}\x1f{each}" for each in ids], parameters.folds)
        for number in range(1, parameters.fold_assignments)
    ]
    return [document_folds(ids, parameters.folds), *others]


SIGNAL = SignalSpec(
    name="el2n",
    scope="pool",
    needs=frozenset({"labels", "embeddings"}),
    parameters=El2nParameters,
    compute=el2n,
    fingerprint=fingerprint,
    revision=1,
    summary="distance from the posterior of an out-of-fold probe to the label",
    orientation="large: hard to learn from the others, or mislabelled",
    cost="one softmax regression per fold and fold assignment on the embeddings",
)
