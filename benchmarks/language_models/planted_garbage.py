"""Plant garbage into real pools and show where each signal of text quality puts it.

The pools are question and answer pairs of GSM8K and paragraphs of WikiText-2. A refresh of each
runs as a user runs it, with the reference model as it is by default, trained on the garbage too. Of
every kind of garbage are told: the probability that a document of it measures above a clean one,
its median percentile rank by the measure, and that by the signal which the market trades on.

    python -m benchmarks.language_models.planted_garbage
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.language_models.garbage import CLEAN, KINDS, Document, plant
from benchmarks.measuring import Cost, cost_of_command
from databourse.config_models import ReferenceModelConfig
from databourse.digests import canonical_text, document_id
from databourse.language_models.instruction_difficulty import perplexity_ratio
from databourse.selection.intervals import mean_percentile_ranks

FloatArray = NDArray[np.float64]

RESULTS = Path(__file__).resolve().parents[1] / "results"
_SHARE = 0.05  # of the pool, of each kind
_SHORTEST_PARAGRAPH = 200  # characters
_TEXT_SIGNALS = ("perplexity", "generative_entropy", "information_entropy", "surprisal")
_PAIR_SIGNALS = ("completion_loss", "ifd")
_FILES = {"GSM8K": "gsm8k/train.jsonl.gz", "WikiText-2": "pretrain/wikitext-2-raw/valid.txt.gz"}

_LOSSES = """
    select part, document_id, loss_sum / tokens, entropy_sum / tokens
    from token_losses where tokens > 0
"""
_SIGNALS = """
    select signal_versions.signal, signals.document_id, signals.value
    from signals inner join signal_versions on signals.signal_id = signal_versions.signal_id
"""
_KINDS = """
    select document_id, metadata ->> 'kind' from pool_documents order by document_id
"""


def clean_documents(corpus: str, n_documents: int) -> list[Document]:
    """Return documents of a corpus, those whose text hashes lowest; fewer if it has not as many."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    file = Path(os.environ.get("DATABOURSE_DATA", beside)) / _FILES[corpus]
    read = _pairs if corpus == "GSM8K" else _paragraphs
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        found = {each.prompt + each.completion: each for each in read(lines)}
    return [found[text] for text in sorted(found, key=document_id)[:n_documents]]


def measure(corpus: str, n_documents: int, *, threads: int, seed: int) -> dict[str, Any]:
    """Return the result of one pool, ready for JSON.

    Args:
        corpus: one of those that are known.
        n_documents: of the pool, garbage among them.
        threads: of the refresh; they change no number.
        seed: of the garbage and of the refresh.
    """
    planted = plant(clean_documents(corpus, n_documents), np.random.default_rng(seed), share=_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        cost = _refresh(Path(folder), planted, threads=threads, seed=seed)
        kinds, measures, signals = _read(Path(folder) / "warehouse" / "bourse.duckdb")
    if len(kinds) != len(planted):
        raise ValueError(f"{len(planted):,} documents went in, {len(kinds):,} were measured")
    return {
        "kind": "planted_garbage",
        "corpus": corpus,
        "n_documents": len(kinds),
        "n_garbage": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "seed": seed,
        "model": _model(),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
        },
        "measures": {
            name: {
                kind: found | {"signal_rank": _median_rank(signals[name], kinds == kind)}
                for kind, found in places(values, kinds).items()
            }
            for name, values in measures.items()
        },
    }


