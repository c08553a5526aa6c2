"""Texts for a manifest that holds none: read once from the sources, kept in a folder beside it.

A text belongs to a document if its digest is the document_id, wherever in the sources it lies. So
moved or renamed files do no harm, and an edited row is a missing text, never a wrong one. The
folder has one file per shard, `document_id` and `text` row for row as in the shard, and
`texts.json`, which carries its own digest and theirs. Memory is that of one shard's texts and
about 150 bytes per document.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from databourse.config_sources import SourceConfig
from databourse.digests import document_id, file_sha256
from databourse.errors import IntegrityError, ManifestError
from databourse.manifests.folders import Folder
from databourse.manifests.model import ManifestInfo, Shard
from databourse.manifests.seals import BrokenSealError, seal, unseal
from databourse.manifests.staging import sync, write_durably
from databourse.sources import SourceRow, open_source

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

TEXTS_FILE = "texts.json"
_STAGING_PREFIX = ".texts-"
_BATCH_TEXTS = 1_000
_SHOWN_MISSING = 3


def prepare_texts(
    folder: Folder, info: ManifestInfo, *, root: Path, to: Path, data_roots: Sequence[str] = (".",)
) -> None:
    """Write the texts of a manifest's documents into a folder, unless they are there.

    Args:
        folder: the manifest.
        info: its manifest.json.
        root: where relative paths of the sources start, as the folder of the config once was.
        to: the folder; made by this, or by an earlier call for a manifest of the same content.
        data_roots: what sources may be read from: folders, relative to `root`, or URI prefixes.

    Raises:
        ManifestError: the manifest's config has no sources that can be read, or `to` holds
            something else.
        SourceError: a source cannot be read.
        IntegrityError: a document's text is in no source any more, or `to` is damaged.
    """
    if to.exists():
        _check_texts(info, to)
        return
    ids = [_ids(folder, shard) for shard in info.shards]
    staging = to.parent / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
    staging.mkdir(parents=True)
    try:
        _collect(_source_texts(info, root, data_roots), ids, staging)
        files = {}
        for index, shard in enumerate(info.shards):
            path = staging / shard.name
            _write_in_order(folder, shard, staging / f"found-{index}", path)
            files[shard.name] = file_sha256(path)
        content = {"manifest_id": info.manifest_id, "files": files}
        write_durably(staging / TEXTS_FILE, seal(content))
        sync(staging)
        staging.rename(to)
    except BaseException:
        shutil.rmtree(staging)
        raise


def _check_texts(info: ManifestInfo, to: Path) -> None:
    try:
        content = unseal((to / TEXTS_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(
            f"{to} exists and holds no texts of a manifest; name a folder that does not exist yet"
        ) from None
    except BrokenSealError as error:
        raise IntegrityError(f"{to}/{TEXTS_FILE} {error}; delete {to}, and run again") from error
    if content["manifest_id"] != info.manifest_id:
        raise ManifestError(
            f"{to} holds the texts of manifest id {content['manifest_id']}, "
            f"not of {info.manifest_id}; name another folder"
        )
    files = content["files"]
    for name, digest in files.items() if isinstance(files, Mapping) else ():
        if not (to / name).is_file() or file_sha256(to / name) != digest:
            raise IntegrityError(f"{to}/{name} was truncated or edited; delete {to}, and run again")


def _ids(folder: Folder, shard: Shard) -> list[str]:
    import pyarrow.parquet as pq

    with folder.open(shard.name) as stream:
        ids: list[str] = pq.read_table(stream, columns=["document_id"])["document_id"].to_pylist()
    return ids


def _source_texts(info: ManifestInfo, root: Path, data_roots: Sequence[str]) -> Iterator[str]:
    needed = {part.source for part in info.sources if part.selected_documents}
    configured = info.config.get("sources")
    sections = configured if isinstance(configured, list) else []
    names = set()
    for section in sections:
        try:
            source = SourceConfig.model_validate(section)
        except ValidationError as error:
            raise ManifestError(
                f"a source of the manifest's config cannot be read by this databourse: {error}"
            ) from error
        if source.name not in needed:
            continue
        names.add(source.name)
        for part in open_source(root=root, data_roots=data_roots, **source.model_dump()).parts():
            yield from (row.text for row in part.rows() if isinstance(row, SourceRow))
    if needed - names:
        raise ManifestError(
            f"the manifest's config does not say how to read source {min(needed - names)!r}"
        )


def _collect(texts: Iterator[str], ids: Sequence[Sequence[str]], staging: Path) -> None:
    """Write what is found into a file per shard, in the order in which it is found."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard_of = {each: index for index, part in enumerate(ids) for each in part}
    schema = pa.schema([("document_id", pa.string()), ("text", pa.large_string())])
    writers = [pq.ParquetWriter(staging / f"found-{index}", schema) for index in range(len(ids))]
    waiting: list[dict[str, str]] = [{} for _ in ids]

    def flush(index: int) -> None:
        columns = [list(waiting[index]), list(waiting[index].values())]
        writers[index].write_table(pa.table(columns, schema=schema))
        waiting[index] = {}

    try:
        for text in texts:
            each = document_id(text)
            index = shard_of.pop(each, None)  # a second row with the same text is not needed
            if index is None:
                continue
            waiting[index][each] = text
            if len(waiting[index]) == _BATCH_TEXTS:
                flush(index)
        for index in range(len(ids)):
            flush(index)
    finally:
        for writer in writers:
            writer.close()
    if shard_of:
        missing = sorted(shard_of)
        raise IntegrityError(
            f"the sources no longer hold the texts of {len(missing):,} of "
            f"{sum(map(len, ids)):,} documents, for example "
            f"{', '.join(missing[:_SHOWN_MISSING])}: rows were edited or removed, or root is wrong"
        )


def _write_in_order(folder: Folder, shard: Shard, found: Path, path: Path) -> None:
    """Write the texts of one shard in its order and row groups."""
    import pyarrow.parquet as pq

    table = pq.read_table(found).sort_by("document_id")
    found.unlink()
    start = 0
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for rows in _row_group_sizes(folder, shard):
            writer.write_table(table.slice(start, rows), row_group_size=rows)
            start += rows


def _row_group_sizes(folder: Folder, shard: Shard) -> list[int]:
    import pyarrow.parquet as pq

    with folder.open(shard.name) as stream:
        metadata = pq.ParquetFile(stream).metadata
        return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def joined_row_group(
    documents: pq.ParquetFile, texts: pq.ParquetFile, index: int, columns: list[str] | None
) -> pa.Table:
    """Return a row group of a shard with its texts as last column, or where `columns` has it.

    Raises:
        IntegrityError: the texts are those of other documents.
    """
    wanted = [name for name in columns or documents.schema_arrow.names if name != "text"]
    # document_id is read in any case, to hold it against that of the texts
    table = documents.read_row_group(index, columns=list({*wanted, "document_id"}))
    found = texts.read_row_group(index)
    if not table["document_id"].equals(found["document_id"]):
        raise IntegrityError("the folder of texts is of another manifest; delete it, and run again")
    table = table.append_column("text", found["text"])
    return table.select(columns if columns is not None else [*wanted, "text"])
