"""Compare projected gradients by hooks with a plain loop over examples: speed and difference.

The loop runs one document at a time through transformers and autograd, with gradients of the same
weights alone, and projects each by the same P. A dense P is never stored: the loop draws it again
for every document, the product once for a batch, and so few documents are looped over. Candidates
take turns in every round, in one process; both may use the same number of threads, the loop inside
torch, the product by batches. On a busy machine trust ratios of CPU seconds at one thread.

    python -m benchmarks.influence.compare_gradients --documents 400 --threads 1,2
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.language_models.documents import documents as documents_of_corpus
from benchmarks.measuring import Cost, cost_of, spread_of
from databourse.influence.layers import is_transposed, layer_shapes, tracked_layers
from databourse.influence.per_example import gradient_features
from databourse.influence.projecting import Projector
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import WeightedDocument, whole_documents
from databourse.language_models.model import LanguageModel
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import TrainingSettings, train_reference_model

RESULTS = Path(__file__).resolve().parents[1] / "results"
PROJECTIONS = {
    "two-sided, 16 x 16 per layer": Projection(kind="two_sided", seed=17, size=16),
    "SJLT, 1,024 numbers, 4 each": Projection(kind="sjlt", seed=17, size=1_024, nonzeros=4),
    "Rademacher, 1,024 numbers": Projection(kind="rademacher", seed=17, size=1_024),
}
_LOOP_DOCUMENTS = {"Rademacher, 1,024 numbers": 12}  # a second or two each
_VOCABULARY = 2_048
_TRAINING_TOKENS = 100_000  # the speed of a gradient does not depend on what was learned
_SHORTEST, _LONGEST = 30, 90  # tokens: 60 on average
_WARM_UP_DOCUMENTS = 8

Features = NDArray[np.float32]


def by_loop(
    model: LanguageModel, documents: Sequence[WeightedDocument], projector: Projector
) -> Features:
    """Return features of documents, shape (n, k), from one backward pass each."""
    module: Any = model.module
    parts = [module.get_submodule(name) for name in projector.shapes]
    features = np.empty((len(documents), projector.n_features), dtype=np.float32)
    for place, document in enumerate(documents):
        ids = torch.tensor([[model.start_token_id, *document.token_ids.tolist()]])
        loss = module(input_ids=ids, labels=ids).loss * len(document.token_ids)
        derived = torch.autograd.grad(loss, [part.weight for part in parts])
        gradients = {
            name: (each.t() if is_transposed(part) else each)[None].numpy()
            for name, part, each in zip(projector.shapes, parts, derived, strict=True)
        }
        features[place] = projector.of_gradients(gradients)[0]
    return features


def by_hooks(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    projector: Projector,
    *,
    batch_tokens: int,
    threads: int,
) -> Features:
    """Return the same as the product computes it."""
    features = np.empty((len(documents), projector.n_features), dtype=np.float32)
    for found in gradient_features(
        model,
        documents,
        layers=list(projector.shapes),
        projection=projector.projection,
        output="loss",
        batch_tokens=batch_tokens,
        threads=threads,
    ):
        features[found.positions] = found.features
    return features


def compare(
    *, n_documents: int, threads: Sequence[int], batch_tokens: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Return the result of all rounds, ready for JSON.

    Args:
        n_documents: how many gradients.
        threads: numbers of threads to compare at.
        batch_tokens: of the product.
        rounds: how often each candidate is measured, >= 1.
        seed: of lengths and of the model.
    """
    corpus, texts = documents_of_corpus(max(n_documents, 600))
    model = _model(texts, seed)
    documents = _cut(whole_documents(model, texts[:n_documents]), seed)
    n_tokens = sum(len(each.token_ids) for each in documents)
    projectors = {
        name: Projector(each, layer_shapes(model, tracked_layers(model, "all")))
        for name, each in PROJECTIONS.items()
    }
    costs: dict[tuple[str, int, str], list[Cost]] = {}
    differences: dict[str, float] = {}
    for _ in range(rounds):
        for count in threads:
            torch.set_num_threads(count)
            for name, projector in projectors.items():
                ways: dict[str, Callable[[Sequence[WeightedDocument]], Features]] = {
                    "loop": lambda part, projector=projector: by_loop(model, part, projector),
                    "hooks": lambda part, projector=projector, count=count: by_hooks(
                        model, part, projector, batch_tokens=batch_tokens, threads=count
                    ),
                }
                found = {}
                for way, work in ways.items():
                    part = documents
                    if way == "loop":
                        part = documents[: _LOOP_DOCUMENTS.get(name, n_documents)]
                    work(documents[: min(_WARM_UP_DOCUMENTS, len(part) // 4)])
                    found[way], cost = cost_of(lambda work=work, part=part: work(part))
                    costs.setdefault((name, count, way), []).append(_per_document(cost, len(part)))
                looped = found["loop"]
                scale = np.linalg.norm(looped, axis=1)
                error = np.linalg.norm(found["hooks"][: len(looped)] - looped, axis=1) / scale
                differences[name] = max(differences.get(name, 0.0), float(error.max()))
    return {
        "kind": "gradients",
        "corpus": corpus,
        "n_documents": n_documents,
        "n_tokens": n_tokens,
        "batch_tokens": batch_tokens,
        "model": {"vocabulary": model.tokenizer.vocabulary_size, **_sizes()},
        "rounds": rounds,
        "seed": seed,
        "command": f"python -m benchmarks.influence.compare_gradients --documents {n_documents} "
        f"--threads {','.join(map(str, threads))} --rounds {rounds}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy")},
        },
        "projections": {
            name: {
                "n_features": projector.n_features,
                "largest_relative_difference": float(f"{differences[name]:.2g}"),
                "threads": {
                    str(count): _ratios(costs[name, count, "loop"], costs[name, count, "hooks"])
                    for count in threads
                },
            }
            for name, projector in projectors.items()
        },
    }


