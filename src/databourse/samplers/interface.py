"""What a sampler is given, what it gives back, and the checks that hold for all of them.

A sampler is a function (candidates, budget, rng) to the positions it buys, in the order of buying.
It never spends more than the budget; it walks its own order under the skip rule, so that what does
not fit is passed over and nothing left of that order would still fit, or it draws a set with stated
probabilities and leaves less than the largest cost unspent, or it ends by rules of its own that its
module states; what is equal to it is ordered by document_id; and what it buys depends on its
arguments alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.selection.greedy import FloatArray, IntArray, buy_within_budget, check_costs
from databourse.targets import TargetSet
from databourse.topics import Topics, topics_from_names

T = TypeVar("T")
S = TypeVar("S", bound=np.generic)

Input = Literal[
    "embeddings",
    "topics",
    "labels",
    "texts",
    "targets",
    "signals",
    "influence_of",
    "utilities_of",
]
"""A field of `Candidates` that a caller may not have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The documents that may be bought, in order of document_id.

    A sampler that needs another kind of input than measures gets a field of its own, None where the
    caller does not have it.

    Attributes:
        document_ids: n >= 1 distinct ids, sorted; row i of every array is document i.
        costs: what each takes of the budget, shape (n,), int64, >= 1: tokens, or 1 for a budget of
            documents.
        measures: by name, shape (n,), float64: the plain measure, such as the mean token loss, not
            turned so that larger is more useful; NaN where a document has none.
        embeddings: shape (n, d), float32, unit rows; None where the caller has none.
        topics: the topic of each document and the centroids; None likewise.
        labels: shape (n,), objects: str, or None where a document has no label; None likewise.
        texts: gives the texts anew at each call, in batches of any size, in order; None likewise.
        targets: examples of the tasks that a trained model must be good at; None likewise.
        influence_of: measures what documents at some positions take off target loss, larger is
            better; dear, so it is asked about few; None likewise.
        utilities_of: what an oracle says documents at some positions are worth, larger is better,
            NaN where it cannot judge; asked about a sample; None likewise.
        signals: by name of the trader, shape (n,), float64, finite, larger is more useful; None
            likewise.
        weights: of each trader, >= 0; None where the caller trusts them all the same.

    Raises:
        InputError: there is no document, ids are not sorted or repeat, a cost is below 1, or an
            array has another length or type.
    """

    document_ids: Sequence[str]
    costs: IntArray
    measures: Mapping[str, FloatArray] = field(default_factory=dict)
    embeddings: NDArray[np.float32] | None = None
    topics: Topics | None = None
    labels: NDArray[np.object_] | None = None
    texts: Callable[[], Iterator[Sequence[str]]] | None = None
    targets: Sequence[TargetSet] | None = None
    influence_of: Callable[[IntArray], FloatArray] | None = None
    utilities_of: Callable[[IntArray], FloatArray] | None = None
    signals: Mapping[str, FloatArray] | None = None
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        ids = self.document_ids
        if not ids:
            raise InputError("there must be at least one document to buy, got none")
        for former, latter in itertools.pairwise(ids):
            if not former < latter:
                raise InputError(
                    f"document ids must be sorted and distinct, got {former!r} before {latter!r}"
                )
        check_costs(self.costs)
        if len(self.costs) != len(ids):
            raise InputError(f"costs must cover {len(ids):,} documents, got {len(self.costs):,}")
        columns = [("measure", *pair) for pair in self.measures.items()]
        columns += [("signal", *pair) for pair in (self.signals or {}).items()]
        for kind, name, values in columns:
            if values.shape != (len(ids),) or values.dtype != np.float64:
                raise InputError(
                    f"{kind} {name!r} must be {len(ids):,} float64 numbers, got {values.dtype} of "
                    f"shape {values.shape}"
                )
        for name, rows in (
            ("embeddings", self.embeddings),
            ("topics", self.topics.index if self.topics else None),
            ("labels", self.labels),
        ):
            if rows is not None and len(rows) != len(ids):
                raise InputError(f"{name} must cover {len(ids):,} documents, got {len(rows):,}")

    def measure(self, name: str) -> FloatArray:
        """Return a measure, shape (n,), NaN where a document has none.

        Raises:
            InputError: it is not among the measures.
        """
        if name not in self.measures:
            known = ", ".join(sorted(self.measures)) or "none"
            raise InputError(f"it needs the measure {name!r}; the candidates have: {known}")
        return self.measures[name]


def restricted_to(candidates: Candidates, positions: IntArray) -> Candidates:
    """Return the candidates at some positions, with all that is known of them.

    Topics keep their names; their centroids are those of what is left.

    Args:
        candidates: any.
        positions: ascending and distinct, at least one.
    """
    texts, topics = candidates.texts, candidates.topics
    is_kept = np.zeros(len(candidates.document_ids), dtype=np.bool_)
    is_kept[positions] = True
    kept: list[bool] = is_kept.tolist()

    def kept_texts() -> Iterator[Sequence[str]]:
        places = iter(kept)
        for batch in texts() if texts is not None else ():
            yield [text for text in batch if next(places)]

    def of_kept(
        measure: Callable[[IntArray], FloatArray] | None,
    ) -> Callable[[IntArray], FloatArray] | None:
        return None if measure is None else lambda own: measure(positions[own])

    def rows(values: NDArray[S] | None) -> NDArray[S] | None:
        return None if values is None else values[positions]

    embeddings = rows(candidates.embeddings)
    signals = candidates.signals
    return dataclasses.replace(
        candidates,
        document_ids=[candidates.document_ids[place] for place in positions.tolist()],
        costs=candidates.costs[positions],
        measures={name: values[positions] for name, values in candidates.measures.items()},
        embeddings=embeddings,
        topics=None if topics is None else topics_from_names(topics.names[positions], embeddings),
        labels=rows(candidates.labels),
        texts=None if texts is None else kept_texts,
        influence_of=of_kept(candidates.influence_of),
        utilities_of=of_kept(candidates.utilities_of),
        signals=None if signals is None else {k: v[positions] for k, v in signals.items()},
    )


def required(value: T | None, name: str) -> T:
    """Return an input of the candidates that must be there.

    Raises:
        InputError: it is None.
    """
    if value is None:
        raise InputError(f"it needs {name}; the candidates have none")
    return value


class Sampler(Protocol):
    """How a budget is spent."""

    def __call__(
        self, candidates: Candidates, budget: int, *, rng: np.random.Generator
    ) -> IntArray:
        """Return the positions bought, in the order of buying.

        Args:
            candidates: with every measure that the sampler needs.
            budget: in the unit of the costs, >= 0.
            rng: every random choice is drawn from it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """A sampler: what it is called, needs and does.

    Attributes:
        name: of the sampler.
        measures: names of the measures it reads.
        inputs: which other fields of the candidates it reads.
        sampler: spends the budget; call it through `sample`.
        is_random: whether it draws, so that another generator may buy other documents.
        summary: one line on what it buys.
    """

    name: str
    measures: frozenset[str]
    sampler: Sampler
    is_random: bool
    summary: str
    inputs: frozenset[Input] = frozenset()


