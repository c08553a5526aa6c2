"""DsDm: selection by the mean effect of documents on the loss of target tasks.

Notation: theta_ij = effect of document i on the loss at target example j, d = document, t = target
set. DsDm takes the k documents of least mean theta over the targets; values here are -theta, larger
is better, and come in as means over each target set (`trak.mean_features` makes them directly).

Source: Engstrom, Feldmann & Madry 2024 (arXiv 2401.12926); their released mixture is the plain mean
of the targets' vectors. Reconstructions of ours, to be validated by retraining:
- z-scores: a target with larger gradients dominates a plain mean, so each set's values may be
  standardised first. `compare_mixes` reports both.
- values per token, for a budget of tokens: gradients are sums over tokens, so that long documents
  have larger values. The division comes *before* the standardisation: then the mean that a z-score
  takes off is the same for all documents and cannot change their order, as an offset divided by
  length would.
- rounds: values are first-order effects, at one model, and do not see that two documents say the
  same; `select_in_rounds` refits in between.

Only a retrained model tells a wrong sign: the bottom of the ranking (`select_bottom`) must be worse
than random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from databourse.errors import InputError
from databourse.influence.lds import BoolArray, FloatArray, IntArray, spearman_by_target
from databourse.selection.greedy import buy_within_budget, check_costs, rank_documents

Mix = Literal["z_scored", "plain"]
"""How target sets are put together: the mean of standardised values, or of the values."""
Per = Literal["token", "document"]
"""What a value is for: one token of a document, or all of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MixComparison:
    """What standardising the target sets changes."""

    spread_by_target: dict[str, float]
    """Standard deviation of each target's values: its weight in the plain mean."""
    rank_correlation: float
    """Spearman, of the two mixes."""
    shared_tokens: float
    """Tokens that both selections hold, over those of the larger one; 1 if both are empty."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundsSelection:
    """What was selected, and when."""

    positions: IntArray
    """In the order of selection."""
    rounds: IntArray
    """Of each, same shape: 0 was drawn at random."""
    tokens: int
    """Of all of them, within the budget."""


Score = Callable[[IntArray], FloatArray]
"""Refits on documents (sorted positions); returns values of all n, larger is better."""


def dsdm_values(
    values_by_target: Mapping[str, FloatArray], tokens: IntArray, *, mix: Mix, per: Per
) -> FloatArray:
    """Return one value per document over several target sets, shape (n,), larger is better.

    Args:
        values_by_target: mean value of each document for each target set, shapes (n,), finite.
        tokens: lengths, shape (n,), integers >= 1.
        mix: "z_scored" or "plain".
        per: "token" where a budget of tokens is spent, "document" where documents are counted.

    Raises:
        InputError: there is no target, shapes differ, a value is not finite, or a target to be
            standardised has the same value for every document.
    """
    rows = _per_unit(values_by_target, tokens, per)
    if mix == "plain":
        return _mean(list(rows.values()))
    if mix == "z_scored":
        return _mean([_standardised(name, row) for name, row in rows.items()])
    raise InputError(f"mix must be z_scored or plain, got {mix!r}")


def compare_mixes(
    values_by_target: Mapping[str, FloatArray],
    tokens: IntArray,
    *,
    per: Per,
    budget_tokens: int,
) -> MixComparison:
    """Return how far the two ways of mixing target sets lead to other selections.

    Args:
        values_by_target: as of `dsdm_values`.
        tokens: likewise.
        per: likewise.
        budget_tokens: >= 0, that each selection may spend.

    Raises:
        InputError: as of `dsdm_values`.
    """
    plain, scored = (
        dsdm_values(values_by_target, tokens, mix=mix, per=per) for mix in ("plain", "z_scored")
    )
    masks: list[BoolArray] = []
    for values in (plain, scored):
        is_selected = np.zeros(tokens.size, dtype=np.bool_)
        is_selected[select_top(values, tokens, budget_tokens=budget_tokens)] = True
        masks.append(is_selected)
    larger = max(int(tokens[mask].sum()) for mask in masks)
    shared = int(tokens[masks[0] & masks[1]].sum())
    return MixComparison(
        spread_by_target={
            name: float(row.std()) for name, row in _per_unit(values_by_target, tokens, per).items()
        },
        rank_correlation=float(spearman_by_target(plain[:, None], scored[:, None])[0]),
        shared_tokens=shared / larger if larger else 1.0,
    )


def select_top(values: FloatArray, tokens: IntArray, *, budget_tokens: int) -> IntArray:
    """Return documents of the highest values within a budget, best first.

    A document that does not fit is passed over, so that no other one would fit into the rest. Of
    equal values the shorter comes first, then the earlier position. With tokens of 1 each it is the
    top k.

    Args:
        values: shape (n,), finite, larger is better.
        tokens: lengths, shape (n,), integers >= 1.
        budget_tokens: >= 0.

    Raises:
        InputError: an argument is outside its domain.
    """
    _check_values("values", values, tokens)
    ranking = rank_documents(values, tokens)
    return ranking[buy_within_budget(costs=tokens[ranking], budget=budget_tokens)]


def select_bottom(values: FloatArray, tokens: IntArray, *, budget_tokens: int) -> IntArray:
    """Return documents of the lowest values within a budget, worst first: the control.

    Args:
        values: shape (n,), finite, larger is better.
        tokens: lengths, shape (n,), integers >= 1.
        budget_tokens: >= 0.

    Raises:
        InputError: an argument is outside its domain.
    """
    return select_top(-values, tokens, budget_tokens=budget_tokens)


def select_in_rounds(
    score: Score,
    tokens: IntArray,
    *,
    budget_tokens: int,
    n_rounds: int,
    rng: np.random.Generator,
) -> RoundsSelection:
    """Return a selection made in rounds: select a share, refit on all selected, score again.

    Round 0 draws documents at random, since there is no model yet; each later one takes the best of
    the rest by the values of a model of what was selected so far. Round r may spend up to (r + 1) /
    n_rounds of the budget in all. Values of one round do not see redundancy within it; more rounds
    see more, at the cost of a refit each.

    Args:
        score: called once before every round but the first; per token for a budget of tokens.
        tokens: lengths, shape (n,), integers >= 1.
        budget_tokens: >= 1, must buy something in round 0.
        n_rounds: >= 1; 1 is the random selection.
        rng: of round 0.

    Raises:
        InputError: an argument is outside its domain, or `score` returns anything but n finite
            values.
    """
    check_costs(tokens)
    if budget_tokens < 1 or n_rounds < 1:
        raise InputError(
            f"budget_tokens and n_rounds must be >= 1, got {budget_tokens!r} and {n_rounds!r}"
        )
    drawn = rng.permutation(tokens.size)
    bought = drawn[buy_within_budget(costs=tokens[drawn], budget=budget_tokens // n_rounds)]
    if not bought.size:
        raise InputError(
            f"round 0 may spend {budget_tokens // n_rounds} tokens and no document is that short; "
            f"give a larger budget or fewer rounds"
        )
    positions, rounds = [bought], [np.zeros(bought.size, dtype=np.int64)]
    spent = int(tokens[bought].sum())
    for number in range(1, n_rounds):
        selected = np.concatenate(positions)
        values = score(np.sort(selected))
        _check_values("the values of score", values, tokens)
        ranking = rank_documents(values, tokens)
        ranking = ranking[~np.isin(ranking, selected)]
        share = budget_tokens * (number + 1) // n_rounds
        bought = ranking[
            buy_within_budget(costs=tokens[ranking], budget=share, already_spent=spent)
        ]
        positions.append(bought)
        rounds.append(np.full(bought.size, number, dtype=np.int64))
        spent += int(tokens[bought].sum())
    return RoundsSelection(
        positions=np.concatenate(positions), rounds=np.concatenate(rounds), tokens=spent
    )


def _per_unit(
    values_by_target: Mapping[str, FloatArray], tokens: IntArray, per: Per
) -> dict[str, FloatArray]:
    if not values_by_target:
        raise InputError("there must be values for at least one target set, got none")
    if per not in ("token", "document"):
        raise InputError(f"per must be token or document, got {per!r}")
    lengths = tokens if per == "token" else 1
    for name, values in values_by_target.items():
        _check_values(f"values of target {name!r}", values, tokens)
    return {name: values.astype(np.float64) / lengths for name, values in values_by_target.items()}


def _standardised(name: str, values: FloatArray) -> FloatArray:
    spread = float(values.std())
    if np.ptp(values) == 0 or not spread > 0:
        raise InputError(
            f"values of target {name!r} are the same for every document: no z-score; leave that "
            f"target out"
        )
    standardised: FloatArray = (values - values.mean()) / spread
    return standardised


def _mean(rows: list[FloatArray]) -> FloatArray:
    mean: FloatArray = np.mean(rows, axis=0)
    return mean


def _check_values(name: str, values: FloatArray, tokens: IntArray) -> None:
    check_costs(tokens)
    if values.shape != tokens.shape or not values.size:
        raise InputError(
            f"{name} must be one number for each of {tokens.size:,} documents, got shape "
            f"{values.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"{name} must be finite, got {float(values[bad[0]])} at position {int(bad[0])}"
        )
