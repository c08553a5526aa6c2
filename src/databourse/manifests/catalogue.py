"""Which pools and versions lie in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from databourse.errors import DatabourseError, ManifestError
from databourse.manifests.folders import (
    LATEST_FILE,
    Folder,
    Location,
    folder_at,
    is_pool,
    is_version,
    read_latest,
    version_name,
    version_numbers,
    withdrawal_of,
)
from databourse.manifests.model import ManifestInfo, Withdrawal
from databourse.manifests.reader import read_info
from databourse.manifests.verification import no_manifest

State = Literal["latest", "published", "unpublished", "withdrawn", "damaged"]


@dataclass(frozen=True)
class VersionListing:
    """One version of a pool; `info` is None and `problem` says why if it cannot be opened.

    A withdrawn version has its `info`, and `withdrawal` says why it was withdrawn.

    `unpublished` is a version that `latest.json` never named: its publication was interrupted.
    """

    version: int
    location: str
    state: State
    info: ManifestInfo | None
    problem: str = ""
    withdrawal: Withdrawal | None = None


@dataclass(frozen=True)
class PoolListing:
    """One pool and its versions, ascending; `problem` says why `latest` is None."""

    pool: str
    location: str
    latest: int | None
    versions: tuple[VersionListing, ...]
    problem: str = ""


def list_manifests(location: Location) -> tuple[PoolListing, ...]:
    """Return the pools in a folder, or the one pool that it is, in order of name.

    Files are not verified; a version counts as damaged if it cannot be opened.

    Raises:
        ManifestError: there is no pool.
    """
    folder = folder_at(location)
    if is_version(folder):
        raise ManifestError(
            f"{folder} is one version; give the folder of its pool, or of all pools"
        )
    if is_pool(folder):
        return (_pool_listing(folder),)
    children = [
        folder.child(name)
        for name, entry in folder.entries().items()
        if entry["type"] == "directory" and not name.startswith(".")
    ]
    pools = tuple(_pool_listing(child) for child in children if is_pool(child))
    if not pools:
        raise no_manifest(folder)
    return pools


def recent_manifests(pool: Location, most: int) -> tuple[ManifestInfo, ...]:
    """Return the last `most` versions of a pool that can be opened, oldest first; no pool: none."""
    folder = folder_at(pool)
    if not is_pool(folder):
        return ()
    opened = (_opened(folder, version)[0] for version in version_numbers(folder)[-most:])
    return tuple(info for info in opened if info is not None)


def _pool_listing(pool: Folder) -> PoolListing:
    latest, problem = None, ""
    try:
        latest = read_latest(pool).version if LATEST_FILE in pool.entries() else None
    except DatabourseError as error:
        problem = str(error)
    opened = {version: _opened(pool, version) for version in version_numbers(pool)}
    skipped = _skipped({version: info for version, (info, _, _) in opened.items()}, latest)
    versions = tuple(
        VersionListing(
            version=version,
            location=str(pool.child(version_name(version))),
            state="withdrawn" if withdrawal else _state(version, info, latest, skipped),
            info=info,
            problem=what,
            withdrawal=withdrawal,
        )
        for version, (info, what, withdrawal) in opened.items()
    )
    return PoolListing(pool.name, str(pool), latest, versions, problem)


def _opened(pool: Folder, version: int) -> tuple[ManifestInfo | None, str, Withdrawal | None]:
    folder = pool.child(version_name(version))
    try:
        info = read_info(folder)
        return info, "", withdrawal_of(folder, info)
    except DatabourseError as error:
        return None, str(error), None


def _skipped(infos: dict[int, ManifestInfo | None], latest: int | None) -> set[int]:
    """Return the versions that the chain of parents, from latest on, leaps over."""
    if latest is None:
        return set(infos)
    skipped = {version for version in infos if version > latest}
    current: int | None = latest
    while current is not None:
        info = infos.get(current)
        if info is None:
            break
        before = info.parent.version if info.parent else 0
        skipped |= {version for version in infos if before < version < current}
        current = before if 0 < before < current else None
    return skipped


def _state(version: int, info: ManifestInfo | None, latest: int | None, skipped: set[int]) -> State:
    if info is None:
        return "damaged"
    if version == latest:
        return "latest"
    return "unpublished" if version in skipped else "published"
