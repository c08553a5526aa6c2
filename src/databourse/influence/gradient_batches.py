"""Batches of documents through a model: planned by length, computed by threads, read in order.

A batch is computed by one thread, in which torch computes by itself alone: the number of threads
changes no number. Only a few batches are computed before they are read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from databourse.encoders.encoder import check_threads
from databourse.influence.capture import CapturedPass, capturing
from databourse.influence.outputs import Output, check_output, most_pass_tokens
from databourse.influence.weighted_documents import (
    GradientBatch,
    WeightedDocument,
    plan_gradients,
)
from databourse.language_models.model import (
    LanguageModel,
    compute_on_one_thread,
    threads_of_torch,
)
from databourse.progress import ProgressReport, silent

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Result = TypeVar("Result")
Work = Callable[[GradientBatch, Iterator[CapturedPass]], Result]

_AHEAD = 2  # batches per thread that may wait for whoever reads


def computed_batches(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    work: Work[Result],
    output: Output,
    batch_tokens: int,
    threads: int,
    most_documents: int | None = None,
    sampled_seed: int | None = None,
    progress: ProgressReport = silent,
) -> Iterator[tuple[GradientBatch, Result]]:
    """Yield batches with what `work` makes of their passes, in the order of the plan.

    Args:
        model, documents, layers, output, batch_tokens, threads, sampled_seed, progress: as
            `databourse.influence.per_example.captured`.
        work: called once per batch, by one of several threads; it reads the passes one by one.
        most_documents: of a batch, >= 1; None for any number.

    Raises: as there.
    """
    check_output(output)
    check_threads(threads)
    batches = plan_gradients(
        documents,
        context_tokens=model.context_tokens,
        batch_tokens=most_pass_tokens(model, batch_tokens),
        most_documents=most_documents,
    )
    with capturing(model, layers) as capture:

        def compute(batch: GradientBatch) -> Result:
            passes = (
                capture.run(documents, windows, output=output, sampled_seed=sampled_seed)
                for windows in batch.passes
            )
            return work(batch, passes)

        on_cpu = model.device_type == "cpu"
        for batch, found in _in_order(compute, batches, threads if on_cpu else 1):
            progress(len(batch.positions))
            yield batch, found


class BatchSums:
    """Rows of passes to documents of a batch, and the sums that Q is made of."""

    def __init__(self, batch: GradientBatch) -> None:
        self.positions = np.array(batch.positions, dtype=np.int64)
        self._row_of = {position: row for row, position in enumerate(batch.positions)}
        self._doubts, self._weights = np.zeros((2, len(batch.positions)))

    def add(self, found: CapturedPass) -> IntArray:
        """Take a pass in; return the row of the batch that each of its rows belongs to."""
        rows = np.array([self._row_of[int(each)] for each in found.documents], dtype=np.int64)
        np.add.at(self._doubts, rows, found.doubt_sums)
        np.add.at(self._weights, rows, found.weight_sums)
        return rows

    def out_to_loss(self, output: Output) -> FloatArray:
        """Return Q by row of the batch, shape (b,)."""
        if output == "loss":
            return np.ones(len(self.positions))
        means: FloatArray = np.zeros(len(self.positions))
        np.divide(self._doubts, self._weights, out=means, where=self._weights > 0)
        return means


def _in_order(
    compute: Callable[[GradientBatch], Result], batches: Sequence[GradientBatch], threads: int
) -> Iterator[tuple[GradientBatch, Result]]:
    """Yield batches and results in order; only a few are computed before they are asked for."""
    if threads == 1:  # by this thread: its clock tells what a batch costs
        for batch in batches:
            with threads_of_torch(1):
                found = compute(batch)
            yield batch, found
        return
    with _workers(threads) as pool:
        waiting: deque[tuple[GradientBatch, Future[Result]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(compute, batch)))
                if len(waiting) > _AHEAD * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


@contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute by themselves alone; torch's number elsewhere stays as it was."""
    with ThreadPoolExecutor(threads, initializer=compute_on_one_thread) as pool:
        with threads_of_torch(1):  # it restores what beginning a worker changes
            met = threading.Barrier(threads)
            for begun in [pool.submit(met.wait) for _ in range(threads)]:
                begun.result()
        yield pool
