"""Near dedup of a warehouse on two days, each in a process of its own; by `compare_dedup`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.dedup.by_warehouse import decide, fill


def main() -> None:
    """Fill a warehouse, or decide on a share of its documents, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--fill", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.fill:
        fill(chosen.root, chosen.fill)
    else:
        print(len(decide(chosen.root, threads=chosen.threads, share=chosen.share)))


if __name__ == "__main__":
    main()
