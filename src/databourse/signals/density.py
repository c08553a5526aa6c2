"""Density: -ln of the share of the pool that collides with a document in a sketch of the pool.

    m(y) = (1 / n) * sum over all documents x, y included, of k(x, y)^p,   value = -ln m(y)

with k the collision kernel of the hash family and p hashes in a row (`databourse.density`).

Source: the score sum of k(x, y) and its estimate by RACE are those of Sachdeva et al. 2024 (arXiv
2402.09668), who draw by 1 / score; -ln, which turns it so that rare is large, the preset `sharp`
and the bandwidths are our choice. Cost: n * d * rows * p, no pairs. Caveat: garbage is rare too, so
filter and deduplicate first; `paper` is nearly flat (see `weight_ratio` among the details: 1 / m of
the rarest document over that of the most crowded); estimates carry noise, with `sharp` more.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from pydantic import Field

from databourse.density.presets import PAPER, SHARP, DensityPreset, Family, pool_density
from databourse.density.spread import weight_spread
from databourse.errors import ConfigError
from databourse.neighbours.vectors import rounded
from databourse.seeds import stage_rng
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec

_PRESETS = {"paper": PAPER, "sharp": SHARP}
_DETAIL_DIGITS = 6


class DensityParameters(SignalParameters):
    """A preset, and what differs from it."""

    preset: Literal["paper", "sharp"] = Field(
        default="sharp",
        description="One hash in a row, as published as far as it is known, or four.",
    )
    family: Family = Field(
        default="l2", description="Kernel of the distance (l2) or of the angle (sign)."
    )
    rows: int | None = Field(
        default=None, ge=1, le=100_000, description="Rows of the sketch; null: the preset's."
    )
    hashes_per_row: int | None = Field(
        default=None, ge=1, le=64, description="Sharpness of the kernel; null: the preset's."
    )
    bandwidth: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Distance that the l2 kernel resolves; null: the preset's.",
    )


def density(parameters: DensityParameters, inputs: SignalInputs) -> SignalResult:
    """Return -ln of the estimated mean kernel, in [0, ln n], to 6 decimals; 0 for a lone document.

    Raises:
        ConfigError: a bandwidth is given to a family that has none.
        InputError: the bandwidth is too small for the dimension of the embeddings.
    """
    vectors = required(inputs.embeddings, "embeddings")
    preset = preset_of(parameters)
    found = pool_density(vectors, preset, rng=stage_rng(inputs.seed, "density"))
    inputs.progress(len(vectors))
    values = rounded(-np.log(found.mean_kernels))
    spread = weight_spread(values)
    return SignalResult(
        values=values,
        details={
            "bandwidth": found.bandwidth,
            "mean_kernel": _shown(float(found.mean_kernels.mean())),
            "weight_ratio": _shown(spread.ratio),
            "effective_share": _shown(spread.effective_share),
            "distance_from_uniform": _shown(spread.distance_from_uniform),
            "nearly_uniform": spread.is_nearly_uniform,
        },
    )


def preset_of(parameters: DensityParameters) -> DensityPreset:
    """Return the preset with what the parameters change.

    Raises:
        ConfigError: a bandwidth is given to a family that has none.
    """
    if parameters.family == "sign" and parameters.bandwidth is not None:
        raise ConfigError(
            f"signal 'density': family 'sign' has no bandwidth, got {parameters.bandwidth!r}; "
            "leave it out, or set family: l2"
        )
    preset = _PRESETS[parameters.preset]
    changes = {"rows": parameters.rows, "hashes_per_row": parameters.hashes_per_row}
    given = {name: value for name, value in changes.items() if value is not None}
    bandwidth = preset.bandwidth if parameters.bandwidth is None else parameters.bandwidth
    return dataclasses.replace(preset, family=parameters.family, bandwidth=bandwidth, **given)


def _shown(number: float) -> float:
    return float(f"{number:.{_DETAIL_DIGITS}g}")


SIGNAL = SignalSpec(
    name="density",
    scope="pool",
    needs=frozenset({"embeddings"}),
    parameters=DensityParameters,
    compute=density,
    revision=1,
    summary="-ln of the share of the pool that collides with a document in a sketch",
    orientation="large: few documents are near it",
    cost="rows * hashes_per_row * d multiplications per document, after the embeddings",
)
