"""What asking a model gives: the probability of yes, between bounds, or the reason for none.

Notation: P(yes) and P(no) are shares of the full softmax at the first answer position, each summed
over the spellings that count as that answer. The paper's score is P(yes) (Sachdeva et al. 2024,
arXiv 2402.09668, algorithm 1). The share P(yes) / (P(yes) + P(no)) is our addition, steadier when a
model would rather say something else; the two do not rank alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Interval:
    """All that is known of a number: low <= number <= high; exact if both are equal."""

    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        """Tell whether the number is known."""
        return self.low == self.high


@dataclass(frozen=True)
class Cost:
    """What was spent on answers; costs add up.

    Attributes:
        requests: sent to an endpoint, retries included; 0 for a model of our own.
        prompt_tokens: as the endpoint reports them, or as counted for a model of our own.
        completion_tokens: likewise.
        unreported_requests: requests whose reply, if any, did not say how many tokens it took.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unreported_requests: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.unreported_requests + other.unreported_requests,
        )


@dataclass(frozen=True)
class QualityScore:
    """The answer about one document.

    Attributes:
        document_id: of the document.
        log_p_yes: ln P(yes), <= 0; low is -inf where yes was not seen at all.
        log_p_no: ln P(no), likewise.
        truncated: whether the document was cut.
        cost: of this answer.
    """

    document_id: str
    log_p_yes: Interval
    log_p_no: Interval
    truncated: bool
    cost: Cost = field(default_factory=Cost)

    @property
    def p_yes(self) -> Interval:
        """Return P(yes), the score of the paper, in [0, 1]."""
        return Interval(math.exp(self.log_p_yes.low), math.exp(self.log_p_yes.high))

    @property
    def yes_share(self) -> Interval:
        """Return P(yes) / (P(yes) + P(no)), in [0, 1]; [0, 1] where neither has any mass."""
        return Interval(
            _share(self.log_p_yes.low, self.log_p_no.high, if_unknown=0.0),
            _share(self.log_p_yes.high, self.log_p_no.low, if_unknown=1.0),
        )


@dataclass(frozen=True)
class ScoreFailure:
    """Why a document has no answer, after all retries.

    Attributes:
        document_id: of the document.
        reason: one line.
        cost: of the attempts.
    """

    document_id: str
    reason: str
    cost: Cost = field(default_factory=Cost)


def _share(log_yes: float, log_no: float, *, if_unknown: float) -> float:
    if log_yes == log_no == -math.inf:
        return if_unknown
    # in log space: both may be far below the smallest double, and their ratio is still known
    difference = log_no - log_yes
    if difference > 0:
        ratio = math.exp(-difference)
        return ratio / (1.0 + ratio)
    return 1.0 / (1.0 + math.exp(difference))
