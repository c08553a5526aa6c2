"""The writer lock: one process at a time, released by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from databourse.errors import WarehouseLockedError

_LOCK_FILE = "writer.lock"


@contextlib.contextmanager
def writer_lock(root: Path) -> Iterator[None]:
    """Hold the writer lock of a warehouse folder.

    `flock` and not the existence of the file decides, so a killed holder leaves no lock behind.

    Raises:
        WarehouseLockedError: another process holds it; names its pid and start time.
    """
    path = root / _LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WarehouseLockedError(_describe_holder(root)) from None
        holder = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder_of(root: Path) -> str:
    """Return who holds the writer lock of a warehouse folder, as far as its lock file tells."""
    try:
        holder = json.loads((root / _LOCK_FILE).read_text(encoding="utf-8"))
        return f"process {holder['pid']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _describe_holder(root: Path) -> str:
    return (
        f"warehouse {root} is being written by {holder_of(root)}; wait for it to end, or give this "
        "run a warehouse of its own (--set warehouse=...)"
    )
