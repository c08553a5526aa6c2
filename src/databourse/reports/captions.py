"""Captions: what each plot shows, in sentences with the numbers of this manifest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from databourse.reports import measures
from databourse.reports.measures import BoolArray, Candidates, GroupShare, IntArray
from databourse.reports.wording import (
    count,
    counted,
    decimal,
    percent,
    plain,
    shown_label,
    signed,
    significant,
)

# Below half of the last printed digit of a percentage, a share has not visibly changed.
LEAST_CHANGE = 0.0005


def price_against_length(documents: Candidates, drawn: BoolArray) -> str:
    """Say how many are drawn, how long documents are, and how price goes with length."""
    picked = documents.is_selected
    parts = [_drawn_sentence(documents, drawn)]
    bought = measures.median_or_none(documents.tokens[picked])
    left = measures.median_or_none(documents.tokens[~picked])
    if bought is not None:
        sentence = f"The median bought document has {_tokens(bought)}"
        parts.append(
            f"{sentence}, the median left one {_tokens(left)}." if left else f"{sentence}."
        )
    parts.append(
        _correlation_sentence(
            "price per token and length",
            measures.rank_correlation(
                documents.log_price_per_token, documents.tokens.astype(np.float64)
            ),
        )
    )
    return " ".join(parts)


def _drawn_sentence(documents: Candidates, drawn: BoolArray) -> str:
    picked = documents.is_selected
    n_drawn = int(drawn.sum())
    if n_drawn == documents.n_documents:
        return f"Every candidate is drawn ({counted(n_drawn, 'document')})."
    bought = _part_of(int((drawn & picked).sum()), int(picked.sum()))
    left = _part_of(int((drawn & ~picked).sum()), int((~picked).sum()))
    return f"A fixed sample is drawn: {bought} bought and {left} left documents."


def _part_of(drawn: int, every: int) -> str:
    return f"all {count(every)}" if drawn == every else f"{count(drawn)} of {count(every)}"


def _correlation_sentence(pair: str, value: float | None) -> str:
    if value is None:
        return f"The rank correlation of {pair} is undefined: one of the two is constant."
    return f"The rank correlation of {pair} is {signed(value)}."


def budget_curve(documents: Candidates) -> str:
    """Say where the margin is and how many documents were bought or left against it."""
    limit = measures.margin(documents)
    if limit is None:
        dearest = decimal(float(documents.log_price_per_token[0]))
        return f"Nothing was bought; the dearest candidate has log price per token {dearest}."
    n_bought = int(documents.is_selected.sum())
    above = n_bought - limit.bought_below
    spent = int(documents.tokens[documents.is_selected].sum())
    return (
        f"In strict order of price, the {counted(spent, 'token')} bought end at log price per "
        f"token {decimal(limit.log_price_per_token)}, the margin. {percent(above / n_bought)} of "
        f"the bought documents ({count(above)} of {count(n_bought)}) are at or above it; "
        f"{counted(limit.left_above, 'document')} above it {_was(limit.left_above)} left."
    )


def price_mass(documents: Candidates) -> str:
    """Say which share of the price mass the share of tokens bought."""
    if not documents.is_selected.any():
        return "Nothing was bought, so no price mass was."
    tokens, mass = bought_shares(documents)
    return (
        f"{percent(tokens)} of the candidates' tokens buy {percent(mass)} of the price mass, "
        f"{significant(mass / tokens)} times what as many tokens at random would buy."
    )


def bought_shares(documents: Candidates) -> tuple[float, float]:
    """Return the selection's share of the candidates' tokens and of their price mass."""
    picked = documents.is_selected
    tokens = float(documents.tokens[picked].sum() / documents.tokens.sum())
    return tokens, min(1.0, float(measures.price_mass(documents)[picked].sum()))


def tokens_by_topic(topics: Sequence[GroupShare]) -> str:
    """Say how many topics have bought documents and which moved most."""
    n_bought = sum(1 for row in topics if row.selected_documents)
    if n_bought == 0:
        return f"Nothing was bought from any of {counted(len(topics), 'topic')}."
    coverage = f"Topics bought from: {count(n_bought)} of {count(len(topics))}."
    if len(topics) == 1:
        return coverage
    up = max(topics, key=lambda row: (row.change, row.name))
    down = min(topics, key=lambda row: (row.change, row.name))
    if up.change < LEAST_CHANGE:
        return f"{coverage} The shares of the topics stay as they were."
    return f"{coverage} Largest gain: {_moved(up)}. Largest loss: {_moved(down)}."


def _moved(row: GroupShare) -> str:
    return (
        f"{shown_label(row.name)}, from {percent(row.share)} to {percent(row.selected_share)} "
        "of the tokens"
    )


def length_distribution(documents: Candidates) -> str:
    """Say how long documents are before and after."""
    everything = f"Candidates: {_spread(documents.tokens)}."
    bought = documents.tokens[documents.is_selected]
    return (
        f"{everything} Bought: {_spread(bought)}." if bought.size else f"{everything} None bought."
    )


def _spread(tokens: IntArray) -> str:
    low, middle, high = np.quantile(tokens, [0.1, 0.5, 0.9])
    return (
        f"median {_tokens(float(middle))}, four in five documents between "
        f"{decimal(float(low), 0)} and {decimal(float(high), 0)}"
    )


def trader_contributions(documents: Candidates) -> str:
    """Say for which trader bought and left documents differ most."""
    picked = documents.is_selected
    how = "Line: 5th to 95th percentile; box: middle half; stroke: median."
    if not picked.any() or picked.all():
        return f"{how} There is only one group to show, so nothing can be compared."
    bought = documents.contributions[picked].mean(axis=0)
    left = documents.contributions[~picked].mean(axis=0)
    at = int(np.argmax(np.abs(bought - left)))
    return (
        f"{how} The groups differ most for {shown_label(documents.traders[at])}: on average "
        f"{signed(float(bought[at]))} for bought and {signed(float(left[at]))} for left documents."
    )


def signal_correlations(names: Sequence[str], matrix: list[list[float | None]]) -> str:
    """Say which two signals agree most and which are constant."""
    signals = range(len(names) - 1)
    pairs = [
        (value, names[a], names[b])
        for a in signals
        for b in range(a)
        if (value := matrix[a][b]) is not None
    ]
    parts = ["Spearman's rank correlation of raw signals over all candidates."]
    if pairs:
        value, one, other = max(pairs, key=lambda pair: abs(pair[0]))
        parts.append(
            f"Strongest between signals: {shown_label(other)} and {shown_label(one)}, "
            f"{signed(value)}."
        )
    constant = [shown_label(names[k]) for k in signals if matrix[k][k] is None]
    if constant:
        parts.append(f"Constant, so without a correlation: {', '.join(constant)}.")
    return " ".join(parts)


def _tokens(value: float) -> str:
    return f"{plain(value)}\u00a0token{'' if value == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
