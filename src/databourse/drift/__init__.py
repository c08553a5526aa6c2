"""How far a distribution has moved from an earlier one, as one number."""

from databourse.drift.stability import (
    Shift,
    numeric_shift,
    quantile_edges,
    share_shift,
    stability_index,
)

__all__ = ["Shift", "numeric_shift", "quantile_edges", "share_shift", "stability_index"]
