"""LESS: how far Adam's step on a document points along the gradients of target examples.

value = max over targets of sum_e eta_e mean_x cos(P^T grad l(x), P^T Gamma_e(z)), with Gamma the
step that Adam would take on the document from checkpoint e, eta the checkpoint's learning rate,
scaled to sum 1 (`databourse.influence.less`).

Source: Xia et al. 2024 (arXiv 2402.04333), for instruction data and LoRA; bias-corrected Adam, as
their text defines it. Checkpoints are those of one training of the reference model per fold, at
even distances, all of them read together; a target is a sub-task; documents count whole, by the
mean loss over their tokens. Folds, checkpoints at even distances, ranks and an SJLT in place of a
dense projection are our choice. Cost: a forward and a backward pass per document and checkpoint,
once, kept on disk, and a training per fold. Caveat: the maximum over targets is a union, in which a
target of few, noisy examples can fill a budget; a document is part of the training of all folds but
its own; the momentum that all steps share draws cosines together (influence.steps.momentum).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class LessParameters(SignalParameters):
    """How cosines trade."""

    scale: Literal["ranks", "values"] = Field(
        default="ranks", description="Percentile ranks in the pool, or the values themselves."
    )


def less(parameters: LessParameters, inputs: SignalInputs) -> SignalResult:
    """Return the LESS value of each document: a rank in (0, 1), or a cosine.

    Raises:
        InputError: a target has no example with a gradient.
    """
    from databourse.influence.pool_gradients import less_by_target
    from databourse.selection.intervals import mean_percentile_ranks

    checkpoints = required(inputs.steps, "steps")
    found = less_by_target(checkpoints, n_documents=inputs.n_documents)
    inputs.progress(inputs.n_documents)
    values = found.values
    return SignalResult(
        values=mean_percentile_ranks([values]) if parameters.scale == "ranks" else values,
        details={
            "checkpoints": len(checkpoints),
            "examples_without_gradient": found.examples_without_gradient,
            "documents_without_step": found.documents_without_step,
        },
    )


SIGNAL = SignalSpec(
    name="less",
    scope="pool",
    needs=frozenset({"targets", "steps"}),
    parameters=LessParameters,
    compute=less,
    revision=1,
    summary="how far Adam's step on the document points along gradients of the targets",
    orientation="large: a step of training on it lowers the loss of some target",
    cost="a training per fold; a forward and a backward pass per document and checkpoint, once",
)
