"""Two ways to set up a density estimate of unit vectors, and the estimate itself.

Notation: m(y) = (1 / N) * sum over the pool, y included, of k(x, y)^p, the mean kernel of y: the
share of the pool that collides with y in one row.

    paper:  R = 1,000, B = 20,000, p = 1, r = 1
    sharp:  R = 1,000, B = 20,000, p = 4, r such that two different documents have k^p = 0.01 on
            average

Source: Sachdeva et al. 2024 (arXiv 2402.09668) for R, B and the L2 family of `paper`. Not published
and our reconstruction: p = 1, and r = 1, which the range of its printed scores makes likely. With
p = 1 the kernel falls only like r / c: weights differ by a few tens of percent and a draw is
close to uniform. `sharp` is our choice throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.density.hashes import (
    LEAST_BANDWIDTH,
    FloatArray,
    HashFamily,
    draw_l2_hashes,
    draw_sign_hashes,
    l2_kernel,
)
from databourse.density.race import draw_row_hashes, pool_kernel_sums
from databourse.errors import InputError
from databourse.neighbours.vectors import paired_dots, unit_rows

Family = Literal["l2", "sign"]

_PAIRS = 10_000
_MOST_BANDWIDTH = 1000.0
_BANDWIDTH_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class DensityPreset:
    """How a density is estimated.

    Attributes:
        rows: R.
        columns: B.
        hashes_per_row: p.
        family: `l2`, a kernel of the distance, or `sign`, of the angle.
        bandwidth: r of the L2 family; None to choose it by `mean_kernel`. The other has none.
        mean_kernel: k^p that two different documents have on average, by which r is chosen.
    """

    rows: int = 1000
    columns: int = 20_000
    hashes_per_row: int
    family: Family = "l2"
    bandwidth: float | None
    mean_kernel: float = 0.01


PAPER = DensityPreset(hashes_per_row=1, bandwidth=1.0)
"""As published, as far as it is known: close to uniform."""
SHARP = DensityPreset(hashes_per_row=4, bandwidth=None)
"""Four hashes in a row and a bandwidth from the data: crowded places count much more."""


@dataclass(frozen=True, eq=False, slots=True)
class PoolDensity:
    """How crowded the place of every document of a pool is.

    Attributes:
        mean_kernels: m, shape (n,), float64, in [1 / n, 1].
        bandwidth: r that was used; None for a family without.
    """

    mean_kernels: FloatArray
    bandwidth: float | None


def pool_density(
    vectors: NDArray[np.float32],
    preset: DensityPreset,
    *,
    rng: np.random.Generator,
    threads: int = 1,
) -> PoolDensity:
    """Return the mean kernel of every document over its whole pool, itself included.

    A document has a kernel of 1 with itself, and none above 1, so estimates are held within
    [1 / n, 1].

    Args:
        vectors: shape (n, d), n >= 1, unit rows.
        preset: how to estimate.
        rng: pairs and hash functions are drawn from it.
        threads: that work on it, >= 1; they change nothing but the time.

    Raises:
        InputError: vectors that are not of length 1, or a choice outside its domain.
    """
    rows = unit_rows(vectors)
    if preset.rows < 1:
        raise InputError(f"rows must be >= 1, got {preset.rows!r}")
    family, bandwidth = _family(rows, preset, rng)
    hashes = draw_row_hashes(
        family, hashes_per_row=preset.hashes_per_row, columns=preset.columns, rng=rng
    )
    sums = pool_kernel_sums(rows, hashes, threads=threads)
    return PoolDensity(np.clip(sums, 1.0, len(rows)) / len(rows), bandwidth)


def bandwidth_for(
    vectors: NDArray[np.float32],
    *,
    hashes_per_row: int,
    mean_kernel: float,
    rng: np.random.Generator,
) -> float:
    """Return the bandwidth at which two different vectors have a mean k^p as asked.

    Found by bisection over the distances of 10,000 random pairs, to 6 digits. It is held within
    what the hashes can resolve and 1,000; where all vectors are equal it does not matter, and is 1.

    Args:
        vectors: shape (n, d), n >= 1, unit rows.
        hashes_per_row: p >= 1.
        mean_kernel: in (0, 1).
        rng: the pairs are drawn from it.

    Raises:
        InputError: `mean_kernel` is outside (0, 1), or `hashes_per_row` below 1.
    """
    if not 0 < mean_kernel < 1 or hashes_per_row < 1:
        raise InputError(
            f"the mean kernel must be in (0, 1) and hashes per row >= 1, got {mean_kernel!r} and "
            f"{hashes_per_row!r}"
        )
    left, right = rng.integers(0, len(vectors), size=(2, _PAIRS))
    apart = vectors[left] - vectors[right]
    distances = np.sqrt(paired_dots(apart, apart))
    distances = distances[distances > 0]
    if not distances.size:
        return 1.0
    low, high = math.log(_least_bandwidth(vectors.shape[1])), math.log(_MOST_BANDWIDTH)
    while high - low > 10.0**-_BANDWIDTH_DIGITS / 10:
        middle = (low + high) / 2
        kernels = l2_kernel(distances, bandwidth=math.exp(middle)) ** hashes_per_row
        if kernels.mean() > mean_kernel:
            high = middle
        else:
            low = middle
    # rounded, so that the last bits of libraries do not show
    return float(f"{math.exp(high):.{_BANDWIDTH_DIGITS}g}")


def _family(
    vectors: NDArray[np.float32], preset: DensityPreset, rng: np.random.Generator
) -> tuple[HashFamily[NDArray[np.float32]], float | None]:
    n_hashes, dimension = preset.rows * preset.hashes_per_row, vectors.shape[1]
    if preset.family == "sign":
        return draw_sign_hashes(n_hashes, dimension=dimension, rng=rng), None
    bandwidth = preset.bandwidth
    if bandwidth is None:
        bandwidth = bandwidth_for(
            vectors,
            hashes_per_row=preset.hashes_per_row,
            mean_kernel=preset.mean_kernel,
            rng=rng,
        )
    return (
        draw_l2_hashes(n_hashes, dimension=dimension, bandwidth=bandwidth, rng=rng),
        bandwidth,
    )


def _least_bandwidth(dimension: int) -> float:
    """Return a bandwidth that hashes of unit vectors resolve, however their directions fall."""
    # a direction is longer than sqrt(d) + 9 with probability e^-40 and the quantum is a power of
    # two: at most twice what is needed
    quantum = 2 * 64 * (math.sqrt(dimension) + 9) / 2**24
    return 1.1 * LEAST_BANDWIDTH * quantum * math.sqrt(dimension / 12)
