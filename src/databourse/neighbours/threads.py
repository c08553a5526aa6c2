"""One thread for linear algebra: the low bits of its results may depend on how many there are.

Two kinds of BLAS library. Those built on OpenMP count threads per calling thread. All others count
them per process, so the first caller to finish must not lift the limit for the rest; and newer
threadpoolctl (seen: 3.8.0) silently ignores every thread but the first that set such a limit, so
that claim is cleared and the effect is checked.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from databourse.errors import DatabourseError, MissingExtraError


class _Library(Protocol):
    filepath: str

    def get_num_threads(self) -> int | None: ...

    def set_num_threads(self, num_threads: int) -> None: ...


class _ProcessLimit:
    """The limit on libraries that count threads per process, held while anybody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._threads_before: dict[str, tuple[_Library, int]] = {}

    def acquire(self, libraries: Sequence[_Library]) -> None:
        """Hold the libraries at one thread; later callers may bring newly loaded ones."""
        with self._lock:
            _free_control()
            for library in libraries:
                before = library.get_num_threads() or 1
                self._threads_before.setdefault(library.filepath, (library, before))
                _set_threads(library, 1)
            self._holders += 1

    def release(self) -> None:
        """Give the libraries their threads back if this was the last holder."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                _free_control()
                for library, before in self._threads_before.values():
                    library.set_num_threads(before)
                self._threads_before.clear()
                _free_control()  # from this thread, so that the next to set a limit is obeyed


_PROCESS = _ProcessLimit()


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS at one thread per caller; safe to nest and to use from several threads at once.

    Parallelism over independent blocks of work stays possible: every calling thread gets one.

    Raises:
        MissingExtraError: threadpoolctl is not installed.
        DatabourseError: a library would not be limited.
    """
    per_caller, per_process = _blas_libraries()
    before = [library.get_num_threads() or 1 for library in per_caller]
    _PROCESS.acquire(per_process)
    try:
        for library in per_caller:
            _set_threads(library, 1)
        yield
    finally:
        for library, threads in zip(per_caller, before, strict=True):
            library.set_num_threads(threads)
        _PROCESS.release()


def _blas_libraries() -> tuple[list[_Library], list[_Library]]:
    """Return the loaded libraries that count threads per calling thread, and all others."""
    try:
        import threadpoolctl
    except ImportError as error:
        raise MissingExtraError("threadpoolctl", "pipeline", "reproducible arithmetic") from error
    loaded = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    per_caller = [each for each in loaded if getattr(each, "threading_layer", "") == "openmp"]
    return per_caller, [each for each in loaded if each not in per_caller]


def _free_control() -> None:
    import threadpoolctl

    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:  # older versions obey every thread
        clear(force=True)


def _set_threads(library: _Library, threads: int) -> None:
    library.set_num_threads(threads)
    if library.get_num_threads() not in {threads, None}:
        raise DatabourseError(
            f"{library.filepath} must run with {threads} thread for reproducible results and keeps "
            f"{library.get_num_threads()}; set OPENBLAS_NUM_THREADS=1 before starting"
        )
