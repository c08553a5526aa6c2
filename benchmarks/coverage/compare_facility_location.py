"""Compare the product's facility location with two packages: what is chosen, speed and memory.

Every measurement has a process of its own, a peer's in an environment of its own; candidates take
turns, the first of a round moving on by one, so that other load on the machine meets all of them.
Ratios are taken within a round; one thread each. What each has chosen is valued by the matrix that
the peers are given. Vectors are made up: clusters of a broad range of sizes.

    python -m benchmarks.coverage.compare_facility_location --documents 2000
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage.candidates import CANDIDATES, YARDSTICK
from benchmarks.coverage.environments import (
    ENVIRONMENTS,
    REQUIREMENTS,
    NoEnvironmentError,
    peer_python,
)
from benchmarks.coverage.similarities import similarities
from benchmarks.density.compare_kernel_sums import made_up
from benchmarks.measuring import Cost, spread_of

RESULTS = Path(__file__).resolve().parents[1] / "results"
_ROOT = Path(__file__).resolve().parents[2]
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)

Run = dict[str, Any]


def compare(
    *, n_documents: int, dimensions: int, share: float, rounds: int, seed: int, environments: Path
) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON; a peer that cannot run is told with why.

    Args:
        n_documents: of the pool.
        dimensions: of its vectors.
        share: of the documents to choose, in (0, 1).
        rounds: how often each candidate is measured, >= 1.
        seed: of the vectors.
        environments: folder of the peers' environments, made if missing.
    """
    vectors = made_up(n_documents, dimensions, seed)
    count = round(n_documents * share)
    missing: dict[str, str] = {}
    pythons = {}
    for name, candidate in CANDIDATES.items():
        try:
            pythons[name] = (
                peer_python(candidate.package, environments=environments, requirements=REQUIREMENTS)
                if candidate.package
                else Path(sys.executable)
            )
        except NoEnvironmentError as error:
            missing[name] = str(error)
    measured: dict[str, list[Run]] = {name: [] for name in pythons}
    picks: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        stored, answers = Path(folder) / "vectors.npz", Path(folder) / "answers.npz"
        np.savez(stored, allow_pickle=False, vectors=vectors)
        for number in range(rounds):
            names = list(pythons)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if name in missing:
                    continue
                run = _measured(pythons[name], name, stored, answers, count)
                if isinstance(run, str):
                    missing[name] = run
                    continue
                measured[name].append(run)
                with np.load(answers, allow_pickle=False) as found:
                    picks[name] = found["picks"].tolist()
    measured = {name: runs for name, runs in measured.items() if name not in missing}
    matrix = similarities(vectors)
    return {
        "kind": "facility_location",
        "n_documents": n_documents,
        "dimensions": dimensions,
        "n_chosen": count,
        "rounds": rounds,
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            **{name: runs[0]["version"] for name, runs in measured.items() if runs[0]["version"]},
        },
        "candidates": {
            name: {
                **costs_of(runs, measured[YARDSTICK]),
                **agreement(picks[name], picks[YARDSTICK], matrix),
            }
            for name, runs in measured.items()
        },
        "missing": missing,
    }


def costs_of(runs: Sequence[Run], yardstick: Sequence[Run]) -> dict[str, Any]:
    """Return seconds and memory of a candidate, and how many times those of the yardstick.

    Args:
        runs: of the candidate, one per round.
        yardstick: of the candidate to compare with, in the same rounds.
    """
    mine, its = [_whole(run) for run in runs], [_whole(run) for run in yardstick]
    choosing, its_choosing = [
        [float(run["choose"]["cpu_seconds"]) for run in each] for each in (runs, yardstick)
    ]
    return {
        "times_whole_cpu": _ratios(
            [cost.cpu_seconds for cost in mine], [cost.cpu_seconds for cost in its]
        ),
        "times_choose_cpu": _ratios(choosing, its_choosing),
        "wall_seconds": spread_of([cost.wall_seconds for cost in mine]),
        "cpu_seconds": spread_of([cost.cpu_seconds for cost in mine]),
        "choose_cpu_seconds": spread_of(choosing),
        "bytes_above_input": spread_of(
            [cost.peak_bytes - run["bytes_before"] for cost, run in zip(mine, runs, strict=True)]
        ),
    }


