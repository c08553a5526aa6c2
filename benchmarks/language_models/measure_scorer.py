"""One scorer, measured once in a process of its own; called by `compare_scoring`.

Prints one JSON object: what scoring took, and the sum of losses of every document.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.language_models.scorers import SCORERS
from benchmarks.measuring import cost_of, resident_bytes
from databourse.language_models.loading import load_trained_model

_WARM_UP_DOCUMENTS = 16


def main() -> None:
    """Measure the scorer that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SCORERS)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, help="a JSON list")
    parser.add_argument("--threads", type=int, required=True)
    chosen = parser.parse_args()
    model = load_trained_model(chosen.model).model
    texts = json.loads(chosen.texts.read_text(encoding="utf-8"))
    score = SCORERS[chosen.name]
    score(model, texts[:_WARM_UP_DOCUMENTS], chosen.threads)
    before = resident_bytes()
    sums, cost = cost_of(lambda: score(model, texts, chosen.threads))
    print(json.dumps({"cost": asdict(cost), "bytes_before": before, "losses": sums.tolist()}))


if __name__ == "__main__":
    main()
