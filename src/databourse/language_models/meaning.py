"""Which generations of a document mean the same: by their vectors, or by textual entailment.

Two generations are joined by any chain of judgements, as in `meaning_groups` of
`databourse.signals.semantic_entropy`: groups are connected components. Whatever the judge, equal
texts mean the same, and an empty text means the same as another empty one and as nothing else;
space around a text does not count.

By vectors: the cosine of two vectors is at least a threshold. It is our choice, far cheaper than
entailment and blinder: "yes" and "no" lie close together in many encoders.

By entailment (Kuhn, Gal & Farquhar 2023, arXiv 2302.09664): a classifier says of two texts whether
the first entails the second, both ways round.

    strict    entailment both ways
    lenient   contradiction neither way, and not neutral both ways; the default of the reference
              implementation (jlko/semantic_uncertainty)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from databourse.encoders.encoder import Encoder
from databourse.errors import InputError
from databourse.progress import ProgressReport, silent

Label = Literal["entailment", "neutral", "contradiction"]
Rule = Literal["strict", "lenient"]

LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
RULES: tuple[Rule, ...] = ("strict", "lenient")

BoolArray = npt.NDArray[np.bool_]

_REVISION = 1  # of how vectors are compared: raise it when groups change
_NORM_TOLERANCE = 1e-3  # of unit vectors, also of half precision
_DOCUMENTS_AT_ONCE = 1_024  # bounds the memory of gathered vectors


class MeaningJudge(Protocol):
    """Tells which generations mean the same; groups depend on texts and the judge_id alone."""

    @property
    def judge_id(self) -> str:
        """Return what decides the groups: model, rule, threshold."""

    def groups(
        self,
        generations: Sequence[Sequence[str]],
        prompts: Sequence[str],
        *,
        progress: ProgressReport = silent,
    ) -> npt.NDArray[np.int64]:
        """Return the group of each generation, numbered as by `meaning_groups`, shape (n, R).

        Args:
            generations: of n documents, R each.
            prompts: of the documents; not every judge reads them.
            progress: told of judged units: texts encoded, or pairs of texts.

        Raises:
            InputError: the documents have different numbers of generations, or there are more or
                fewer prompts than documents.
        """


@dataclass(frozen=True)
class EmbeddingJudge:
    """Generations mean the same if their vectors point nearly the same way; see the module.

    Attributes:
        encoder: of the generations; prompts are not read.
        threshold: the least cosine of two that mean the same, in [-1, 1].
    """

    encoder: Encoder
    threshold: float

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)

    @property
    def judge_id(self) -> str:
        """Return encoder, threshold and revision."""
        return f"cosine>={self.threshold!r}/{self.encoder.encoder_id}/r{_REVISION}"

    def groups(
        self,
        generations: Sequence[Sequence[str]],
        prompts: Sequence[str],
        *,
        progress: ProgressReport = silent,
    ) -> npt.NDArray[np.int64]:
        """Return the groups of generations; see `MeaningJudge.groups`."""
        texts = stripped(generations, prompts)
        numbers = numbered(texts)
        distinct = list(dict.fromkeys(text for row in texts for text in row))
        # each text is encoded once, however often it was generated
        vectors = self.encoder.encode(distinct, progress=progress)
        groups = np.empty(numbers.shape, dtype=np.int64)
        for first in range(0, len(numbers), _DOCUMENTS_AT_ONCE):
            part = slice(first, first + _DOCUMENTS_AT_ONCE)
            groups[part] = groups_by_vectors(
                vectors[numbers[part]],
                numbers[part],
                empty=np.array([[not text for text in row] for row in texts[part]], dtype=np.bool_),
                threshold=self.threshold,
            )
        return groups


def groups_by_vectors(
    vectors: npt.NDArray[np.floating],
    text_numbers: npt.NDArray[np.int64],
    *,
    empty: BoolArray,
    threshold: float,
) -> npt.NDArray[np.int64]:
    """Return the group of each generation of n documents by cosine, shape (n, R).

    Args:
        vectors: of the generations, norm 1 within 1e-3, shape (n, R, d).
        text_numbers: equal where the texts of one document are equal, shape (n, R).
        empty: whether a text is empty, shape (n, R).
        threshold: the least cosine of two that mean the same, in [-1, 1].

    Raises:
        InputError: shapes differ, a vector is not of norm 1, or the threshold is outside.
    """
    _check_threshold(threshold)
    if vectors.ndim != 3 or not vectors.shape[:2] == text_numbers.shape == empty.shape:
        raise InputError(
            "expected one vector, number and flag per generation, got shapes "
            f"{vectors.shape}, {text_numbers.shape} and {empty.shape}"
        )
    exact = vectors.astype(np.float64)
    norms = np.linalg.norm(exact, axis=2)
    if not (np.abs(norms - 1) <= _NORM_TOLERANCE).all():
        raise InputError(
            f"vectors must have norm 1, got norms of {norms.min():.6g} to {norms.max():.6g}"
        )
    near = exact @ exact.transpose(0, 2, 1) >= threshold
    same = near & ~(empty[:, :, np.newaxis] | empty[:, np.newaxis, :])
    return connected_groups(same | (text_numbers[:, :, np.newaxis] == text_numbers[:, np.newaxis]))


def connected_groups(same: BoolArray) -> npt.NDArray[np.int64]:
    """Return the connected component of each generation, numbered by first appearance, (n, R).

    Args:
        same: whether two generations of a document were judged the same, shape (n, R, R); one way
            round is enough.

    Raises:
        InputError: it has another shape.
    """
    if same.ndim != 3 or same.shape[1] != same.shape[2]:
        raise InputError(f"expected judgements of shape (n, R, R), got {same.shape}")
    n_generations = same.shape[1]
    joined = same | same.transpose(0, 2, 1) | np.eye(n_generations, dtype=np.bool_)
    first = np.broadcast_to(np.arange(n_generations), same.shape[:2])
    # a component's least number passes one link a round
    for _ in range(n_generations - 1):
        lower = np.where(joined, first[:, np.newaxis, :], n_generations).min(
            axis=2, initial=n_generations
        )
        if (lower == first).all():
            break
        first = lower
    is_first = first == np.arange(n_generations)
    number = np.cumsum(is_first, axis=1) - 1
    groups: npt.NDArray[np.int64] = np.take_along_axis(number, first, axis=1).astype(np.int64)
    return groups


def means_the_same(forward: Label, backward: Label, *, rule: Rule) -> bool:
    """Return whether two texts mean the same, from what each says of the other.

    Args:
        forward: whether the first entails the second.
        backward: whether the second entails the first.
        rule: "strict" or "lenient"; see the module.

    Raises:
        InputError: there is no such rule.
    """
    check_rule(rule)
    both = (forward, backward)
    if rule == "strict":
        return both == ("entailment", "entailment")
    return "contradiction" not in both and both != ("neutral", "neutral")


def may_mean_the_same(forward: Label, *, rule: Rule) -> bool:
    """Return whether what the second text says of the first can still make them the same.

    Raises:
        InputError: there is no such rule.
    """
    return any(means_the_same(forward, backward, rule=rule) for backward in LABELS)


def check_rule(rule: str) -> None:
    """Pass if there is such a rule.

    Raises:
        InputError: there is none.
    """
    if rule not in RULES:
        raise InputError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")


def stripped(generations: Sequence[Sequence[str]], prompts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the generations without the space around them.

    Raises:
        InputError: as `MeaningJudge.groups`.
    """
    if len(prompts) != len(generations):
        raise InputError(
            f"expected one prompt per document, got {len(prompts):,} for {len(generations):,}"
        )
    sizes = sorted({len(row) for row in generations})
    if len(sizes) > 1:
        raise InputError(
            "every document must have the same number of generations, got "
            f"{sizes[0]} to {sizes[-1]}"
        )
    return [tuple(text.strip() for text in row) for row in generations]


def numbered(texts: Sequence[Sequence[str]]) -> npt.NDArray[np.int64]:
    """Return the number of each text among the distinct ones of all, in order, shape (n, R)."""
    number: dict[str, int] = {}
    rows = [[number.setdefault(text, len(number)) for text in row] for row in texts]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def _check_threshold(threshold: float) -> None:
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold must be a cosine, in [-1, 1], got {threshold!r}")
