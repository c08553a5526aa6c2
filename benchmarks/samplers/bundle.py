"""Candidates as a folder of arrays, so that a process of its own can load them. Nothing is pickled.

bundle.json         weights, names of topics and of targets, and what there is
documents.parquet   one row per document, in order of document_id: document_id, cost, and where
                    there are any: topic (its position), label, "measure: NAME", "signal: NAME"
texts.parquet       one row per document: text; read in batches, whenever it is asked for
arrays.npz          embeddings, similarities and centroids of topics, embeddings of targets
targets.parquet     one row per example, target by target: target (its position), text, label,
                    prompt_characters
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from databourse.samplers.interface import Candidates
from databourse.targets import TargetSet
from databourse.topics import Topics

_FORMAT = 1
_MEASURE, _SIGNAL = "measure: ", "signal: "
_BATCH = 1_000


def save_bundle(candidates: Candidates, folder: Path) -> None:
    """Write candidates into a folder, which is made if missing; texts are read once, in batches.

    Influence is asked about every document, once; what that takes is no part of any later run.

    Args:
        candidates: with whatever they have.
        folder: of the bundle; one that is there is overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "document_id": pa.array(candidates.document_ids, pa.string()),
        "cost": candidates.costs.astype(np.int64),
    }
    arrays: dict[str, NDArray[Any]] = {}
    topics, targets = candidates.topics, candidates.targets
    if candidates.embeddings is not None:
        arrays["embeddings"] = candidates.embeddings
    if candidates.influence_of is not None:
        arrays["influence"] = candidates.influence_of(np.arange(len(candidates.costs)))
    if topics is not None:
        columns["topic"] = topics.index
        if topics.similarities is not None:
            arrays["topic_similarities"] = topics.similarities
        if topics.centroids is not None:
            arrays["topic_centroids"] = topics.centroids
    if candidates.labels is not None:
        columns["label"] = pa.array(candidates.labels.tolist(), pa.string())
    for prefix, named in ((_MEASURE, candidates.measures), (_SIGNAL, candidates.signals or {})):
        columns |= {f"{prefix}{name}": values for name, values in named.items()}
    for number, target in enumerate(targets or ()):
        if target.embeddings is not None:
            arrays[f"target_{number}"] = target.embeddings
    pq.write_table(pa.table(columns), folder / "documents.parquet")
    if candidates.texts is not None:
        _write_texts(candidates.texts, folder / "texts.parquet")
    if targets is not None:
        pq.write_table(_examples(targets), folder / "targets.parquet")
    np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
    about = {
        "format": _FORMAT,
        "has_texts": candidates.texts is not None,
        "has_signals": candidates.signals is not None,
        "weights": None if candidates.weights is None else dict(candidates.weights),
        "topics": None if topics is None else list(topics.topics),
        "merged_topics": {} if topics is None else dict(topics.merged),
        "targets": None if targets is None else [target.name for target in targets],
    }
    (folder / "bundle.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_bundle(folder: Path) -> Candidates:
    """Return the candidates of a folder; texts stay in their file.

    Raises:
        ValueError: the folder has another format.
    """
    about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    if about["format"] != _FORMAT:
        raise ValueError(f"{folder} has format {about['format']!r}, expected {_FORMAT}")
    table = pq.read_table(folder / "documents.parquet")
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    return Candidates(
        document_ids=table["document_id"].to_pylist(),
        costs=_numbers(table, "cost"),
        measures=_named(table, _MEASURE),
        embeddings=arrays.get("embeddings"),
        topics=None if about["topics"] is None else _topics(about, table, arrays),
        labels=_objects(table["label"]) if "label" in table.column_names else None,
        texts=_texts_of(folder / "texts.parquet") if about["has_texts"] else None,
        targets=None if about["targets"] is None else _targets(about, folder, arrays),
        influence_of=arrays["influence"].__getitem__ if "influence" in arrays else None,
        signals=_named(table, _SIGNAL) if about["has_signals"] else None,
        weights=about["weights"],
    )


def _write_texts(texts: Callable[[], Iterator[Sequence[str]]], path: Path) -> None:
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for batch in texts():
            writer.write_table(pa.table({"text": pa.array(batch, pa.string())}, schema))


def _texts_of(path: Path) -> Callable[[], Iterator[Sequence[str]]]:
    def texts() -> Iterator[Sequence[str]]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=["text"]):
                yield batch["text"].to_pylist()

    return texts


def _examples(targets: Sequence[TargetSet]) -> pa.Table:
    counts = [len(target.texts) for target in targets]
    return pa.table(
        {
            "target": pa.array(np.repeat(np.arange(len(counts)), counts), pa.int64()),
            "text": pa.array([text for target in targets for text in target.texts], pa.string()),
            "label": pa.array(
                [label for target in targets for label in target.labels.tolist()], pa.string()
            ),
            "prompt_characters": pa.array(
                [int(each) for target in targets for each in target.prompt_characters], pa.int64()
            ),
        }
    )


def _targets(
    about: dict[str, Any], folder: Path, arrays: dict[str, NDArray[Any]]
) -> tuple[TargetSet, ...]:
    table = pq.read_table(folder / "targets.parquet")
    found = []
    for number, name in enumerate(about["targets"]):
        own = table.filter(pa.compute.equal(table["target"], number))
        found.append(
            TargetSet(
                name=name,
                texts=own["text"].to_pylist(),
                labels=_objects(own["label"]),
                prompt_characters=_numbers(own, "prompt_characters"),
                embeddings=arrays.get(f"target_{number}"),
            )
        )
    return tuple(found)


def _topics(about: dict[str, Any], table: pa.Table, arrays: dict[str, NDArray[Any]]) -> Topics:
    index = _numbers(table, "topic")
    return Topics(
        names=np.array(about["topics"], dtype=np.object_)[index],
        similarities=arrays.get("topic_similarities"),
        centroids=arrays.get("topic_centroids"),
        topics=tuple(about["topics"]),
        index=index,
        merged=about["merged_topics"],
    )


def _named(table: pa.Table, prefix: str) -> dict[str, NDArray[np.float64]]:
    names = [name for name in table.column_names if name.startswith(prefix)]
    return {name.removeprefix(prefix): _numbers(table, name) for name in names}


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = table[name].to_numpy().copy()  # writable, as those of the product are
    return values


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    values = np.empty(len(column), dtype=np.object_)
    values[:] = column.to_pylist()
    return values