def agreement(
    picks: Sequence[int], others: Sequence[int], matrix: NDArray[np.float64]
) -> dict[str, Any]:
    """Return how far a choice is the yardstick's, and how far it is greedy.

    Args:
        picks: positions, in the order of choice; distinct.
        others: those of the yardstick, as many.
        matrix: symmetric similarities of all pairs, shape (n, n), which value both.

    Returns:
        How many of the first are the same in the same order, how many are the same at all, the
        value of the choice over that of the yardstick, and the most that a step adds less than the
        best step there would have added.

    Raises:
        ValueError: positions repeat, or there are not as many as the yardstick has.
    """
    if len(set(picks)) != len(picks) or len(picks) != len(others):
        raise ValueError(
            f"a choice must be {len(others):,} distinct positions, got {len(picks):,} of which "
            f"{len(set(picks)):,} are distinct"
        )
    same = [mine == its for mine, its in zip(picks, others, strict=True)]
    first, second = (float(matrix[list(each)].max(axis=0).sum()) for each in (picks, others))
    return {
        "same_in_order": same.index(False) if False in same else len(same),
        "same": len(set(picks) & set(others)),
        "value_ratio": float(f"{first / second:.9g}"),
        "largest_shortfall": float(f"{largest_shortfall(picks, matrix):.3g}"),
    }


def largest_shortfall(picks: Sequence[int], matrix: NDArray[np.float64]) -> float:
    """Return the most that any pick adds less than the best document at its turn; 0 if greedy.

    Args:
        picks: positions, in the order of choice.
        matrix: symmetric similarities of all pairs, shape (n, n), >= 0.
    """
    best = np.zeros(len(matrix))
    bounds = [(-gain, position) for position, gain in enumerate(matrix.sum(axis=0).tolist())]
    heapq.heapify(bounds)
    largest = 0.0
    for pick in picks:
        looked_at: set[int] = set()
        while (position := bounds[0][1]) not in looked_at:  # what it adds never rises
            looked_at.add(position)
            gain = float(np.maximum(matrix[position] - best, 0.0).sum())
            heapq.heapreplace(bounds, (-gain, position))
        added = float(np.maximum(matrix[pick] - best, 0.0).sum())
        largest = max(largest, -bounds[0][0] - added)
        best = np.maximum(best, matrix[pick])
    return largest


def _measured(python: Path, name: str, vectors: Path, answers: Path, count: int) -> Run | str:
    """Return what a run found, or in one line why it failed."""
    command = [
        *(str(python), "-m", "benchmarks.coverage.measure_candidate", name),
        *(str(vectors), str(answers), "--count", str(count)),
    ]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **_ONE_THREAD},
        cwd=_ROOT,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return f"{name} failed: {said[0]}"
    found: Run = json.loads(done.stdout.splitlines()[-1])  # peers print, too
    return found


def _whole(run: Mapping[str, Any]) -> Cost:
    """Return what preparing and choosing took together."""
    first, second = Cost(**run["prepare"]), Cost(**run["choose"])
    return Cost(
        first.wall_seconds + second.wall_seconds,
        first.cpu_seconds + second.cpu_seconds,
        max(first.peak_bytes, second.peak_bytes),
    )


def _ratios(mine: Sequence[float], its: Sequence[float]) -> dict[str, float]:
    return spread_of([first / second for first, second in zip(mine, its, strict=True)])


def main() -> None:
    """Compare on a pool of the size that the command line names, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    chosen = parser.parse_args()
    result = compare(
        n_documents=chosen.documents,
        dimensions=chosen.dimensions,
        share=chosen.share,
        rounds=chosen.rounds,
        seed=chosen.seed,
        environments=chosen.environments,
    )
    result["command"] = (
        f"python -m benchmarks.coverage.compare_facility_location --documents {chosen.documents} "
        f"--dimensions {chosen.dimensions} --share {chosen.share} --rounds {chosen.rounds} "
        f"--seed {chosen.seed}"
    )
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"facility_location_{chosen.documents}x{chosen.dimensions}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, found in result["candidates"].items():
        print(
            f"{name}: {found['wall_seconds']['median']:.2f} s, same in order "
            f"{found['same_in_order']:,} of {result['n_chosen']:,}, value {found['value_ratio']}"
        )
    for reason in result["missing"].values():
        print(reason)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
