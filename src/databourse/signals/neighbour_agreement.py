"""Neighbour agreement: the share of the labelled among the k nearest documents with the same label.

Source: the agreement test of Wilson 1972 (edited nearest neighbours, IEEE Trans. SMC-2(3)), kept as
a number. Cost: that of the neighbours. Caveat: a rightly labelled document in a foreign
neighbourhood looks like label noise, so this trader pulls against rarity and uncertainty; needs
labels. A document that cannot be judged (no label, or no labelled neighbour) gets the mean over
those that can: it is neither punished nor rewarded.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from databourse.errors import ConfigError
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.labels import NO_LABEL, label_codes
from databourse.signals.neighbourhood import usable_neighbours
from databourse.signals.specification import SignalParameters, SignalSpec, no_model


class NeighbourAgreementParameters(SignalParameters):
    """How large a neighbourhood is."""

    k: int = Field(default=10, ge=1, le=1000, description="Nearest documents that are asked.")


def neighbour_agreement(
    parameters: NeighbourAgreementParameters, inputs: SignalInputs
) -> SignalResult:
    """Return the share of labelled neighbours that agree, in [0, 1].

    Raises:
        ConfigError: the pool has no labels, or fewer neighbours were computed than k asks for.
    """
    fingerprint(parameters, inputs)
    codes = label_codes(required(inputs.labels, "labels"))
    neighbours = required(inputs.neighbours, "neighbours")
    k = usable_neighbours("neighbour_agreement", parameters.k, neighbours, inputs.n_documents)
    asked = codes[neighbours.positions[:, :k]]
    labelled = (asked != NO_LABEL).sum(axis=1)
    agreeing = (asked == codes[:, None]).sum(axis=1)
    judged = (codes != NO_LABEL) & (labelled > 0)
    values = np.zeros(inputs.n_documents)
    np.divide(agreeing, labelled, out=values, where=judged)
    if judged.any():
        values[~judged] = math.fsum(values[judged].tolist()) / int(judged.sum())
    return SignalResult(values=values, details={"k": k, "judged_documents": int(judged.sum())})


def fingerprint(parameters: NeighbourAgreementParameters, inputs: SignalInputs) -> str:
    """Return that no model is used, once it is sure that there are labels.

    Raises:
        ConfigError: no document has a label.
    """
    if all(label is None for label in required(inputs.labels, "labels")):
        raise ConfigError(
            "signal 'neighbour_agreement' needs labels, and no document has one; name the label "
            "column of a source (label: ...) or remove the signal"
        )
    return no_model(parameters, inputs)


SIGNAL = SignalSpec(
    name="neighbour_agreement",
    scope="pool",
    needs=frozenset({"labels", "neighbours"}),
    parameters=NeighbourAgreementParameters,
    compute=neighbour_agreement,
    revision=1,
    summary="share of the k nearest labelled documents that have the same label",
    orientation="large: its neighbours confirm its label",
    cost="k comparisons per document, after the neighbours",
    fingerprint=fingerprint,
)
