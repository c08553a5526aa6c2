"""Second phase of publishing: a staged manifest becomes a version, all at once or not at all.

Order of events, each on the disk before the next begins:

1. the version's last files are written in the staging folder, `SHA256SUMS` last;
2. the whole is verified there;
3. the folder is renamed to `v000001`, the first number that nothing has;
4. `latest.json` is replaced: only now is the version published.

A process killed between 3 and 4 leaves a whole version that `latest.json` does not name. The next
publication of the same content adopts it: `latest.json` is swapped, no further version is made.
Other content gets the next free number and the parent that `latest.json` names; the version left
over stays, and `list_manifests` calls it unpublished. What was withdrawn is neither published again
nor adopted. A lock on the pool, which dies with its
process, makes publications wait for each other.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from databourse.digests import file_sha256
from databourse.errors import ManifestError
from databourse.manifests.croissant import croissant_metadata
from databourse.manifests.folders import (
    LATEST_FILE,
    MANIFEST_FILE,
    SUMS_FILE,
    folder_at,
    read_latest,
    version_name,
    version_number,
    withdrawal_name,
)
from databourse.manifests.model import (
    SCHEMA_VERSION,
    ContractResult,
    Latest,
    ManifestInfo,
    VersionRef,
)
from databourse.manifests.pool_changes import only_writer, swap_latest
from databourse.manifests.provenance import PROVENANCE_FILE, envelope_bytes
from databourse.manifests.seals import seal
from databourse.manifests.signatures import key_id
from databourse.manifests.staging import (
    CROISSANT_FILE,
    DRAFT_FILE,
    VALIDATION_FILE,
    StagedManifest,
    abandon,
    sync,
    write_durably,
)
from databourse.manifests.verification import (
    check_files,
    expected_digests,
    sums_text,
    verify_version,
)
from databourse.manifests.withdrawals import leave_withdrawn, withdrawn_with

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Publication:
    """What became of a staged manifest.

    `outcome` is `published` (a new version), `adopted` (a whole version that an interrupted
    publication left behind became latest) or `unchanged` (latest has this content already).
    """

    outcome: Literal["published", "adopted", "unchanged"]
    pool: str
    version: int
    manifest_id: str
    path: Path
    documents: int
    tokens: int
    note: str = ""

    @property
    def published(self) -> bool:
        """Return whether `latest.json` names something else than before."""
        return self.outcome != "unchanged"


def publish(
    staged: StagedManifest,
    *,
    contracts: Sequence[ContractResult],
    validation: Mapping[str, JsonValue],
    published_at: datetime,
    signing_key: Ed25519PrivateKey | None = None,
    wait_seconds: float = 60.0,
) -> Publication:
    """Make a staged manifest the latest version of its pool; its staging folder is gone then.

    Args:
        staged: what `stage` returned.
        contracts: one result per contract that guards the manifest; all must be successful.
        validation: every contract's full result, the content of validation.json.
        published_at: now, with a time zone.
        signing_key: who signs the manifest; None leaves it unsigned.
        wait_seconds: how long to wait for another publication in the same pool.

    Raises:
        ManifestError: a contract failed, the same content was withdrawn, or another publication
            does not end. Nothing changed.
        IntegrityError: latest.json or the staged files are damaged. Nothing changed.
    """
    failed = [result.contract for result in contracts if not result.success]
    if failed:
        raise ManifestError(
            f"contract {', '.join(failed)} failed, so nothing was published in "
            f"{staged.pool_path}; see the failed rules in its result"
        )
    with only_writer(staged.pool_path, wait_seconds):
        leave_withdrawn(staged.pool_path, published_at)
        _refuse_withdrawn(staged)
        latest = _latest(staged.pool_path)
        damage = ""
        if latest is not None and latest.manifest_id == staged.draft.manifest_id:
            damage = _damage(staged.pool_path / latest.path)
            if not damage:
                abandon(staged)
                return _publication("unchanged", staged, latest.version)
        orphan = _orphan_with(staged, latest)
        if orphan is not None:
            swap_latest(staged.pool_path, orphan, published_at)
            abandon(staged)
            return _publication("adopted", staged, orphan.version)
        version = _next_version(staged.pool_path, latest)
        info = _seal(
            staged,
            version,
            latest=latest,
            contracts=contracts,
            validation=validation,
            signing_key=signing_key,
        )
        verify_version(folder_at(staged.path)).require_ok()
        _rename(staged, info.version)
        swap_latest(staged.pool_path, info, published_at)
        return _publication("published", staged, info.version, damage)


def next_version(staged: StagedManifest) -> int:
    """Return the number that a staged manifest gets if it is published now and is new."""
    return _next_version(staged.pool_path, _latest(staged.pool_path))


def _publication(
    outcome: Literal["published", "adopted", "unchanged"],
    staged: StagedManifest,
    version: int,
    note: str = "",
) -> Publication:
    return Publication(
        outcome=outcome,
        pool=staged.draft.pool,
        version=version,
        manifest_id=staged.draft.manifest_id,
        path=staged.pool_path / version_name(version),
        documents=staged.draft.spent.documents,
        tokens=staged.draft.spent.tokens,
        note=note,
    )


def _refuse_withdrawn(staged: StagedManifest) -> None:
    record = withdrawn_with(staged.pool_path, staged.draft.manifest_id)
    if record is not None:
        raise ManifestError(
            f"the same content was withdrawn from {staged.pool_path} as version {record.version} "
            f"on {record.withdrawn_at:%Y-%m-%d}: {record.reason}. Nothing was published; change "
            f"sources or config, or delete {withdrawal_name(record.version)} to reinstate it"
        )


def _latest(pool: Path) -> Latest | None:
    return read_latest(folder_at(pool)) if (pool / LATEST_FILE).exists() else None


def _damage(version: Path) -> str:
    """Return what is wrong with the files of the latest version, or nothing."""
    _, problems = check_files(folder_at(version))
    found = "; ".join(str(problem) for problem in problems)
    return f"{version.name} is damaged ({found}), so its content was published again" * bool(found)


def _versions_taken(pool: Path) -> list[int]:
    numbers = (version_number(path.name) for path in pool.iterdir())
    return sorted(number for number in numbers if number is not None)


def _next_version(pool: Path, latest: Latest | None) -> int:
    return 1 + max([*_versions_taken(pool), latest.version if latest else 0], default=0)


def _orphan_with(staged: StagedManifest, latest: Latest | None) -> ManifestInfo | None:
    """Return a whole version newer than latest that has the content of a staged manifest."""
    published = latest.version if latest else 0
    for version in _versions_taken(staged.pool_path):
        if version <= published:
            continue
        report = verify_version(folder_at(staged.pool_path / version_name(version)))
        if report.ok and report.info and report.info.manifest_id == staged.draft.manifest_id:
            return report.info
    return None


def _seal(
    staged: StagedManifest,
    version: int,
    *,
    latest: Latest | None,
    contracts: Sequence[ContractResult],
    validation: Mapping[str, JsonValue],
    signing_key: Ed25519PrivateKey | None,
) -> ManifestInfo:
    """Write the files of a version that depend on its number or on all the others."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(staged.shard_paths[0])
    croissant = croissant_metadata(staged.draft, schema, version=version)
    write_durably(staged.path / CROISSANT_FILE, _json_bytes(croissant))
    write_durably(staged.path / VALIDATION_FILE, _json_bytes(validation))
    (staged.path / DRAFT_FILE).unlink(missing_ok=True)
    files = _file_digests(staged)
    info = ManifestInfo(
        **staged.draft.model_dump(),
        schema_version=SCHEMA_VERSION,
        version=version,
        parent=VersionRef(**latest.model_dump()) if latest else None,
        contracts=tuple(contracts),
        validation_sha256=files[VALIDATION_FILE],
        files=files,
        signer=key_id(signing_key.public_key()) if signing_key else None,
    )
    write_durably(staged.path / MANIFEST_FILE, manifest_bytes(info))
    digests = {**expected_digests(info), MANIFEST_FILE: file_sha256(staged.path / MANIFEST_FILE)}
    if signing_key is not None:
        envelope = envelope_bytes(info, digests, signing_key)
        write_durably(staged.path / PROVENANCE_FILE, envelope)
        digests[PROVENANCE_FILE] = file_sha256(staged.path / PROVENANCE_FILE)
    write_durably(staged.path / SUMS_FILE, sums_text(digests))
    for path in (*staged.shard_paths, staged.path):
        sync(path)
    return info


def manifest_bytes(info: ManifestInfo) -> bytes:
    """Return the content of manifest.json: sealed, what identifies it first."""
    content = info.model_dump(mode="json")
    first = ("schema_version", "pool", "version", "manifest_id", "parent", "created_at")
    return seal({key: content[key] for key in first} | content)


def _json_bytes(content: Mapping[str, object]) -> bytes:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _file_digests(staged: StagedManifest) -> dict[str, str]:
    others = {MANIFEST_FILE, SUMS_FILE, *(shard.name for shard in staged.draft.shards)}
    names = sorted(path.name for path in staged.path.iterdir() if path.name not in others)
    return {name: file_sha256(staged.path / name) for name in names}


def _rename(staged: StagedManifest, version: int) -> None:
    target = staged.pool_path / version_name(version)
    try:
        staged.path.rename(target)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            raise
        raise ManifestError(
            f"{target} appeared while it was being published; nothing was overwritten. Run again"
        ) from error
    sync(staged.pool_path)
