"""What the benchmarks measure is what the work took."""

import subprocess
import sys
import time

import pytest


@pytest.fixture(scope="module")
def measuring(benchmark_module):
    """Return the module that measures."""
    return benchmark_module("measuring")


def test_peak_memory_holds_what_the_work_held_and_gave_back(measuring):
    before = measuring.resident_bytes()
    length, cost = measuring.cost_of(lambda: len(b"x" * 200_000_000))
    assert length == 200_000_000
    assert cost.peak_bytes - before > 150_000_000
    _, small = measuring.cost_of(lambda: None)
    assert small.peak_bytes < cost.peak_bytes - 150_000_000  # the mark was set back


def test_waiting_takes_wall_seconds_and_no_cpu_seconds(measuring):
    _, cost = measuring.cost_of(lambda: time.sleep(0.2))
    assert cost.wall_seconds >= 0.2
    assert cost.cpu_seconds < 0.1


def test_memory_of_a_command_includes_that_of_its_children(measuring):
    child = "x = b'x' * 150_000_000; import time; time.sleep(0.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = measuring.cost_of_command([sys.executable, "-c", parent])
    assert cost.peak_bytes > 150_000_000
    assert cost.wall_seconds >= 0.3


def test_a_command_that_fails_is_no_result(measuring):
    with pytest.raises(subprocess.CalledProcessError):
        measuring.cost_of_command([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_spread_is_median_least_and_most(measuring):
    assert measuring.spread_of([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "least": 1.0, "most": 10.0}
