"""TRAK: what a document takes off the loss on targets, by projected gradients of an ensemble.

value = mean over checkpoints of phi_target^T (Phi^T Phi + lam I)^-1 phi_i, times the mean of Q_i
(`databourse.influence.trak`), with phi the projected gradients of documents and of the mean over a
target's examples. Several targets are put together as DsDm does, by the mean of values, or by that
of standardised values (`mix`).

Source: Park et al. 2023 (arXiv 2303.14186); over targets DsDm, Engstrom et al. 2024 (arXiv
2401.12926). Checkpoints are the language models of the folds, each trained on the documents of the
other folds, or those of an ensemble (influence.gradients.ensemble). Output function, damping, a
kernel for each layer, ranks and the mean of standardised values are our choice.
Cost: a forward and a backward pass per document and checkpoint, once, kept on disk; n k^2 per
checkpoint for the kernel. Caveat: an ensemble of few small models is noisy, and values grow with
length, which a market divides by; a first-order effect does not see that two documents say the
same.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class TrakParameters(SignalParameters):
    """The kernel, and how targets are put together."""

    damping: float = Field(
        default=0.1, ge=0, le=1e6, description="Of the kernel, as a share of its mean eigenvalue."
    )
    kernel: Literal["whole", "layers"] = Field(
        default="whole",
        description="One of all features, or one for each layer: two_sided projections alone.",
    )
    mix: Literal["z_scored", "plain"] = Field(
        default="z_scored", description="Mean over targets of standardised values, or of values."
    )
    per: Literal["document", "token"] = Field(
        default="document", description="Of what a value is; the market divides by length itself."
    )
    scale: Literal["ranks", "values"] = Field(
        default="ranks", description="Percentile ranks in the pool, or the values themselves."
    )


def trak(parameters: TrakParameters, inputs: SignalInputs) -> SignalResult:
    """Return the TRAK value of each document: a rank in (0, 1), or standard deviations.

    Raises:
        InputError: a kernel is singular without damping.
    """
    from databourse.influence.dsdm import dsdm_values
    from databourse.influence.pool_gradients import trak_by_target
    from databourse.selection.intervals import mean_percentile_ranks

    checkpoints = required(inputs.gradients, "gradients")
    by_target = trak_by_target(
        checkpoints,
        n_documents=inputs.n_documents,
        damping=parameters.damping,
        kernel=parameters.kernel,
    )
    values = dsdm_values(
        by_target, required(inputs.tokens, "tokens"), mix=parameters.mix, per=parameters.per
    )
    inputs.progress(inputs.n_documents)
    harmful = int((np.sum(list(by_target.values()), axis=0) < 0).sum())
    return SignalResult(
        values=mean_percentile_ranks([values]) if parameters.scale == "ranks" else values,
        details={"checkpoints": len(checkpoints), "harmful_documents": harmful},
    )


SIGNAL = SignalSpec(
    name="trak",
    scope="pool",
    needs=frozenset({"tokens", "targets", "gradients"}),
    parameters=TrakParameters,
    compute=trak,
    revision=1,
    summary="what the document takes off the loss on targets, by projected gradients",
    orientation="large: a language model that has learnt it does better on the targets",
    cost="a forward and a backward pass per document and model, once; n * features^2 per model",
)
