"""Passes of a language model as records that a curvature is fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from databourse.influence.capture import CapturedPass
from databourse.influence.curvature import Labels
from databourse.influence.kronecker import LayerRecord
from databourse.language_models.model import import_torch


def records_of(passes: Iterable[CapturedPass], *, labels: Labels) -> Iterator[LayerRecord]:
    """Yield one record for each pass and layer.

    A token counts if a loss at it or after it in its row does: no other can carry a gradient.
    Documents none of whose losses count are in no pass, and so are not counted.

    Args:
        passes: as `databourse.influence.per_example.captured` yields them, of the loss ("margin" is
            another function, whose second moment is no Fisher matrix).
        labels: "sampled" if they were captured with a `sampled_seed`, "data" without.
    """
    torch = import_torch()
    for each in passes:
        later = np.cumsum(each.weights[:, ::-1], axis=1)[:, ::-1]  # of this position and all after
        real = torch.from_numpy(later > 0)
        for layer, inputs in each.inputs.items():
            yield LayerRecord(
                layer,
                inputs,
                each.gradients[layer],
                labels,
                real.to(inputs.device),
                each.documents,
            )
