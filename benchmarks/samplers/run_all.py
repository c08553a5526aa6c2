"""Run every sampler on one pool: what it buys and takes, and whether it keeps its promises.

Every run has a process of its own, which loads the pool first. Checked here anew: what is bought is
distinct and costs no more than the budget; and nothing is left that would fit and that the sampler
would buy, of one that draws a set: what is unspent is less than the longest document left. Those
in `UNFILLED` promise neither. A sampler that cannot run is listed with the reason; one that breaks
a promise ends this with exit code 1, after the result is written.

    python -m benchmarks.samplers.run_all POOL --name agnews --also rarity:top length:bottom
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import spread_of
from benchmarks.samplers.bundle import load_bundle
from databourse.errors import ConfigError, UnknownNameError
from databourse.samplers.interface import Candidates
from databourse.samplers.registry import sampler_names, sampler_spec
from databourse.selection.greedy import costs_within

RESULTS = Path(__file__).resolve().parents[1] / "results"
DRAWN = frozenset({"density_paper", "density_sharp", "market_sampled"})
"""Samplers that draw a set with stated probabilities, and so may leave what would fit."""
UNFILLED = frozenset({"quad", "quad_kmeans"})
"""Samplers that say of themselves that they leave what would fit; only spending is checked."""
SHARES = (0.05, 0.2, 0.5)

_ROOT = Path(__file__).resolve().parents[2]
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Where and how samplers are run.

    Attributes:
        bundle: folder of the candidates.
        seed: of every sampler.
        seconds: that a run may take at most.
        selections: folder for what is bought.
    """

    bundle: Path
    seed: int
    seconds: float
    selections: Path


def broken_rule(
    bought: IntArray, costs: IntArray, budget: int, *, eligible: IntArray, is_drawn: bool
) -> str | None:
    """Return in one line how a selection breaks what every sampler promises; None if it does not.

    Args:
        bought: positions.
        costs: of all documents, shape (n,), >= 1.
        budget: in the unit of the costs.
        eligible: positions that the sampler would buy if it could afford them.
        is_drawn: whether it draws a set, and so may leave less unspent than the longest one left.
    """
    rule = _no_selection(bought, len(costs))
    if rule:
        return rule
    left = budget - int(costs[bought].sum())
    others = costs[np.setdiff1d(eligible, bought)]
    longest = int(others[others <= budget].max(initial=0))
    fitting = int((others <= left).sum())
    if left < 0:
        rule = f"it spent {budget - left:,} of a budget of {budget:,}"
    elif is_drawn and longest and left >= longest:
        rule = f"{left:,} are unspent, and the longest document left costs {longest:,}"
    elif fitting and not is_drawn:
        rule = f"{left:,} are unspent, and {fitting:,} documents left would fit"
    return rule


def _no_selection(bought: IntArray, n_documents: int) -> str | None:
    """Return in one line why this is no set of positions; None if it is one."""
    if bought.ndim != 1 or not np.issubdtype(bought.dtype, np.integer):
        return f"positions must be a vector of integers, got {bought.dtype} of {bought.shape}"
    if bought.size and not (bought.min() >= 0 and bought.max() < n_documents):
        return f"positions must be in 0 .. {n_documents - 1}, got {bought.min()} .. {bought.max()}"
    repeated = bought.size - np.unique(bought).size
    return f"{repeated:,} of its purchases are repetitions" if repeated else None


def run_all(
    names: Sequence[str], candidates: Candidates, runs: Runs, *, shares: Sequence[float]
) -> dict[str, Any]:
    """Return the result of all samplers at all budgets, ready for JSON.

    Args:
        names: of samplers.
        candidates: those of the bundle.
        runs: where and how.
        shares: of all tokens, or documents, that each budget is; in (0, 1].
    """
    budgets = [costs_within(candidates.costs, "share", share)[1] for share in shares]
    samplers: dict[str, Any] = {}
    not_run: dict[str, str] = {}
    broken: dict[str, str] = {}
    for number, name in enumerate(names):
        found = []
        for share, budget in zip(shares, budgets, strict=True):
            where = f"{number:03d}_{share:g}.npz"
            run = _run(name, budget, runs, runs.selections / where)
            if "reason" in run:
                not_run[f"{name} at {share:.0%}"] = run["reason"]
                continue
            if "failure" in run:
                broken[f"{name} at {share:.0%}"] = run["failure"]
                continue
            bought = _bought(runs.selections / where)
            rule = _checked(name, bought, candidates, budget, runs)
            if rule:
                broken[f"{name} at {share:.0%}"] = rule
            spent = int(candidates.costs[bought].sum()) if rule is None else None
            found.append(
                {
                    "share": share,
                    "n_bought": int(bought.size),
                    "unspent_share": None if spent is None else 1 - spent / max(budget, 1),
                    "wall_seconds": run["cost"]["wall_seconds"],
                    "cpu_seconds": run["cost"]["cpu_seconds"],
                    "bytes_above_bundle": run["cost"]["peak_bytes"] - run["bytes_before"],
                    "selection": where,
                }
            )
        if found:
            samplers[name] = {
                "runs": found,
                **{
                    what: spread_of([each[what] for each in found])
                    for what in ("wall_seconds", "cpu_seconds", "bytes_above_bundle")
                },
            }
        print(f"{name}: {_said(name, found, not_run, broken)}", flush=True)
    return {
        "kind": "samplers",
        "n_documents": len(candidates.document_ids),
        "total_cost": int(candidates.costs.sum()),
        "shares": list(shares),
        "seed": runs.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scikit-learn", "torch")},
        },
        "samplers": samplers,
        "not_run": _merged(not_run, shares),
        "broken": _merged(broken, shares),
    }


