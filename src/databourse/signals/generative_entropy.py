"""Generative entropy: how open a language model finds what comes next in a document.

G(x) = (1 / T) sum_t H(p(. | x_<t)) over the T tokens of the text, H = Shannon entropy of the whole
next-token distribution in nats; 0 <= G <= ln(size of the vocabulary). What is useful of it is
`prefer` (see `preference`): the middle of the pool by default.

Source: "generative entropy" is one of the three scores of EUDS, Li, Liu & Huang 2025 (IEEE Access
13:153713, arXiv 2602.17465), which keeps an interval of each; its formula there is not known to us.
This is a reconstruction: the formula is our choice, and so are the middle as what stands for that
interval and the mean over the others for a text without a token. The sampler `euds_generative`
keeps an interval proper. Other readings, mean token loss and the entropy of sampled outputs, are
the signals `perplexity` and `semantic_entropy`.
Cost: that of `perplexity`, in the same forward pass. Caveat: it says what the model expects, never
what is written: a text of wrong words can have a low one. Repetition and templates sit low, lists,
names and the first tokens of any text high, so short texts are high; it depends on the model.
"""

from __future__ import annotations

import numpy as np

from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.preference import PreferenceParameters, oriented
from databourse.signals.specification import SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged


class GenerativeEntropyParameters(PreferenceParameters):
    """Which entropies are the useful ones."""


def generative_entropy(
    parameters: GenerativeEntropyParameters, inputs: SignalInputs
) -> SignalResult:
    """Return the mean next-token entropy, turned by `prefer`: nats, or ranks of 'middle'.

    Raises:
        InputError: no text has a token.
    """
    entropies = required(inputs.text_losses, "text_losses").mean_entropies
    values = oriented(entropies, prefer=parameters.prefer, centre=parameters.centre)
    return SignalResult(
        values=with_mean_for_unjudged(values),
        details={"judged_documents": int(np.isfinite(entropies).sum())},
    )


SIGNAL = SignalSpec(
    name="generative_entropy",
    scope="pool",
    needs=frozenset({"text_losses"}),
    parameters=GenerativeEntropyParameters,
    compute=generative_entropy,
    revision=1,
    summary="mean entropy of a language model's next token, turned to its low end, middle or high",
    orientation="large: near the middle of the pool by default; or low, or high, as prefer says",
    cost="one forward pass of the language model per document, shared with perplexity",
)
