"""Similarity of texts by tf-idf: the baseline that an attribution has to beat.

Notation: t_wd = how often word w is in text d, f_w = documents that hold w, of n.

    weight_wd = (1 + ln t_wd) (1 + ln((1 + n) / (1 + f_w))),    similarity = cosine of two weights

Words are runs of letters, digits and underscores, in lower case. scikit-learn computes it; the
logarithm of counts and the smoothed idf are its options, and our choice. A word that the pool lacks
counts for nothing, so that a text of such words is similar to none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError, MissingExtraError

FloatArray = NDArray[np.float64]

_WORDS = re.compile(r"\w+")


def tfidf_similarity(documents: Sequence[str], queries: Sequence[str]) -> FloatArray:
    """Return the cosine of each document and each query, shape (n, m), in [0, 1].

    Args:
        documents: n texts, of which words and their idf are taken.
        queries: m texts.

    Raises:
        InputError: no document holds a word.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "tf-idf") from error
    if not any(_WORDS.search(text) for text in documents):
        raise InputError(
            f"tf-idf needs words, and none of {len(documents):,} documents holds one; leave it out"
        )
    vectorizer = TfidfVectorizer(tokenizer=_WORDS.findall, token_pattern=None, sublinear_tf=True)
    rows = vectorizer.fit_transform(documents)
    similarities: FloatArray = (rows @ vectorizer.transform(queries).T).toarray()
    return np.minimum(similarities, 1.0)  # rounding may exceed 1 by an ulp
