"""DSIR's log weights by data-selection, in its own environment."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data_selection import HashedNgramDSIR


def weigh(pool: Sequence[str], targets: Sequence[str], hash_name: str) -> list[float]:
    """Return ln w of each document of the pool; the library has SHA-256 and no other hash."""
    if hash_name != "sha256":
        raise ValueError(f"the library hashes by sha256, got {hash_name!r}")
    with tempfile.TemporaryDirectory() as folder:
        for name, texts in (("pool", pool), ("targets", targets)):
            lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
            (Path(folder) / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        found = HashedNgramDSIR(
            [f"{folder}/pool.jsonl"],
            [f"{folder}/targets.jsonl"],
            f"{folder}/cache",
            num_proc=1,
        )
        found.fit_importance_estimator(num_tokens_to_fit="all")
        found.compute_importance_weights()
        weights = np.load(f"{folder}/cache/log_importance_weights/0.npy", allow_pickle=False)
    return [float(each) for each in weights]