def eligible_positions(name: str, candidates: Candidates) -> IntArray:
    """Return the documents that have every measure of a sampler."""
    has_all = np.ones(len(candidates.costs), dtype=np.bool_)
    for measure in sampler_spec(name).measures:
        has_all &= ~np.isnan(candidates.measures[measure])
    return np.flatnonzero(has_all)


def _checked(
    name: str, bought: IntArray, candidates: Candidates, budget: int, runs: Runs
) -> str | None:
    """Return the rule that is broken, asking what the sampler keeps only where that may matter."""
    costs, is_drawn = candidates.costs, name in DRAWN
    eligible = bought if name in UNFILLED else eligible_positions(name, candidates)
    rule = broken_rule(bought, costs, budget, eligible=eligible, is_drawn=is_drawn)
    if rule is None or broken_rule(bought, costs, budget, eligible=bought[:0], is_drawn=is_drawn):
        return rule
    # It may keep a part of the pool alone: that which it buys when it can afford everything.
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "kept.npz"
        run = _run(name, int(costs.sum()), runs, answers)
        if "cost" not in run:
            return f"{rule}; {run.get('reason') or run['failure']}"
        kept = _bought(answers)
    return broken_rule(bought, costs, budget, eligible=kept, is_drawn=is_drawn)


def _run(name: str, budget: int, runs: Runs, answers: Path) -> dict[str, Any]:
    """Return what a run took, or a reason why it could not be, or how it failed."""
    command = [
        *(sys.executable, "-m", "benchmarks.samplers.measure_sampler"),
        *(name, str(runs.bundle), str(answers)),
        *("--budget", str(budget), "--seed", str(runs.seed)),
    ]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **_ONE_THREAD},
            cwd=_ROOT,
            timeout=runs.seconds,
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"it did not finish within {runs.seconds:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {"failure": said[0]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _bought(answers: Path) -> IntArray:
    with np.load(answers, allow_pickle=False) as stored:
        bought: IntArray = stored["bought"]
    return bought


def _merged(reasons: dict[str, str], shares: Sequence[float]) -> dict[str, str]:
    """Return reasons by sampler alone where they are the same at every budget."""
    merged: dict[str, str] = {}
    for place, reason in reasons.items():
        name = place.rpartition(" at ")[0]
        everywhere = [reasons.get(f"{name} at {share:.0%}") for share in shares]
        merged[name if set(everywhere) == {reason} else place] = reason
    return merged


def _said(name: str, found: Sequence[Any], not_run: dict[str, str], broken: dict[str, str]) -> str:
    reasons = [
        reason
        for each in (broken, not_run)
        for place, reason in each.items()
        if place.rpartition(" at ")[0] == name
    ]
    return reasons[0] if reasons else f"{max(each['cpu_seconds'] for each in found):.2f} CPU s"


def main() -> int:
    """Run on the pool that the command line names, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder written by save_bundle")
    parser.add_argument("--name", required=True, help="of the pool: letters, digits, underscores")
    parser.add_argument("--also", nargs="*", default=[], help="samplers by measure: rarity:top ...")
    parser.add_argument("--only", nargs="*", help="these samplers alone; default: all")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--seconds", type=float, default=1800, help="that a run may take")
    parser.add_argument("--selections", type=Path, help="keep what was bought in this folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if not chosen.name.isidentifier():
        parser.error(f"the name must be letters, digits and underscores, got {chosen.name!r}")
    names = [*(chosen.only or sampler_names()), *chosen.also]
    try:
        for name in names:
            sampler_spec(name)
    except (ConfigError, UnknownNameError) as error:
        parser.error(str(error))
    candidates = load_bundle(chosen.bundle)
    with tempfile.TemporaryDirectory() as folder:
        selections = chosen.selections or Path(folder)
        selections.mkdir(parents=True, exist_ok=True)
        runs = Runs(chosen.bundle, chosen.seed, chosen.seconds, selections)
        result = run_all(names, candidates, runs, shares=chosen.shares)
    result["name"] = chosen.name
    result["command"] = " ".join(
        [
            f"python -m benchmarks.samplers.run_all POOL --name {chosen.name}",
            *(["--only", *chosen.only] if chosen.only else []),
            *(["--also", *chosen.also] if chosen.also else []),
            *("--shares", *(f"{share:g}" for share in chosen.shares)),
            *("--seed", str(chosen.seed)),
        ]
    )
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"samplers_{chosen.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
