"""The examples of all targets together: their texts and their embeddings, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.targets import TargetSet


def texts_of(targets: Sequence[TargetSet]) -> list[str]:
    """Return the texts of all targets, one after the other.

    Raises:
        InputError: there is no target.
    """
    texts = [text for target in targets for text in target.texts]
    if not texts:
        raise InputError("at least one target is needed, got none; name one in the config")
    return texts


def embeddings_of(targets: Sequence[TargetSet], dimensions: int) -> NDArray[np.float32]:
    """Return the embeddings of all targets, one below the other, shape (m, dimensions).

    Raises:
        InputError: there is no target, one has no embeddings, or they are of another length.
    """
    texts_of(targets)
    rows = []
    for target in targets:
        if target.embeddings is None:
            raise InputError(
                f"target {target.name!r} has no embeddings; embed it with the encoder of the pool"
            )
        if target.embeddings.shape[1:] != (dimensions,):
            raise InputError(
                f"the embeddings of target {target.name!r} must be of {dimensions} numbers like "
                f"those of the pool, got shape {target.embeddings.shape}"
            )
        rows.append(target.embeddings)
    return np.concatenate(rows)
