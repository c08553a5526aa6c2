"""Compare the product's scoring with plain loops over transformers: speed, memory, agreement.

Same model, same documents, same number of threads. Every measurement has a process of its own;
candidates take turns, the first of a round moving on by one, so that other load on the machine
meets all of them. Ratios are taken within a round. The model is loaded, and a few documents are
scored, before the clock starts; tokenization is inside.

    python -m benchmarks.language_models.compare_scoring --documents 1000 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language_models.documents import documents
from benchmarks.language_models.scorers import SCORERS, YARDSTICK
from benchmarks.measuring import Cost, spread_of, spreads
from databourse.language_models.loading import save_trained_model
from databourse.language_models.tokenizer import ModelTokenizer, train_tokenizer
from databourse.language_models.training import TrainingSettings, train_reference_model

RESULTS = Path(__file__).resolve().parents[1] / "results"
_VOCABULARY = 2_048
_TRAINED_TOKENS = 60_000  # enough for losses that differ; what it knows changes no speed


def compare(n_documents: int, *, rounds: int, threads: int) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON.

    Args:
        n_documents: to score; fewer where the corpus has not as many that the model reads at once.
        rounds: how often each candidate is measured, >= 1.
        threads: of each candidate.
    """
    corpus, texts = documents(2 * n_documents)
    settings = TrainingSettings(most_tokens=_TRAINED_TOKENS, evaluations=1, held_out_most=16)
    tokenizer = train_tokenizer(texts, vocabulary_size=_VOCABULARY)
    texts = within(texts, tokenizer, settings.context_tokens)[:n_documents]
    names = list(SCORERS)
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        model, written = Path(folder) / "model", Path(folder) / "texts.json"
        written.write_text(json.dumps(texts), encoding="utf-8")
        trained = train_reference_model(
            [str(number) for number in range(len(texts))],
            texts,
            tokenizer=tokenizer,
            settings=settings,
            seed=17,
            threads=1,
        )
        save_trained_model(trained, model)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                measured[name].append(_measured(name, model, written, threads))
    counts = np.array([len(each) for each in tokenizer.encode(texts)])
    return {
        "kind": "scoring",
        "corpus": corpus,
        "n_documents": len(texts),
        "n_tokens": int(counts.sum()),
        "threads": threads,
        "model": {
            "layers": settings.layers,
            "width": settings.width,
            "vocabulary": tokenizer.vocabulary_size,
            "context_tokens": settings.context_tokens,
        },
        "rounds": rounds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "candidates": candidates_of(measured, counts),
    }


def within(texts: Sequence[str], tokenizer: ModelTokenizer, context_tokens: int) -> list[str]:
    """Return the texts that a model reads at once, with the start token and one token at least."""
    lengths = [len(each) for each in tokenizer.encode(texts)]
    return [text for text, n in zip(texts, lengths, strict=True) if 0 < n < context_tokens]


def candidates_of(
    measured: Mapping[str, Sequence[Mapping[str, Any]]], counts: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return speeds, ratios to the yardstick and the difference from it, by candidate.

    Args:
        measured: the runs of each candidate, one per round.
        counts: tokens of each document, shape (n,).
    """
    costs = {name: [Cost(**run["cost"]) for run in runs] for name, runs in measured.items()}
    expected = np.array(measured[YARDSTICK][0]["losses"])
    n_tokens = int(counts.sum())
    found = {}
    for name, runs in measured.items():
        pairs = list(zip(costs[name], costs[YARDSTICK], strict=True))
        losses = np.array([run["losses"] for run in runs])
        found[name] = {
            "costs": spreads(costs[name]),
            "tokens_per_second": spread_of([n_tokens / each.wall_seconds for each in costs[name]]),
            "times_as_fast": spread_of(
                [its.wall_seconds / mine.wall_seconds for mine, its in pairs]
            ),
            "times_as_fast_by_cpu": spread_of(
                [its.cpu_seconds / mine.cpu_seconds for mine, its in pairs]
            ),
            "bytes_above_model": spread_of(
                [max(0, run["cost"]["peak_bytes"] - run["bytes_before"]) for run in runs]
            ),
            "largest_difference_per_token": float((np.abs(losses - expected) / counts).max()),
        }
    return found


def _measured(name: str, model: Path, texts: Path, threads: int) -> dict[str, Any]:
    module = "benchmarks.language_models.measure_scorer"
    command = [sys.executable, "-m", module, name, str(model), str(texts)]
    done = subprocess.run(
        [*command, "--threads", str(threads)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Compare on the documents that the command line asks for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(chosen.documents, rounds=chosen.rounds, threads=chosen.threads)
    result["command"] = (
        f"python -m benchmarks.language_models.compare_scoring --documents {chosen.documents} "
        f"--rounds {chosen.rounds} --threads {chosen.threads}"
    )
    chosen.results.mkdir(parents=True, exist_ok=True)
    name = f"language_model_scoring_{chosen.documents}_{chosen.threads}_threads.json"
    (chosen.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for candidate, found in result["candidates"].items():
        print(
            f"{candidate}: {found['tokens_per_second']['median']:,.0f} tokens/s, "
            f"{found['times_as_fast']['median']:.2f} times as fast as {YARDSTICK}; losses per "
            f"token differ by at most {found['largest_difference_per_token']:.1e}"
        )


if __name__ == "__main__":
    main()
