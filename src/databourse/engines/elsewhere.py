"""CPU seconds that other processes spent for this one: they belong to what a stage cost."""

from __future__ import annotations

import threading
import time


class _Spent:
    guard = threading.Lock()
    seconds = 0.0


def add_cpu_seconds(seconds: float) -> None:
    """Add what a worker spent on a batch."""
    with _Spent.guard:
        _Spent.seconds += seconds


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of workers elsewhere, as a clock."""
    with _Spent.guard:
        return time.process_time() + _Spent.seconds
