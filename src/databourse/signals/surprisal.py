"""Surprisal: mean bits per UTF-8 byte under a byte n-gram model of the pool.

s(x) = -(1/|x|) * sum_i log2 P(x_i | x_{i-n+1} .. x_{i-1}), with the cross-fitted Witten-Bell model
of `databourse.signals.byte_ngrams`.

Source: cross-entropy under an n-gram model as a measure of unusual text, Moore & Lewis 2010 (ACL),
with one corpus instead of two. Cost: two passes over the text, about 1 s per megabyte on one core;
memory in `byte_ngrams`. Hashing costs accuracy: 10,000 news items (2.4 MB) take 2.43 bits per byte
at 18 table bits and 2.15 at 22, with rank correlation 0.98. Caveat: random bytes and foreign
languages are the most surprising of all, and very short texts vary most: filter first. Texts that
other folds repeat look familiar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from databourse.errors import InputError
from databourse.signals.byte_ngrams import ByteCounts, pack_texts
from databourse.signals.folds import document_folds
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class SurprisalParameters(SignalParameters):
    """The byte n-gram model."""

    order: int = Field(default=5, ge=1, le=8, description="n: bytes in the longest n-gram.")
    folds: int = Field(
        default=4, ge=2, le=16, description="A document is scored by the other folds' counts."
    )
    table_bits: int = Field(
        default=18,
        ge=8,
        le=22,
        description="Longer contexts are hashed to so many bits; memory doubles with each.",
    )


def surprisal(parameters: SurprisalParameters, inputs: SignalInputs) -> SignalResult:
    """Return the mean bits per byte of each document, >= 0; 0 for an empty text.

    Above 8 for bytes that the model holds less likely than pure chance.

    Raises:
        InputError: `texts` gives another number of texts than there are documents.
    """
    folds = document_folds(inputs.document_ids, parameters.folds)
    counts = ByteCounts(
        order=parameters.order, folds=parameters.folds, table_bits=parameters.table_bits
    )
    for packed in pack_texts(_texts(inputs), order=parameters.order):
        counts.add(packed, folds)
    model = counts.finish()
    bits = np.zeros(inputs.n_documents)
    lengths = np.zeros(inputs.n_documents)
    done = 0
    for packed in pack_texts(_texts(inputs), order=parameters.order):
        surprise = -np.log2(model.probabilities(packed, folds))
        np.add.at(bits, packed.documents, np.bincount(packed.pieces, weights=surprise))
        np.add.at(lengths, packed.documents, np.bincount(packed.pieces))
        finished = int(packed.documents[-1])
        inputs.progress(finished - done)
        done = finished
    inputs.progress(inputs.n_documents - done)
    values = np.divide(bits, lengths, out=np.zeros_like(bits), where=lengths > 0)
    return SignalResult(values=values, details={"model": fingerprint(parameters, inputs)})


def fingerprint(parameters: SurprisalParameters, inputs: SignalInputs) -> str:
    """Return the identity of the model: it is fitted to the snapshot itself, so its kind."""
    del inputs
    return f"byte-{parameters.order}-gram-witten-bell"


def _texts(inputs: SignalInputs) -> Iterator[Sequence[str]]:
    seen = 0
    for batch in required(inputs.texts, "texts")():
        seen += len(batch)
        if seen > inputs.n_documents:
            break
        yield batch
    if seen != inputs.n_documents:
        came = f"at least {seen:,}" if seen > inputs.n_documents else f"{seen:,}"
        raise InputError(f"texts must cover {inputs.n_documents:,} documents, got {came}")


SIGNAL = SignalSpec(
    name="surprisal",
    scope="pool",
    needs=frozenset({"texts"}),
    parameters=SurprisalParameters,
    compute=surprisal,
    fingerprint=fingerprint,
    revision=1,
    summary="mean bits per byte under a byte n-gram model of the other documents",
    orientation="large: spelled and worded unlike the rest of the pool",
    cost="two passes over the text, about 1 s per megabyte; up to 255 MB for the counts",
)
