"""One way of reading a manifest, in a process of its own; prints its cost as JSON.

    python -m benchmarks.manifests.readings NAME MANIFEST

The ways of `datasets` need that package and nothing of databourse.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measuring import cost_of

COLUMNS = ["document_id", "text", "tokens", "weight"]
_CHUNK_BYTES = 1 << 20


def _counted(rows: Iterable[Any]) -> int:
    """Read all rows; return their characters, so that every way does the same."""
    return sum(len(row["text"]) for row in rows)


def _open(path: str) -> Callable[[], int]:
    from databourse.manifests import open_manifest

    return lambda: len(open_manifest(path))


def _verify(path: str) -> Callable[[], int]:
    from databourse.manifests import open_manifest

    manifest = open_manifest(path)
    return lambda: manifest.verify().info.spent.documents


def _digests(path: str) -> Callable[[], int]:
    def work() -> int:
        n_bytes = 0
        for file in sorted(Path(path).iterdir()):
            state = hashlib.sha256()
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    state.update(chunk)
                    n_bytes += len(chunk)
        return n_bytes

    return work


def _iterate(window_rows: int) -> Callable[[str], Callable[[], int]]:
    def prepared(path: str) -> Callable[[], int]:
        from databourse.manifests import open_manifest

        dataset = open_manifest(path).to_torch(seed=1, columns=COLUMNS, window_rows=window_rows)
        return lambda: _counted(dataset)

    return prepared


def _datasets(path: str) -> Callable[[], int]:
    import datasets

    dataset = datasets.load_dataset(
        "parquet",
        data_files=f"{path}/documents-*.parquet",
        columns=COLUMNS,
        split="train",
        cache_dir=tempfile.mkdtemp(),
    )
    return lambda: _counted(dataset)


def _datasets_streaming(path: str) -> Callable[[], int]:
    import datasets

    dataset = datasets.load_dataset(
        "parquet",
        data_files=f"{path}/documents-*.parquet",
        columns=COLUMNS,
        split="train",
        streaming=True,
    )
    return lambda: _counted(dataset)


def _datasets_streaming_shuffled(path: str) -> Callable[[], int]:
    import datasets

    dataset = datasets.load_dataset(
        "parquet",
        data_files=f"{path}/documents-*.parquet",
        columns=COLUMNS,
        split="train",
        streaming=True,
    ).shuffle(seed=1, buffer_size=20_000)
    return lambda: _counted(dataset)


WAYS: dict[str, Callable[[str], Callable[[], int]]] = {
    "open": _open,
    "sha256 of all files": _digests,
    "verify": _verify,
    "iterate": _iterate(0),
    "iterate, shuffled in windows of 20,000": _iterate(20_000),
    "datasets": _datasets,
    "datasets, streaming": _datasets_streaming,
    "datasets, streaming, shuffled in a buffer of 20,000": _datasets_streaming_shuffled,
}


def main(name: str, path: str) -> None:
    """Measure one way; what must be there before it is not counted."""
    work = WAYS[name](path)
    found, cost = cost_of(work)
    print(json.dumps({"found": found, **asdict(cost)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
