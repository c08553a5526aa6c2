"""Time a whole command: wall and CPU seconds and peak memory of its processes, start-up included.

    python -m benchmarks.time_command price_1000000x8 --shown "databourse price pool.yaml" \\
        --repeats 7 -- databourse price pool.yaml --budget-tokens 5000000

The command must be on the path or be given with its own; `--shown` is how the table names it.
The first run warms the page cache and is not counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.measuring import cost_of_command, spreads

RESULTS = Path(__file__).resolve().parent / "results"


def time_command(
    command: Sequence[str], *, name: str, shown: str, made_by: str, repeats: int, results: Path
) -> None:
    """Run a command once and then `repeats` times, and write the result.

    Args:
        command: program and arguments.
        name: of the result: letters, digits and underscores.
        shown: the command as the table shows it.
        made_by: the command that makes this result.
        repeats: how many runs are counted, >= 1.
        results: folder of the result, created if missing.
    """
    cost_of_command(command)
    costs = spreads([cost_of_command(command) for _ in range(repeats)])
    result = {
        "kind": "command",
        "name": name,
        "shown": shown,
        "repeats": repeats,
        "versions": {package: version(package) for package in ("duckdb", "numpy", "pyarrow")},
        "costs": costs,
        "command": made_by,
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"command_{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"{shown}: {costs['wall_seconds']['median']:.2f} s, "
        f"{costs['cpu_seconds']['median']:.2f} CPU s, "
        f"{costs['peak_bytes']['median'] / 1e6:.0f} MB at the peak"
    )


def main() -> None:
    """Time the command that follows `--`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the result: letters, digits and underscores")
    parser.add_argument("--shown", required=True, help="the command as the table shows it")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    if not chosen.name.isidentifier():
        parser.error(f"the name must be letters, digits and underscores, got {chosen.name!r}")
    time_command(
        chosen.command,
        name=chosen.name,
        shown=chosen.shown,
        made_by=(
            f'python -m benchmarks.time_command {chosen.name} --shown "{chosen.shown}" '
            f"--repeats {chosen.repeats} -- {chosen.shown}"
        ),
        repeats=chosen.repeats,
        results=chosen.results,
    )


if __name__ == "__main__":
    main()
