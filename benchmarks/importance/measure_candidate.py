"""One candidate, measured once in a process of its own; called by `compare_dsir`.

Runs in the environment of the candidate. Reads texts from a JSON file, writes log weights into
another, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.importance.candidates import CANDIDATES
from benchmarks.measuring import cost_of, resident_bytes

_WARM_UP_DOCUMENTS = 50


def main() -> None:
    """Measure the candidate that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(CANDIDATES))
    parser.add_argument("texts", type=Path, help="a JSON object: pool, targets")
    parser.add_argument("answers", type=Path)
    chosen = parser.parse_args()
    texts = json.loads(chosen.texts.read_text(encoding="utf-8"))
    candidate = CANDIDATES[chosen.name]
    # so that no import is measured
    candidate.weigh(texts["pool"][:_WARM_UP_DOCUMENTS], texts["targets"][:_WARM_UP_DOCUMENTS])
    before = resident_bytes()
    weights, cost = cost_of(lambda: candidate.weigh(texts["pool"], texts["targets"]))
    chosen.answers.write_text(json.dumps(weights), encoding="utf-8")
    found = {
        "cost": asdict(cost),
        "bytes_before": before,
        "version": version(candidate.package) if candidate.package else None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
