"""One thread for linear algebra: the low bits of its results may depend on how many there are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from databourse.errors import MissingExtraError


class _SharedLimit:
    """A process-wide limit held while anybody needs it.

    The BLAS limit belongs to the process, so the first to leave must not lift it for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._limit = contextlib.ExitStack()

    def acquire(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._limit.enter_context(_blas_limit())
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._limit.close()


def _blas_limit() -> contextlib.AbstractContextManager[object]:
    try:
        import threadpoolctl
    except ImportError as error:
        raise MissingExtraError("threadpoolctl", "pipeline", "reproducible arithmetic") from error
    limit: contextlib.AbstractContextManager[object] = threadpoolctl.threadpool_limits(
        limits=1, user_api="blas"
    )
    return limit


_SHARED = _SharedLimit()


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS at one thread per caller in the whole process; safe to nest and side by side.

    Parallelism over independent blocks of work stays possible: every calling thread gets one.

    Raises:
        MissingExtraError: threadpoolctl is not installed.
    """
    _SHARED.acquire()
    try:
        yield
    finally:
        _SHARED.release()
