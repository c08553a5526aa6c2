"""A bank: models retrained on random subsets of a pool, and what they said of examples.

The examples of every set are split in halves. On one a scorer's damping is chosen, on the other it
is reported: a setting that was chosen on what is reported would look better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.influence.lds import BoolArray, FloatArray, IntArray, check_masks
from databourse.influence.outputs import Output


@dataclass(frozen=True, kw_only=True, eq=False)
class Bank:
    """Outputs of the retrained models.

    Attributes:
        masks: which documents a subset holds, shape (M, n).
        outputs: shape (n_seeds, M, m).
        output: what they are.
        set_names: the set of each example, shape (m,), str.
        is_tuning: shape (m,): settings are chosen on these, the others are reported; some of each.

    Raises:
        InputError: shapes do not match, or one half is empty.
    """

    masks: BoolArray
    outputs: FloatArray
    output: Output
    set_names: NDArray[np.object_]
    is_tuning: BoolArray

    def __post_init__(self) -> None:
        check_masks(self.masks)
        n_examples = len(self.set_names)
        if self.outputs.ndim != 3 or self.outputs.shape[1:] != (len(self.masks), n_examples):
            raise InputError(
                f"outputs must have shape (n_seeds, {len(self.masks)}, {n_examples}), one row per "
                f"subset and one column per example, got {self.outputs.shape}"
            )
        if self.is_tuning.shape != (n_examples,) or self.is_tuning.all():
            raise InputError("some examples must be left to report on, got none")
        if not self.is_tuning.any():
            raise InputError("some examples must be there to choose settings on, got none")


def drawn_examples(n_examples: int, *, most: int, rng: np.random.Generator) -> IntArray:
    """Return ascending positions of at most `most` examples, drawn without replacement.

    Raises:
        InputError: `most` is below 2, or there are fewer than 2 examples: one for each half.
    """
    if most < 2 or n_examples < 2:
        raise InputError(
            f"a set needs at least 2 examples, one to tune on and one to report, got {n_examples} "
            f"of which {most} may be taken"
        )
    return np.sort(rng.choice(n_examples, size=min(n_examples, most), replace=False))


def tuning_half(n_examples: int, *, rng: np.random.Generator) -> BoolArray:
    """Return which examples are tuned on, shape (n_examples,): half of them, rounded down."""
    is_tuning = np.zeros(n_examples, dtype=np.bool_)
    is_tuning[rng.choice(n_examples, size=n_examples // 2, replace=False)] = True
    return is_tuning
