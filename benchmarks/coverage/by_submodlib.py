"""Facility location by submodlib-py, lazy greedy on a dense matrix, which it holds as float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from submodlib import FacilityLocationFunction

from benchmarks.coverage.similarities import similarities


def prepare(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the similarities of all pairs, shape (n, n)."""
    return similarities(vectors).astype(np.float32)


def choose(matrix: NDArray[np.float32], count: int) -> list[int]:
    """Return the positions of as many documents, in the order of choice."""
    function = FacilityLocationFunction(
        n=len(matrix), mode="dense", separate_rep=False, sijs=matrix
    )
    chosen = function.maximize(budget=count, optimizer="LazyGreedy", show_progress=False)
    return [int(position) for position, _ in chosen]
