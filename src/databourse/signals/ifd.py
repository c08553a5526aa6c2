"""IFD, instruction-following difficulty: how little a prompt helps to predict its completion.

With s(A | Q) and s(A) the mean token losses of completion A with and without its prompt Q, nats:

    ratio 'perplexity':  exp(s(A | Q) - s(A))       ratio 'loss':  s(A | Q) / s(A)

Near 0 the prompt says all; at 1 it changes nothing; above 1 it misleads. See
`databourse.language_models.instruction_difficulty`.

Source: the loss ratio is that of Li et al. 2023 (Cherry LLM, arXiv 2308.12032), the perplexity
ratio that of Li et al. 2024 (Superfiltering, arXiv 2402.00530), who take it from a small model that
was not trained on the pool first; as ours is not either, it is the default. Both discard what is
above 1 and keep the highest of the rest. A signal cannot discard, so by default such a document
gets 0, the smallest that a ratio can be: our choice, as is the mean over the others for one that
cannot be judged (no prompt, no completion, or 0 / 0).
Cost: two forward passes per document, with and without the prompt. Caveat: very short completions
have extreme ratios; the two ratios rank documents differently, most of all where losses are low;
with `above_one` 'keep' a perplexity ratio may be so large that all others look alike.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.errors import InputError
from databourse.language_models.instruction_difficulty import loss_ratio, perplexity_ratio
from databourse.language_models.losses import TokenLosses
from databourse.signals.completion_loss import prompted_losses
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged

_RATIOS = {"loss": loss_ratio, "perplexity": perplexity_ratio}


class IfdParameters(SignalParameters):
    """Which of the two published ratios, and what becomes of those above 1."""

    ratio: Literal["loss", "perplexity"] = Field(
        default="perplexity",
        description="Quotient of the mean losses with and without the prompt, or of perplexities.",
    )
    above_one: Literal["lowest", "keep"] = Field(
        default="lowest",
        description="A prompt that misleads is worth 0, the least there is, or its ratio.",
    )


def ifd(parameters: IfdParameters, inputs: SignalInputs) -> SignalResult:
    """Return the ratio of each document, >= 0; at most 1 under `above_one` 'lowest'.

    An infinite ratio (a loss of 0 without the prompt, or beyond the range of a double) gets, under
    'keep', the largest finite one of the pool.

    Raises:
        ConfigError: no document has both a prompt and a completion.
        InputError: completions have other tokens with their prompts than without, or no document
            can be judged.
    """
    conditioned = prompted_losses(inputs, signal="ifd")
    unconditioned = required(inputs.completion_losses, "completion_losses")
    _check_tokens(conditioned, unconditioned, inputs)
    ratio_of = _RATIOS[parameters.ratio]
    ratios = ratio_of(conditioned.mean_losses, unconditioned.mean_losses)
    is_above = ratios > 1
    return SignalResult(
        values=with_mean_for_unjudged(_bounded(ratios, parameters.above_one)),
        details={
            "judged_documents": int((~np.isnan(ratios)).sum()),
            "above_one_documents": int(is_above.sum()),
        },
    )


def _bounded(
    ratios: NDArray[np.float64], above_one: Literal["lowest", "keep"]
) -> NDArray[np.float64]:
    if above_one == "lowest":
        return np.where(ratios > 1, 0.0, ratios)
    finite = ratios[np.isfinite(ratios)]
    return np.where(np.isposinf(ratios), finite.max(initial=-np.inf), ratios)


def _check_tokens(
    conditioned: TokenLosses, unconditioned: TokenLosses, inputs: SignalInputs
) -> None:
    with_prompt, without = conditioned.token_counts, unconditioned.token_counts
    others = np.flatnonzero((with_prompt > 0) & (with_prompt != without))
    if others.size:
        first = int(others[0])
        raise InputError(
            "a completion must be the same tokens with and without its prompt, got "
            f"{int(with_prompt[first])} and {int(without[first])} in document "
            f"{inputs.document_ids[first]}; score completions again"
        )


SIGNAL = SignalSpec(
    name="ifd",
    scope="pool",
    needs=frozenset({"completion_losses", "conditioned_losses"}),
    parameters=IfdParameters,
    compute=ifd,
    revision=1,
    summary="instruction-following difficulty: loss of a completion with its prompt over without",
    orientation="large: the prompt helps little and the completion is hard; above 1 it misleads: 0",
    cost="two forward passes of the language model per document",
)
