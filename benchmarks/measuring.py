"""Seconds and memory of a piece of work, as Linux tells them.

Peak memory is resident memory: of one process its high-water mark since the work began, of a tree
of processes the largest sum that samples saw, or the most of one of them. Files mapped into memory
count as far as they are resident, and pages that processes share count once in each.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")

_SAMPLE_SECONDS = 0.01
_RESET_HIGH_WATER_MARK = "5"  # see proc(5), clear_refs
_PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """What a piece of work took: wall and CPU seconds, and peak resident memory in bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and most of at least one measurement, to 4 significant digits."""
    found = {"median": median(values), "least": min(values), "most": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def spreads(costs: Sequence[Cost]) -> dict[str, dict[str, float]]:
    """Return the spread of each kind of cost, by its name."""
    rows = [asdict(cost) for cost in costs]
    return {name: spread_of([row[name] for row in rows]) for name in rows[0]}


def cost_of(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do a piece of work in this process; return its result and what it took."""
    (_PROC / "self" / "clear_refs").write_text(_RESET_HIGH_WATER_MARK)
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, Cost(wall, cpu, _memory(os.getpid(), "VmHWM"))


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return _memory(os.getpid(), "VmRSS")


def cost_of_command(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> Cost:
    """Run a command to its end, its output thrown away; return what it and its children took.

    Raises:
        subprocess.CalledProcessError: it did not end with exit code 0.
    """
    wall = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    peak = 0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        peak = max(peak, sum(_memory(each, "VmRSS") for each in _tree(process.pid)))
        time.sleep(_SAMPLE_SECONDS)
    wall = time.perf_counter() - wall
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    largest = usage.ru_maxrss * 1024  # of one process; as large as this one's own at the least
    return Cost(wall, usage.ru_utime + usage.ru_stime, max(peak, largest))


def _tree(root: int) -> list[int]:
    """Return a process and its descendants, of those that live."""
    found = [root]
    for pid in found:
        for children in (_PROC / str(pid) / "task").glob("*/children"):
            found += _children(children)
    return found


def _children(path: Path) -> list[int]:
    try:
        return [int(pid) for pid in path.read_text().split()]
    except OSError:  # it has ended since
        return []


def _memory(pid: int, entry: str) -> int:
    """Return an entry of a process's status in bytes; 0 once it has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    kibibytes = [line.split()[1] for line in lines if line.startswith(f"{entry}:")]
    return int(kibibytes[0]) * 1024 if kibibytes else 0
