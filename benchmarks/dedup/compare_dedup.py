"""Compare exact and near dedup with libraries and tools: speed, memory, recall, wrong merges.

Every candidate runs in a process of its own from a Parquet file of generated documents to pairs of
ids, imports included, one thread unless said, with peers in environments of their own; candidates
take turns, the first of a round moving on by one. Memory is that of the whole tree of processes.

Recall is the share of planted pairs, by their Jaccard, of which one is dropped for the other, or
both for a third. Dropped documents are held against their keeper by the Jaccard of their word
5-grams, computed with sets: below 0.5 is a wrong merge; from 0.5 to below 0.8 is counted apart.

    python -m benchmarks.dedup.compare_dedup --documents 20000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.coverage.environments import ENVIRONMENTS, NoEnvironmentError, peer_python
from benchmarks.dedup.candidates import CANDIDATES, YARDSTICK
from benchmarks.dedup.planted_corpus import write_corpus
from benchmarks.measuring import Cost, cost_of_command, spread_of

RESULTS = Path(__file__).resolve().parents[1] / "results"
_HERE = Path(__file__).resolve().parent
_ROOT = Path(__file__).resolve().parents[2]
_SEED = 7
_BANDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_WORD = re.compile(r"\w+")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_SECOND_DAY = 0.01

Pairs = list[tuple[str, str]]


def compare(*, n_documents: int, rounds: int, environments: Path) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON; a peer that cannot run is told with why."""
    pythons: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name, candidate in CANDIDATES.items():
        if n_documents > candidate.largest:
            missing[name] = f"left out above {candidate.largest:,} documents: too slow"
            continue
        try:
            pythons[name] = (
                peer_python(candidate.package, environments=environments, requirements=_HERE)
                if candidate.package
                else Path(sys.executable)
            )
        except NoEnvironmentError as error:
            missing[name] = str(error)
    costs: dict[str, list[Cost]] = {name: [] for name in pythons}
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), n_documents=n_documents, seed=_SEED)
        for number in range(rounds):
            names = list(pythons)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                cost, answers[name] = measured(pythons[name], name, Path(folder))
                costs[name].append(cost)
        warehouse = warehouse_days(Path(folder), n_documents)
        judged = {
            name: quality(Path(folder), [tuple(pair) for pair in found["pairs"]])
            for name, found in answers.items()
        }
    return {
        "kind": "dedup",
        "n_documents": n_documents,
        "rounds": rounds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numba", "numpy", "pyarrow", "duckdb")},
            **{name: each["version"] for name, each in answers.items() if each["version"]},
        },
        "candidates": {
            name: {
                "kind": CANDIDATES[name].kind,
                "documents_per_cpu_second": spread_of([n_documents / c.cpu_seconds for c in own]),
                "times_slower": spread_of(
                    [
                        c.cpu_seconds / o.cpu_seconds
                        for c, o in zip(own, costs[YARDSTICK], strict=True)
                    ]
                ),
                "wall_seconds": spread_of([c.wall_seconds for c in own]),
                "peak_bytes": spread_of([c.peak_bytes for c in own]),
                **judged[name],
            }
            for name, own in costs.items()
        },
        "warehouse": warehouse,
        "missing": missing,
    }


def measured(python: Path, name: str, folder: Path) -> tuple[Cost, dict[str, Any]]:
    """Return what a candidate cost and what it said."""
    answers = folder / "answers.json"
    command = [str(python), "-m", "benchmarks.dedup.measure_candidate", name]
    paths = [str(folder / "documents.parquet"), str(answers)]
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": _path()}
    cost = cost_of_command([*command, *paths], environment=environment)
    found: dict[str, Any] = json.loads(answers.read_text(encoding="utf-8"))
    return cost, found


def warehouse_days(folder: Path, n_documents: int) -> dict[str, Any]:
    """Return the costs of near dedup in a warehouse: a first day, a second, and one of two threads.

    The first day sees all but a hundredth of the documents, the second all of them.
    """
    own = [sys.executable, "-m", "benchmarks.dedup.measure_warehouse"]
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": _path()}
    costs, dropped = {}, {}
    for name, threads, shares in (
        ("days", 1, {"first day": 1 - _SECOND_DAY, "second day": 1.0}),
        ("whole", 2, {"rebuild, two threads": 1.0}),
    ):
        root = folder / name
        fill = [*own, str(root), "--fill", str(folder / "documents.parquet")]
        subprocess.run(fill, check=True, env=environment, stdout=subprocess.DEVNULL)
        for day, share in shares.items():
            options = ["--share", str(share), "--threads", str(threads)]
            costs[day] = cost_of_command([*own, str(root), *options], environment=environment)
            told = subprocess.run(
                [*own, str(root), *options], check=True, env=environment, capture_output=True
            )
            dropped[day] = int(told.stdout.splitlines()[-1])
    if dropped["second day"] != dropped["rebuild, two threads"]:
        raise AssertionError(f"a second day must decide what a rebuild decides, got {dropped}")
    return {
        day: {
            "cpu_seconds": float(f"{cost.cpu_seconds:.4g}"),
            "wall_seconds": float(f"{cost.wall_seconds:.4g}"),
            "peak_bytes": cost.peak_bytes,
            "dropped": dropped[day],
            "documents": n_documents,
        }
        for day, cost in costs.items()
    }


def quality(folder: Path, pairs: Pairs) -> dict[str, Any]:
    """Return recall by Jaccard, and how many of the dropped resemble their keeper too little."""
    keeper = dict(pairs)
    planted = pq.read_table(folder / "planted.parquet").to_pylist()
    found: dict[str, list[bool]] = defaultdict(list)
    for row in planted:
        one, other = row["copy_id"], row["original_id"]
        merged = keeper.get(one, one) == keeper.get(other, other)
        least = max((each for each in _BANDS if each <= row["jaccard"] + 1e-9), default=None)
        if least is not None:
            found[f"{least:g}"].append(merged)
        if row["jaccard"] >= 0.8:
            found["at least 0.8"].append(merged)
    table = pq.read_table(folder / "documents.parquet")
    wanted = {each for pair in pairs for each in pair}
    texts = {
        own: text
        for own, text in zip(
            table["document_id"].to_pylist(), table["text"].to_pylist(), strict=True
        )
        if own in wanted
    }
    jaccards = [jaccard(texts[one], texts[other]) for one, other in pairs]
    return {
        "dropped": len(pairs),
        "recall": {
            name: float(f"{sum(each) / len(each):.4f}") for name, each in sorted(found.items())
        },
        "below_half": sum(each < 0.5 for each in jaccards),
        "below_threshold": sum(0.5 <= each < 0.8 - 1e-6 for each in jaccards),
    }


def jaccard(one: str, other: str) -> float:
    """Return the Jaccard of the word 5-grams of two texts, by sets."""
    mine, its = (
        set(zip(*(_words(each)[at:] for at in range(5)), strict=False)) for each in (one, other)
    )
    return len(mine & its) / len(mine | its) if mine | its else 1.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _path() -> str:
    own = os.environ.get("PYTHONPATH")
    return f"{_ROOT}{os.pathsep}{own}" if own else str(_ROOT)


def main() -> None:
    """Compare for as many documents as the command line asks for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        n_documents=chosen.documents, rounds=chosen.rounds, environments=chosen.environments
    )
    result["command"] = (
        f"python -m benchmarks.dedup.compare_dedup --documents {chosen.documents} "
        f"--rounds {chosen.rounds}"
    )
    path = chosen.results / f"dedup_{result['n_documents']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
