"""Diversity: 1 - cos(e_i, c_t), the distance of a document from the centroid of its own topic.

Source: "diversity" is one of the three signals of Jha et al. 2025 (arXiv 2510.02456, abstract); its
formula there is not known to us, and this static form is databourse's reading. Cost: n * d. Caveat:
outliers and garbage are far from every centroid; documents of a one-document topic get 0. Novelty
against what was already bought is a matter of selection, not of this signal.
"""

from __future__ import annotations

from databourse.errors import InputError
from databourse.neighbours.vectors import paired_cosines, rounded
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class DiversityParameters(SignalParameters):
    """Diversity has no choices; the topics have."""


def diversity(parameters: DiversityParameters, inputs: SignalInputs) -> SignalResult:
    """Return the distance to the own centroid, in [0, 2], to 6 decimals.

    Raises:
        InputError: the topics have no centroids of the embeddings' dimension.
    """
    del parameters
    vectors = required(inputs.embeddings, "embeddings")
    topics = required(inputs.topics, "topics")
    if topics.centroids is None or topics.centroids.shape[1] != vectors.shape[1]:
        shape = None if topics.centroids is None else topics.centroids.shape
        raise InputError(f"topics need centroids of dimension {vectors.shape[1]}, got {shape}")
    cosines = paired_cosines(vectors, topics.centroids[topics.index])
    return SignalResult(values=rounded(1.0 - cosines), details={"topics": len(topics.topics)})


SIGNAL = SignalSpec(
    name="diversity",
    scope="pool",
    needs=frozenset({"embeddings", "topics"}),
    parameters=DiversityParameters,
    compute=diversity,
    revision=1,
    summary="cosine distance from the centroid of the document's own topic",
    orientation="large: unlike the bulk of its topic",
    cost="one dot product per document, after embedding and topics",
)
