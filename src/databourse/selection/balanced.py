"""Balanced top-K: the dearest documents, with a floor for every topic.

Step 6A of the selection of Jha et al. 2025 (arXiv 2510.02456: "balanced top-K with per-topic
floors"; the form of the floor is our choice): of K documents, topic t gets at least
f_t = min(n_t, floor(strength * K / T)); the rest goes by price over all topics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from databourse.errors import InputError
from databourse.selection.greedy import BoolArray


def buy_with_topic_floors(
    topics: Sequence[str], *, n_documents: int, floor_strength: float
) -> BoolArray:
    """Return which documents are bought: the floor of each topic first, then the dearest.

    Args:
        topics: topic of each document in rank order, the dearest first.
        n_documents: K, how many to buy, >= 0; more than there are buys all.
        floor_strength: in [0, 1]; 0 is the plain top-K, 1 shares K evenly as far as topics reach.

    Returns:
        Shape (n,), true where bought; min(K, n) are.

    Raises:
        InputError: an argument is outside its domain.
    """
    if n_documents < 0 or not 0 <= floor_strength <= 1:
        raise InputError(
            "balanced top-K needs n_documents >= 0 and a floor_strength in [0, 1], got "
            f"{n_documents!r} and {floor_strength!r}"
        )
    is_bought = np.zeros(len(topics), dtype=np.bool_)
    if not topics:
        return is_bought
    floor = math.floor(floor_strength * n_documents / len(set(topics)))
    held: Counter[str] = Counter()
    for position, topic in enumerate(topics):
        if held[topic] < floor:
            is_bought[position] = True
            held[topic] += 1
    left = min(n_documents, len(topics)) - int(is_bought.sum())
    is_bought[np.flatnonzero(~is_bought)[:left]] = True
    return is_bought
