"""What near dedup keeps of documents: band keys and lengths, and the shingles of some.

Band keys are kept of every document. Shingles are as large as the text and are kept of those
documents alone that ever shared a band with another, since only those are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from databourse.dedup.near import Sketches
from databourse.dedup.shingles import ShingleSets
from databourse.digests import digest_of, digest_of_lines
from databourse.warehouse.shards import ShardFolder

_ROW_GROUP_DOCUMENTS = 50_000
_KEY_BYTES = 8


class SketchStore(ShardFolder):
    """The folder of sketch shards. A shard is named by its settings and the ids in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, kind="sketch shard")

    def write_sketches(
        self, sketches_id: str, document_ids: pa.StringArray, sketches: Sketches
    ) -> dict[str, str | int]:
        """Write the sketches of documents and return their row of `sketch_shards`."""
        n_documents, n_bands = sketches.keys.shape
        content = pa.py_buffer(np.ascontiguousarray(sketches.keys))
        keys = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(_KEY_BYTES * n_bands), n_documents, [None, content]
        )
        table = pa.table(
            {"document_id": document_ids, "characters": sketches.characters, "keys": keys}
        )
        return self._write(sketches_id, table)

    def write_shingles(
        self, sketches_id: str, document_ids: pa.StringArray, shingles: ShingleSets
    ) -> dict[str, str | int]:
        """Write the shingles of documents and return their row of `sketch_shards`."""
        hashes = pa.LargeListArray.from_arrays(shingles.starts, shingles.hashes)
        return self._write(sketches_id, pa.table({"document_id": document_ids, "hashes": hashes}))

    def _write(self, sketches_id: str, table: pa.Table) -> dict[str, str | int]:
        name = digest_of([sketches_id, digest_of_lines(table["document_id"].to_pylist())])[:32]
        # random bits: nothing to compress
        sha256, size = self.put(
            f"{name}.parquet", table, compression="none", row_group_size=_ROW_GROUP_DOCUMENTS
        )
        return {
            "sketch_shard": f"{name}.parquet",
            "sketches_id": sketches_id,
            "sha256": sha256,
            "documents": table.num_rows,
            "bytes": size,
        }


@dataclass(frozen=True)
class StoredSketches:
    """Which document is where in sketch shards.

    Attributes:
        paths: of the shards, one after the other.
        document_ids: of their documents, in this order.
    """

    paths: Sequence[str]
    document_ids: pa.StringArray


def stored_sketches(paths: Sequence[str]) -> StoredSketches:
    """Return what the shards hold."""
    parts = [_column(path, "document_id") for path in paths]
    return StoredSketches(paths, pa.concat_arrays([pa.array([], pa.string()), *parts]))


def read_sketches(
    stored: StoredSketches, places: npt.NDArray[np.int64], *, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Write the band keys of documents, shard by shard, and return their characters.

    Args:
        stored: what the shards hold.
        places: of the wanted documents in `stored.document_ids`.
        keys: written, shape (bands, n_wanted).
    """
    wanted_of = _wanted_of(places, len(stored.document_ids))
    characters = np.empty(len(places), dtype=np.int64)
    begin = 0
    for path in stored.paths:
        table = pq.read_table(path, columns=["characters", "keys"], use_threads=False)
        own = wanted_of[begin : begin + table.num_rows]
        begin += table.num_rows
        rows = np.flatnonzero(own >= 0)
        column = table["keys"].combine_chunks()
        flat = np.frombuffer(column.buffers()[1], np.uint64)
        found = flat.reshape(-1, len(keys))[column.offset :][: len(column)]
        keys[:, own[rows]] = found[rows].T
        characters[own[rows]] = table["characters"].to_numpy()[rows]
    return characters


def read_shingle_sizes(stored: StoredSketches) -> npt.NDArray[np.int64]:
    """Return the number of shingles of each stored document."""
    sizes = [np.diff(_column(path, "hashes").offsets.to_numpy()) for path in stored.paths]
    return np.concatenate([np.empty(0, np.int64), *sizes])


def read_shingles(stored: StoredSketches, *, hashes: npt.NDArray[np.uint64]) -> None:
    """Write the shingles of all stored documents one after the other."""
    begin = 0
    for path in stored.paths:
        own = _column(path, "hashes").flatten().to_numpy()
        hashes[begin : begin + len(own)] = own
        begin += len(own)


def _wanted_of(places: npt.NDArray[np.int64], n_stored: int) -> npt.NDArray[np.int64]:
    """Return for each stored document its position among the wanted; -1 if nobody wants it."""
    wanted = np.full(n_stored, -1, dtype=np.int64)
    wanted[places] = np.arange(len(places))
    return wanted


def _column(path: str, name: str) -> pa.Array:
    return pq.read_table(path, columns=[name], use_threads=False)[name].combine_chunks()
