"""The product's facility location over the nearest documents of each one."""

from __future__ import annotations

from benchmarks.coverage.by_all_pairs import choose
from databourse.coverage.facility_location import nearest_cover

__all__ = ["choose", "prepare"]

prepare = nearest_cover
