"""What disks do to a warehouse, in one clear line: full, read-only, or damaged."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import duckdb

from databourse.errors import DatabourseError, IntegrityError, StorageError, first_line

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")
_REFUSED_WORDS = ("Read-only file system", "Permission denied", "Operation not permitted")
_DAMAGED_WORDS = (
    "Corrupt database file",
    "does not match stored checksum",
    "not a valid DuckDB database file",
    "Failed to load metadata pointer",
    "Attempted to read past end of file",
    "Could not read enough bytes",
)
DAMAGED_DATABASE = (
    "Restore it from a backup. Without one, move it away and run again: documents, vectors, "
    "signals and prices are computed anew from the sources; settlements and paid answers are lost"
)


@contextlib.contextmanager
def named_storage_errors(root: Path) -> Iterator[None]:
    """Turn what a full, read-only or damaged disk raises in the block into one line about it.

    Args:
        root: folder of the warehouse.

    Raises:
        StorageError: there is no room left, or the folder may not be written.
        IntegrityError: the DuckDB file is damaged.
    """
    try:
        yield
    except (OSError, duckdb.Error) as error:
        named = storage_error(error, root)
        if named is None:
            raise
        raise named from None


def storage_error(error: BaseException, root: Path) -> DatabourseError | None:
    """Return the line about the disk that is behind an error; None if it is about something else.

    Args:
        error: what was raised; what it was raised in place of is looked at too.
        root: folder of the warehouse.
    """
    found: BaseException | None = error
    while found is not None:
        text = first_line(found)
        is_own = _is_below(found, root)
        if isinstance(found, duckdb.Error) and any(word in text for word in _DAMAGED_WORDS):
            return IntegrityError(
                f"{root / 'bourse.duckdb'} is damaged: {text}. {DAMAGED_DATABASE}"
            )
        number = found.errno if isinstance(found, OSError) else None
        if number in _FULL or any(word in text for word in _FULL_WORDS):
            return StorageError(
                f"no room was left to write below {root}: {text}. What was committed is kept. Free "
                "some disk (databourse gc CONFIG --yes), or raise the quota or the limit on the "
                "size of files, then run again: it goes on from there"
            )
        if is_own and (number in _REFUSED or any(word in text for word in _REFUSED_WORDS)):
            return StorageError(
                f"warehouse {root} cannot be written: {text}. Nothing was changed. Make it "
                "writable for this user, or name another with --set warehouse=..."
            )
        found = found.__cause__ or found.__context__
    return None


def _is_below(error: BaseException, root: Path) -> bool:
    """Tell whether an error is about a file of the warehouse."""
    name = error.filename if isinstance(error, OSError) else None
    if name is not None:
        return Path(str(name)).resolve().is_relative_to(root)
    return isinstance(error, duckdb.Error) or str(root) in str(error)
