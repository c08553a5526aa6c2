"""What the report says in numbers, computed from its inputs.

Notation: y = log price per token, x_k = trader k's part of the log price. By construction
    y = topic + sum_k x_k + length,   length = y - log price,   topic = log price - sum_k x_k,
so the shares cov(part, y) / var(y) of the parts add up to 1 (`variance_shares`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from databourse.reports.data import ReportInputs, column

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.object_]

N_EXAMPLES = 10

TOKENS_PART = "length bias"
TOPIC_PART = "topic mass"
"""What else is in a price per token: names that no trader has, since a signal is one word."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidate documents by rank, dearest per token first; n rows, K traders."""

    document_id: TextArray
    source: TextArray
    topic: TextArray
    tokens: IntArray
    log_price: FloatArray
    log_price_per_token: FloatArray
    rank: IntArray
    is_selected: BoolArray
    contributions: FloatArray
    signals: FloatArray
    traders: tuple[str, ...]

    @property
    def n_documents(self) -> int:
        """Return n."""
        return len(self.rank)

    @property
    def length_part(self) -> FloatArray:
        """Return what the length adds to the log price per token, shape (n,)."""
        return self.log_price_per_token - self.log_price

    @property
    def topic_part(self) -> FloatArray:
        """Return what no trader explains: the topic's mass and size, shape (n,)."""
        rest = self.log_price.copy()
        for trader in range(self.contributions.shape[1]):
            rest -= self.contributions[:, trader]
        return rest


@dataclass(frozen=True, slots=True)
class Margin:
    """Where the tokens spent run out when candidates are taken strictly in order of price.

    `bought_below` and `left_above` count what the selection did otherwise: topic floors, the
    diversity head, or documents that no longer fitted.
    """

    log_price_per_token: float
    bought_below: int
    left_above: int


@dataclass(frozen=True, slots=True)
class GroupShare:
    """How much of the candidates and of the selection one topic or source holds, in tokens."""

    name: str
    documents: int
    tokens: int
    selected_documents: int
    selected_tokens: int
    share: float
    selected_share: float

    @property
    def change(self) -> float:
        """Return the change of the share of tokens, in [-1, 1]."""
        return self.selected_share - self.share


def candidates(inputs: ReportInputs) -> Candidates:
    """Return the priced documents by rank, whatever order they came in."""
    log_price_per_token = column(inputs.priced, "log_price_per_token").astype(np.float64)
    rank = column(inputs.priced, "rank").astype(np.int64)
    order = np.argsort(rank, kind="stable")

    def texts(name: str) -> TextArray:
        return column(inputs.priced, name).astype(object)[order]

    return Candidates(
        document_id=texts("document_id"),
        source=texts("source"),
        topic=texts("topic"),
        tokens=column(inputs.priced, "tokens").astype(np.int64)[order],
        log_price=column(inputs.priced, "log_price").astype(np.float64)[order],
        log_price_per_token=log_price_per_token[order],
        rank=rank[order],
        is_selected=column(inputs.priced, "is_selected").astype(np.bool_)[order],
        contributions=inputs.contributions.astype(np.float64)[order],
        signals=inputs.signals.astype(np.float64)[order],
        traders=tuple(trader.name for trader in inputs.traders),
    )


