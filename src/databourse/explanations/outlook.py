"""What would have to change for a document to be bought; or, once bought, to fall to the margin.

The target is a price per token. Under the plain greedy rule a document of cost c is bought if it
comes before the budget has less than c left, so its target is the price per token of the purchase
that left less than c: for most documents more than the margin, since a short document may still
fit where a longer one no longer does. With floors, caps, diversity or a guard no single price
decides; the margin is then the best there is to say, and a remark says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from databourse.explanations.counterfactual import (
    longest_at_price,
    share_of_tokens,
    shares_to_price,
)
from databourse.explanations.story import Change


@dataclass(frozen=True)
class Position:
    """Where a document stands in its market."""

    log_price: float
    log_price_per_token: float
    tokens: int
    price_rank: int
    is_selected: bool
    reason: str
    inclusion_probability: float | None


@dataclass(frozen=True)
class Market:
    """What the market around the document was; the last three come from the plain walk."""

    mass: float | None
    liquidity: float | None
    total_tokens: int
    cost_to_rank: int
    """Of everything ranked at or before the document, in the unit of the budget."""
    needed_log_price_per_token: float | None = None
    left_at_turn: int | None = None
    longest_tokens: int | None = None


@dataclass(frozen=True)
class Spending:
    """How the budget was spent."""

    kind: Literal["tokens", "documents", "share"]
    limit: int
    length_bias: float
    margin: float | None
    rule: Literal["skip", "stop"] = "skip"
    is_sample: bool = False
    is_guarded: bool = False
    diversity: float = 0.0
    has_limits: bool = False
    opens_by_tokens: bool = False

    @property
    def is_plain(self) -> bool:
        """Return whether rank and cost alone decided: greedy, nothing else."""
        return not (self.is_sample or self.is_guarded or self.diversity or self.has_limits)

    @property
    def unit(self) -> str:
        """Return what the budget counts."""
        return "documents" if self.kind == "documents" else "tokens"


def change_of(position: Position, market: Market, spending: Spending) -> Change:
    """Return each single change that would make the difference, and what is true where none does.

    Args:
        position: the document's.
        market: around it; of the plain walk, only where `spending` is plain.
        spending: of the run.
    """
    remarks: list[str] = []
    target = _target(position, market, spending, remarks)
    shares = None
    if target is not None:
        if not position.is_selected and target == position.log_price_per_token:
            remarks.append("it ties with the purchase that was preferred to it: any rise is enough")
        shares = _shares(target - position.log_price_per_token, position, market, remarks)
    budget = market.cost_to_rank if spending.is_plain else None
    share = None
    if budget is not None and spending.kind == "share":
        share = share_of_tokens(budget, market.total_tokens)
    return Change(
        target_log_price_per_token=target,
        log_rise=None if target is None else target - position.log_price_per_token,
        shares=shares,
        tokens=_tokens(target, position, market, spending, remarks),
        left_at_turn=market.left_at_turn,
        budget=budget,
        budget_share=share,
        budget_unit=spending.unit,
        limit=spending.limit,
        remarks=tuple(remarks),
    )


def _target(
    position: Position, market: Market, spending: Spending, remarks: list[str]
) -> float | None:
    """Return the price per token that decides; None, and a remark, where none does."""
    obstacle = _obstacle(position, spending)
    if obstacle is not None:
        remarks.append(obstacle)
        return None
    if position.is_selected:
        return spending.margin
    if spending.is_plain and market.needed_log_price_per_token is not None:
        return market.needed_log_price_per_token
    if not spending.is_plain:
        remarks.append(
            f"reaching the margin is not certain to buy it: {_beside_price(spending)} count too"
        )
    return spending.margin


def _obstacle(position: Position, spending: Spending) -> str | None:
    """Return why no price per token of its own decides about a document; None if one does."""
    cost = 1 if spending.kind == "documents" else position.tokens
    obstacle = None
    if spending.is_sample:
        obstacle = _by_chance(position)
    elif spending.margin is None:
        obstacle = "nothing was bought by its price alone, so there is no margin to compare with"
    elif position.is_selected:
        by_other = position.reason == "best_single" or position.reason.endswith("_floor")
        if by_other or position.log_price_per_token < spending.margin:
            obstacle = f"not its price per token bought it, but {_beside_price(spending)}"
    elif cost > spending.limit:
        obstacle = (
            f"no price buys it: it costs {cost:,} {spending.unit}, the budget is {spending.limit:,}"
        )
    elif position.reason.endswith("_cap"):
        kind = position.reason.removesuffix("_cap")
        obstacle = (
            f"the cap on its {kind} was spent on dearer documents: it takes their place only at a "
            f"higher price than theirs, or comes in under a larger selection.{kind}_cap"
        )
    elif not spending.is_plain and position.log_price_per_token >= spending.margin:
        obstacle = (
            "its price per token is at or above the margin: not its price kept it out, but "
            f"{_beside_price(spending)}"
        )
    return obstacle


def _by_chance(position: Position) -> str:
    chance = position.inclusion_probability
    became = "drawn" if position.is_selected else "not drawn"
    how = "" if chance is None else f"; its chance was {chance:.2%}"
    return f"the selection is a random sample and it was {became}{how}: no single change decides"


def _beside_price(spending: Spending) -> str:
    beside = []
    if spending.has_limits:
        beside.append("floors and caps")
    if spending.diversity:
        beside.append("diversity")
    if spending.is_guarded:
        beside.append("the best single document")
    return " and ".join(beside) or "what the budget had left"


def _shares(
    log_rise: float, position: Position, market: Market, remarks: list[str]
) -> float | None:
    if market.mass is None or market.liquidity is None:
        return None
    shares = shares_to_price(
        position.log_price + log_rise,
        log_price=position.log_price,
        mass=market.mass,
        liquidity=market.liquidity,
    )
    if shares is None and position.log_price >= math.log(market.mass):
        remarks.append("no order moves its price: it holds all of its topic's price already")
    elif shares is None:
        remarks.append(
            "no number of shares is enough: the price it needs is that of its whole topic or more"
        )
    return shares


def _tokens(
    target: float | None,
    position: Position,
    market: Market,
    spending: Spending,
    remarks: list[str],
) -> int | None:
    if spending.opens_by_tokens:
        if target is not None:
            remarks.append(
                "opening prices follow length (market.prior: tokens), so a shorter text would "
                "open lower too"
            )
        return None
    if position.is_selected or not spending.is_plain:
        if target is None:
            return None
        tokens = longest_at_price(
            target, log_price=position.log_price, length_bias=spending.length_bias
        )
    else:
        tokens = market.longest_tokens
        # An equal price per token at a later rank: one token less breaks the tie.
        tokens = None if tokens is None else min(tokens, position.tokens - 1)
    if tokens is not None and tokens < 1:
        remarks.append("no length is short enough at its price")
        return None
    return tokens
