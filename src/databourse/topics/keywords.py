"""Words that tell topics apart, for people: k-means gives topics numbers, not names.

Class-based tf-idf (Grootendorst 2022, BERTopic, arXiv 2203.05794, section 3.3): a word x in a topic
c weighs tf(x, c) * ln(1 + A / f(x)), with tf its count in c, f its count over all topics, and A
the mean number of words per topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from databourse.errors import MissingExtraError

_WORD = r"(?u)\b[^\W\d_][^\W\d_]{2,}\b"


def topic_keywords(
    texts: Mapping[str, Sequence[str]], *, count: int = 3
) -> dict[str, tuple[str, ...]]:
    """Return the words that weigh most in each topic, the heaviest first; equal ones by alphabet.

    Args:
        texts: texts of each topic, or a sample of them; words are taken in lower case, of three
            letters or more, without English function words.
        count: most words per topic, >= 1.

    Returns:
        For every topic at most `count` words; none where its texts hold no word.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "finding words of topics") from error
    topics = sorted(texts)
    vectorizer = CountVectorizer(stop_words="english", token_pattern=_WORD)
    try:
        counts = vectorizer.fit_transform(" ".join(texts[topic]) for topic in topics)
    except ValueError:  # what it raises when no text holds a word
        return dict.fromkeys(topics, ())
    words = vectorizer.get_feature_names_out()
    mean_words = counts.sum() / len(topics)
    rarity = np.log(1 + mean_words / np.asarray(counts.sum(axis=0)).ravel())
    return {topic: _heaviest(counts[row], rarity, words, count) for row, topic in enumerate(topics)}


def _heaviest(
    counts: object,
    rarity: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    words: np.ndarray[tuple[int, ...], np.dtype[np.object_]],
    count: int,
) -> tuple[str, ...]:
    weights = counts.toarray().ravel() * rarity  # type: ignore[attr-defined]
    order = np.lexsort((words, -np.round(weights, 9)))[:count]
    return tuple(str(words[position]) for position in order if weights[position] > 0)
