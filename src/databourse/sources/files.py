"""Files of a source: patterns to files, inside the folders and URI prefixes that a config allows.

A local pattern (`**` too) is relative to `root`. A pattern with `://` goes through fsspec;
`file://` is another way to write a local path. Symbolic links and `..` are resolved before a path
is compared with the allowed roots; URIs are compared as text, at a `/`.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from databourse.errors import SourceError, TransientError

_CHUNK_BYTES = 1 << 20
_LISTED_NAMES = 8
_COMPARED_NAMES = 5_000
_STATE_KEYS = ("size", "mtime", "ETag", "etag", "LastModified", "last_modified", "md5Hash")
"""What file systems report that changes when a file's bytes do."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a pattern matched and that may be read.

    Attributes:
        uri: how it is named in tables and messages: relative to the root when below it, else as
            written; POSIX.
        location: resolved path or full URI; says where this machine has it.
    """

    uri: str
    location: str

    @property
    def is_remote(self) -> bool:
        """Tell whether it is read through fsspec."""
        return is_uri(self.location)

    def open(self) -> BinaryIO:
        """Return its stored bytes as a stream.

        Raises:
            SourceError: it cannot be opened.
            TransientError: the file system did not answer.
        """
        with reading(self):
            if not self.is_remote:
                return Path(self.location).open("rb")
            file_system, path = _file_system(self.location)
            return cast("BinaryIO", file_system.open(path, "rb"))

    def state(self) -> tuple[str, ...]:
        """Return what changes when the file is edited: size, time of change, object tag."""
        with reading(self):
            if not self.is_remote:
                status = Path(self.location).stat()
                return (str(status.st_size), str(status.st_mtime_ns), str(status.st_ino))
            file_system, path = _file_system(self.location)
            file_system.invalidate_cache()
            info = file_system.info(path)
            return tuple(str(info.get(key)) for key in (*_STATE_KEYS, "created"))

    def digest(self) -> tuple[str, int]:
        """Return the sha256 of the stored bytes, in hex, and their number."""
        state, size = hashlib.sha256(), 0
        with self.open() as stream, reading(self):
            while chunk := stream.read(_CHUNK_BYTES):
                state.update(chunk)
                size += len(chunk)
        return state.hexdigest(), size


@contextmanager
def reading(file: FoundFile) -> Iterator[None]:
    """Turn the failures of a file system into one clear error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{file.uri} is gone; it was there when the run began") from None
    except PermissionError:
        raise SourceError(f"{file.uri} may not be read; give this user the right to") from None
    except (OSError, TimeoutError) as error:
        kind = TransientError if file.is_remote else SourceError
        raise kind(f"{file.uri} cannot be read: {error}") from None


def find_files(
    patterns: Iterable[str], *, root: Path, data_roots: Sequence[str]
) -> list[FoundFile]:
    """Return the files that the patterns match, each once, in order of `uri`.

    Args:
        patterns: local paths or globs, relative to `root`, and fsspec URIs.
        root: the folder of the config.
        data_roots: folders, relative to `root`, and URI prefixes that may be read.

    Raises:
        SourceError: a pattern matches nothing, or something that may not be read; names it.
    """
    roots = _Roots(root, data_roots)
    found: dict[str, FoundFile] = {}
    for pattern in patterns:
        is_remote = is_uri(pattern) and not _is_local_uri(pattern)
        matches = _remote_matches(pattern, roots) if is_remote else _local_matches(pattern, roots)
        for file in matches:
            known = found.setdefault(file.location, file)
            if file.uri < known.uri:
                found[file.location] = file
    return sorted(found.values(), key=lambda file: file.uri)


def is_uri(pattern: str) -> bool:
    """Tell an fsspec URI from a local path."""
    return "://" in pattern


class _Roots:
    """The places that may be read."""

    def __init__(self, root: Path, data_roots: Sequence[str]) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - links are kept
        self.written = tuple(data_roots)
        self._folders = [
            (self.root / _local_path(each)).resolve()
            for each in data_roots
            if not is_uri(each) or _is_local_uri(each)
        ]
        self._prefixes = [_plain_uri(each) for each in data_roots if is_uri(each)]

    def check_path(self, path: Path, written: str) -> Path:
        """Return the resolved path; refuse one outside."""
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:  # a loop of links
            raise SourceError(f"path {written!r} cannot be resolved: {error}") from None
        if not any(resolved.is_relative_to(folder) for folder in self._folders):
            raise self._refusal(written, "after links and .. are resolved")
        return resolved

    def check_uri(self, uri: str) -> None:
        """Refuse a URI that no prefix allows."""
        plain = _plain_uri(uri)
        if not any(plain == each or plain.startswith(_below(each)) for each in self._prefixes):
            raise self._refusal(uri, "")

    def _refusal(self, written: str, how: str) -> SourceError:
        allowed = ", ".join(repr(each) for each in self.written) or "nothing"
        return SourceError(
            f"path {written!r} is outside of what may be read{' ' if how else ''}{how}; "
            f"data_roots allows {allowed}: add its folder or URI prefix to data_roots"
        )


