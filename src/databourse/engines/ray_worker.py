"""What runs in a worker process of a Ray cluster: jobs loaded once, batches one after the other."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databourse.engines.carried_folders import CarriedFolder, unpacked
from databourse.errors import ConfigError, DatabourseError
from databourse.progress import silent

_DECIDING = (
    "databourse",
    "numba",
    "numpy",
    "openvino",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages whose version may change a number."""


def versions() -> dict[str, str]:
    """Return the versions that may change a number: of Python and of packages, '' if missing."""
    found = {"python": platform.python_version()}
    for name in _DECIDING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


@dataclass(frozen=True)
class CarriedJob:
    """A job as it travels.

    Attributes:
        number: tells jobs of one engine apart.
        open: of `Elsewhere`.
        folders: of it, as they travel.
        versions: of the process that sends it.
    """

    number: int
    open: Callable[[Sequence[Path]], Any]
    folders: tuple[CarriedFolder, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What became of a batch.

    Attributes:
        result: of the work; None if it failed.
        error: that it raised on purpose, if any.
        cpu_seconds: of the worker's process.
    """

    result: Any
    error: DatabourseError | None
    cpu_seconds: float


class Worker:
    """One process that computes batches of jobs; Ray makes an actor of it."""

    def __init__(self) -> None:
        self._works: dict[int, Any] = {}

    def ready(self) -> int:
        """Return the process id, once there is a process."""
        return os.getpid()

    def forget(self, number: int) -> None:
        """Let go of what a job loaded."""
        self._works.pop(number, None)

    def compute(self, number: int, carried: Sequence[Any], batch: Any) -> Outcome:  # noqa: ANN401
        """Compute a batch.

        Args:
            number: of the job.
            carried: one reference to its `CarriedJob`, fetched if the job is new here.
            batch: of the job.
        """
        started = time.process_time()
        result: Any = None
        failure: DatabourseError | None = None
        try:
            if number not in self._works:
                self._works[number] = _loaded(carried[0])
            result = self._works[number](batch, silent)
        except DatabourseError as error:
            failure = error.with_traceback(None)
        return Outcome(result, failure, time.process_time() - started)


def _loaded(reference: Any) -> Any:  # noqa: ANN401 - a reference of Ray, and a Work
    import ray

    job: CarriedJob = ray.get(reference)
    own = versions()
    for name, wanted in job.versions.items():
        if own[name] != wanted:
            raise ConfigError(
                f"the Ray worker on {platform.node()} has {name} {own[name] or 'not installed'}, "
                f"and this run {wanted or 'not installed'}: its numbers may differ; install "
                "constraints.txt on every machine of the cluster"
            )
    return job.open([unpacked(each) for each in job.folders])
