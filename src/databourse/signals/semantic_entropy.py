"""Semantic entropy of what a model generates for one document: entropy over meanings, in nats.

Notation: R generations, ll_r the (usually length-normalised) log-likelihood of generation r, c a
group of generations that mean the same, P_c its mass;

    S = -sum_c P_c ln P_c,    weighted: P_c = sum_{r in c} exp(ll_r) / sum_r exp(ll_r),
                              discrete: P_c = |c| / R,        0 <= S <= ln(groups) <= ln R.

The signal is S turned as `databourse.signals.preference` says, by default so that the middle of the
pool is best.

Grouping: the groups are the connected components of "means the same" (union-find), so that they do
not depend on the order of the generations even where the judgements are not transitive; a chain of
judgements then joins its ends. The reference implementation (jlko/semantic_uncertainty) instead
makes one greedy pass in which a later representative may claim members of an earlier group again,
so that its groups depend on order. The two agree on judgements that are transitive.

Source: Kuhn, Gal & Farquhar 2023 (arXiv 2302.09664). EUDS (Li, Liu & Huang 2025, arXiv 2602.17465)
names a semantic entropy as one of its scores; that it is this one is our reconstruction, and so is
the reading of a document as a prompt. Which end of S is the useful one is our choice.
Cost: R generations per document and up to R (R - 1) judgements of entailment, which are inputs of
this signal; the entropy itself about 0.04 ms per document. Caveat: short, label-like generations
make S almost always 0, and the discrete form has no more values than there are ways to divide R; S
depends on the model, its temperature and R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from databourse.errors import InputError
from databourse.signals.inputs import GenerationGroups, SignalInputs, SignalResult, required
from databourse.signals.preference import PreferenceParameters, oriented
from databourse.signals.specification import SignalSpec

T = TypeVar("T")

Mass = Literal["discrete", "weighted"]

_DECIMALS = 12  # a thousand times the rounding of an entropy, and less than anybody can mean


class SemanticEntropyParameters(PreferenceParameters):
    """How much a meaning weighs, and which entropies are the useful ones."""

    mass: Mass = Field(
        default="discrete",
        description="Share of a meaning: of the generations, or of their likelihood.",
    )


def semantic_entropy(parameters: SemanticEntropyParameters, inputs: SignalInputs) -> SignalResult:
    """Return the semantic entropy of each document, turned so that larger is more useful.

    Raises:
        InputError: a document has no generation, or a log-likelihood is not finite.
    """
    entropies = semantic_entropies(
        required(inputs.generations, "generations"), mass=parameters.mass
    )
    inputs.progress(inputs.n_documents)
    return SignalResult(
        values=oriented(entropies, prefer=parameters.prefer, centre=parameters.centre),
        details={
            "mean_entropy_nats": math.fsum(entropies.tolist()) / len(entropies),
            "documents_of_one_meaning": int((entropies == 0).sum()),
        },
    )


def semantic_entropies(generations: GenerationGroups, *, mass: Mass) -> NDArray[np.float64]:
    """Return S of each document, nats, shape (n,), rounded to 12 decimals.

    Groups of 8, 1, 1, 1, 1 and of 4, 4, 4 have the same entropy, but for the rounding of its sum;
    12 decimals make them the same, for ranks see every difference.

    Args:
        generations: R of each of n documents.
        mass: 'discrete' or 'weighted', see the module.

    Raises:
        InputError: there is no generation, shapes differ, or (weighted) a log-likelihood is not
            finite.
    """
    groups, log_likelihoods = generations.groups, generations.log_likelihoods
    if groups.shape != log_likelihoods.shape:
        raise InputError(
            "each generation needs a group and a log-likelihood, got shapes "
            f"{groups.shape} and {log_likelihoods.shape}"
        )
    if mass == "discrete":
        entropies = [discrete_semantic_entropy(each) for each in groups]
    else:
        pairs = zip(groups, log_likelihoods, strict=True)
        entropies = [weighted_semantic_entropy(*each) for each in pairs]
    return np.array(entropies, dtype=np.float64).round(_DECIMALS)


def meaning_groups(
    generations: Sequence[T], equivalent: Callable[[T, T], bool]
) -> NDArray[np.int64]:
    """Return the group of each generation, numbered from 0 in order of first appearance.

    Args:
        generations: of one document.
        equivalent: tells whether two mean the same; symmetric, such as entailment both ways.
            Asked at most once per pair, and not about two that others have already joined.
    """
    parents = list(range(len(generations)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for later in range(len(generations)):
        for earlier in range(later):
            one, other = root(earlier), root(later)
            if one != other and equivalent(generations[earlier], generations[later]):
                parents[max(one, other)] = min(one, other)
    roots = [root(position) for position in range(len(generations))]
    number = {each: group for group, each in enumerate(dict.fromkeys(roots))}
    return np.array([number[each] for each in roots], dtype=np.int64)


def discrete_semantic_entropy(groups: NDArray[np.int64]) -> float:
    """Return S with the mass of a group its share of the generations, in nats.

    Args:
        groups: group of each generation, shape (R,), R >= 1; any integers.

    Raises:
        InputError: there is no generation, or the groups are no vector of integers.
    """
    _check_groups(groups)
    _, sizes = np.unique(groups, return_counts=True)
    return _entropy_nats([int(size) / groups.size for size in sizes])


def weighted_semantic_entropy(
    groups: NDArray[np.int64], log_likelihoods: NDArray[np.float64]
) -> float:
    """Return S with the mass of a group its share of the likelihood, in nats.

    With every generation a group of its own it is the entropy over the generations, which no
    grouping exceeds.

    Args:
        groups: group of each generation, shape (R,), R >= 1; any integers.
        log_likelihoods: ll, shape (R,), natural log, finite; a constant added to all cancels.

    Raises:
        InputError: shapes differ, there is no generation, or a log-likelihood is not finite.
    """
    return _entropy_nats(list(group_masses(groups, log_likelihoods).values()))


def group_masses(
    groups: NDArray[np.int64], log_likelihoods: NDArray[np.float64]
) -> dict[int, float]:
    """Return P_c of each group in ascending order of group; they sum to 1.

    Args:
        groups: group of each generation, shape (R,), R >= 1; any integers.
        log_likelihoods: ll, shape (R,), natural log, finite.

    Raises:
        InputError: shapes differ, there is no generation, or a log-likelihood is not finite.
    """
    _check_groups(groups)
    if log_likelihoods.shape != groups.shape or not np.isfinite(log_likelihoods).all():
        raise InputError(
            f"log-likelihoods must be finite, one for each of {groups.size:,} generations, got "
            f"{log_likelihoods!r}"
        )
    # the shift cancels in the shares and stops overflow; a gap beyond the floats is a share of 0
    with np.errstate(over="ignore"):
        weights = np.exp(log_likelihoods - log_likelihoods.max())
    total = math.fsum(weights.tolist())
    return {
        int(group): math.fsum(weights[groups == group].tolist()) / total
        for group in np.unique(groups)
    }


def _entropy_nats(masses: Sequence[float]) -> float:
    entropy = math.fsum(-mass * math.log(mass) for mass in masses if mass > 0)
    # no more than its bound: the rounding of equal masses could pass it
    return min(entropy, math.log(len(masses)))


def _check_groups(groups: NDArray[np.int64]) -> None:
    if groups.ndim != 1 or groups.size == 0 or not np.issubdtype(groups.dtype, np.integer):
        raise InputError(
            "groups must be a vector of integers, one for each of at least one generation, got "
            f"{groups.dtype} of shape {groups.shape}"
        )


SIGNAL = SignalSpec(
    name="semantic_entropy",
    scope="pool",
    needs=frozenset({"generations"}),
    parameters=SemanticEntropyParameters,
    compute=semantic_entropy,
    revision=1,
    summary="entropy over the meanings of what a model writes after a document",
    orientation="large: near the middle of the pool, or as prefer says",
    cost="R generations per document and up to R (R - 1) judgements of entailment",
)
