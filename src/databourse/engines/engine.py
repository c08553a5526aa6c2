"""What an engine is: batches in, results out in the same order, wherever they are computed.

A job says twice how a batch is computed: `here`, by what this process has loaded, and `there`, by
what another process loads from the same files. Both must give the same bits for a batch: then an
engine may compute batches anywhere, in any order and more than once, and whoever commits the
results in their order writes the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from databourse.progress import ProgressReport, silent

BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")
_BatchT_contra = TypeVar("_BatchT_contra", contravariant=True)
_ResultT_co = TypeVar("_ResultT_co", covariant=True)


class Work(Protocol[_BatchT_contra, _ResultT_co]):
    """Computes one batch after the other, with a model that was loaded once."""

    def __call__(self, batch: _BatchT_contra, progress: ProgressReport, /) -> _ResultT_co:
        """Return the result of a batch, which depends on nothing else."""


@dataclass(frozen=True)
class Elsewhere(Generic[BatchT, ResultT]):
    """How another process computes batches.

    Attributes:
        open: gives what computes them, from local copies of `folders`, in their order. It is
            pickled: a function of a module, or a partial of one.
        folders: files that it reads.
    """

    open: Callable[[Sequence[Path]], Work[BatchT, ResultT]]
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Job(Generic[BatchT, ResultT]):
    """How batches are computed, here and in another process.

    Attributes:
        here: gives what computes batches in this process; called once, if there is a batch.
        there: says how another process does, likewise.
        size: units of progress in a batch, where its worker cannot report any.
    """

    here: Callable[[], Work[BatchT, ResultT]]
    there: Callable[[], Elsewhere[BatchT, ResultT]]
    size: Callable[[BatchT], int]


class Engine(Protocol):
    """Computes the batches of jobs."""

    def map_batches(
        self,
        job: Job[BatchT, ResultT],
        batches: Iterable[BatchT],
        *,
        advance: ProgressReport = silent,
    ) -> Iterator[tuple[BatchT, ResultT]]:
        """Yield every batch with its result, in the order of `batches`.

        Only a few batches are taken ahead of those that were yielded.

        Args:
            job: how a batch is computed.
            batches: any number.
            advance: told of finished units.

        Raises:
            DatabourseError: what computing a batch raised.
            TransientError: what computes is out of reach, or was lost too often.
        """


class LocalEngine:
    """Computes in this process, one batch after the other."""

    def map_batches(
        self,
        job: Job[BatchT, ResultT],
        batches: Iterable[BatchT],
        *,
        advance: ProgressReport = silent,
    ) -> Iterator[tuple[BatchT, ResultT]]:
        """Yield every batch with its result; see `Engine.map_batches`."""
        work: Work[BatchT, ResultT] | None = None
        for batch in batches:
            if work is None:
                work = job.here()
            yield batch, work(batch, advance)


LOCAL = LocalEngine()
"""The engine of this process."""
