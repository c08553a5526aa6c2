"""Documents packed into rows of one length, for training.

Each document is the start token and its tokens, one after the other in an order that is drawn again
every epoch, cut into rows. Positions begin again at every document and at every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The target that torch's cross entropy leaves out."""


@dataclass(frozen=True)
class Rows:
    """Packed rows, int64, shape (rows, context_tokens) each."""

    inputs: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackedRows:
    """Documents as token ids, packed anew for every epoch; see the module."""

    tokens: Sequence[npt.NDArray[np.int32]]
    start_token_id: int
    context_tokens: int

    @property
    def n_rows(self) -> int:
        """Rows of one epoch: every token but the first is a target once."""
        targets = sum(len(each) + 1 for each in self.tokens) - 1
        return -(-targets // self.context_tokens)

    def epoch(self, rng: np.random.Generator) -> Rows:
        """Return the rows of the documents in an order drawn from `rng`."""
        start = np.array([self.start_token_id], dtype=np.int32)
        parts: list[npt.NDArray[np.int32]] = []
        for place in rng.permutation(len(self.tokens)):
            parts += [start, self.tokens[place]]
        stream = np.concatenate(parts).astype(np.int64)
        begins = np.zeros(len(stream), dtype=np.int64)
        begins[np.cumsum([0] + [len(part) for part in parts])[:-1:2]] = 1
        return packed(stream, begins, self.start_token_id, self.context_tokens)


def packed(
    stream: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    padding: int,
    length: int,
) -> Rows:
    """Cut a stream into rows; `begins` is 1 where a document begins."""
    n_rows = -(-(len(stream) - 1) // length)
    missing = n_rows * length + 1 - len(stream)
    tokens = np.concatenate([stream, np.full(missing, padding)])
    targets = tokens[1:].copy()
    targets[len(stream) - 1 :] = IGNORED
    begin_of_row = np.concatenate([begins, np.zeros(missing, dtype=np.int64)])[:-1]
    begin_of_row = begin_of_row.reshape(n_rows, length)
    columns = np.broadcast_to(np.arange(length), (n_rows, length))
    last_begin = np.maximum.accumulate(np.where(begin_of_row == 1, columns, 0), axis=1)
    return Rows(
        tokens[:-1].reshape(n_rows, length),
        columns - last_begin,
        targets.reshape(n_rows, length),
    )


def batches(rows: PackedRows, batch_rows: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Yield the rows of each step, for ever."""
    while True:
        epoch = rows.epoch(rng)
        for first in range(0, len(epoch.inputs), batch_rows):
            part = slice(first, first + batch_rows)
            yield Rows(epoch.inputs[part], epoch.positions[part], epoch.targets[part])
