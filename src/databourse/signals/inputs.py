"""What a signal is computed from, and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.neighbours import Neighbours
from databourse.progress import ProgressReport, silent
from databourse.signals.specification import Need
from databourse.topics import Topics

T = TypeVar("T")

JsonScalar = str | int | float | bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalInputs:
    """The documents of a snapshot, in order of document_id, as far as a signal needs them.

    Attributes:
        document_ids: n >= 1 distinct ids, sorted; row i of every array is document i.
        seed: root seed; a signal derives its own with `databourse.seeds`.
        tokens: shape (n,), int64, >= 1.
        labels: shape (n,), objects: str, or None where a document has no label.
        embeddings: shape (n, d), float32, unit rows.
        topics: the topic of each document and the centroids.
        neighbours: the nearest documents of each document.
        texts: gives the texts anew at each call, in batches of any size, in order.
        progress: told the number of documents done.
    """

    document_ids: Sequence[str]
    seed: int
    tokens: NDArray[np.int64] | None = None
    labels: NDArray[np.object_] | None = None
    embeddings: NDArray[np.float32] | None = None
    topics: Topics | None = None
    neighbours: Neighbours | None = None
    texts: Callable[[], Iterator[Sequence[str]]] | None = None
    progress: ProgressReport = silent

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.document_ids)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalResult:
    """The values of a signal.

    Attributes:
        values: shape (n,), float64, finite, larger is more useful.
        details: what a reader should know about how they came about, such as which of two models.
        model_calls: forward passes of a model.
    """

    values: NDArray[np.float64]
    details: Mapping[str, JsonScalar] = dataclasses.field(default_factory=dict)
    model_calls: int = 0


def required(value: T | None, need: Need) -> T:
    """Return an input that must be there.

    Raises:
        InputError: it is None.
    """
    if value is None:
        raise InputError(f"{need} must be among the inputs of this signal; they were not passed")
    return value
