"""First phase of publishing: a manifest is built in a folder that no reader looks at.

`stage` writes the documents into `<root>/<pool>/.staging-<token>/`; contracts then judge exactly
these files; `publication.publish` makes them a version, or `abandon` removes them. A killed process
leaves its folder behind: `sweep_staging` removes those that are old.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from databourse.digests import file_sha256
from databourse.errors import InputError, ManifestError
from databourse.manifests.folders import MANIFEST_FILE, STAGING_PREFIX, SUMS_FILE, version_number
from databourse.manifests.identity import manifest_identity
from databourse.manifests.model import Counts, ManifestDraft, ManifestFacts, Shard
from databourse.manifests.provenance import PROVENANCE_FILE
from databourse.manifests.shards import SHARD_PATTERN, canonical_documents, write_shards
from databourse.manifests.totals import counts_by, source_totals, topic_totals

if TYPE_CHECKING:
    import pyarrow as pa

VALIDATION_FILE = "validation.json"
CROISSANT_FILE = "croissant.json"
DRAFT_FILE = "draft.json"
_WRITTEN_LATER = frozenset(
    {
        MANIFEST_FILE,
        SUMS_FILE,
        VALIDATION_FILE,
        CROISSANT_FILE,
        DRAFT_FILE,
        PROVENANCE_FILE,
    }
)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class StagedManifest:
    """A manifest whose documents are written and which is not published yet.

    `path` alone is enough to hand it to another process: see `load_staged`.
    """

    path: Path
    draft: ManifestDraft

    @property
    def pool_path(self) -> Path:
        """Return the folder of the pool that it will be published in."""
        return self.path.parent

    @property
    def shard_paths(self) -> list[Path]:
        """Return its Parquet files, in key order."""
        return [self.path / shard.name for shard in self.draft.shards]


def stage(
    root: Path, facts: ManifestFacts, documents: pa.Table, *, shard_rows: int = 100_000
) -> StagedManifest:
    """Write the documents of a new manifest beside the versions of its pool.

    Args:
        root: folder of all pools, created if missing; a local file system.
        facts: what the rows do not say.
        documents: the selected documents, as `shards.canonical_documents` takes them.
        shard_rows: most rows per Parquet file, > 0; it changes files, not the manifest_id.

    Raises:
        InputError: documents or the name of the pool are not valid, or documents are of a topic
            or source that `facts` does not name.
    """
    if version_number(facts.pool) is not None:
        raise InputError(f"a pool must not be named like a version, got {facts.pool!r}; rename it")
    table = canonical_documents(documents)
    path = root / facts.pool / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
    path.mkdir(parents=True)
    try:
        shards = tuple(_shard(file) for file in write_shards(table, path, shard_rows=shard_rows))
        draft = _draft(facts, table, shards)
        write_durably(path / DRAFT_FILE, draft.model_dump_json(indent=2).encode("utf-8"))
    except BaseException:
        shutil.rmtree(path)
        raise
    return StagedManifest(path, draft)


def load_staged(path: Path) -> StagedManifest:
    """Return the staged manifest that lies in a folder.

    Raises:
        ManifestError: there is none; it was published, abandoned or swept.
    """
    try:
        data = (path / DRAFT_FILE).read_bytes()
    except FileNotFoundError:
        raise ManifestError(
            f"{path} holds no staged manifest: it was published, abandoned or swept; stage it again"
        ) from None
    return StagedManifest(path, ManifestDraft.model_validate_json(data))


def add_file(staged: StagedManifest, name: str, data: bytes) -> Path:
    """Write a further file, such as `report.html`, that is published with the manifest.

    Raises:
        InputError: the name is not a plain file name, or is taken.
    """
    is_taken = name in _WRITTEN_LATER or re.fullmatch(SHARD_PATTERN, name) is not None
    if is_taken or _FILE_NAME.fullmatch(name) is None:
        raise InputError(
            f"a further file of a manifest needs a name made of letters, digits, '.', '_' and '-' "
            f"that the manifest itself does not use; got {name!r}"
        )
    write_durably(staged.path / name, data)
    return staged.path / name


def abandon(staged: StagedManifest) -> None:
    """Remove a staged manifest; nothing happens if it is gone already."""
    if staged.path.is_dir():
        shutil.rmtree(staged.path)


def sweep_staging(root: Path, pool: str, *, before: datetime) -> list[str]:
    """Remove staged manifests of a pool that were last written before a moment.

    Args:
        root: folder of all pools.
        pool: name of the pool.
        before: a moment with a time zone; choose one that no living refresh can have begun before.

    Returns:
        Names of the removed folders, sorted.
    """
    removed = []
    for path in sorted((root / pool).glob(f"{STAGING_PREFIX}*")):
        if _last_written(path) < before.timestamp():
            shutil.rmtree(path)
            removed.append(path.name)
    return removed


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it survives a power cut once its folder is synced too."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_written(path: Path) -> float:
    return max(entry.stat().st_mtime for entry in (path, *path.iterdir()))


def _shard(path: Path) -> Shard:
    import pyarrow.parquet as pq

    return Shard(
        name=path.name,
        rows=pq.read_metadata(path).num_rows,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def _draft(facts: ManifestFacts, table: pa.Table, shards: tuple[Shard, ...]) -> ManifestDraft:
    content = facts.model_dump(exclude={"topics", "sources"})
    return ManifestDraft(
        **content,
        topics=topic_totals(facts.topics, counts_by([table], "topic")),
        sources=source_totals(facts.sources, counts_by([table], "source")),
        manifest_id=manifest_identity(
            [table],
            pool=facts.pool,
            snapshot_id=facts.snapshot_id,
            tokenizer_id=facts.tokenizer.id,
            budget=facts.budget,
            market=facts.market,
            selection=facts.selection,
        ),
        spent=Counts(documents=table.num_rows, tokens=sum(table.column("tokens").to_pylist())),
        shards=shards,
    )