def example_rows(rank: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows of the dearest and of the cheapest candidates, at most ten each.

    The dearest come in order of rank, the cheapest last rank first; no row is in both.
    """
    order = np.argsort(rank, kind="stable")
    dearest = order[:N_EXAMPLES]
    cheapest = order[N_EXAMPLES:][::-1][:N_EXAMPLES]
    return dearest, cheapest


def example_ids(document_ids: TextArray, rank: IntArray) -> tuple[str, ...]:
    """Return the ids of the documents whose texts a report shows, dearest first."""
    dearest, cheapest = example_rows(rank)
    return tuple(document_ids[np.concatenate([dearest, cheapest])].tolist())


def margin(documents: Candidates) -> Margin | None:
    """Return where the tokens spent run out in order of price; None if nothing was bought."""
    if not documents.is_selected.any():
        return None
    spent = int(documents.tokens[documents.is_selected].sum())
    last = int(np.searchsorted(np.cumsum(documents.tokens), spent))
    price = float(documents.log_price_per_token[last])
    return Margin(
        log_price_per_token=price,
        bought_below=int((documents.is_selected & (documents.log_price_per_token < price)).sum()),
        left_above=int((~documents.is_selected & (documents.log_price_per_token > price)).sum()),
    )


def group_shares(documents: Candidates, names: TextArray) -> tuple[GroupShare, ...]:
    """Return one row per distinct name, most tokens first (ties by name).

    Args:
        names: shape (n,), the group of each candidate: its topic or its source.
    """
    groups, membership = np.unique(names, return_inverse=True)
    n_groups = len(groups)
    picked = documents.is_selected

    def total(rows: IntArray, weights: IntArray) -> list[int]:
        sums = np.zeros(n_groups, dtype=np.int64)
        np.add.at(sums, rows, weights)
        return [int(value) for value in sums]

    ones = np.ones_like(documents.tokens)
    columns = (
        total(membership, ones),
        total(membership, documents.tokens),
        total(membership[picked], ones[picked]),
        total(membership[picked], documents.tokens[picked]),
    )
    all_tokens = max(1, sum(columns[1]))
    bought_tokens = max(1, sum(columns[3]))
    rows = [
        GroupShare(
            name=str(name),
            documents=in_documents,
            tokens=in_tokens,
            selected_documents=out_documents,
            selected_tokens=out_tokens,
            share=in_tokens / all_tokens,
            selected_share=out_tokens / bought_tokens,
        )
        for name, in_documents, in_tokens, out_documents, out_tokens in zip(
            groups, *columns, strict=True
        )
    ]
    return tuple(sorted(rows, key=lambda row: (-row.tokens, row.name)))


def average_ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1, equal values sharing their mean rank; shape as given."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean_ranks: FloatArray = (last - (sizes - 1) / 2)[group]
    return mean_ranks


def rank_correlation(left: FloatArray, right: FloatArray) -> float | None:
    """Return Spearman's correlation in [-1, 1], or None if one side is constant."""
    if _is_constant(left) or _is_constant(right):
        return None
    return _correlation(average_ranks(left), average_ranks(right))


def variance_shares(documents: Candidates) -> tuple[tuple[str, float], ...] | None:
    """Return how much of the variance of the log price per token each part accounts for.

    The share of a part is cov(part, y) / var(y); shares add up to 1 within rounding and one is
    negative when its part pulls against the final order.

    Returns:
        (name, share) for every trader, then `TOKENS_PART` and `TOPIC_PART`; None if all prices are
        equal.
    """
    target = documents.log_price_per_token
    if _is_constant(target):
        return None
    centred = target - target.mean()
    variance = float(np.sum(centred * centred))
    parts = [documents.contributions[:, k] for k in range(len(documents.traders))]
    parts += [documents.length_part, documents.topic_part]
    names = (*documents.traders, TOKENS_PART, TOPIC_PART)
    return tuple(
        (name, float(np.sum((part - part.mean()) * centred)) / variance)
        for name, part in zip(names, parts, strict=True)
    )


def length_bias(documents: Candidates) -> float | None:
    """Return g of price per token = price / tokens^g, read back from the prices.

    None if no document has more than one token, or if one g does not explain all of them within
    1e-6 (then the prices do not follow this rule).
    """
    is_longer = documents.tokens > 1
    if not is_longer.any():
        return None
    exponents = -documents.length_part[is_longer] / np.log(documents.tokens[is_longer])
    if exponents.max() - exponents.min() > 1e-6:
        return None
    return round(float(np.median(exponents)), 6)


def price_mass(documents: Candidates) -> FloatArray:
    """Return each candidate's share of all prices, shape (n,), summing to 1."""
    # The shift by the largest log price cancels in the shares; it stops underflow.
    weights = np.exp(documents.log_price - documents.log_price.max())
    shares: FloatArray = weights / weights.sum()
    return shares


def mean_or_none(values: FloatArray) -> float | None:
    """Return the mean, or None of nothing."""
    return float(values.mean()) if values.size else None


def median_or_none(values: IntArray | FloatArray) -> float | None:
    """Return the median, or None of nothing."""
    return float(np.median(values)) if values.size else None


def _is_constant(values: FloatArray) -> bool:
    return bool(values.min() == values.max())


def _correlation(left: FloatArray, right: FloatArray) -> float:
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt(np.sum(left * left)) * np.sqrt(np.sum(right * right)))
    return min(1.0, max(-1.0, float(np.sum(left * right)) / norm))
