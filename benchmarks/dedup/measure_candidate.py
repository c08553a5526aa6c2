"""One candidate, run once in a process of its own and in its environment; by `compare_dedup`."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

from benchmarks.dedup.candidates import CANDIDATES


def main() -> None:
    """Run the candidate that the command line names; write its pairs and its version."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(CANDIDATES))
    parser.add_argument("documents", type=Path)
    parser.add_argument("answers", type=Path)
    chosen = parser.parse_args()
    candidate = CANDIDATES[chosen.name]
    pairs = candidate.duplicates(chosen.documents)
    found = {"pairs": pairs, "version": version(candidate.package) if candidate.package else None}
    chosen.answers.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
