"""One candidate, measured once in a process of its own; called by `compare_facility_location`.

Runs in the environment of the candidate. Reads vectors from an npz file, saves the chosen positions
into another, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.coverage.candidates import CANDIDATES
from benchmarks.measuring import cost_of, resident_bytes

_WARM_UP_DOCUMENTS = 50
_WARM_UP_CHOSEN = 5


def main() -> None:
    """Measure the candidate that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(CANDIDATES))
    parser.add_argument("vectors", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--count", type=int, required=True)
    chosen = parser.parse_args()
    with np.load(chosen.vectors, allow_pickle=False) as stored:
        vectors = stored["vectors"]
    package = CANDIDATES[chosen.name].package
    candidate = importlib.import_module(CANDIDATES[chosen.name].module)
    few = candidate.prepare(vectors[:_WARM_UP_DOCUMENTS])
    candidate.choose(few, _WARM_UP_CHOSEN)  # so that no import is measured
    before = resident_bytes()
    prepared, preparing = cost_of(lambda: candidate.prepare(vectors))
    picks, choosing = cost_of(lambda: candidate.choose(prepared, chosen.count))
    np.savez(chosen.answers, allow_pickle=False, picks=np.array(picks, dtype=np.int64))
    found = {
        "prepare": asdict(preparing),
        "choose": asdict(choosing),
        "bytes_before": before,
        "version": version(package) if package else None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
