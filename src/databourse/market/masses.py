"""Topic mass: the part of all prices that each topic's market gets.

Prices sum to 1 within a topic, so a raw price of a small topic looks dear. The price over the whole
pool is P_i = m_t p_i with masses m_t that sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray, exact_sum


@dataclass(frozen=True)
class PowerMass:
    """Topic mass proportional to n_documents ** power; power in [0, 1]."""

    power: float

    def __post_init__(self) -> None:
        if not 0 <= self.power <= 1:
            raise InputError(f"the power of topic mass must be in [0, 1], got {self.power!r}")


TopicMass = Literal["proportional", "balanced"] | PowerMass


def topic_masses(n_documents: NDArray[np.int64], rule: TopicMass) -> FloatArray:
    """Return the mass of each topic.

    Args:
        n_documents: documents of each topic, shape (n_topics,), >= 1.
        rule: "proportional" (n_t / N: flat signals give flat prices), "balanced" (1 / n_topics), or
            a power of the topic's size between the two.

    Returns:
        m, shape (n_topics,), > 0, sums to 1 within 1e-12.

    Raises:
        InputError: there is no topic, a topic is empty, or the rule is unknown.
    """
    if n_documents.ndim != 1 or n_documents.size == 0 or n_documents.min() < 1:
        raise InputError(f"every topic needs at least 1 document, got counts {n_documents!r}")
    sizes = n_documents.astype(np.float64) ** _power(rule)
    result: FloatArray = sizes / exact_sum(sizes)
    return result


def _power(rule: TopicMass) -> float:
    if isinstance(rule, PowerMass):
        return rule.power
    if rule == "proportional":
        return 1.0
    if rule == "balanced":
        return 0.0
    raise InputError(f"topic mass must be proportional, balanced or a power, got {rule!r}")
