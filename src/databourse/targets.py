"""Examples of the tasks that a trained model must be good at. They are never part of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetSet:
    """The examples of one task, in order of their ids.

    Attributes:
        name: of the target.
        texts: m >= 1, a prompt with its completion where the task has both.
        labels: shape (m,), objects: str, or None where an example has no label.
        prompt_characters: shape (m,), int64: the length of the prompt at the head of each text,
            0 where an example has none.
        embeddings: shape (m, d), float32, unit rows, by the encoder of the pool; None where the
            caller has none.

    Raises:
        InputError: there is no example, or an array has another length.
    """

    name: str
    texts: Sequence[str]
    labels: NDArray[np.object_]
    prompt_characters: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError(f"target {self.name!r} must have examples, got none")
        for field, rows in (
            ("labels", self.labels),
            ("prompt_characters", self.prompt_characters),
            ("embeddings", self.embeddings),
        ):
            if rows is not None and len(rows) != len(self.texts):
                raise InputError(
                    f"{field} of target {self.name!r} must cover {len(self.texts):,} examples, "
                    f"got {len(rows):,}"
                )
