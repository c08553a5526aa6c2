"""A manifest as a PyTorch data set: sharded by rank and worker, shuffled by epoch, resumable.

The order is that of `epochs`; what is read, and what is left, is kept as in `progress_states`. One
window of rows is in memory at a time, in every worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import torch.distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from databourse.errors import InputError
from databourse.manifests.epochs import EpochOrder, FloatArray, epoch_order
from databourse.manifests.progress_states import (
    DatasetState,
    Interval,
    cut,
    first_of,
    without_first,
)
from databourse.manifests.reader import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

Example = dict[str, Any]
Weighting = Literal["carried", "resampled"]
Remainder = Literal["keep", "drop"]

DEFAULT_COLUMNS = (
    "document_id",
    "text",
    "prompt_characters",
    "label",
    "source",
    "topic",
    "tokens",
    "price",
    "weight",
)
WINDOW_ROWS = 20_000
_CONVERTED_ROWS = 1_000


class ManifestDataset(IterableDataset[Any]):
    """The examples of a manifest, each exactly once per epoch over all ranks and workers.

    An example is a dict of the columns asked for, or what `transform` makes of it. An iteration
    that was left before its end goes on where it stopped; after its end, the next one begins the
    next epoch. `set_epoch` begins one of a given number; worker processes that a plain DataLoader
    starts anew for each epoch need it, those of `loader` do not.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        seed: int,
        rank: int | None = None,
        ranks: int | None = None,
        columns: Sequence[str] | None = None,
        transform: Callable[[Example], Any] | None = None,
        window_rows: int = WINDOW_ROWS,
        weighting: Weighting = "carried",
        remainder: Remainder = "keep",
    ) -> None:
        if rank is None or ranks is None:
            rank, ranks = _place_in_training()
        if not 0 <= rank < ranks:
            raise InputError(f"rank must be in 0..{ranks - 1}, got {rank}")
        names = manifest.column_names
        self.columns = list(columns or (name for name in DEFAULT_COLUMNS if name in names))
        manifest.check_columns(self.columns)
        self.manifest = manifest
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self.transform = transform
        self.window_rows = window_rows
        self.weighting: Weighting = weighting
        self.remainder: Remainder = remainder
        self.epoch = 0
        self._blocks = manifest.blocks()
        self._weights = _weights(manifest) if weighting == "resampled" else None
        self._order: EpochOrder | None = None
        self._remaining: list[list[Interval]] | None = None  # by worker; None: of a new epoch
        self._layout: tuple[int | None, int | None] = (None, None)  # worker, workers of the above
        self._is_finished = False

    def __len__(self) -> int:
        """Return how many examples this rank gives per epoch, its workers together."""
        n_rows = len(self.manifest)
        if self.remainder == "drop":
            return n_rows // self.ranks
        (interval,) = cut([(0, n_rows)], self.rank, self.ranks) or [(0, 0)]
        return interval[1] - interval[0]

    def __iter__(self) -> Iterator[Any]:
        """Yield what remains of the epoch for this rank and worker, or else the next epoch."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if self._is_finished:
            self.set_epoch(self.epoch + 1)
        mine = self._share(worker, workers)
        self._remaining, self._layout = [mine], (worker, workers)
        for example in self.examples_at(mine):
            self._remaining = [without_first(self._remaining[0], 1)]
            yield example
        self._is_finished = True

    def examples_at(self, intervals: Sequence[Interval]) -> Iterator[Any]:
        """Yield the examples at places of the current epoch; what remains is left as it is."""
        for row in self._rows(intervals):
            yield row if self.transform is None else self.transform(row)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; nothing happens if it has begun and is not read to its end."""
        if epoch == self.epoch and not self._is_finished:
            return
        self.epoch, self._remaining, self._is_finished = epoch, None, False
        self._layout = (None, None)

    def state_dict(self) -> DatasetState:
        """Return what remains: of this worker when called in one, else of this rank.

        Where a DataLoader with workers reads, take the state of `ManifestLoader`: workers read
        ahead of the training, and this object does not see them.
        """
        remaining = self._remaining
        worker, workers = self._layout
        if remaining is None:
            remaining, worker, workers = [self._rank_share()], None, None
        elif (worker, workers) == (0, 1):
            worker, workers = None, None
        return self._state(remaining, worker=worker, workers=workers)

    def load_state_dict(self, state: DatasetState) -> None:
        """Go on where a state was taken.

        Raises:
            InputError: it is of another manifest, seed, window, weighting or rank.
        """
        for key in ("manifest_id", "seed", "window_rows", "weighting"):
            mine, theirs = self._identity()[key], state[key]
            if mine != theirs:
                raise InputError(
                    f"the state was taken with {key} {theirs!r}, this data set has {mine!r}; "
                    "open the same manifest with the same settings, or begin anew"
                )
        remaining = [[(first, last) for first, last in part] for part in state["remaining"]]
        worker, workers = state["worker"], state["workers"]
        if state["ranks"] is None:
            flat = [interval for part in remaining for interval in part]
            remaining, worker, workers = [self._cut(flat, self.rank, self.ranks)], None, None
        elif (state["rank"], state["ranks"]) != (self.rank, self.ranks):
            raise InputError(
                f"the state is that of rank {state['rank']} of {state['ranks']}, this is rank "
                f"{self.rank} of {self.ranks}; merge_states makes one that fits any number"
            )
        self.epoch, self._is_finished = state["epoch"], False
        self._remaining, self._layout = remaining, (worker, workers)

    def loader(
        self,
        *,
        batch_size: int,
        num_workers: int = 0,
        collate: Callable[[list[Any]], Any] = list,
        **options: Any,  # noqa: ANN401 - DataLoader's own
    ) -> ManifestLoader:
        """Return batches of examples, read by worker processes, with an exact state.

        Args:
            batch_size: examples per batch; the last of a worker may be smaller.
            num_workers: processes; 0 reads in this one.
            collate: makes a batch of a list of examples; the list itself by default.
            options: passed on to `torch.utils.data.DataLoader`.

        Raises:
            InputError: batch_size is not > 0.
        """
        return ManifestLoader(
            self, batch_size=batch_size, num_workers=num_workers, collate=collate, options=options
        )

    def remaining_of(self, worker: int, workers: int) -> list[Interval]:
        """Return the places that one of so many workers of this rank has still to read."""
        return self._share(worker, workers)

    def _identity(self) -> dict[str, Any]:
        return {
            "manifest_id": self.manifest.info.manifest_id,
            "seed": self.seed,
            "window_rows": self.window_rows,
            "weighting": self.weighting,
        }

    def _state(
        self, remaining: Sequence[Sequence[Interval]], *, worker: int | None, workers: int | None
    ) -> DatasetState:
        return {
            "manifest_id": self.manifest.info.manifest_id,
            "seed": self.seed,
            "window_rows": self.window_rows,
            "weighting": self.weighting,
            "epoch": self.epoch,
            "rank": self.rank,
            "ranks": self.ranks,
            "worker": worker,
            "workers": workers,
            "remaining": [[list(interval) for interval in part] for part in remaining],
        }

    def _cut(self, intervals: Sequence[Interval], consumer: int, of: int) -> list[Interval]:
        mine = cut(intervals, consumer, of)
        if self.remainder == "drop":
            return first_of(mine, sum(last - first for first, last in intervals) // of)
        return mine

    def _rank_share(self) -> list[Interval]:
        return self._cut([(0, len(self.manifest))], self.rank, self.ranks)

    def _share(self, worker: int, workers: int) -> list[Interval]:
        """Return the places of a worker: of a new epoch, or of what was loaded."""
        remaining = self._remaining
        if remaining is None:
            everything = [(0, len(self.manifest))]
            return self._cut(everything, self.rank * workers + worker, self.ranks * workers)
        if self._layout == (worker, workers):
            return list(remaining[0])
        if self._layout[0] is not None:
            raise InputError(
                f"the state is that of worker {self._layout[0]} of {self._layout[1]}, this is "
                f"worker {worker} of {workers}; use the same number of workers"
            )
        if self._layout[1] == workers and len(remaining) == workers:
            return list(remaining[worker])
        flat = [interval for part in remaining for interval in part]
        return self._cut(flat, worker, workers)

    def _rows(self, intervals: Sequence[Interval]) -> Iterator[Example]:
        order = self._order_of_epoch()
        for start, end in intervals:
            for window, first, last in order.windows_between(start, end):
                table = self._table(window.blocks).take(order.rows_of(window)[first:last])
                yield from self._examples(table)

    def _order_of_epoch(self) -> EpochOrder:
        if self._order is None or self._order.epoch != self.epoch:
            self._order = epoch_order(
                [rows for _, _, rows in self._blocks],
                seed=self.seed,
                epoch=self.epoch,
                window_rows=self.window_rows,
                weights=self._weights,
            )
        return self._order

    def _table(self, blocks: Sequence[int]) -> pa.Table:
        import pyarrow as pa

        tables = []
        with ExitStack() as opened:
            readers = {
                shard: opened.enter_context(self.manifest.open_shard(shard))
                for shard in sorted({self._blocks[block][0] for block in blocks})
            }
            for block in blocks:
                shard, index, _ = self._blocks[block]
                tables.append(readers[shard].read(index, self.columns))
        return pa.concat_tables(tables)

    def _examples(self, table: pa.Table) -> Iterator[Example]:
        for start in range(0, table.num_rows, _CONVERTED_ROWS):
            part = table.slice(start, _CONVERTED_ROWS)
            columns = [part[name].to_pylist() for name in self.columns]
            if self.weighting == "resampled" and "weight" in self.columns:
                columns[self.columns.index("weight")] = [1.0] * part.num_rows
            for values in zip(*columns, strict=True):
                yield dict(zip(self.columns, values, strict=True))


class ManifestLoader:
    """Batches of a data set; its state is exactly what has been handed out.

    Each iteration reads what remains of the epoch, then the next iteration the next epoch.
    """

    def __init__(
        self,
        dataset: ManifestDataset,
        *,
        batch_size: int,
        num_workers: int,
        collate: Callable[[list[Any]], Any],
        options: Mapping[str, Any],
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be > 0, got {batch_size!r}")
        self.dataset = dataset
        self.num_workers = num_workers
        self._batches = _Batches(dataset, batch_size, collate)
        self._options = dict(options)
        self._is_finished = False

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches that remain of the epoch."""
        if self._is_finished:
            self.dataset.set_epoch(self.dataset.epoch + 1)
            self._is_finished = False
        workers = max(self.num_workers, 1)
        remaining = [self.dataset.remaining_of(worker, workers) for worker in range(workers)]
        self._hold(remaining)
        loader = DataLoader(
            self._batches, batch_size=None, num_workers=self.num_workers, **self._options
        )
        for worker, left, batch in loader:
            remaining[worker] = left
            self._hold(remaining)
            yield batch
        self._is_finished = True

    def state_dict(self) -> DatasetState:
        """Return what remains of the epoch for this rank after the batches handed out so far."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: DatasetState) -> None:
        """Go on where a state was taken; the number of workers may be another.

        Raises:
            InputError: as `ManifestDataset.load_state_dict`.
        """
        self.dataset.load_state_dict(state)
        self._is_finished = False

    def _hold(self, remaining: Sequence[list[Interval]]) -> None:
        state = self.dataset.state_dict()
        state["worker"], state["workers"] = None, len(remaining)
        state["remaining"] = [[list(each) for each in part] for part in remaining]
        self.dataset.load_state_dict(state)


class _Batches(IterableDataset[Any]):
    """Batches with the worker that read them and what it has still to read."""

    def __init__(
        self, dataset: ManifestDataset, batch_size: int, collate: Callable[[list[Any]], Any]
    ) -> None:
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate

    def __iter__(self) -> Iterator[tuple[int, list[Interval], Any]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        left = self.dataset.remaining_of(worker, workers)
        batch = []
        for example in self.dataset.examples_at(left):
            batch.append(example)
            if len(batch) == self.batch_size:
                left = without_first(left, len(batch))
                yield worker, left, self.collate(batch)
                batch = []
        if batch:
            yield worker, [], self.collate(batch)


def _weights(manifest: Manifest) -> FloatArray:
    weights: FloatArray = manifest.to_arrow(["weight"])["weight"].to_numpy()
    return weights


def _place_in_training() -> tuple[int, int]:
    """Return rank and number of ranks.

    Raises:
        InputError: there seem to be several, and nobody says which is this one.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but torch.distributed is not initialised: "
            "initialise it first, or say rank and ranks, or every rank reads everything"
        )
    return 0, 1