def places(values: FloatArray, kinds: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Return where a measure puts each kind of garbage: area and median percentile rank.

    Args:
        values: the measure of each document, shape (n,), finite.
        kinds: of each document, shape (n,).
    """
    clean = values[kinds == CLEAN]
    return {
        kind: {
            "area": round(area_above(values[kinds == kind], clean), 4),
            "rank": _median_rank(values, kinds == kind),
        }
        for kind in KINDS
    }


def area_above(garbage: FloatArray, clean: FloatArray) -> float:
    """Return the probability that garbage measures above a clean document; ties count half.

    It is the area under the receiver operating characteristic of the measure as a detector.

    Args:
        garbage: the measure of each piece, shape (n,), n >= 1.
        clean: that of each clean document, shape (m,), m >= 1.
    """
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, garbage, side="left")
    not_above = np.searchsorted(ordered, garbage, side="right")
    return float((below + not_above).sum() / (2 * len(garbage) * len(clean)))


def settings_of(planted: Sequence[Document], *, threads: int, seed: int) -> dict[str, object]:
    """Return the config of the refresh: pairs where the documents have prompts."""
    are_pairs = any(each.prompt for each in planted)
    shape = (
        {"prompt": "{prompt}", "completion": "{completion}"}
        if are_pairs
        else {"text": "{completion}"}
    )
    return {
        "pool": "planted",
        "seed": seed,
        "sources": [{"name": "rows", "path": "rows.jsonl", "metadata": ["kind"], **shape}],
        "encoder": "hashing",  # no signal here reads embeddings
        "deduplicate": {"near": False},  # it could take garbage away
        "signals": [*_TEXT_SIGNALS, *(_PAIR_SIGNALS if are_pairs else ())],
        "budget": {"share": 0.5},
        "compute": {"threads": threads},
    }


def _pairs(lines: Iterator[str]) -> Iterator[Document]:
    for line in lines:
        row = json.loads(line)
        yield Document(canonical_text(row["question"]) + "\n", canonical_text(row["answer"]))


def _paragraphs(lines: Iterator[str]) -> Iterator[Document]:
    for line in lines:
        text = canonical_text(line)
        if len(text) >= _SHORTEST_PARAGRAPH:
            yield Document("", text)


def _refresh(folder: Path, planted: Sequence[Document], *, threads: int, seed: int) -> Cost:
    rows = [
        {"prompt": each.prompt, "completion": each.completion, "kind": each.kind}
        for each in planted
    ]
    (folder / "rows.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8"
    )
    config = folder / "pool.yaml"
    config.write_text(
        yaml.safe_dump(settings_of(planted, threads=threads, seed=seed)), encoding="utf-8"
    )
    return cost_of_command(
        [str(Path(sys.executable).parent / "databourse"), "run", str(config)],
        environment={**os.environ, "PREFECT_HOME": str(folder / "prefect")},
    )


def _read(
    tables: Path,
) -> tuple[NDArray[np.str_], dict[str, FloatArray], dict[str, FloatArray]]:
    """Return kinds of documents, raw measures by signal, and signals, in order of document_id."""
    with duckdb.connect(str(tables), read_only=True) as connection:
        ids, kinds = zip(*connection.execute(_KINDS).fetchall(), strict=True)
        losses = connection.execute(_LOSSES).fetchall()
        values = connection.execute(_SIGNALS).fetchall()
    places_of = {each: place for place, each in enumerate(ids)}
    raw: dict[str, FloatArray] = {}
    signals: dict[str, FloatArray] = {}
    for part, each, loss, entropy in losses:
        for name, value in ((f"loss of {part}", loss), (f"entropy of {part}", entropy)):
            raw.setdefault(name, np.full(len(ids), np.nan))[places_of[each]] = value
    for name, each, value in values:
        signals.setdefault(name, np.full(len(ids), np.nan))[places_of[each]] = value
    return np.array(kinds), measures_of(raw, signals), signals


def measures_of(
    raw: Mapping[str, FloatArray], signals: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Return what each signal measures, before a preference or a bound turns it, by signal.

    Args:
        raw: mean losses and entropies per token of the parts of each document, shape (n,).
        signals: the values of each signal, shape (n,).
    """
    measures = {
        "perplexity": lambda: raw["loss of text"],
        "generative_entropy": lambda: raw["entropy of text"],
        "completion_loss": lambda: raw["loss of conditioned"],
        "ifd": lambda: perplexity_ratio(raw["loss of conditioned"], raw["loss of completion"]),
    }
    return {
        name: measures[name]() if name in measures else signals[name]
        for name in (*_TEXT_SIGNALS, *_PAIR_SIGNALS)
        if name in signals
    }


def _median_rank(values: FloatArray, is_kind: NDArray[np.bool_]) -> float:
    return round(float(np.median(mean_percentile_ranks([values])[is_kind])), 4)


def _model() -> dict[str, int]:
    """Return the sizes of the reference model that a config gets which says nothing of it."""
    config = ReferenceModelConfig()
    return {
        "layers": config.layers,
        "width": config.width,
        "vocabulary": config.vocabulary,
        "context_tokens": config.context_tokens,
        "folds": config.folds,
    }


def main() -> None:
    """Measure the pools that the command line asks for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    for corpus in _FILES:
        result = measure(corpus, chosen.documents, threads=chosen.threads, seed=chosen.seed)
        result["command"] = (
            "python -m benchmarks.language_models.planted_garbage "
            f"--documents {chosen.documents} --threads {chosen.threads} --seed {chosen.seed}"
        )
        chosen.results.mkdir(parents=True, exist_ok=True)
        name = f"planted_garbage_{corpus.lower().replace('-', '')}.json"
        (chosen.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"{corpus}: {result['n_documents']:,} documents, {result['cpu_seconds']} CPU s")
        for signal, found in result["measures"].items():
            told = (f"{kind} {place['area']:.2f}" for kind, place in found.items())
            print(f"  {signal}: {', '.join(told)}")


if __name__ == "__main__":
    main()
