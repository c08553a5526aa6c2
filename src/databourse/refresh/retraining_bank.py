"""The bank of retrainings: what models lost that were trained on subsets of a snapshot.

A bank is named by what decides its numbers. Every training is stored as it ends, so that a killed
run goes on after it, and a stored one whose digest is wrong is trained again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from databourse.attribution.retraining import Retraining
from databourse.influence.datamodels import subset_key
from databourse.influence.lds import BoolArray, FloatArray
from databourse.progress import ProgressReport
from databourse.warehouse.store import Warehouse, append


@dataclass(frozen=True, eq=False)
class RetrainingBank:
    """A bank, and what its trainings are.

    Attributes:
        bank_id: digest of what decides its numbers.
        retraining: the proxy.
        n_examples: that each training is measured on.
    """

    bank_id: str
    retraining: Retraining
    n_examples: int


def train_missing(
    warehouse: Warehouse,
    bank: RetrainingBank,
    subsets: Sequence[tuple[BoolArray, int]],
    *,
    at_a_time: int,
    advance: ProgressReport,
) -> int:
    """Train the subsets that a bank lacks, several models at a time; return how many they were.

    Args:
        warehouse: that keeps the bank.
        bank: to add to.
        subsets: mask and seed of each training.
        at_a_time: models trained side by side, each on one thread.
        advance: told of each training, at once of those that are there.

    Raises:
        InputError: a subset cannot be trained on, such as one without a label.
    """
    known = stored_losses(warehouse, bank)
    jobs = [(mask, seed) for mask, seed in subsets if subset_key(mask, seed) not in known]
    advance(len(subsets) - len(jobs))
    for (mask, seed), losses, seconds in _trained(bank.retraining, jobs, at_a_time):
        row = {
            "bank_id": bank.bank_id,
            "training": subset_key(mask, seed),
            "losses": losses.tolist(),
            "seconds": seconds,
            "digest": _digest(losses),
        }
        with warehouse.transaction() as cursor:
            cursor.execute(
                "delete from retrainings where bank_id = $bank_id and training = $training",
                {"bank_id": row["bank_id"], "training": row["training"]},
            )
            append(cursor, "retrainings", pa.Table.from_pylist([row]))
        advance(1)
    return len(jobs)


def stored_losses(warehouse: Warehouse, bank: RetrainingBank) -> dict[str, FloatArray]:
    """Return the losses of every sound training by its name, `subset_key`."""
    rows = warehouse.rows("stg_bank__retrainings", {"bank_id": bank.bank_id}).to_pylist()
    found = {}
    for row in rows:
        losses = np.array(row["losses"], dtype=np.float64)
        if len(losses) == bank.n_examples and _digest(losses) == row["digest"]:
            found[row["training"]] = losses
    return found


class _StoppedError(Exception):
    """Training ends because another one failed, or somebody interrupts the run."""


def _trained(
    retraining: Retraining, jobs: Sequence[tuple[BoolArray, int]], at_a_time: int
) -> Iterator[tuple[tuple[BoolArray, int], FloatArray, float]]:
    """Yield each training as it ends, with its seconds; an error or interrupt ends the others."""
    stopped = threading.Event()

    def alive(done: int) -> None:
        del done
        if stopped.is_set():
            raise _StoppedError

    def train(mask: BoolArray, seed: int) -> tuple[FloatArray, float]:
        started = time.perf_counter()
        losses = retraining.losses(np.flatnonzero(mask), seed=seed, alive=alive)
        return losses, time.perf_counter() - started

    with ThreadPoolExecutor(at_a_time) as pool:
        futures = {pool.submit(train, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], *future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _digest(losses: FloatArray) -> str:
    return hashlib.sha256(losses.astype("<f8").tobytes()).hexdigest()
