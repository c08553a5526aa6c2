"""Compare the sketch's density of a whole pool with the exact sum over all pairs: speed and error.

The exact sum takes n * n * d operations, so it is timed on some of the documents, against all of
them, and its seconds are scaled up. It is done in two ways: the kernel of every pair is computed,
or looked up by squared distance. All use float32 products and one thread. Vectors are made up:
clusters of a broad range of sizes around random directions.

    python -m benchmarks.density.compare_kernel_sums --documents 100000 --dimensions 384
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import cost_of, spread_of
from databourse.density.hashes import l2_kernel
from databourse.density.kde import exact_l2_sums
from databourse.density.presets import PAPER, SHARP, pool_density
from databourse.density.spread import weight_spread
from databourse.neighbours.threads import single_threaded_blas

RESULTS = Path(__file__).resolve().parents[1] / "results"
_CLUSTERS = 200
_TABLE = 1 << 16
_BLOCK_QUERIES = 64

Vectors = NDArray[np.float32]
Sums = NDArray[np.float64]


def made_up(n_documents: int, dimensions: int, seed: int) -> Vectors:
    """Return unit vectors in clusters whose sizes fall like 1 / rank, shuffled; cosine 0.5 within.

    Args:
        n_documents: how many.
        dimensions: of each.
        seed: of every random choice.
    """
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((_CLUSTERS, dimensions), dtype=np.float32))
    parts = 1 / np.arange(1, _CLUSTERS + 1)
    index = rng.choice(_CLUSTERS, size=n_documents, p=parts / parts.sum())
    noise = _unit(rng.standard_normal((n_documents, dimensions), dtype=np.float32))
    return _unit(np.sqrt(np.float32(0.5)) * (centres[index] + noise))


def computed(queries: Vectors, data: Vectors, bandwidth: float, power: int) -> Sums:
    """Return exact sums of the kernel, computed for every pair of unit vectors."""
    sums = np.empty(len(queries))
    for start in range(0, len(queries), _BLOCK_QUERIES):
        squares = 2 - 2 * (queries[start : start + _BLOCK_QUERIES] @ data.T)
        distances = np.sqrt(np.maximum(squares, 0))
        kernel = l2_kernel(distances, bandwidth=bandwidth) ** power
        sums[start : start + _BLOCK_QUERIES] = kernel.sum(axis=1)
    return sums


def looked_up(queries: Vectors, data: Vectors, bandwidth: float, power: int) -> Sums:
    """Return sums of the kernel, looked up by the squared distance of unit vectors."""
    squares = np.linspace(0, 4, _TABLE)
    table = (l2_kernel(np.sqrt(squares), bandwidth=bandwidth) ** power).astype(np.float32)
    scale = np.float32(-2 * (_TABLE - 1) / 4)
    middle = np.float32(2 * (_TABLE - 1) / 4 + 0.5)
    sums = np.empty(len(queries))
    for start in range(0, len(queries), _BLOCK_QUERIES):
        places = queries[start : start + _BLOCK_QUERIES] @ data.T
        places *= scale
        places += middle
        cells = np.clip(places, 0, _TABLE - 1, out=places).astype(np.int32)
        sums[start : start + _BLOCK_QUERIES] = table.take(cells).sum(axis=1, dtype=np.float64)
    return sums


EXACT: dict[str, Callable[[Vectors, Vectors, float, int], Sums]] = {
    "kernel of every pair computed": computed,
    "kernel of every pair looked up": looked_up,
}


def compare(
    *, n_documents: int, dimensions: int, n_exact: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON.

    Args:
        n_documents: of the pool.
        dimensions: of its vectors.
        n_exact: documents whose sums are computed exactly, spread over the pool.
        rounds: how often each way is measured, >= 1.
        seed: of every random choice.
    """
    vectors = made_up(n_documents, dimensions, seed)
    chosen = np.linspace(0, n_documents - 1, n_exact).astype(np.int64)
    presets = {}
    with single_threaded_blas():
        for name, preset in (("paper", PAPER), ("sharp", SHARP)):
            power = preset.hashes_per_row
            sketch: list[float] = []
            exact: dict[str, list[float]] = {way: [] for way in EXACT}
            peak = 0
            for _ in range(rounds):
                density, cost = cost_of(
                    lambda preset=preset: pool_density(
                        vectors, preset, rng=np.random.default_rng(seed)
                    )
                )
                sketch.append(cost.cpu_seconds)
                peak = max(peak, cost.peak_bytes)
                bandwidth = float(density.bandwidth or 0.0)
                for way, sums_of in EXACT.items():
                    _, cost = cost_of(
                        lambda sums_of=sums_of, bandwidth=bandwidth, power=power: sums_of(
                            vectors[chosen], vectors, bandwidth, power
                        )
                    )
                    exact[way].append(cost.cpu_seconds * n_documents / n_exact)
            truth = exact_l2_sums(
                vectors[chosen], vectors, bandwidth=bandwidth, hashes_per_row=power
            )
            errors = density.mean_kernels[chosen] * n_documents / truth - 1
            presets[name] = {
                "rows": preset.rows,
                "columns": preset.columns,
                "hashes_per_row": power,
                "bandwidth": bandwidth,
                "cpu_seconds": spread_of(sketch),
                "peak_bytes": peak,
                "exact_cpu_seconds": {way: spread_of(found) for way, found in exact.items()},
                "times_as_fast": {
                    way: spread_of([far / near for far, near in zip(found, sketch, strict=True)])
                    for way, found in exact.items()
                },
                "mean_kernel": _shown(density.mean_kernels.mean()),
                "weight_ratio": _shown(weight_spread(-np.log(density.mean_kernels)).ratio),
                "exact_weight_ratio": _shown(weight_spread(-np.log(truth)).ratio),
                "relative_error": {
                    "root_mean_square": _shown(np.sqrt((errors**2).mean())),
                    "median": _shown(np.median(np.abs(errors))),
                    "largest": _shown(np.abs(errors).max()),
                },
            }
    return {
        "kind": "density",
        "n_documents": n_documents,
        "dimensions": dimensions,
        "n_exact": n_exact,
        "rounds": rounds,
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy")},
        },
        "presets": presets,
    }


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _shown(number: float) -> float:
    return float(f"{number:.4g}")


def main() -> None:
    """Compare on a pool of the size that the command line names, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--exact", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        n_documents=chosen.documents,
        dimensions=chosen.dimensions,
        n_exact=chosen.exact,
        rounds=chosen.rounds,
        seed=chosen.seed,
    )
    result["command"] = (
        f"python -m benchmarks.density.compare_kernel_sums --documents {chosen.documents} "
        f"--dimensions {chosen.dimensions} --exact {chosen.exact} --rounds {chosen.rounds} "
        f"--seed {chosen.seed}"
    )
    path = chosen.results / f"density_{chosen.documents}x{chosen.dimensions}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