def sample(
    spec: SamplerSpec, candidates: Candidates, budget: int, *, rng: np.random.Generator
) -> IntArray:
    """Return the positions that a sampler buys, int64, distinct, in the order of buying.

    Args:
        spec: the sampler.
        candidates: with every measure of `spec.measures`.
        budget: in the unit of the costs, >= 0; what is bought costs at most that.
        rng: left as it was by a sampler that is not random.

    Returns:
        Empty where the budget is less than the cost of every document that the sampler would buy.

    Raises:
        InputError: an argument is outside its domain, a measure is missing, or the sampler has no
            document to choose from; names the sampler.
    """
    try:
        for name in sorted(spec.measures):
            candidates.measure(name)
        for field_name in sorted(spec.inputs):
            required(getattr(candidates, field_name), field_name)
        bought = spec.sampler(candidates, budget, rng=rng)
        _check_bought(bought, candidates, budget)
    except InputError as error:
        raise InputError(f"sampler {spec.name!r}: {error}") from error
    return bought


def buy_in_order(order: IntArray, candidates: Candidates, budget: int) -> IntArray:
    """Return what of an order of positions the budget buys under the skip rule, in that order.

    Args:
        order: distinct positions, the first to buy first; those left out are never bought.
        candidates: whose costs are paid.
        budget: in the unit of the costs, >= 0.

    Raises:
        InputError: the order is empty, or the budget is negative.
    """
    if not order.size:
        raise InputError(
            f"none of {len(candidates.document_ids):,} documents can be chosen; each lacks a "
            "measure or lies outside what the sampler keeps"
        )
    bought = order[buy_within_budget(costs=candidates.costs[order], budget=budget)]
    return bought.astype(np.int64)


def _check_bought(bought: IntArray, candidates: Candidates, budget: int) -> None:
    n_documents = len(candidates.document_ids)
    is_valid = (
        bought.ndim == 1
        and bought.dtype == np.int64
        and bool(((bought >= 0) & (bought < n_documents)).all())
        and np.unique(bought).size == bought.size
    )
    if not is_valid:
        raise InputError(
            f"it must buy distinct positions 0 .. {n_documents - 1} as int64, got {bought!r}"
        )
    spent = int(candidates.costs[bought].sum())
    if spent > budget:
        raise InputError(f"it must spend at most {budget:,}, got {spent:,}")
