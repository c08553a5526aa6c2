"""What a signal declares about itself. Cheap to import: the config is checked with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from databourse.signals.inputs import SignalInputs, SignalResult

Need = Literal[
    "texts",
    "labels",
    "embeddings",
    "topics",
    "neighbours",
    "tokens",
    "text_losses",
    "completion_losses",
    "conditioned_losses",
    "generations",
    "answers",
    "targets",
    "influence_of",
    "gradients",
    "steps",
    "retrainings",
]
"""A field of `SignalInputs`."""
Scope = Literal["document", "pool"]


class SignalParameters(BaseModel):
    """Base of every signal's parameters: immutable, closed to unknown keys, no type coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


P = TypeVar("P", bound=SignalParameters)


NO_MODEL = "none"
"""The fingerprint of a signal that uses no model of its own."""


def no_model(parameters: SignalParameters, inputs: SignalInputs) -> str:
    """Return the fingerprint of a signal that uses no model."""
    del parameters, inputs
    return NO_MODEL


def nothing_more(parameters: SignalParameters) -> frozenset[Need]:
    """Return the needs that parameters add where they add none."""
    del parameters
    return frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalSpec(Generic[P]):
    """A signal: what it is called, needs, costs and means, and the function that computes it.

    Attributes:
        name: of the signal and its trader.
        scope: 'document' if a value depends on the document and a frozen model alone, 'pool' if it
            depends on the other documents of the snapshot.
        needs: the fields of `SignalInputs` that the caller must fill, whatever the parameters.
            'labels' is filled by an array of None when the pool has none.
        parameters: the model of its parameters, every field with a default, bounds, description.
        compute: (parameters, inputs) to values; call it through `computation.compute_signal`.
        more_needs: parameters to the fields that they ask for beside `needs`.
        fingerprint: (parameters, inputs) to the identity of the model that will be used. It reads
            nothing but `labels`, so a caller can name a signal before it loads the rest.
        revision: raised whenever the same inputs begin to give other values.
        summary: one line on what it measures.
        orientation: what a large value says.
        cost: how time and memory grow.
    """

    name: str
    scope: Scope
    needs: frozenset[Need]
    parameters: type[P]
    compute: Callable[[P, SignalInputs], SignalResult]
    revision: int
    summary: str
    orientation: str
    cost: str
    fingerprint: Callable[[P, SignalInputs], str] = no_model
    more_needs: Callable[[P], frozenset[Need]] = nothing_more

    def needs_of(self, parameters: P) -> frozenset[Need]:
        """Return the fields of `SignalInputs` that must be filled for these parameters."""
        return self.needs | self.more_needs(parameters)
