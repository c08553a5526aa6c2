"""The formats that a manifest is exported to; equal rows give equal bytes in each.

Every format keeps every column of the manifest, so that weights and prices travel along. A new file
is begun before one would pass `file_bytes`, so only a document that is longer by itself does.

MosaicML MDS, version 2, as its reader takes it apart: a shard is the number of samples and an
offset per sample and end, all uint32, then the shard's config as JSON, then the samples; a sample
is the uint32 sizes of its columns of varying size, then all columns, in order of name. Columns that
may be null have the encoding json.

WebDataset: tar files; a sample is the files `<document_id>.txt` and `<document_id>.json`.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from databourse.errors import InputError
from databourse.manifests.shards import ROW_GROUP_ROWS, shard_name

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["jsonl", "parquet", "webdataset", "mds"]
Row = Mapping[str, Any]

MDS_INDEX = "index.json"
_MDS_VERSION = 2
_MOST_MDS_BYTES = 2**32 - 1
_UINT32 = struct.Struct("<I")


def write_jsonl(tables: Iterable[pa.Table], folder: Path, *, file_bytes: int) -> None:
    """Write `documents-00000.jsonl` and so on: a JSON object per document."""
    lines = (_json_line(row) for table in tables for row in table.to_pylist())
    for index, part in enumerate(_parts(lines, len, file_bytes)):
        with (folder / f"documents-{index:05d}.jsonl").open("wb") as stream:
            stream.writelines(part)


def write_parquet(tables: Iterable[pa.Table], folder: Path, *, file_bytes: int) -> None:
    """Write `documents-00000.parquet` and so on; sizes are counted before compression."""
    import pyarrow.parquet as pq

    for index, part in enumerate(_parts(iter(tables), lambda table: table.nbytes, file_bytes)):
        first = next(part)
        with pq.ParquetWriter(
            folder / shard_name(index), first.schema, compression="zstd", compression_level=3
        ) as writer:
            for table in (first, *part):
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def write_webdataset(tables: Iterable[pa.Table], folder: Path, *, file_bytes: int) -> None:
    """Write `documents-00000.tar` and so on, for the package webdataset."""
    samples = (_tar_sample(row) for table in tables for row in table.to_pylist())
    for index, part in enumerate(_parts(samples, len, file_bytes)):
        with (folder / f"documents-{index:05d}.tar").open("wb") as stream:
            stream.writelines(part)
            stream.write(b"\0" * 2 * tarfile.BLOCKSIZE)  # the end of a tar file


def write_mds(tables: Iterable[pa.Table], folder: Path, *, file_bytes: int) -> None:
    """Write `shard.00000.mds` and so on, and `index.json`, for the package mosaicml-streaming.

    Raises:
        InputError: a document makes a shard longer than 4 GiB.
    """
    rest = iter(tables)
    first = next(rest)
    encodings = {field.name: _mds_encoding(field) for field in first.schema}
    names = sorted(encodings)
    config = {
        "version": _MDS_VERSION,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": file_bytes,
        "column_names": names,
        "column_encodings": [encodings[name] for name in names],
        "column_sizes": [_MDS_SIZES.get(encodings[name]) for name in names],
    }
    head = json.dumps(config, sort_keys=True).encode("utf-8")
    samples = (
        _mds_sample(row, encodings, names)
        for table in chain([first], rest)
        for row in table.to_pylist()
    )
    shards = []
    for index, part in enumerate(_parts(samples, _mds_length, file_bytes - len(head) - 8)):
        name = f"shard.{index:05d}.mds"
        data = _mds_shard(list(part), head)
        (folder / name).write_bytes(data)
        raw = {"basename": name, "bytes": len(data), "hashes": {}}
        n_samples = _UINT32.unpack_from(data)[0]
        shards.append({**config, "raw_data": raw, "samples": n_samples, "zip_data": None})
    content = json.dumps({"version": _MDS_VERSION, "shards": shards}, sort_keys=True)
    (folder / MDS_INDEX).write_bytes(content.encode("utf-8"))


WRITERS: Mapping[Format, Callable[..., None]] = {
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
    "mds": write_mds,
}
NEED_TEXT = frozenset({"webdataset", "mds"})


def _parts(items: Iterator[Any], size: Callable[[Any], int], limit: int) -> Iterator[Iterator[Any]]:
    """Cut items into parts, each to be read before the next, of a size up to a limit if they can.

    A part has at least one item.
    """
    waiting = list(islice(items, 1))

    def part() -> Iterator[Any]:
        filled = 0
        while waiting:
            if filled and filled + size(waiting[0]) > limit:
                return
            filled += size(waiting[0])
            yield waiting.pop()
            waiting.extend(islice(items, 1))

    while waiting:
        yield part()


def _json_line(row: Row) -> bytes:
    return f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n".encode()


def _tar_sample(row: Row) -> bytes:
    facts = {name: value for name, value in row.items() if name != "text"}
    name = row["document_id"]
    meta = json.dumps(facts, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return _tar_member(f"{name}.json", meta) + _tar_member(
        f"{name}.txt", row["text"].encode("utf-8")
    )


def _tar_member(name: str, data: bytes) -> bytes:
    entry = tarfile.TarInfo(name)  # its defaults: no owner, and a time of zero
    entry.size = len(data)
    padding = -len(data) % tarfile.BLOCKSIZE
    return entry.tobuf(format=tarfile.USTAR_FORMAT) + data + b"\0" * padding


def _mds_encoding(field: pa.Field) -> str:
    if field.nullable and field.name != "text":
        return "json"
    return {"int64": "int64", "double": "float64"}.get(str(field.type), "str")


_MDS_SIZES = {"int64": 8, "float64": 8}
_MDS_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    "int64": struct.Struct("<q").pack,
    "float64": struct.Struct("<d").pack,
    "str": lambda value: str(value).encode("utf-8"),
    "json": lambda value: json.dumps(value).encode("utf-8"),
}


def _mds_sample(row: Row, encodings: Mapping[str, str], names: list[str]) -> bytes:
    data = [_MDS_ENCODERS[encodings[name]](row[name]) for name in names]
    sizes = [
        _UINT32.pack(len(each))
        for name, each in zip(names, data, strict=True)
        if encodings[name] not in _MDS_SIZES
    ]
    return b"".join((*sizes, *data))


def _mds_length(sample: bytes) -> int:
    return len(sample) + _UINT32.size  # its offset


def _mds_shard(samples: list[bytes], head: bytes) -> bytes:
    start = _UINT32.size * (2 + len(samples)) + len(head)
    if start + sum(map(len, samples)) > _MOST_MDS_BYTES:
        raise InputError("a shard of MDS holds at most 4 GiB; give a smaller size of files")
    shard = io.BytesIO()
    shard.write(_UINT32.pack(len(samples)))
    for sample in samples:
        shard.write(_UINT32.pack(start))
        start += len(sample)
    shard.write(_UINT32.pack(start))
    shard.write(head)
    shard.writelines(samples)
    return shard.getvalue()
