"""Compare the product's clearing with its numpy twin: speed, memory, and whether they agree.

Every measurement has a process of its own; candidates take turns, the first of a round moving on
by one, so that other load on the machine meets all of them. Ratios are taken within a round.
Input is in the page cache and in memory before the clock starts.

    python -m benchmarks.market.compare_clearing --documents 1000000 --signals 8 --rounds 7
"""

from __future__ import annotations

import argparse
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

from benchmarks.market.candidates import CANDIDATES, FLOORS, YARDSTICK
from benchmarks.market.generated_board import BoardShape, write_board
from benchmarks.measuring import Cost, spread_of, spreads

RESULTS = Path(__file__).resolve().parents[1] / "results"
_WARM_UP_DOCUMENTS = 1000
_STEPS = ("clear", "clear and select")


def compare(shape: BoardShape, *, rounds: int) -> dict[str, Any]:
    """Return the result of all rounds on one generated board, ready for JSON.

    Args:
        shape: of the board.
        rounds: how often each candidate is measured, >= 1.
    """
    names = [*CANDIDATES, *FLOORS]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        board, warm_up = Path(folder) / "board.parquet", Path(folder) / "warm_up.parquet"
        write_board(board, shape)
        write_board(warm_up, BoardShape(_WARM_UP_DOCUMENTS, shape.n_signals, shape.seed))
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                answers = Path(folder) / f"{names.index(name)}.npz"
                measured[name].append(_measured(name, board, warm_up, answers))
        agreement = _agreement(
            {name: Path(folder) / f"{names.index(name)}.npz" for name in CANDIDATES}
        )
    costs = {
        name: [{step: Cost(**cost) for step, cost in each["costs"].items()} for each in runs]
        for name, runs in measured.items()
    }
    return {
        "kind": "clearing",
        "n_documents": shape.n_documents,
        "n_signals": shape.n_signals,
        "n_topics": shape.n_topics,
        "seed": shape.seed,
        "rounds": rounds,
        "versions": _versions(),
        "candidates": {
            name: {
                "steps": {step: spreads([each[step] for each in costs[name]]) for step in _STEPS},
                "ratios": {step: _ratios(costs, name, step) for step in _STEPS},
                "bytes_above_input": {
                    step: spread_of(
                        [
                            run[step].peak_bytes - each["bytes_before"]
                            for run, each in zip(costs[name], measured[name], strict=True)
                        ]
                    )
                    for step in _STEPS
                },
                **agreement[name],
            }
            for name in CANDIDATES
        },
        "floors": {name: spreads([each["read"] for each in costs[name]]) for name in FLOORS},
    }


def _measured(name: str, board: Path, warm_up: Path, answers: Path) -> dict[str, Any]:
    module = "benchmarks.market.measure_candidate"
    command = [sys.executable, "-m", module, name, str(board), str(warm_up)]
    if name in CANDIDATES:
        command += ["--answers", str(answers)]
    # Threads of BLAS are none of the candidates' business, but would be counted in CPU seconds.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ratios(
    costs: Mapping[str, Sequence[Mapping[str, Cost]]], name: str, step: str
) -> dict[str, dict[str, float]]:
    """Return seconds and memory of a candidate over those of the yardstick in the same round."""
    pairs = [
        (mine[step], its[step]) for mine, its in zip(costs[name], costs[YARDSTICK], strict=True)
    ]
    return {
        "wall": spread_of([mine.wall_seconds / its.wall_seconds for mine, its in pairs]),
        "cpu": spread_of([mine.cpu_seconds / its.cpu_seconds for mine, its in pairs]),
        "peak": spread_of([mine.peak_bytes / its.peak_bytes for mine, its in pairs]),
    }


def _agreement(answers: Mapping[str, Path]) -> dict[str, dict[str, float | int]]:
    """Return how far the answers of each candidate are from the yardstick's."""
    with np.load(answers[YARDSTICK]) as yardstick:
        log_price, bought = yardstick["log_price"], yardstick["bought"]
    found: dict[str, dict[str, float | int]] = {}
    for name, path in answers.items():
        with np.load(path) as mine:
            found[name] = {
                "largest_difference_of_log_price": float(
                    np.abs(mine["log_price"] - log_price).max()
                ),
                "documents_bought": int(mine["bought"].sum()),
                "documents_bought_differently": int((mine["bought"] != bought).sum()),
            }
    return found


def _versions() -> dict[str, str]:
    packages = ("duckdb", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def main() -> None:
    """Compare on a board of the shape that the command line names, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--signals", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        BoardShape(chosen.documents, chosen.signals, chosen.seed), rounds=chosen.rounds
    )
    result["command"] = (
        f"python -m benchmarks.market.compare_clearing --documents {chosen.documents} "
        f"--signals {chosen.signals} --rounds {chosen.rounds} --seed {chosen.seed}"
    )
    chosen.results.mkdir(parents=True, exist_ok=True)
    name = f"market_clearing_{chosen.documents}x{chosen.signals}.json"
    (chosen.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for candidate, found in result["candidates"].items():
        seconds = found["steps"]["clear"]["wall_seconds"]["median"]
        ratio = found["ratios"]["clear"]["wall"]["median"]
        print(
            f"{candidate}: clear {seconds:.3f} s, {ratio:.2f} x {YARDSTICK}; log price differs by "
            f"at most {found['largest_difference_of_log_price']:.1e}, "
            f"{found['documents_bought_differently']} of {found['documents_bought']} documents "
            "bought differently"
        )


if __name__ == "__main__":
    main()
