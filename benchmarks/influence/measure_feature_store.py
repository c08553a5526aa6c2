"""Measure a feature store at size: seconds to write and read it, and the memory that takes.

Rows are made up, batch by batch; reading adds up a kernel block by block, as a score would.

    python -m benchmarks.influence.measure_feature_store FOLDER --documents 100000 --features 4096
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.measuring import cost_of
from databourse.digests import digest_of_lines
from databourse.influence.feature_manifest import FeatureManifest, Precision
from databourse.influence.feature_store import feature_writer, read_features
from databourse.influence.projections import Projection

_BATCH_DOCUMENTS = 1_000


def manifest_of(ids: list[str], n_features: int, precision: Precision) -> FeatureManifest:
    """Return the manifest of made-up features."""
    projection = Projection(kind="sjlt", seed=17, size=n_features, nonzeros=4)
    shapes = {"layer": (64, 64)}
    return FeatureManifest(
        pool="made up",
        model_id="none",
        parameters="none",
        tokenizer="none",
        weighting="none",
        layers=(("layer", 64, 64),),
        projection=projection,
        fingerprint=tuple(projection.fingerprint(shapes)),
        output="loss",
        precision=precision,
        batch_documents=_BATCH_DOCUMENTS,
        documents=digest_of_lines(ids),
        n=len(ids),
        k=n_features,
    )


def main() -> None:
    """Write and read a store of the size that the command line names; print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="made, and removed afterwards")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=4_096)
    parser.add_argument("--precision", choices=["float32", "float16"], default="float16")
    chosen = parser.parse_args()
    ids = [f"{place:032x}" for place in range(chosen.documents)]
    manifest = manifest_of(ids, chosen.features, chosen.precision)

    def write() -> None:
        writer = feature_writer(chosen.folder, manifest, ids)
        rng = np.random.default_rng(17)
        for batch in writer.unfinished():
            n_rows = len(writer.ids_of(batch))
            rows = rng.standard_normal((n_rows, chosen.features), dtype=np.float32)
            writer.write(batch, rows, np.ones(n_rows))

    def read() -> float:
        total = 0.0
        target = np.ones(chosen.features, dtype=np.float32)
        for block in read_features(chosen.folder, expected=manifest).blocks(_BATCH_DOCUMENTS):
            total += float((block.features @ target).sum())
        return total

    try:
        _, written = cost_of(write)
        _, found = cost_of(read)
    finally:
        shutil.rmtree(chosen.folder, ignore_errors=True)
    print(json.dumps({"write": asdict(written), "read": asdict(found)}, indent=2))


if __name__ == "__main__":
    main()
