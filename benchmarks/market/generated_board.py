"""A board of generated documents, of any size, in the layout that a refresh stores.

Topics follow Zipf's law (topic r holds a share proportional to 1 / r), lengths are log-normal, and
every signal is a correlated reading of one latent usefulness, shifted and scaled topic by topic.
Planted: signal 1 has heavy tails (Student's t, 2 degrees of freedom), signal 2 a large offset.

    python -m benchmarks.market.generated_board board.parquet --documents 1000000 --signals 8
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

HEAVY_TAILED, FAR_FROM_ZERO = 1, 2
"""Numbers of the two planted signals."""
OFFSET = 1e6
LATENT_PART = 0.6
"""Correlation of a signal with the latent usefulness within a topic; 0.36 between two signals."""
MEDIAN_TOKENS, SPREAD_OF_LOG_TOKENS = 150.0, 0.8

_N_SOURCES = 5
_ROW_GROUP_DOCUMENTS = 262_144  # as boards are stored
_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


@dataclass(frozen=True)
class BoardShape:
    """How large a generated board is, and the seed of all of it."""

    n_documents: int
    n_signals: int
    seed: int
    n_topics: int = 256


def write_board(path: Path, shape: BoardShape) -> None:
    """Write a board as one Parquet file, a row group at a time.

    Columns: document_id (32 hex digits, ascending), source and topic (dictionaries), tokens (int64,
    >= 1), signal_0 .. signal_<n_signals - 1> (float64, finite).

    Args:
        path: of the file; what is there is replaced.
        shape: the same shape gives the same file, byte for byte.
    """
    parts = board_parts(shape)
    first = next(parts)
    signals = [name for name in first.column_names if name.startswith("signal_")]
    with pq.ParquetWriter(
        path,
        first.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["source", "topic"],
        use_byte_stream_split=signals,
        write_statistics=False,
    ) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def board_parts(shape: BoardShape) -> Iterator[pa.Table]:
    """Yield the board in tables of one row group each, in order of document_id.

    Each part has a random stream of its own, so that no part needs another.
    """
    by_topic = np.random.default_rng([shape.seed, 0])
    shifts = by_topic.normal(0.0, 2.0, (shape.n_topics, shape.n_signals))
    scales = np.exp(by_topic.normal(0.0, 0.5, (shape.n_topics, shape.n_signals)))
    parts = range(0, shape.n_documents, _ROW_GROUP_DOCUMENTS)
    for number, start in enumerate(parts):
        size = min(_ROW_GROUP_DOCUMENTS, shape.n_documents - start)
        rng = np.random.default_rng([shape.seed, 1, number])
        topic = _zipf(rng, size, shape.n_topics)
        latent = rng.standard_normal(size)
        tokens = MEDIAN_TOKENS * np.exp(SPREAD_OF_LOG_TOKENS * rng.standard_normal(size))
        source = rng.integers(0, _N_SOURCES, size)
        columns = {
            "document_id": _document_ids(rng, start, size, shape.n_documents),
            "source": _named("source", source, _N_SOURCES),
            "topic": _named("topic", topic, shape.n_topics),
            "tokens": pa.array(np.maximum(1, np.rint(tokens)).astype(np.int64)),
        }
        for signal in range(shape.n_signals):
            reading = _reading(rng, latent, signal) * scales[topic, signal] + shifts[topic, signal]
            offset = OFFSET if signal == FAR_FROM_ZERO else 0.0
            columns[f"signal_{signal}"] = pa.array(reading + offset)
        yield pa.table(columns)


def _reading(rng: np.random.Generator, latent: FloatArray, signal: int) -> FloatArray:
    if signal == HEAVY_TAILED:
        noise = rng.standard_t(2, latent.size)
    else:
        noise = rng.standard_normal(latent.size)
    return LATENT_PART * latent + math.sqrt(1 - LATENT_PART**2) * noise


def _zipf(rng: np.random.Generator, size: int, n_topics: int) -> NDArray[np.int64]:
    share = 1 / np.arange(1, n_topics + 1)
    ends = np.cumsum(share / share.sum())[:-1]
    return np.searchsorted(ends, rng.random(size), side="right")


def _named(word: str, numbers: NDArray[np.int64], n_names: int) -> pa.DictionaryArray:
    digits = len(str(n_names - 1))
    names = pa.array([f"{word}-{number:0{digits}d}" for number in range(n_names)])
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), names)


def _document_ids(rng: np.random.Generator, start: int, size: int, n_documents: int) -> pa.Array:
    """Return ids of 32 hex digits: evenly spread with a random part, so that they ascend."""
    width = (2**64 - 1) // n_documents
    jitter = rng.integers(0, width, size, dtype=np.uint64)
    high = np.arange(start, start + size, dtype=np.uint64) * np.uint64(width) + jitter
    low = rng.integers(0, 2**64, size, dtype=np.uint64)
    raw = np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(size, 16)
    digits = np.stack([_HEX_DIGITS[raw >> 4], _HEX_DIGITS[raw & 15]], axis=2).reshape(size, 32)
    ends = np.arange(0, 32 * size + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(size, pa.py_buffer(ends), pa.py_buffer(digits))


def main() -> None:
    """Write a board to the path that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--signals", type=int, default=8)
    parser.add_argument("--seed", type=int, default=17)
    chosen = parser.parse_args()
    write_board(chosen.path, BoardShape(chosen.documents, chosen.signals, chosen.seed))


if __name__ == "__main__":
    main()
