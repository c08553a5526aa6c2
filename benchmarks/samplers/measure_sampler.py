"""One sampler, run once in a process of its own; called by `run_all`.

Saves the positions bought into an npz file and prints one JSON object: what it took, or why it was
not run. What it imports on first use is part of what it took.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.measuring import cost_of, resident_bytes
from benchmarks.samplers.bundle import load_bundle
from databourse.errors import DatabourseError
from databourse.samplers.interface import Candidates, SamplerSpec
from databourse.samplers.registry import sampler_spec


def what_it_lacks(spec: SamplerSpec, candidates: Candidates) -> list[str]:
    """Return what a sampler needs and the candidates do not have, in words."""
    measures = sorted(spec.measures - set(candidates.measures))
    inputs = [name for name in sorted(spec.inputs) if getattr(candidates, name) is None]
    return [f"the measure {name}" for name in measures] + inputs


def main() -> None:
    """Run the sampler that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    chosen = parser.parse_args()
    candidates = load_bundle(chosen.bundle)
    spec = sampler_spec(chosen.name)
    lacking = what_it_lacks(spec, candidates)
    if lacking:
        print(json.dumps({"reason": f"the bundle lacks {', '.join(lacking)}"}))
        return
    rng = np.random.default_rng(chosen.seed)
    before = resident_bytes()
    try:
        # not through `sample`: its checks are made anew by the caller
        bought, cost = cost_of(lambda: spec.sampler(candidates, chosen.budget, rng=rng))
    except DatabourseError as error:
        print(json.dumps({"reason": str(error)}))
        return
    np.savez(chosen.answers, allow_pickle=False, bought=bought)
    print(json.dumps({"cost": asdict(cost), "bytes_before": before}))


if __name__ == "__main__":
    main()