def _local_matches(pattern: str, roots: _Roots) -> list[FoundFile]:
    written = _local_path(pattern)
    if not written or "\0" in written:
        raise SourceError(f"path {pattern!r} is no path; write one, such as data/*.jsonl.gz")
    path = roots.root / written
    if not glob.has_magic(written) or os.path.lexists(path):
        return [_literal_file(written, roots)]
    start = _folder_before_magic(written)
    roots.check_path(roots.root / start, written)
    names = sorted(glob.glob(written, root_dir=roots.root, recursive=True))  # noqa: PTH207 - keeps links and .. as written
    files = [name for name in names if (roots.root / name).is_file()]
    if not files:
        problem = "matches only folders" if names else "matches no file"
        raise SourceError(f"path {pattern!r} {problem}; {_nearby(roots.root / start, pattern)}")
    return [_local_file(name, roots) for name in files]


def _literal_file(written: str, roots: _Roots) -> FoundFile:
    path = roots.root / written
    resolved = roots.check_path(path, written)
    if resolved.is_dir():
        raise SourceError(
            f"path {written!r} is a folder; name its files, such as {written.rstrip('/')}/*.jsonl"
        )
    if not resolved.exists():
        raise SourceError(f"there is no file {written!r}; {_nearby(path.parent, written)}")
    if not resolved.is_file():
        raise SourceError(f"path {written!r} is no regular file; a source reads files only")
    return _local_file(written, roots)


def _local_file(written: str, roots: _Roots) -> FoundFile:
    path = roots.root / written
    location = roots.check_path(path, written)
    name = location if ".." in path.parts else path
    for folder in (roots.root, roots.root.resolve()):
        if name.is_relative_to(folder):
            return FoundFile(name.relative_to(folder).as_posix(), str(location))
    return FoundFile(Path(written).as_posix(), str(location))


def _folder_before_magic(pattern: str) -> Path:
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _nearby(folder: Path, pattern: str) -> str:
    """Return the names that a wrong path may have meant; the folder's access was checked."""
    missing = Path(pattern).name
    while not folder.is_dir() and folder != folder.parent:
        folder, missing = folder.parent, folder.name
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return _nearby_names(missing, sorted(names)[:_COMPARED_NAMES], folder.name or str(folder))


def _nearby_names(missing: str, names: Sequence[str], folder: str) -> str:
    near = difflib.get_close_matches(missing, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    if not names:
        return f"folder {folder!r} is empty"
    more = len(names) - _LISTED_NAMES
    listed = ", ".join(names[:_LISTED_NAMES]) + (f" and {more:,} more" if more > 0 else "")
    return f"folder {folder!r} holds: {listed}"


def _remote_matches(pattern: str, roots: _Roots) -> list[FoundFile]:
    _check_uri_is_plain(pattern)
    roots.check_uri(pattern)
    file_system, path = _file_system(pattern)
    with reading(FoundFile(pattern, pattern)):
        if not glob.has_magic(path) or file_system.isfile(path):
            uris = [pattern] if file_system.isfile(path) else []
        else:
            found = file_system.glob(path, detail=True)
            uris = [_uri(pattern, name) for name, info in found.items() if info["type"] == "file"]
        if not uris:
            raise SourceError(_no_remote_match(pattern, path, file_system))
    for uri in uris:
        roots.check_uri(uri)
    return [FoundFile(uri, uri) for uri in sorted(uris)]


def _no_remote_match(pattern: str, path: str, file_system: Any) -> str:  # noqa: ANN401 - fsspec is untyped
    if file_system.isdir(path):
        return f"path {pattern!r} is a folder; name its files, such as {pattern}/*.jsonl"
    folder = path.rpartition("/")[0]
    if glob.has_magic(folder) or not file_system.isdir(folder):
        return f"path {pattern!r} matches no file, and its folder does not exist"
    names = sorted(str(name).rpartition("/")[2] for name in file_system.ls(folder, detail=False))
    nearby = _nearby_names(path.rpartition("/")[2], names[:_COMPARED_NAMES], folder)
    return f"path {pattern!r} matches no file; {nearby}"


def _check_uri_is_plain(uri: str) -> None:
    protocol, _, rest = uri.partition("://")
    steps = rest.lower().replace("%2e", ".").split("/")
    if "::" in uri or not protocol or {".", ".."} & set(steps):
        raise SourceError(f"path {uri!r} must be one plain URI, without '..' and without '::'")
    if ":" in rest.split("/", 1)[0].rpartition("@")[0]:
        raise SourceError(
            f"the URI of {protocol}://...{rest.rpartition('@')[2]} holds a password, which would "
            "be written into manifests; leave it out and give it to fsspec's own settings"
        )


def _uri(pattern: str, name: str) -> str:
    """Return the URI of a name that a glob gave back, in the form of the pattern."""
    if is_uri(name):
        return name
    return f"{pattern.partition('://')[0]}://{name.lstrip('/')}"


def _plain_uri(uri: str) -> str:
    protocol, _, rest = uri.partition("://")
    return f"{protocol}://{rest.strip('/')}"


def _below(prefix: str) -> str:
    return prefix if prefix.endswith("://") else f"{prefix}/"


def _is_local_uri(pattern: str) -> bool:
    return pattern.partition("://")[0] in {"file", "local"}


def _local_path(pattern: str) -> str:
    return pattern.partition("://")[2] if _is_local_uri(pattern) else pattern


def _file_system(uri: str) -> tuple[Any, str]:
    import fsspec

    try:
        file_system, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        protocol = uri.partition("://")[0]
        raise SourceError(
            f"reading {protocol}:// needs a package that is not installed: {error}"
        ) from None
    except ValueError as error:
        raise SourceError(f"path {uri!r} cannot be read: {error}") from None
    return file_system, str(path)
