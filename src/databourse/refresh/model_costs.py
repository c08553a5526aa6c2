"""What it took to ask models: written with each batch, added to the signals that read it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from databourse.warehouse.store import Warehouse, append

NO_PART = "-"


@dataclass
class Clock:
    """Wall and CPU seconds of the block that it was started for."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class ModelCost:
    """Seconds, CPU seconds and calls."""

    seconds: float
    cpu_seconds: float
    model_calls: int

    def __add__(self, other: ModelCost) -> ModelCost:
        """Return the cost of both."""
        return ModelCost(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.model_calls + other.model_calls,
        )

    def shared(self, parts: int) -> ModelCost:
        """Return the cost of one of so many equal parts; calls are rounded up."""
        return ModelCost(
            self.seconds / parts, self.cpu_seconds / parts, -(-self.model_calls // parts)
        )


@contextmanager
def clocked(cpu_clock: Callable[[], float] = time.process_time) -> Iterator[Clock]:
    """Time a block; CPU seconds are of the whole process, so no other stage may run beside it."""
    clock = Clock()
    started, cpu_started = time.perf_counter(), cpu_clock()
    yield clock
    clock.seconds = time.perf_counter() - started
    clock.cpu_seconds = cpu_clock() - cpu_started


def append_cost(
    cursor: duckdb.DuckDBPyConnection,
    *,
    measured_id: str,
    part: str,
    run_id: str,
    n_documents: int,
    clock: Clock,
    model_calls: int,
) -> None:
    """Write down what a batch took, in the transaction that keeps the batch."""
    row = {
        "batch_id": secrets.token_hex(16),
        "measured_id": measured_id,
        "part": part,
        "run_id": run_id,
        "documents": n_documents,
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "model_calls": model_calls,
    }
    append(cursor, "model_costs", pa.Table.from_pylist([row]))


def cost_of(warehouse: Warehouse, measured_ids: Sequence[str], part: str) -> ModelCost:
    """Return what was spent on a part of documents, over all runs."""
    wanted = {"measured_ids": list(measured_ids), "part": part}
    rows = warehouse.rows("stg_measured__costs", wanted).to_pylist()
    costs = [ModelCost(row["seconds"], row["cpu_seconds"], row["model_calls"]) for row in rows]
    return sum(costs, ModelCost(0.0, 0.0, 0))


def training_cost(warehouse: Warehouse, fingerprints: Sequence[str]) -> ModelCost:
    """Return what it took to train reference models, whichever run did."""
    rows = warehouse.rows("stg_models__curves", {"fingerprints": list(fingerprints)}).to_pylist()
    costs = [ModelCost(row["seconds"], row["cpu_seconds"], 0) for row in rows]
    return sum(costs, ModelCost(0.0, 0.0, 0))
