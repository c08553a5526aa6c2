"""The product's facility location over all pairs."""

from __future__ import annotations

import numpy as np

from databourse.coverage.facility_location import Cover, exact_cover, greedy_cover

prepare = exact_cover


def choose(cover: Cover, count: int) -> list[int]:
    """Return the positions of as many documents, in the order of choice."""
    costs = np.ones(cover.columns.size, dtype=np.int64)
    chosen: list[int] = greedy_cover(cover, costs=costs, budget=count, length_bias=0.0).tolist()
    return chosen
