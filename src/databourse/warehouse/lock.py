"""The writer lock: one process at a time, released by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from databourse.errors import WarehouseLockedError

_LOCK_FILE = "writer.lock"
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def writer_lock(root: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the writer lock of a warehouse folder.

    `flock` and not the existence of the file decides, so a killed holder leaves no lock behind.

    Args:
        root: the folder.
        wait_seconds: how long to wait for another process that holds it.

    Raises:
        WarehouseLockedError: another process holds it; names its pid and start time.
    """
    path = root / _LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        give_up = time.monotonic() + wait_seconds
        while not _has_locked(descriptor):
            if time.monotonic() >= give_up:
                raise WarehouseLockedError(_describe_holder(root, wait_seconds))
            time.sleep(_POLL_SECONDS)
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


def _has_locked(descriptor: int) -> bool:
    """Lock a file, unless another process holds it; tell whether it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _describe_holder(root: Path, waited_seconds: float) -> str:
    waited = f", after {waited_seconds:g} seconds of waiting" if waited_seconds else ""
    return (
        f"warehouse {root} is being written by {holder_of(root)}{waited}; wait for it to end (run "
        "--wait MINUTES), or give this run a warehouse of its own (--set warehouse=...)"
    )
