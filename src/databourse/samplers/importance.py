"""Samplers that buy what is like the target texts: importance resampling, and a quality classifier.

    dsir:       drawn in proportion to w, without replacement, ln w the sum over n-grams
    dsir_top:   the largest such ln w first
    dsir_mean:  drawn by ln w = L times the mean over n-grams, L = median number of n-grams of a
                document that has any: as if all documents had been cut to that length
    quality_classifier, quality_classifier_embeddings: the largest log-odds first

Source: Xie et al. 2023 (arXiv 2302.03169) for `dsir`, with the defaults of its library except that
short documents take part (`least_tokens`; the library drops those under 100 tokens), and for
`dsir_top`, an option of the library; Li et al. 2024 (arXiv 2406.11794), who keep the top tenth by a
fastText classifier. A budget of tokens in place of numbers of documents, `dsir_mean` with its
smoothing and our form of the classifier are our choice; see `databourse.importance`. Caveats are
told there: `dsir` is close to `dsir_top`, both go by length as well, and all of these like what has
the form of the targets.
"""

from __future__ import annotations

import numpy as np

from databourse.errors import InputError
from databourse.importance.dsir import (
    PUBLISHED,
    SMOOTHED,
    ImportanceSettings,
    Per,
    gumbel_order,
    pool_importance,
)
from databourse.importance.ngrams import NgramHashing
from databourse.importance.quality_classifier import (
    ClassifierSettings,
    quality_by_embeddings,
    quality_by_ngrams,
)
from databourse.importance.target_examples import embeddings_of, texts_of
from databourse.samplers.interface import (
    Candidates,
    Sampler,
    SamplerSpec,
    buy_in_order,
    required,
)
from databourse.samplers.ranked import rising
from databourse.selection.greedy import FloatArray, IntArray

LEAST_TOKENS = 0
"""Of a document that may be bought; 100 in the library of DSIR."""


def drawn_by_importance(
    settings: ImportanceSettings, *, per: Per, least_tokens: int = LEAST_TOKENS
) -> Sampler:
    """Return the sampler that draws documents in proportion to their importance.

    Args:
        settings: how importance is estimated.
        per: the sum over n-grams, or their mean times the median number of them.
        least_tokens: what is shorter, in tokens of n-grams, is never bought.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        log_weights = _log_weights(candidates, settings, per=per, least_tokens=least_tokens)
        return buy_in_order(gumbel_order(log_weights, rng), candidates, budget)

    return sampler


def most_important_first(
    settings: ImportanceSettings, *, per: Per, least_tokens: int = LEAST_TOKENS
) -> Sampler:
    """Return the sampler that buys documents from the highest importance down.

    Args:
        settings: how importance is estimated.
        per: the sum over n-grams, or their mean.
        least_tokens: what is shorter, in tokens of n-grams, is never bought.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        log_weights = _log_weights(candidates, settings, per=per, least_tokens=least_tokens)
        order = rising(-log_weights)
        return buy_in_order(order[log_weights[order] > -np.inf], candidates, budget)

    return sampler


def likeliest_targets_by_ngrams(hashing: NgramHashing, settings: ClassifierSettings) -> Sampler:
    """Return the sampler that buys what a classifier of n-grams holds likeliest to be a target.

    Args:
        hashing: which n-grams, and into which buckets.
        settings: how the classifier is fitted.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        found = quality_by_ngrams(
            candidates.document_ids,
            required(candidates.texts, "texts"),
            target_texts=texts_of(required(candidates.targets, "targets")),
            hashing=hashing,
            settings=settings,
        )
        return buy_in_order(rising(-found.log_odds), candidates, budget)

    return sampler


def likeliest_targets_by_embeddings(settings: ClassifierSettings) -> Sampler:
    """Return the sampler that buys what a classifier of embeddings holds likeliest to be a target.

    Args:
        settings: how the classifier is fitted.
    """

    def sampler(candidates: Candidates, budget: int, *, rng: np.random.Generator) -> IntArray:
        del rng
        vectors = required(candidates.embeddings, "embeddings")
        targets = required(candidates.targets, "targets")
        found = quality_by_embeddings(
            candidates.document_ids,
            vectors,
            target_texts=texts_of(targets),
            target_vectors=embeddings_of(targets, vectors.shape[1]),
            settings=settings,
        )
        return buy_in_order(rising(-found.log_odds), candidates, budget)

    return sampler


def _log_weights(
    candidates: Candidates, settings: ImportanceSettings, *, per: Per, least_tokens: int
) -> FloatArray:
    if least_tokens < 0:
        raise InputError(f"least_tokens must be >= 0, got {least_tokens!r}")
    found = pool_importance(
        required(candidates.texts, "texts"),
        texts_of(required(candidates.targets, "targets")),
        n_documents=len(candidates.document_ids),
        per=per,
        settings=settings,
    )
    log_weights = found.log_weights
    if per == "ngram":
        log_weights = log_weights * np.median(found.ngrams[found.ngrams > 0])
    return np.where(found.tokens >= least_tokens, log_weights, -np.inf)


SAMPLERS = (
    SamplerSpec(
        name="dsir",
        measures=frozenset(),
        inputs=frozenset({"texts", "targets"}),
        sampler=drawn_by_importance(PUBLISHED, per="document"),
        is_random=True,
        summary="drawn by how much likelier they are under the targets than under the pool",
    ),
    SamplerSpec(
        name="dsir_mean",
        measures=frozenset(),
        inputs=frozenset({"texts", "targets"}),
        sampler=drawn_by_importance(SMOOTHED, per="ngram"),
        is_random=True,
        summary="drawn by the same, smoothed, as if all documents were of one length",
    ),
    SamplerSpec(
        name="dsir_top",
        measures=frozenset(),
        inputs=frozenset({"texts", "targets"}),
        sampler=most_important_first(PUBLISHED, per="document"),
        is_random=False,
        summary="the documents that are most likelier under the targets than under the pool",
    ),
    SamplerSpec(
        name="quality_classifier",
        measures=frozenset(),
        inputs=frozenset({"texts", "targets"}),
        sampler=likeliest_targets_by_ngrams(NgramHashing(), ClassifierSettings()),
        is_random=False,
        summary="the likeliest to be a target by a linear classifier of n-grams",
    ),
    SamplerSpec(
        name="quality_classifier_embeddings",
        measures=frozenset(),
        inputs=frozenset({"embeddings", "targets"}),
        sampler=likeliest_targets_by_embeddings(ClassifierSettings()),
        is_random=False,
        summary="the likeliest to be a target by a linear classifier of embeddings",
    ),
)
