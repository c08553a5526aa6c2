"""Worker processes that do not outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading


def end_with_parent() -> None:
    """Make this worker process end at once when the process that started it has ended.

    A pool's workers wait for work on a pipe whose writing end each of them holds too, so they never
    see it close: after `kill -9` of the parent they would wait, and hold their memory, for ever.
    For the `initializer` of a pool.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
