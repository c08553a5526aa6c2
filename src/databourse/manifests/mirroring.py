"""Copies of a pool's manifests elsewhere: an object store, another disk, through fsspec.

An object store renames nothing, so the order of writing does what a rename does on a disk:

1. the files of a version, `manifest.json` last: before it there is no version;
2. records beside versions: signatures and withdrawals;
3. `latest.json`, or its removal: a reader is never sent to a version that is not whole.

A version never changes, so one whose `manifest.json` is there as it is here is not sent again: a
copy that was interrupted is finished by the next one. Nothing but `latest.json` is ever removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databourse.errors import ConfigError, ManifestError, TransientError, first_line
from databourse.manifests.folders import (
    LATEST_FILE,
    MANIFEST_FILE,
    Folder,
    folder_at,
    version_name,
    version_number,
    version_numbers,
)


@dataclass(frozen=True)
class Mirrored:
    """What a mirror came to.

    Attributes:
        target: where the pool's copy is.
        versions: those that were copied now.
        files: written now, records and `latest.json` included.
        bytes: of them.
    """

    target: str
    versions: tuple[int, ...]
    files: int
    bytes: int


def mirror_pool(pool: Path, target: str) -> Mirrored:
    """Make a copy of a pool's manifests what the pool is, as far as it is not.

    Args:
        pool: folder of the pool, local.
        target: folder or fsspec URI above the copy, which is called as the pool is.

    Raises:
        ManifestError: there is no such pool, or the copy has another version of a number.
        ConfigError: nothing can reach such a URI.
        TransientError: it cannot be written now.
    """
    own = folder_at(pool)
    numbers = version_numbers(own)
    if not numbers:
        raise ManifestError(f"{pool} holds no version; publish with: databourse run CONFIG")
    check_mirror(target)
    copy = _Copy(own, folder_at(f"{target.rstrip('/')}/{own.name}"))
    try:
        sent = tuple(each for each in numbers if copy.version(version_name(each)))
        copy.records()
        copy.latest()
    except (OSError, TimeoutError) as error:
        raise TransientError(
            f"{copy.there} cannot be written: {first_line(error)}; the manifest itself is "
            "published, run again to copy it"
        ) from error
    return Mirrored(str(copy.there), sent, copy.files, copy.bytes)


def check_mirror(target: str) -> str:
    """Return a target, after checking that there is a file system for it.

    Raises:
        ConfigError: there is none, or a package for it is missing.
    """
    import fsspec

    try:
        fsspec.core.url_to_fs(target)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"manifest.mirror {target!r} cannot be reached: {first_line(error)}"
        ) from error
    return target


class _Copy:
    """A pool here, its copy there, and what was written."""

    def __init__(self, here: Folder, there: Folder) -> None:
        self.here, self.there = here, there
        self.files = self.bytes = 0

    def version(self, name: str) -> bool:
        """Copy a version that is not there; return whether it was not."""
        here, there = self.here.child(name), self.there.child(name)
        if MANIFEST_FILE not in here.entries():
            return False  # left over by a run that was killed
        found = there.read(MANIFEST_FILE) if MANIFEST_FILE in there.entries() else None
        if found == here.read(MANIFEST_FILE):
            return False
        if found is not None:
            raise ManifestError(
                f"{there} is another version than {here}: two pools of one name share this "
                "mirror; give each a mirror of its own"
            )
        names = [each for each in here.files() if not each.endswith("/")]
        for each in sorted(names, key=lambda each: (each == MANIFEST_FILE, each)):
            self._put(f"{name}/{each}")
        return True

    def records(self) -> None:
        """Copy what lies beside the versions and is new or has changed."""
        present = self.there.entries()
        beside = [
            name
            for name, entry in self.here.entries().items()
            if entry["type"] != "directory" and version_number(name.partition(".")[0]) is not None
        ]
        for name in beside:
            if name not in present or self.there.read(name) != self.here.read(name):
                self._put(name)

    def latest(self) -> None:
        """Make the copy's latest version the pool's."""
        is_there = LATEST_FILE in self.there.entries()
        if LATEST_FILE not in self.here.entries():
            if is_there:
                self.there.fs.rm(_path(self.there, LATEST_FILE))
        elif not is_there or self.there.read(LATEST_FILE) != self.here.read(LATEST_FILE):
            self._put(LATEST_FILE)

    def _put(self, name: str) -> None:
        target = _path(self.there, name)
        store: Any = self.there.fs
        store.makedirs(target.rpartition("/")[0], exist_ok=True)
        store.put_file(_path(self.here, name), target)
        store.invalidate_cache()
        self.files += 1
        self.bytes += int(store.size(target))


def _path(folder: Folder, name: str) -> str:
    return f"{folder.root.rstrip('/')}/{name}"
