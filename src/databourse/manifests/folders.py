"""Where manifests lie: pools and versions in local folders or object stores, through fsspec."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from databourse.errors import IntegrityError, ManifestError
from databourse.manifests.model import SCHEMA_VERSION, Latest, ManifestInfo, Withdrawal
from databourse.manifests.seals import BrokenSealError, unseal

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"
LATEST_FILE = "latest.json"
STAGING_PREFIX = ".staging-"
Location = str | PathLike[str]
"""A local path or an fsspec URI, such as `s3://bucket/manifests/pool`."""

_VERSION_NAME = re.compile(r"v([0-9]{6,})")
_WITHDRAWN = ".withdrawn.json"
_CHUNK_BYTES = 1 << 20
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Folder:
    """A folder of any file system; names are relative to it."""

    fs: AbstractFileSystem
    root: str

    def __str__(self) -> str:
        return str(self.fs.unstrip_protocol(self.root)) if self._is_remote() else self.root

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return self.root.rstrip("/").rsplit("/", 1)[-1]

    def child(self, name: str) -> Folder:
        """Return the folder of that name inside it; it need not exist."""
        return Folder(self.fs, self._path(name))

    @property
    def parent(self) -> Folder:
        """Return the folder that it lies in."""
        return Folder(self.fs, self.root.rstrip("/").rpartition("/")[0])

    def has(self, name: str) -> bool:
        """Return whether one of its files is there."""
        return bool(self.fs.exists(self._path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Return one of its files, opened for reading bytes."""
        stream: IO[bytes] = self.fs.open(self._path(name), "rb")
        return stream

    def read(self, name: str) -> bytes:
        """Return the bytes of one of its files."""
        with self.open(name) as stream:
            return stream.read()

    def sha256(self, name: str) -> str:
        """Return the sha256 of one of its files, in hex."""
        state = hashlib.sha256()
        with self.open(name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                state.update(chunk)
        return state.hexdigest()

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what lies directly in it, by name in order; empty if it does not exist."""
        self.fs.invalidate_cache(self.root)
        try:
            listing = self.fs.ls(self.root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError as error:
            raise ManifestError(f"{self} may not be read: {error.strerror}") from error
        found = {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]: entry for entry in listing}
        # some stores list a folder as an entry of itself
        return {
            name: found[name]
            for name in sorted(found)
            if str(found[name]["name"]).strip("/") != self.root.strip("/")
        }

    def files(self) -> dict[str, int]:
        """Return the size in bytes of every file below it; names of sub-folders end in `/`."""
        return dict(self._walk(""))

    def _walk(self, inside: str) -> Iterator[tuple[str, int]]:
        for name, entry in (self.child(inside) if inside else self).entries().items():
            if entry["type"] == "directory":
                yield f"{inside}{name}/", 0
                yield from self._walk(f"{inside}{name}/")
            else:
                yield f"{inside}{name}", self._size(f"{inside}{name}", entry["size"])

    def _size(self, name: str, listed: int | None) -> int:
        # a web server lists names only
        return int(self.fs.size(self._path(name)) or 0) if listed is None else int(listed)

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}".rstrip("/")

    def _is_remote(self) -> bool:
        protocol = self.fs.protocol
        return "file" not in ((protocol,) if isinstance(protocol, str) else protocol)


def folder_at(location: Location) -> Folder:
    """Return the folder at a local path or fsspec URI; it need not exist.

    Raises:
        ManifestError: the URI's protocol is unknown or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(str(location))
    except (ValueError, ImportError) as error:
        raise ManifestError(f"cannot open {location}: {error}") from error
    return Folder(fs, root)


def version_name(version: int) -> str:
    """Return the folder name of a version: 1 is `v000001`."""
    return f"v{version:06d}"


def version_number(name: str) -> int | None:
    """Return the version that a folder name stands for, or None if it is not one."""
    match = _VERSION_NAME.fullmatch(name)
    number = int(match[1]) if match else 0
    return number if number and version_name(number) == name else None


def withdrawal_name(version: int) -> str:
    """Return the name of the file, beside a version, that says why it was withdrawn."""
    return f"{version_name(version)}{_WITHDRAWN}"


def version_numbers(pool: Folder) -> list[int]:
    """Return the versions that have a folder in a pool, ascending."""
    numbers = [
        version_number(name)
        for name, entry in pool.entries().items()
        if entry["type"] == "directory"
    ]
    return sorted(number for number in numbers if number is not None)


def is_version(folder: Folder) -> bool:
    """Return whether a folder is a version, even a damaged one."""
    names = folder.entries()
    return bool(names) and (
        version_number(folder.name) is not None or MANIFEST_FILE in names or SUMS_FILE in names
    )


def is_pool(folder: Folder) -> bool:
    """Return whether a folder holds versions or says which one is latest."""
    return LATEST_FILE in folder.entries() or bool(version_numbers(folder))


def read_latest(pool: Folder) -> Latest:
    """Return which version of a pool is current.

    Raises:
        ManifestError: nothing was published in the pool.
        IntegrityError: latest.json is damaged.
    """
    try:
        data = pool.read(LATEST_FILE)
    except FileNotFoundError:
        withdrawn = [name for name in pool.entries() if name.endswith(_WITHDRAWN)]
        why = "every version of it was withdrawn" if withdrawn else "nothing was published there"
        raise ManifestError(
            f"{pool} has no {LATEST_FILE}: {why}; name a version, "
            "or publish with: databourse run CONFIG"
        ) from None
    try:
        return parse_latest(data)
    except BrokenSealError as error:
        raise IntegrityError(
            f"{pool}/{LATEST_FILE} {error}. Name a version instead, or delete the file: "
            "the next refresh writes it again."
        ) from None


def withdrawal_of(version: Folder, info: ManifestInfo) -> Withdrawal | None:
    """Return why a version was withdrawn, or None if it was not.

    Raises:
        IntegrityError: the record beside the version is damaged, or speaks of another manifest.
        ManifestError: the record may not be read.
    """
    pool, name = version.parent, withdrawal_name(info.version)
    try:
        record = _model_of(unseal(pool.read(name)), Withdrawal)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ManifestError(
            f"{pool}/{name} may not be read, so {version} may be withdrawn: {error}"
        ) from error
    except BrokenSealError as error:
        raise IntegrityError(
            f"{pool}/{name} {error}. It says why version {info.version} was withdrawn: "
            "copy it again, or withdraw the version again"
        ) from error
    if (record.version, record.manifest_id) != (info.version, info.manifest_id):
        raise IntegrityError(
            f"{pool}/{name} withdraws version {record.version}, manifest id {record.manifest_id}, "
            f"but beside it lies version {info.version}, manifest id {info.manifest_id}"
        )
    return record


def parse_latest(data: bytes) -> Latest:
    """Return the content of latest.json.

    Raises:
        BrokenSealError: it is damaged, or points at no version.
    """
    latest = _model_of(unseal(data), Latest)
    if latest.path != version_name(latest.version):
        raise BrokenSealError(f"points at {latest.path!r}, not at {version_name(latest.version)}")
    return latest


def parse_manifest(data: bytes, where: str) -> ManifestInfo:
    """Return the content of manifest.json.

    Raises:
        BrokenSealError: it is damaged, or is no manifest of schema version 1.
        ManifestError: a newer databourse wrote it.
    """
    content = unseal(data)
    found = content.get("schema_version")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ManifestError(
            f"{where} has schema version {found}; this databourse reads up to {SCHEMA_VERSION}. "
            "Upgrade databourse."
        )
    return _model_of(content, ManifestInfo)


def _model_of(content: dict[str, object], model: type[_Model]) -> _Model:
    try:
        # through JSON, because strict validation of Python values would refuse lists and dates
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BrokenSealError(f"is not valid at {place}: {first['msg']}") from error