def _per_document(cost: Cost, n_documents: int) -> Cost:
    return Cost(cost.wall_seconds / n_documents, cost.cpu_seconds / n_documents, cost.peak_bytes)


def _ratios(loop: Sequence[Cost], hooks: Sequence[Cost]) -> dict[str, Any]:
    both = list(zip(loop, hooks, strict=True))
    return {
        "times_as_fast": spread_of([far.wall_seconds / near.wall_seconds for far, near in both]),
        "times_as_fast_by_cpu": spread_of(
            [far.cpu_seconds / near.cpu_seconds for far, near in both]
        ),
        "documents_per_second": {
            way: spread_of([1 / each.wall_seconds for each in found])
            for way, found in (("loop", loop), ("hooks", hooks))
        },
        "cpu_milliseconds_per_document": {
            way: spread_of([1e3 * each.cpu_seconds for each in found])
            for way, found in (("loop", loop), ("hooks", hooks))
        },
    }


def _model(texts: Sequence[str], seed: int) -> LanguageModel:
    tokenizer = train_tokenizer(texts, vocabulary_size=_VOCABULARY)
    return train_reference_model(
        [f"{place:08d}" for place in range(len(texts))],
        texts,
        tokenizer=tokenizer,
        settings=TrainingSettings(most_tokens=_TRAINING_TOKENS, evaluations=1),
        seed=seed,
        threads=1,
    ).model


def _sizes() -> dict[str, int]:
    settings = TrainingSettings()
    return {
        "layers": settings.layers,
        "width": settings.width,
        "context_tokens": settings.context_tokens,
    }


def _cut(documents: Sequence[WeightedDocument], seed: int) -> list[WeightedDocument]:
    """Return documents cut at lengths drawn between the shortest and the longest."""
    lengths = np.random.default_rng(seed).integers(_SHORTEST, _LONGEST + 1, size=len(documents))
    return [
        WeightedDocument(each.token_ids[:length], each.weights[:length])
        for each, length in zip(documents, lengths, strict=True)
    ]


def main() -> None:
    """Compare at what the command line names, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, by commas")
    parser.add_argument("--batch-tokens", type=int, default=4_096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    result = compare(
        n_documents=chosen.documents,
        threads=[int(each) for each in chosen.threads.split(",")],
        batch_tokens=chosen.batch_tokens,
        rounds=chosen.rounds,
        seed=chosen.seed,
    )
    result["command"] = (
        f"python -m benchmarks.influence.compare_gradients --documents {chosen.documents} "
        f"--threads {chosen.threads} --batch-tokens {chosen.batch_tokens} "
        f"--rounds {chosen.rounds} --seed {chosen.seed}"
    )
    path = chosen.results / f"gradients_{chosen.documents}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
