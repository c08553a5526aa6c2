"""One candidate, once, in a process of its own; called by `compare_readers`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.ingestion.candidates import CANDIDATES


def main() -> None:
    """Read the file as the candidate that the command line names does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(CANDIDATES))
    parser.add_argument("file", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("threads", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = CANDIDATES[chosen.name](chosen.file, Path(folder), chosen.threads)
    if rows != chosen.rows:
        raise SystemExit(f"{chosen.name} read {rows:,} of {chosen.rows:,} rows")


if __name__ == "__main__":
    main()
