"""Features of a pool's gradients by checkpoint, and what TRAK makes of them for targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.curvature import Damping
from databourse.influence.outputs import Output
from databourse.influence.trak import Blocks, TrakEnsemble, mean_features

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CheckpointGradients:
    """Features of all documents and of all targets under one checkpoint.

    Attributes:
        features_id: what decides them: model, layers and projection.
        output: what they are gradients of.
        blocks: starts a pass over those of the documents, in order of document_id.
        targets: by name of the target, shape (m, k) each: of its examples.
    """

    features_id: str
    output: Output
    blocks: Blocks
    targets: Mapping[str, npt.NDArray[np.float32]]


def trak_by_target(
    checkpoints: Sequence[CheckpointGradients], *, n_documents: int, damping: float
) -> dict[str, FloatArray]:
    """Return the mean TRAK value of each document over each target, by its name, shape (n,) each.

    Args:
        checkpoints: of one ensemble: the same output, documents and targets.
        n_documents: n.
        damping: of each kernel, as a share of its mean eigenvalue, >= 0.

    Returns:
        Per document, larger is better.

    Raises:
        InputError: there is no checkpoint or target, or checkpoints do not go together.
    """
    if not checkpoints:
        raise InputError("an ensemble needs at least one checkpoint, got none")
    names = list(checkpoints[0].targets)
    ensemble = TrakEnsemble(
        n_documents=n_documents,
        n_targets=len(names),
        output=checkpoints[0].output,
        damping=Damping(damping),
    )
    for each in checkpoints:
        if list(each.targets) != names or each.output != checkpoints[0].output:
            raise InputError(
                "checkpoints of an ensemble must have the same targets and output; "
                f"{each.features_id} has others"
            )
        ensemble.add(each.blocks, mean_features(each.targets), features_id=each.features_id)
    values = ensemble.values().values
    return {name: values[:, place] for place, name in enumerate(names)}
