"""Measure opening, verifying and reading a manifest, beside the package datasets.

    python -m benchmarks.manifests.measure_reading --peer-python VENV/bin/python

The manifest is made up and published into a temporary folder, or read from --manifest. Each way of
reading has a process of its own; rounds go through all ways in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.manifests.generated_manifest import publish_generated
from benchmarks.manifests.readings import WAYS
from benchmarks.measuring import spread_of
from databourse.manifests import open_manifest

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results"
_COSTS = ("wall_seconds", "cpu_seconds", "peak_bytes")


def measure(path: Path, *, rounds: int, peer_python: str) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON.

    Args:
        path: folder of the version.
        rounds: how often each way is measured, >= 1.
        peer_python: interpreter that has datasets.
    """
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    characters = set()
    for _ in range(rounds):
        for name, found in costs.items():
            is_peer = name.startswith("datasets")
            found.append(_measured(peer_python if is_peer else sys.executable, name, path))
            if "iterate" in name or is_peer:
                characters.add(found[-1]["found"])
    if len(characters) > 1:
        raise ValueError(f"the ways of reading read different texts: {characters} characters")
    info = open_manifest(path).info
    return {
        "kind": "manifest_reading",
        "n_documents": info.spent.documents,
        "bytes": sum(shard.bytes for shard in info.shards),
        "characters": characters.pop(),
        "rounds": rounds,
        "ways": {
            name: {cost: spread_of([each[cost] for each in found]) for cost in _COSTS}
            for name, found in costs.items()
        },
        "versions": {
            "python": platform.python_version(),
            "pyarrow": version("pyarrow"),
            "torch": version("torch"),
            "datasets": _peer_version(peer_python),
        },
        "command": f"python -m benchmarks.manifests.measure_reading --documents "
        f"{info.spent.documents} --rounds {rounds} --peer-python PYTHON_WITH_DATASETS",
    }


def _peer_version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('datasets'))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _measured(python: str, name: str, path: Path) -> dict[str, float]:
    environment = os.environ | {
        "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    command = [python, "-m", "benchmarks.manifests.readings", name, str(path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {found['cpu_seconds']:.2f} CPU s, {found['wall_seconds']:.2f} s", flush=True)
    return found


def main() -> None:
    """Publish, measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--manifest", type=Path, help="a version to read instead of a made-up one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.manifest or publish_generated(
            Path(folder), n_documents=given.documents, seed=given.seed
        )
        result = measure(path, rounds=given.rounds, peer_python=given.peer_python)
    name = f"manifest_reading_{result['n_documents']}.json"
    (given.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
