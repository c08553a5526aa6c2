"""Quality classifier: log-odds that a document is a target text rather than one of the pool.

A logistic regression on hashed uni- and bigrams, or on embeddings, whose positives are the target
texts and whose negatives are documents of the pool; each document is scored by the model of the
folds that it is not in (`databourse.importance.quality_classifier`).

Source: the fastText classifier of DCLM (Li et al. 2024, arXiv 2406.11794), of which this is our
form, not fastText itself; a linear head on embeddings is the idea of FineWeb-Edu (Penedo et al.
2024, arXiv 2406.17557), there on the judgements of a model. Cost: `folds` fits and, for n-grams,
two passes over the texts. Caveat: it says how like a target a text is, form included, and not how
good; near a `held_out_auc` of 0.5 the values are noise, and a `held_out_log_loss` above 0.69 says
that the log-odds are too sure of themselves, though they may still rank.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.importance.ngrams import NgramHashing
from databourse.importance.quality_classifier import (
    ClassifierSettings,
    QualityScores,
    quality_by_embeddings,
    quality_by_ngrams,
)
from databourse.importance.target_examples import embeddings_of, texts_of
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import Need, SignalParameters, SignalSpec

_DETAIL_DECIMALS = 4


class QualityClassifierParameters(SignalParameters):
    """What the classifier sees, and how it is fitted."""

    features: Literal["ngrams", "embeddings"] = Field(
        default="ngrams", description="What the classifier sees of a text."
    )
    order: int = Field(default=2, ge=1, le=4, description="Tokens in the longest n-gram.")
    buckets: int = Field(
        default=10_000, ge=100, le=10_000_000, description="Into which n-grams are hashed."
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="A text is scored by the model of the other folds."
    )
    penalty: float = Field(
        default=1e-4, gt=0, le=1e6, description="Weight of the squared coefficients."
    )
    most_negatives: int = Field(
        default=100_000, ge=1, le=10_000_000, description="Documents of the pool to learn from."
    )


def quality_classifier(
    parameters: QualityClassifierParameters, inputs: SignalInputs
) -> SignalResult:
    """Return the log-odds of each document at equal frequency of both kinds, to 6 decimals.

    Raises:
        InputError: an input is missing or does not fit, or the fit does not settle.
        MissingExtraError: scipy is not installed.
    """
    settings = ClassifierSettings(
        folds=parameters.folds,
        penalty=parameters.penalty,
        most_negatives=parameters.most_negatives,
    )
    found = _scores(parameters, settings, inputs)
    return SignalResult(
        values=found.log_odds,
        details={
            "held_out_auc": round(found.auc, _DETAIL_DECIMALS),
            "held_out_log_loss": round(found.log_loss, _DETAIL_DECIMALS),
            "calibration_error": round(found.calibration_error, _DETAIL_DECIMALS),
            "targets": len(found.target_log_odds),
            "negatives": found.n_negatives,
            "unjudged": found.n_unjudged,
        },
    )


def _scores(
    parameters: QualityClassifierParameters, settings: ClassifierSettings, inputs: SignalInputs
) -> QualityScores:
    targets = required(inputs.targets, "targets")
    if parameters.features == "embeddings":
        vectors = required(inputs.embeddings, "embeddings")
        return quality_by_embeddings(
            inputs.document_ids,
            vectors,
            target_texts=texts_of(targets),
            target_vectors=embeddings_of(targets, vectors.shape[1]),
            settings=settings,
            progress=inputs.progress,
        )
    return quality_by_ngrams(
        inputs.document_ids,
        required(inputs.texts, "texts"),
        target_texts=texts_of(targets),
        hashing=NgramHashing(order=parameters.order, buckets=parameters.buckets),
        settings=settings,
        progress=inputs.progress,
    )


def more_needs(parameters: QualityClassifierParameters) -> frozenset[Need]:
    """Return what the classifier sees: texts or embeddings."""
    return frozenset({"embeddings" if parameters.features == "embeddings" else "texts"})


def fingerprint(parameters: QualityClassifierParameters, inputs: SignalInputs) -> str:
    """Return the identity of the model: it is fitted to the snapshot and the targets."""
    del inputs
    return f"logistic-regression-on-{parameters.features}"


SIGNAL = SignalSpec(
    name="quality_classifier",
    scope="pool",
    needs=frozenset({"targets"}),
    parameters=QualityClassifierParameters,
    compute=quality_classifier,
    more_needs=more_needs,
    fingerprint=fingerprint,
    revision=1,
    summary="log-odds of being a target text rather than a document of the pool",
    orientation="large: like the targets, unlike the pool",
    cost="folds logistic regressions, and for n-grams two passes over the texts",
)
