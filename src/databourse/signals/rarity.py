"""Rarity: (1/k) * sum over the k nearest documents j of (1 - cos(e_i, e_j)).

Source: "rarity" is one of the three signals of Jha et al. 2025 (arXiv 2510.02456, abstract); its
formula there is not known to us, and the mean distance to k = 10 neighbours is databourse's
reading. Cost: that of the neighbours, n * n * d. Caveat: garbage is rare too, so filter and
deduplicate first; a document with a duplicate loses about 1/k of its rarity per copy.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from databourse.neighbours.vectors import rounded
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.neighbourhood import usable_neighbours
from databourse.signals.specification import SignalParameters, SignalSpec


class RarityParameters(SignalParameters):
    """How large a neighbourhood is."""

    k: int = Field(default=10, ge=1, le=1000, description="Nearest documents that are averaged.")


def rarity(parameters: RarityParameters, inputs: SignalInputs) -> SignalResult:
    """Return the mean cosine distance to the k nearest documents, in [0, 2]; 0 for a lone document.

    Raises:
        ConfigError: fewer neighbours were computed than k asks for.
    """
    neighbours = required(inputs.neighbours, "neighbours")
    k = usable_neighbours("rarity", parameters.k, neighbours, inputs.n_documents)
    if k == 0:
        return SignalResult(values=np.zeros(inputs.n_documents), details={"k": 0})
    # float32 stores 0.3 as 0.30000001: rounding restores the 6 decimals that were meant
    similarities = rounded(neighbours.similarities[:, :k].astype(np.float64))
    return SignalResult(values=rounded((1.0 - similarities).mean(axis=1)), details={"k": k})


SIGNAL = SignalSpec(
    name="rarity",
    scope="pool",
    needs=frozenset({"neighbours"}),
    parameters=RarityParameters,
    compute=rarity,
    revision=1,
    summary="mean cosine distance to the k nearest documents of the snapshot",
    orientation="large: few documents are like it",
    cost="k additions per document, after the neighbours",
)
