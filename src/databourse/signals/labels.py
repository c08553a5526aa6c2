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


def trainable_codes(labels: NDArray[np.object_], *, smallest_class: int) -> NDArray[np.int64]:
    """Return the class of each document; -1 for none and for classes too small to train on.

    Args:
        labels: shape (n,), str or None.
        smallest_class: fewest documents of a class that is trained on, >= 1.
    """
    codes = label_codes(labels)
    sizes = np.bincount(codes[codes != NO_LABEL], minlength=1)
    return np.where(sizes[codes] >= smallest_class, codes, NO_LABEL)
