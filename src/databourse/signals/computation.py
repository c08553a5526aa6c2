"""Running a signal: its inputs and its values are checked here, once for all signals."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours.vectors import NORM_TOLERANCE, row_norms
from databourse.signals.inputs import SignalInputs, SignalResult
from databourse.signals.specification import Need, SignalParameters, SignalSpec

P = TypeVar("P", bound=SignalParameters)
_EXAMPLES = 3


def compute_signal(spec: SignalSpec[P], parameters: P, inputs: SignalInputs) -> SignalResult:
    """Return the values of a signal for every document, all finite.

    Args:
        spec: the signal.
        parameters: of the type `spec.parameters`.
        inputs: with every field of `spec.needs_of(parameters)` filled.

    Raises:
        InputError: an input is missing, has the wrong shape or a bad value, or the signal gave a
            value that is not finite; names the signal and the first bad documents.
    """
    try:
        _check_inputs(spec.needs_of(parameters), inputs)
        result = spec.compute(parameters, inputs)
        _check_values(result.values, inputs)
    except InputError as error:
        raise InputError(f"signal {spec.name!r}: {error}") from error
    return result


def model_fingerprint(spec: SignalSpec[P], parameters: P, inputs: SignalInputs) -> str:
    """Return the identity of the model that a signal will use; of the inputs it reads labels only.

    Raises:
        InputError: the labels are needed and missing, or of the wrong shape.
    """
    if "labels" in spec.needs_of(parameters):
        _check_labels(inputs)
    return spec.fingerprint(parameters, inputs)


def _check_inputs(needs: AbstractSet[Need], inputs: SignalInputs) -> None:
    if inputs.n_documents == 0:
        raise InputError("there must be at least one document, got none")
    missing = sorted(need for need in needs if getattr(inputs, need) is None)
    if missing:
        raise InputError(f"it needs {' and '.join(missing)}, not among its inputs")
    if "tokens" in needs:
        _check_tokens(inputs)
    if "labels" in needs:
        _check_labels(inputs)
    if "embeddings" in needs:
        _check_embeddings(inputs)
    if "topics" in needs:
        _check_topics(inputs)
    if "neighbours" in needs:
        _check_neighbours(inputs)
    for need, losses in (
        ("text_losses", inputs.text_losses),
        ("completion_losses", inputs.completion_losses),
        ("conditioned_losses", inputs.conditioned_losses),
    ):
        if need in needs and losses is not None:
            _check_length(need, losses.token_counts.shape, inputs)
    if "generations" in needs and inputs.generations is not None:
        _check_length("generations", inputs.generations.groups.shape[:1], inputs)
    if "answers" in needs and inputs.answers is not None:
        _check_length("answers", inputs.answers.p_yes.shape, inputs)


def _check_tokens(inputs: SignalInputs) -> None:
    if inputs.tokens is None:
        return
    _check_length("tokens", inputs.tokens.shape, inputs)
    _refuse("have fewer than 1 token", inputs.tokens < 1, inputs.document_ids)


def _check_labels(inputs: SignalInputs) -> None:
    if inputs.labels is None:
        raise InputError("it needs labels, not among its inputs; pass None per unlabelled document")
    _check_length("labels", inputs.labels.shape, inputs)
    bad = np.array([not (label is None or isinstance(label, str)) for label in inputs.labels])
    _refuse("have a label that is neither text nor None", bad, inputs.document_ids)


def _check_embeddings(inputs: SignalInputs) -> None:
    vectors = inputs.embeddings
    if vectors is None:
        return
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise InputError(
            f"embeddings must be float32 of shape (n, d), got {vectors.dtype} of {vectors.shape}"
        )
    _check_length("embeddings", vectors.shape[:1], inputs)
    bad = ~(np.abs(row_norms(vectors) - 1.0) <= NORM_TOLERANCE)  # NaN is bad too
    _refuse("have an embedding that is not finite or not of length 1", bad, inputs.document_ids)


def _check_topics(inputs: SignalInputs) -> None:
    if inputs.topics is not None:
        _check_length("topics", inputs.topics.index.shape, inputs)


def _check_neighbours(inputs: SignalInputs) -> None:
    if inputs.neighbours is None:
        return
    positions, similarities = inputs.neighbours.positions, inputs.neighbours.similarities
    _check_length("neighbours", positions.shape[:1], inputs)
    if positions.shape != similarities.shape or positions.ndim != 2:
        raise InputError(
            "neighbours need positions and similarities of one shape (n, k), got "
            f"{positions.shape} and {similarities.shape}"
        )
    outside = np.any((positions < 0) | (positions >= inputs.n_documents), axis=1)
    _refuse("have a neighbour that does not exist", outside, inputs.document_ids)
    bad = np.any(~np.isfinite(similarities), axis=1)
    _refuse("have a similarity that is not finite", bad, inputs.document_ids)


def _check_length(name: str, shape: tuple[int, ...], inputs: SignalInputs) -> None:
    if shape != (inputs.n_documents,):
        raise InputError(f"{name} must cover {inputs.n_documents:,} documents, got shape {shape}")


def _check_values(values: NDArray[np.float64], inputs: SignalInputs) -> None:
    if values.shape != (inputs.n_documents,) or values.dtype != np.float64:
        raise InputError(
            f"it must give {inputs.n_documents:,} float64 values, got {values.dtype} of shape "
            f"{values.shape}"
        )
    _refuse("got a value that is not finite", ~np.isfinite(values), inputs.document_ids)


def _refuse(what: str, bad: NDArray[np.bool_], document_ids: Sequence[str]) -> None:
    positions = np.flatnonzero(bad)
    if positions.size:
        examples = ", ".join(str(document_ids[each]) for each in positions[:_EXAMPLES])
        raise InputError(
            f"{positions.size:,} of {len(document_ids):,} documents {what}, first {examples}"
        )
