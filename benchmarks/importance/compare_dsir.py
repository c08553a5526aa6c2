"""Compare the product's log weights of DSIR with those of its library: agreement, speed, memory.

Every measurement has a process of its own, the library's in an environment of its own; candidates
take turns, the first of a round moving on by one, so that other load on the machine meets all of
them. Ratios are taken within a round; one process each. Nothing is smoothed, as in the library.

The pool is AG News, its targets some of its sports news; where that is not to be had, docstrings of
the installed packages, and targets some of those about arrays.

    python -m benchmarks.importance.compare_dsir --targets 200 --rounds 5
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.coverage.environments import ENVIRONMENTS, NoEnvironmentError, peer_python
from benchmarks.importance.candidates import CANDIDATES, SAME_HASH, YARDSTICK
from benchmarks.measuring import Cost, spread_of
from databourse.sources.docstrings import DocstringSource
from databourse.sources.rows import SourceRow

RESULTS = Path(__file__).resolve().parents[1] / "results"
_HERE = Path(__file__).resolve().parent
_ROOT = Path(__file__).resolve().parents[2]
_NEWS = "ag_news/test.csv.gz"
_SPORTS = "2"
_DOCSTRINGS = 5_000
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Run = dict[str, Any]


def corpus(n_targets: int) -> tuple[str, list[str], list[str]]:
    """Return the name of a corpus, its pool, and so many target texts that are not in the pool."""
    beside = _ROOT.parent / "shared" / "data"
    file = Path(os.environ.get("DATABOURSE_DATA", beside)) / _NEWS
    if file.is_file():
        with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
            rows = [(row[0] == _SPORTS, f"{row[1]} {row[2]}") for row in csv.reader(lines)]
        name = "AG News"
    else:
        source = DocstringSource("docstrings", (), limit=_DOCSTRINGS, min_characters=100)
        found = (row for part in source.parts() for row in part.rows())
        texts = [row.text for row in found if isinstance(row, SourceRow)]
        rows = [("array" in text, text) for text in texts]
        name = "docstrings of the installed packages"
    wanted = [place for place, (is_like, _) in enumerate(rows) if is_like][:n_targets]
    chosen = set(wanted)
    pool = [text for place, (_, text) in enumerate(rows) if place not in chosen]
    return name, pool, [rows[place][1] for place in wanted]


def compare(*, n_targets: int, rounds: int, environments: Path) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON; a peer that cannot run is told with why.

    Args:
        n_targets: target texts.
        rounds: how often each candidate is measured, >= 1.
        environments: folder of the peers' environments, made if missing.
    """
    name_of_corpus, pool, targets = corpus(n_targets)
    pythons: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name, candidate in CANDIDATES.items():
        try:
            pythons[name] = (
                peer_python(candidate.package, environments=environments, requirements=_HERE)
                if candidate.package
                else Path(sys.executable)
            )
        except NoEnvironmentError as error:
            missing[name] = str(error)
    measured: dict[str, list[Run]] = {name: [] for name in pythons}
    weights: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        texts, answers = Path(folder) / "texts.json", Path(folder) / "answers.json"
        texts.write_text(json.dumps({"pool": pool, "targets": targets}), encoding="utf-8")
        for number in range(rounds):
            names = list(pythons)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                measured[name].append(_measured(pythons[name], name, texts, answers))
                weights[name] = np.array(json.loads(answers.read_text(encoding="utf-8")))
    return {
        "kind": "dsir",
        "corpus": name_of_corpus,
        "n_documents": len(pool),
        "n_targets": len(targets),
        "rounds": rounds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy")},
            **{name: runs[0]["version"] for name, runs in measured.items() if runs[0]["version"]},
        },
        "candidates": {
            name: {
                **_costs(runs, measured[YARDSTICK], len(pool)),
                **agreement(weights[name], weights[YARDSTICK]),
                "largest_relative_difference_from_sha256": _largest(
                    weights[name], weights[SAME_HASH]
                ),
            }
            for name, runs in measured.items()
        },
        "missing": missing,
    }


def agreement(weights: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Return the rank correlation with other log weights and the share of the top tenth in both."""
    tenth = max(1, len(weights) // 10)
    tops = [set(np.argsort(-each, kind="stable")[:tenth].tolist()) for each in (weights, others)]
    return {
        "spearman": float(f"{spearmanr(weights, others).statistic:.7g}"),
        "same_of_top_tenth": len(tops[0] & tops[1]) / tenth,
    }


def _largest(weights: np.ndarray, others: np.ndarray) -> float:
    return float(f"{(np.abs(weights - others) / np.maximum(1, np.abs(others))).max():.3g}")


def _costs(runs: list[Run], yardstick: list[Run], n_documents: int) -> dict[str, Any]:
    mine, its = ([Cost(**run["cost"]) for run in each] for each in (runs, yardstick))
    return {
        "times_cpu": spread_of(
            [cost.cpu_seconds / other.cpu_seconds for cost, other in zip(mine, its, strict=True)]
        ),
        "cpu_seconds": spread_of([cost.cpu_seconds for cost in mine]),
        "wall_seconds": spread_of([cost.wall_seconds for cost in mine]),
        "documents_per_cpu_second": spread_of([n_documents / cost.cpu_seconds for cost in mine]),
        "bytes_above_input": spread_of(
            [
                max(0, cost.peak_bytes - run["bytes_before"])
                for cost, run in zip(mine, runs, strict=True)
            ]
        ),
    }


def _measured(python: Path, name: str, texts: Path, answers: Path) -> Run:
    command = [str(python), "-m", "benchmarks.importance.measure_candidate", name]
    done = subprocess.run(
        [*command, str(texts), str(answers)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **_ONE_THREAD},
        cwd=_ROOT,
    )
    found: Run = json.loads(done.stdout.splitlines()[-1])  # peers print, too
    return found


def main() -> None:
    """Compare for as many targets as the command line asks for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        n_targets=chosen.targets, rounds=chosen.rounds, environments=chosen.environments
    )
    result["command"] = (
        f"python -m benchmarks.importance.compare_dsir --targets {chosen.targets} "
        f"--rounds {chosen.rounds}"
    )
    path = chosen.results / f"dsir_{result['n_documents']}_{result['n_targets']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
