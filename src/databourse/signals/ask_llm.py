"""Ask-LLM: the probability with which a model says yes, this document is worth training on.

s(x) = P("yes" | question about x) at the first answer position, in [0, 1]. `databourse.ask_llm`
words the question and gets the answer. yes_share = P(yes) / (P(yes) + P(no)) is our addition,
steadier when a model would rather say something else; the two do not rank alike. A document whose
answer failed after all retries gets the mean over those that were answered.

Source: Ask-LLM, Sachdeva et al. 2024 (arXiv 2402.09668), algorithm 1, which keeps the largest p_yes
and nothing else; truncation and spellings of yes are our choice, see `databourse.ask_llm.prompt`.
Cost: one forward pass of the model, or one request, per document; `ask_llm_distilled` asks a sample
only. Caveat: a model judges what is written as a textbook would be written above what is right, and
small models say yes to nearly all; values of different models do not compare.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.errors import InputError
from databourse.signals.inputs import QualityAnswers, SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged

AnswerMeasure = Literal["p_yes", "yes_share"]


class AskLlmParameters(SignalParameters):
    """What is taken of an answer."""

    measure: AnswerMeasure = Field(
        default="p_yes",
        description="P(yes) over the whole vocabulary, or its share of yes and no.",
    )


def ask_llm(parameters: AskLlmParameters, inputs: SignalInputs) -> SignalResult:
    """Return the model's yes to each document, in [0, 1].

    Raises:
        InputError: no document was answered, or a score is outside [0, 1].
    """
    scores = answer_scores(required(inputs.answers, "answers"), measure=parameters.measure)
    answered = int((~np.isnan(scores)).sum())
    if answered == 0:
        raise InputError(
            f"the model must answer about a document at least, all {len(scores):,} failed; see "
            "the reasons of the failures, then refresh again"
        )
    inputs.progress(inputs.n_documents)
    return SignalResult(
        values=with_mean_for_unjudged(scores),
        details={"answered": answered, "failed": len(scores) - answered},
    )


def answer_scores(answers: QualityAnswers, *, measure: AnswerMeasure) -> NDArray[np.float64]:
    """Return the chosen score of each document, shape (n,), in [0, 1]; NaN where it failed.

    Raises:
        InputError: a score is outside [0, 1].
    """
    scores = answers.p_yes if measure == "p_yes" else answers.yes_share
    outside = np.flatnonzero((scores < 0) | (scores > 1))  # NaN is a failure, and passes
    if outside.size:
        raise InputError(
            f"{measure} must be in [0, 1], got {float(scores[outside[0]])!r} at {outside[0]}"
        )
    return scores


SIGNAL = SignalSpec(
    name="ask_llm",
    scope="pool",
    needs=frozenset({"answers"}),
    parameters=AskLlmParameters,
    compute=ask_llm,
    revision=1,
    summary="probability with which a model says that the document is worth training on",
    orientation="large: informative, well formatted, harmless in the eyes of the model",
    cost="one forward pass or request per document",
)
