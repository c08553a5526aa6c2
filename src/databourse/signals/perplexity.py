"""Perplexity: how surprised a pretrained language model is by a document, per token.

s(x) = -(1 / T) sum_t ln p(x_t | x_<t) over the T tokens of the text: the mean token loss in nats,
which is ln of the perplexity. What is useful of it is `prefer` (see `preference`): the middle of
the pool by default, its low or its high end.

Source: a filter of every kind of pool, and studies disagree about its direction. Sachdeva et al.
2024 (arXiv 2402.09668) keep the lowest; Ankner et al. 2024 (arXiv 2405.20541) find high, middle or
low best, depending on the corpus; the middle is usually best in Marion et al. 2023 (arXiv
2309.04564). So the direction is the user's: try each, and a random pick, at equal tokens. The mean
token loss in place of the perplexity, the middle as the default and the shape of the middle are our
choice. A text without a token cannot be judged and gets the mean over the others: our choice too.
Cost: one forward pass per document, 2 * parameters * tokens operations, paid when its losses are
stored. Caveat: the lowest are boilerplate and what the model has learnt by heart, the highest are
noise, other languages and short texts; both depend on the model and its tokenizer.
"""

from __future__ import annotations

import numpy as np

from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.preference import PreferenceParameters, oriented
from databourse.signals.specification import SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged


class PerplexityParameters(PreferenceParameters):
    """Which mean token losses are the useful ones."""


def perplexity(parameters: PerplexityParameters, inputs: SignalInputs) -> SignalResult:
    """Return the mean token loss of each document, turned by `prefer`: nats, or ranks of 'middle'.

    Raises:
        InputError: no text has a token.
    """
    losses = required(inputs.text_losses, "text_losses").mean_losses
    values = oriented(losses, prefer=parameters.prefer, centre=parameters.centre)
    return SignalResult(
        values=with_mean_for_unjudged(values),
        details={"judged_documents": int(np.isfinite(losses).sum())},
    )


SIGNAL = SignalSpec(
    name="perplexity",
    scope="pool",
    needs=frozenset({"text_losses"}),
    parameters=PerplexityParameters,
    compute=perplexity,
    revision=1,
    summary="mean token loss of a language model, turned to its low end, middle or high end",
    orientation="large: near the middle of the pool by default; or low, or high, as prefer says",
    cost="one forward pass of the language model per document, shared with generative_entropy",
)
