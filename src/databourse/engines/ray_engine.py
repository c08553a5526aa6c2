"""Batches over the workers of a Ray cluster: a few at a time, lost ones again, results in order.

A worker is a Ray actor that loads a job's model once. It holds at most two batches, so that one is
there when the other is done; a worker that is lost (its process killed, its machine gone) is
replaced, and its batches go to whoever is free. Workers that have not begun yet are not waited for,
except for the first one: a cluster may grow while it is used.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from databourse.config_engine import RayConfig
from databourse.engines.carried_folders import carried
from databourse.engines.elsewhere import add_cpu_seconds
from databourse.engines.engine import Job
from databourse.engines.ray_worker import CarriedJob, Outcome, Worker, versions
from databourse.errors import MissingExtraError, TransientError, first_line
from databourse.progress import ProgressReport, silent

BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")

_CALLS_PER_WORKER = 2
_AHEAD_PER_WORKER = 4  # batches that are read, and not yielded yet
_LONGEST_TEMPORARY = 24  # characters, of at most 107 with what Ray adds
_LOOK_SECONDS = 1.0  # between looks at what has begun or ended

_ADDRESS = "RAY_ADDRESS"
_HERE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # binds to the loopback device alone
}
"""Environment of a cluster on this machine, where it says nothing else."""


def cluster_address(settings: RayConfig) -> str | None:
    """Return the address of the cluster that is used; None for one on this machine."""
    return settings.address or os.environ.get(_ADDRESS) or None


class RayEngine:
    """Computes over a Ray cluster; begins with the first job, ends with `close`."""

    def __init__(self, settings: RayConfig) -> None:
        self._settings = settings
        self._guard = threading.Lock()
        self._cluster: _Cluster | None = None
        self._jobs = 0

    def map_batches(
        self,
        job: Job[BatchT, ResultT],
        batches: Iterable[BatchT],
        *,
        advance: ProgressReport = silent,
    ) -> Iterator[tuple[BatchT, ResultT]]:
        """Yield every batch with its result; see `Engine.map_batches`."""
        remaining = iter(batches)
        first = next(remaining, None)
        if first is None:
            return
        with self._guard:
            if self._cluster is None:
                self._cluster = _Cluster(self._settings)
            cluster = self._cluster
            self._jobs += 1
            number = self._jobs
        run = _Run(cluster, number, cluster.send(number, job), attempts=self._settings.attempts)
        try:
            for batch, result in run.results(_chained(first, remaining)):
                advance(job.size(batch))
                yield batch, result
        finally:
            cluster.forget(number)

    def close(self) -> None:
        """End the workers, and the cluster if it was begun for this engine."""
        with self._guard:
            if self._cluster is not None:
                self._cluster.close()
            self._cluster = None


@dataclass(eq=False)
class _Worker:
    """A worker as its sender sees it.

    Attributes:
        actor: of Ray.
        beginning: reference that is there once the worker has begun; None afterwards.
    """

    actor: Any
    beginning: Any


class _Cluster:
    """A connection to a cluster, and workers in it."""

    def __init__(self, settings: RayConfig) -> None:
        address = cluster_address(settings)
        if address is None:
            _confine()  # before Ray is imported: that is when it reads most of this
        self._ray = _import_ray()
        self._settings = settings
        self._guard = threading.Lock()
        self._folder: Path | None = None
        self._is_ours = not self._ray.is_initialized()
        self._is_alone = self._is_ours and address is None
        if self._is_ours:
            self._begin(address)
        self._node = self._ray.get_runtime_context().get_node_id()
        self._actor = self._ray.remote(Worker).options(
            num_cpus=settings.cpus_per_worker,
            num_gpus=settings.gpus_per_worker,
            max_restarts=0,  # a lost worker is replaced here, and its batches are counted
        )
        self.workers = [self._new_worker() for _ in range(self._n_workers())]

    def _begin(self, address: str | None) -> None:
        own: dict[str, Any] = {"address": address}
        if address is None:
            self._folder = _short_folder()
            settings = self._settings
            processes = settings.workers or max(1, _cores() // settings.cpus_per_worker)
            own = {
                "address": "local",
                "num_cpus": processes * settings.cpus_per_worker,
                "include_dashboard": False,
                "object_store_memory": settings.object_store_mb * 1_000_000,
                "_temp_dir": str(self._folder),
            }
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:  # Ray has no narrower one for a slow start
            self._ray.shutdown()
            self._remove_folder()
            where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
            raise TransientError(
                f"{where} cannot be used: {first_line(error)}; see that it runs, or set engine: "
                "local"
            ) from error

    def _n_workers(self) -> int:
        if self._settings.workers is not None:
            return self._settings.workers
        cpus = float(self._ray.cluster_resources().get("CPU", 1.0))
        return max(1, int(cpus // self._settings.cpus_per_worker))

    def _new_worker(self) -> _Worker:
        actor = self._actor.remote()
        return _Worker(actor, actor.ready.remote())

    def replace(self, lost: _Worker) -> None:
        """Put a new worker in the place of a lost one, unless another job already did."""
        with self._guard:
            if lost in self.workers:
                self._ray.kill(lost.actor)
                self.workers[self.workers.index(lost)] = self._new_worker()

    def send(self, number: int, job: Job[BatchT, ResultT]) -> Any:  # noqa: ANN401 - a reference
        """Return a reference to a job as it travels."""
        there = job.there()
        folders = tuple(
            carried(each, node=self._node, alone=self._is_alone) for each in there.folders
        )
        return self._ray.put(CarriedJob(number, there.open, folders, versions()))

    def forget(self, number: int) -> None:
        """Let workers let go of what a job loaded."""
        for worker in self.workers:
            worker.actor.forget.remote(number)

    def wait(self, references: list[Any]) -> set[Any]:
        """Return which of some references are there, after at least one is or a moment passed."""
        done, _ = self._ray.wait(references, num_returns=1, timeout=_LOOK_SECONDS)
        if done:  # and those that are there besides
            done, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return set(done)

    def result(self, reference: Any) -> Any:  # noqa: ANN401 - whatever the actor gave
        """Return what a reference stands for; None if it was lost with its worker."""
        lost = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (lost.RayActorError, lost.WorkerCrashedError, lost.ObjectLostError) as error:
            self.last_loss = first_line(error)
            return None

    last_loss: str = ""

    def resources(self) -> str:
        """Return what the cluster has, in words."""
        found = self._ray.cluster_resources()
        return f"{found.get('CPU', 0):g} CPUs and {found.get('GPU', 0):g} GPUs"

    def wanted(self) -> str:
        """Return what a worker needs, in words."""
        own = self._settings
        return f"{own.cpus_per_worker} CPUs and {own.gpus_per_worker:g} GPUs"

    @property
    def start_seconds(self) -> float:
        """Return how long to wait for the first worker."""
        return self._settings.start_seconds

    def close(self) -> None:
        """End the workers, and the cluster if it is ours."""
        for worker in self.workers:
            self._ray.kill(worker.actor)
        if self._is_ours:
            self._ray.shutdown()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # of processes that are just ending


@dataclass(eq=False)
class _Call:
    """A batch on its way.

    Attributes:
        batch: kept until it is yielded, to be sent again.
        losses: workers that were lost over it.
        worker: who has it, if anyone.
        reference: of the outcome to come.
        outcome: once it is there.
    """

    batch: Any
    losses: int = 0
    worker: _Worker | None = None
    reference: Any = None
    outcome: Outcome | None = None


@dataclass
class _Run:
    """The batches of one job."""

    cluster: _Cluster
    number: int
    job: Any
    attempts: int
    calls: deque[_Call] = field(default_factory=deque)
    failed_starts: int = 0

    def results(self, batches: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield batches and results in order."""
        most = _AHEAD_PER_WORKER * len(self.cluster.workers)
        is_all = False
        while True:
            while not is_all and len(self.calls) < most:
                batch = next(batches, _END)
                is_all = batch is _END
                if not is_all:
                    self.calls.append(_Call(batch))
                self._send()
            if not self.calls:
                return
            while self.calls[0].outcome is None:
                self._look()
                self._send()
            call = self.calls.popleft()
            yield call.batch, _result_of(call)

    def _send(self) -> None:
        """Give batches that nobody has to workers that are free."""
        held: dict[_Worker, int] = dict.fromkeys(
            (each for each in self.cluster.workers if each.beginning is None), 0
        )
        for call in self.calls:
            if call.worker in held and call.outcome is None:
                held[call.worker] += 1
        for call in self.calls:
            if call.worker is not None or call.outcome is not None or not held:
                continue
            worker = min(held, key=held.__getitem__)
            if held[worker] >= _CALLS_PER_WORKER:
                return
            held[worker] += 1
            call.worker = worker
            call.reference = worker.actor.compute.remote(self.number, [self.job], call.batch)

    def _look(self) -> None:
        """Take in what has begun, ended or been lost."""
        beginning = {w.beginning: w for w in self.cluster.workers if w.beginning is not None}
        computing = {call.reference: call for call in self.calls if call.reference is not None}
        if not computing:
            self._wait_for_the_first(list(beginning))
        for reference in self.cluster.wait([*beginning, *computing]):
            if reference in computing:
                self._take_in(computing[reference])
            else:
                self._welcome(beginning[reference])

    def _wait_for_the_first(self, beginning: list[Any]) -> None:
        began = time.monotonic()
        while beginning and not self.cluster.wait(beginning):
            if time.monotonic() - began > self.cluster.start_seconds:
                raise TransientError(
                    f"no worker of the Ray cluster began within {self.cluster.start_seconds:g} s: "
                    f"each needs {self.cluster.wanted()}, and the cluster has "
                    f"{self.cluster.resources()}; give it more, or lower engine.ray"
                )

    def _welcome(self, worker: _Worker) -> None:
        if self.cluster.result(worker.beginning) is not None:
            worker.beginning = None
            return
        self.failed_starts += 1
        if self.failed_starts > self.attempts * len(self.cluster.workers):
            raise TransientError(f"workers of Ray end as they begin: {self.cluster.last_loss}")
        self.cluster.replace(worker)

    def _take_in(self, call: _Call) -> None:
        outcome = self.cluster.result(call.reference)
        call.reference = None
        if outcome is not None:
            call.outcome = outcome
            return
        lost, call.worker = call.worker, None
        call.losses += 1
        if call.losses >= self.attempts:
            raise TransientError(
                f"{call.losses} Ray workers were lost over one batch, the last one so: "
                f"{self.cluster.last_loss}; give workers more memory, lower "
                "compute.batch_documents, or raise engine.ray.attempts"
            )
        if lost is not None:
            self.cluster.replace(lost)


_END = object()


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - batches
    yield first
    yield from rest


def _result_of(call: _Call) -> Any:  # noqa: ANN401 - of the job
    outcome = call.outcome
    if outcome is None:  # only those that are there are asked
        raise RuntimeError("a batch was yielded before it was there")
    add_cpu_seconds(outcome.cpu_seconds)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def _short_folder() -> Path:
    """Return a new folder of this user alone; names of sockets in it have to be short."""
    usual = Path(tempfile.gettempdir())
    parent = usual if len(str(usual)) <= _LONGEST_TEMPORARY else Path("/tmp")  # noqa: S108
    return Path(tempfile.mkdtemp(prefix="databourse-ray-", dir=parent))


def _confine() -> None:
    """Let a cluster on this machine hear no other one, and tell nobody of its use."""
    for name, value in _HERE.items():
        os.environ.setdefault(name, value)
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray writes one into the home


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _import_ray() -> Any:  # noqa: ANN401 - a module
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "engine: ray") from error
    return ray
