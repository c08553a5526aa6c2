"""Facility location by apricot-select, lazy greedy on a dense matrix; compiles at every call."""

from __future__ import annotations

import numpy as np
from apricot import FacilityLocationSelection
from numpy.typing import NDArray

from benchmarks.coverage.similarities import similarities

__all__ = ["choose", "prepare"]

prepare = similarities


def choose(matrix: NDArray[np.float64], count: int) -> list[int]:
    """Return the positions of as many documents, in the order of choice."""
    selection = FacilityLocationSelection(count, metric="precomputed", optimizer="lazy")
    return [int(position) for position in selection.fit(matrix).ranking]
