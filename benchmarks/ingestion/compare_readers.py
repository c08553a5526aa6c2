"""Compare ingestion of one large file of JSON lines with plain readers of the same file.

Rows are made: about 100 words of a vocabulary of 20,000, a number and a label. Each run has a
process of its own, start of Python and imports included; candidates take turns, so that other load
on the machine meets all of them; ratios are taken within a round.

    python -m benchmarks.ingestion.compare_readers --documents 500000 --threads 2 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ingestion.candidates import BATCH_DOCUMENTS, CANDIDATES, YARDSTICK
from benchmarks.measuring import Cost, cost_of_command, spread_of, spreads

RESULTS = Path(__file__).resolve().parents[1] / "results"
_WORDS = 100
_VOCABULARY = 20_000
_LETTERS = 26
_KINDS = ("wall_seconds", "cpu_seconds", "peak_bytes")


def write_rows(file: Path, n_documents: int, *, seed: int) -> None:
    """Write made documents as JSON lines."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 11, size=_VOCABULARY)
    words = ["".join(map(chr, 97 + rng.integers(_LETTERS, size=size))) for size in sizes]
    with file.open("w", encoding="utf-8") as stream:
        for number in range(n_documents):
            text = " ".join(words[place] for place in rng.integers(_VOCABULARY, size=_WORDS))
            stream.write(json.dumps({"id": number, "text": text, "label": number % 7}) + "\n")


def compare(*, n_documents: int, threads: int, rounds: int, seed: int) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON.

    Args:
        n_documents: rows of the file.
        threads: of DuckDB, and processes that parse.
        rounds: how often each candidate is measured, >= 1.
        seed: of the rows.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in CANDIDATES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, n_documents, seed=seed)
        n_bytes = file.stat().st_size
        for number in range(rounds):
            names = list(CANDIDATES)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                command = [sys.executable, "-m", "benchmarks.ingestion.measure_candidate", name]
                costs[name].append(
                    cost_of_command([*command, str(file), str(n_documents), str(threads)])
                )
    return {
        "kind": "ingestion",
        "n_documents": n_documents,
        "n_bytes": n_bytes,
        "batch_documents": BATCH_DOCUMENTS,
        "threads": threads,
        "rounds": rounds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "orjson", "pandas", "pyarrow")},
        },
        "candidates": {
            name: {
                "costs": spreads(found),
                "times": {
                    kind: spread_of(
                        [
                            getattr(cost, kind) / getattr(other, kind)
                            for cost, other in zip(found, costs[YARDSTICK], strict=True)
                        ]
                    )
                    for kind in _KINDS
                },
            }
            for name, found in costs.items()
        },
    }


def main() -> None:
    """Compare on as many rows as the command line asks for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        n_documents=chosen.documents,
        threads=chosen.threads,
        rounds=chosen.rounds,
        seed=chosen.seed,
    )
    result["command"] = (
        f"python -m benchmarks.ingestion.compare_readers --documents {chosen.documents} "
        f"--threads {chosen.threads} --rounds {chosen.rounds} --seed {chosen.seed}"
    )
    path = chosen.results / f"ingestion_{chosen.documents}_{chosen.threads}_threads.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
