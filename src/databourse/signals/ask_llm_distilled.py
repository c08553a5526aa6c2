"""Ask-LLM on a sample: a head on embeddings learns the answers and predicts them for all.

A model is asked about `labelled` documents, drawn uniformly by a hash of seed and id; a linear head
(ridge or logistic) on frozen embeddings is fitted to the answers. Every value is a prediction: of a
document that was asked about, by the head of the folds that it is not in, so that all values mean
the same. Failed answers train nothing and are predicted like those that nobody asked about.

Answers about other documents are ignored, so that the values do not depend on which other signals
asked; `documents_to_ask` tells whoever asks which documents count.

Source: the question and the score are Ask-LLM, Sachdeva et al. 2024 (arXiv 2402.09668), which asks
about every document; the head on embeddings is the idea of FineWeb-Edu (Penedo et al. 2024, arXiv
2406.17557); the shortcut is our choice, see `databourse.ask_llm.distilled`.
Cost: `labelled` forward passes or requests; `folds` + 1 linear fits and one pass over the
embeddings. Caveat: only what a line in the embeddings can tell of the answers is learnt; the
held-out rank correlation in the details says how much that is, and where it is near 0 the values
are noise. Ridge predictions rank and may leave [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.ask_llm.distilled import HeadName, distil, labelled_sample
from databourse.errors import InputError
from databourse.seeds import stage_seed
from databourse.signals.ask_llm import AnswerMeasure, answer_scores
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec

LEAST_LABELLED = 50
"""Answers below which no head is fitted (our choice)."""


class AskLlmDistilledParameters(SignalParameters):
    """How many answers are bought, and what learns them."""

    measure: AnswerMeasure = Field(
        default="p_yes",
        description="P(yes) over the whole vocabulary, or its share of yes and no.",
    )
    labelled: int = Field(
        default=1000,
        ge=LEAST_LABELLED,
        le=10_000_000,
        description="Documents that the model is asked about.",
    )
    head: HeadName = Field(
        default="ridge",
        description="Ridge regression of the scores, or a logistic one with them as soft labels.",
    )
    penalty: float = Field(
        default=1.0, gt=0, le=1e6, description="Weight of the squared coefficients of the head."
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="Asked documents are predicted from the other folds."
    )


def ask_llm_distilled(parameters: AskLlmDistilledParameters, inputs: SignalInputs) -> SignalResult:
    """Return the predicted yes to each document; logistic in [0, 1], ridge near it.

    Raises:
        InputError: too few documents were answered, all answers are equal, or the head predicts
            the same for all.
        MissingExtraError: scikit-learn is not installed.
    """
    scores = answer_scores(required(inputs.answers, "answers"), measure=parameters.measure)
    asked = documents_to_ask(parameters, inputs.document_ids, inputs.seed)
    labelled = asked[~np.isnan(scores[asked])]
    if labelled.size < LEAST_LABELLED:
        raise InputError(
            f"at least {LEAST_LABELLED} answers are needed to learn from, got {labelled.size:,} "
            f"about {asked.size:,} of {inputs.n_documents:,} documents; see the reasons of the "
            "failures, or use ask_llm on a small pool"
        )
    learnt = distil(
        inputs.document_ids,
        required(inputs.embeddings, "embeddings"),
        labelled=labelled,
        labels=scores[labelled],
        head=parameters.head,
        penalty=parameters.penalty,
        folds=parameters.folds,
        progress=inputs.progress,
    )
    if learnt.held_out_spearman is None:
        raise InputError(
            "the head must tell documents apart, got one prediction for all that were asked "
            "about; lower penalty, ask about more documents or use ask_llm"
        )
    of_folds = [each for each in learnt.fold_spearmans if each is not None]
    return SignalResult(
        values=learnt.scores,
        details={
            "held_out_spearman": learnt.held_out_spearman,
            "lowest_fold_spearman": min(of_folds, default=None),
            "highest_fold_spearman": max(of_folds, default=None),
            "n_labelled": learnt.n_labelled,
            "failed": int(asked.size - labelled.size),
        },
    )


def documents_to_ask(
    parameters: AskLlmDistilledParameters, document_ids: Sequence[str], seed: int
) -> NDArray[np.int64]:
    """Return positions of the documents whose answers count, ascending.

    Args:
        parameters: of the signal.
        document_ids: n ids of the pool.
        seed: root seed, that of `SignalInputs`.

    Returns:
        Shape (min(labelled, n),), int64.
    """
    return labelled_sample(
        document_ids, parameters.labelled, seed=stage_seed(seed, "ask_llm_distilled")
    )


SIGNAL = SignalSpec(
    name="ask_llm_distilled",
    scope="pool",
    needs=frozenset({"answers", "embeddings"}),
    parameters=AskLlmDistilledParameters,
    compute=ask_llm_distilled,
    revision=1,
    summary="yes of Ask-LLM as a head on embeddings predicts it from the answers to a sample",
    orientation="large: a model would call it informative, as far as embeddings tell",
    cost="one forward pass or request per asked document; linear fits on the embeddings",
)
