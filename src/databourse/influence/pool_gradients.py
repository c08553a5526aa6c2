"""Features of a pool's gradients by checkpoint, and what TRAK and LESS make of them for targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.curvature import Damping
from databourse.influence.less import LessCheckpoint, less_values
from databourse.influence.outputs import Output
from databourse.influence.trak import Blocks, TrakEnsemble, mean_features

FloatArray = npt.NDArray[np.float64]

Kernel = Literal["whole", "layers"]
"""Of TRAK: over all features at once, or of each layer by itself."""


@dataclass(frozen=True)
class CheckpointGradients:
    """Features of all documents and of all targets under one checkpoint.

    Attributes:
        features_id: what decides them: model, layers and projection.
        output: what they are gradients of.
        blocks: starts a pass over those of the documents, in order of document_id.
        targets: by name of the target, shape (m, k) each: of its examples.
        parts: features of each layer, in order; () where those of layers are summed.
    """

    features_id: str
    output: Output
    blocks: Blocks
    targets: Mapping[str, npt.NDArray[np.float32]]
    parts: tuple[int, ...] = ()

    def parts_of(self, kernel: Kernel) -> tuple[int, ...] | None:
        """Return the parts of its kernel; None for one of the whole.

        Raises:
            InputError: features of layers are summed, so that they have no kernel each.
        """
        if kernel == "whole":
            return None
        if not self.parts:
            raise InputError(
                "a kernel for each layer needs features of each layer; project two_sided, or take "
                "one of the whole"
            )
        return self.parts


@dataclass(frozen=True)
class StepCheckpoint:
    """Features of Adam's steps on all documents, and of plain gradients of all targets.

    Attributes:
        blocks: starts a pass over those of the documents, in order of document_id.
        targets: by name of the target, shape (m, k) each: of its examples.
        learning_rate: > 0, mean over the steps that led to the checkpoint.
    """

    blocks: Blocks
    targets: Mapping[str, npt.NDArray[np.float32]]
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class PoolLess:
    """What LESS says of a pool.

    Attributes:
        values: the maximum over targets, shape (n,), larger is better, in [-1, 1].
        by_target: by name, shape (n,) each.
        examples_without_gradient: left out, such as those without a completion.
        documents_without_step: whose step was zero at some checkpoint.
    """

    values: FloatArray
    by_target: Mapping[str, FloatArray]
    examples_without_gradient: int
    documents_without_step: int


def less_by_target(checkpoints: Sequence[StepCheckpoint], *, n_documents: int) -> PoolLess:
    """Return the LESS value of each document: a target is one sub-task.

    Args:
        checkpoints: of the same documents and targets.
        n_documents: n.

    Raises:
        InputError: there is no checkpoint, they have other targets, or a target has no example with
            a gradient.
    """
    if not checkpoints:
        raise InputError("LESS needs at least one checkpoint, got none")
    names = list(checkpoints[0].targets)
    if any(list(each.targets) != names for each in checkpoints):
        raise InputError("checkpoints of LESS must have the same targets; one has others")
    tasks = [np.full(len(checkpoints[0].targets[name]), place) for place, name in enumerate(names)]
    target_tasks = np.concatenate(tasks).astype(np.int64)
    rows = [np.concatenate([each.targets[name] for name in names]) for each in checkpoints]
    has_gradient = np.all([each.any(axis=1) for each in rows], axis=0)
    for place, name in enumerate(names):
        if not has_gradient[target_tasks == place].any():
            raise InputError(f"no example of target {name!r} has a gradient; give it completions")
    found = less_values(
        [
            LessCheckpoint(
                blocks=each.blocks(),
                target_features=own[has_gradient],
                learning_rate=each.learning_rate,
            )
            for each, own in zip(checkpoints, rows, strict=True)
        ],
        n_documents=n_documents,
        target_tasks=target_tasks[has_gradient],
    )
    return PoolLess(
        values=found.values,
        by_target={name: found.by_task[:, place] for place, name in enumerate(names)},
        examples_without_gradient=int(np.count_nonzero(~has_gradient)),
        documents_without_step=found.n_without_step,
    )


def trak_by_target(
    checkpoints: Sequence[CheckpointGradients],
    *,
    n_documents: int,
    damping: float,
    kernel: Kernel = "whole",
) -> dict[str, FloatArray]:
    """Return the mean TRAK value of each document over each target, by its name, shape (n,) each.

    Args:
        checkpoints: of one ensemble: the same output, documents and targets.
        n_documents: n.
        damping: of each kernel, as a share of its mean eigenvalue, >= 0.
        kernel: one of all features, or one for each layer.

    Returns:
        Per document, larger is better.

    Raises:
        InputError: there is no checkpoint or target, or checkpoints do not go together.
    """
    if not checkpoints:
        raise InputError("an ensemble needs at least one checkpoint, got none")
    names = list(checkpoints[0].targets)
    ensemble = TrakEnsemble(
        n_documents=n_documents,
        n_targets=len(names),
        output=checkpoints[0].output,
        damping=Damping(damping),
    )
    for each in checkpoints:
        if list(each.targets) != names or each.output != checkpoints[0].output:
            raise InputError(
                "checkpoints of an ensemble must have the same targets and output; "
                f"{each.features_id} has others"
            )
        ensemble.add(
            each.blocks,
            mean_features(each.targets),
            features_id=each.features_id,
            parts=each.parts_of(kernel),
        )
    values = ensemble.values().values
    return {name: values[:, place] for place, name in enumerate(names)}
