"""What changes a pool: one process at a time, and `latest.json` all at once or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from databourse.digests import file_sha256
from databourse.errors import ManifestError
from databourse.manifests.folders import (
    LATEST_FILE,
    MANIFEST_FILE,
    STAGING_PREFIX,
    version_name,
)
from databourse.manifests.model import Latest, ManifestInfo
from databourse.manifests.seals import seal
from databourse.manifests.staging import sync, write_durably

_LOCK_FILE = ".publish.lock"
_LATEST_DRAFT = ".latest.json.tmp"
_POLL_SECONDS = 0.05


@contextmanager
def only_writer(pool: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of a pool; it dies with its process.

    Raises:
        ManifestError: another process holds it for longer than `wait_seconds`.
    """
    import fcntl

    give_up = time.monotonic() + wait_seconds
    with (pool / _LOCK_FILE).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise ManifestError(
                        f"another process has been publishing in {pool} for {wait_seconds:g} "
                        "seconds; wait for it, then run again"
                    ) from None
            time.sleep(_POLL_SECONDS)
        yield


def staging_paths(pool: Path) -> list[Path]:
    """Return what killed writers left half-written in the folder of a pool."""
    patterns = (f"{STAGING_PREFIX}*", ".*.tmp")
    return sorted(path for pattern in patterns for path in pool.glob(pattern))


def remove_staging(pool: Path, wait_seconds: float = 60.0) -> None:
    """Remove what killed writers left half-written in the folder of a pool, if there is one.

    For whoever knows that no living refresh has staged a manifest there.

    Raises:
        ManifestError: another process publishes in the pool for longer than `wait_seconds`.
    """
    if not pool.is_dir():
        return
    with only_writer(pool, wait_seconds):
        for path in staging_paths(pool):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def swap_latest(pool: Path, info: ManifestInfo, published_at: datetime) -> None:
    """Make `latest.json` name a version; a reader sees the old one or the new one."""
    name = version_name(info.version)
    latest = Latest(
        version=info.version,
        manifest_id=info.manifest_id,
        path=name,
        manifest_sha256=file_sha256(pool / name / MANIFEST_FILE),
        published_at=published_at,
    )
    write_durably(pool / _LATEST_DRAFT, seal(latest.model_dump(mode="json")))
    (pool / _LATEST_DRAFT).replace(pool / LATEST_FILE)
    sync(pool)


def remove_latest(pool: Path) -> None:
    """Make a pool one in which nothing is published."""
    (pool / LATEST_FILE).unlink()
    sync(pool)
