"""Time `databourse price` on a published board of generated documents, as a user runs it.

    python -m benchmarks.market.time_price --documents 1000000 --repeats 7

Anything after `--` goes to the command as further options.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.time_command import RESULTS, time_command


def main() -> None:
    """Publish a board, time the command on it, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("options", nargs="*", default=["--budget-share", "0.05"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _publish(Path(folder), chosen.documents, chosen.seed)
        config = str(Path(folder) / "pool.yaml")
        time_command(
            [
                *(sys.executable, "-m", "benchmarks.market.more_signals"),
                *("price", config, *chosen.options),
            ],
            name=f"price_{chosen.documents}x8",
            shown=" ".join(["databourse price pool.yaml", *chosen.options]),
            made_by=(
                f"python -m benchmarks.market.time_price --documents {chosen.documents} "
                f"--repeats {chosen.repeats} --seed {chosen.seed} -- {' '.join(chosen.options)}"
            ),
            repeats=chosen.repeats,
            results=chosen.results,
        )


def _publish(folder: Path, n_documents: int, seed: int) -> None:
    # In a process of its own: peak memory of a child can be no less than its parent's.
    module = "benchmarks.market.published_board"
    subprocess.run(
        [
            *(sys.executable, "-m", module, str(folder)),
            *("--documents", str(n_documents), "--seed", str(seed)),
        ],
        check=True,
    )


if __name__ == "__main__":
    main()
