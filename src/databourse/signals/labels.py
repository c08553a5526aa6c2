"""Labels as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1


def label_codes(labels: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the rank of each label among the distinct ones, sorted; -1 where there is none."""
    known = sorted({label for label in labels if label is not None})
    rank = {label: position for position, label in enumerate(known)}
    return np.array(
        [NO_LABEL if label is None else rank[label] for label in labels], dtype=np.int64
    )
