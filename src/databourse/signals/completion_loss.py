"""Completion loss: how hard a completion is to predict for a language model that saw its prompt.

s(A | Q) = the mean token loss in nats of completion A after prompt Q; the prompt's own tokens are
not counted. What is useful of it is `prefer` (see `preference`): the middle of the pool by default.

Source: the numerator of IFD, Li et al. 2023 (arXiv 2308.12032), who divide it by the loss without
the prompt because alone it also holds how hard the completion is by itself; see `ifd`. No study at
hand prefers one of its ends. The middle as the default is our choice, after the study that finds
the middle of perplexity usually best (Marion et al. 2023, arXiv 2309.04564): the lowest are
completions that the model gives already, the highest wrong answers and noise. The mean over the
others for a document that cannot be judged, which has no prompt or no completion, is our choice.
Cost: one forward pass per document, 2 * parameters * tokens of prompt and completion, shared with
`ifd`. Caveat: short completions have extreme means; wrong answers are the highest of all.
"""

from __future__ import annotations

import numpy as np

from databourse.errors import ConfigError
from databourse.language_models.losses import TokenLosses
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.preference import PreferenceParameters, oriented
from databourse.signals.specification import SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged


class CompletionLossParameters(PreferenceParameters):
    """Which mean token losses of completions are the useful ones."""


def completion_loss(parameters: CompletionLossParameters, inputs: SignalInputs) -> SignalResult:
    """Return the loss of each completion after its prompt, turned by `prefer`.

    Raises:
        ConfigError: no document has both a prompt and a completion.
    """
    losses = prompted_losses(inputs, signal="completion_loss").mean_losses
    values = oriented(losses, prefer=parameters.prefer, centre=parameters.centre)
    return SignalResult(
        values=with_mean_for_unjudged(values),
        details={"judged_documents": int(np.isfinite(losses).sum())},
    )


def prompted_losses(inputs: SignalInputs, *, signal: str) -> TokenLosses:
    """Return the losses of completions after their prompts, where any document has both.

    Args:
        inputs: with `conditioned_losses`.
        signal: the name of the signal that asks.

    Raises:
        ConfigError: no document has both a prompt and a completion.
    """
    losses = required(inputs.conditioned_losses, "conditioned_losses")
    if not (losses.token_counts > 0).any():
        raise ConfigError(
            f"signal {signal!r} needs documents with a prompt and a completion; none of "
            f"{inputs.n_documents:,} has both: give a source prompt and completion templates, or "
            "leave the signal out"
        )
    return losses


SIGNAL = SignalSpec(
    name="completion_loss",
    scope="pool",
    needs=frozenset({"conditioned_losses"}),
    parameters=CompletionLossParameters,
    compute=completion_loss,
    revision=1,
    summary="mean token loss of a completion after its prompt, turned to its low end, middle or "
    "high",
    orientation="large: near the middle of the pool by default; or low, or high, as prefer says",
    cost="one forward pass of the language model per document, shared with ifd",
)
