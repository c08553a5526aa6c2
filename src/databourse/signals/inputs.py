"""What a signal is computed from, and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.language_models.losses import TokenLosses
from databourse.neighbours import Neighbours
from databourse.progress import ProgressReport, silent
from databourse.signals.specification import Need
from databourse.targets import TargetSet
from databourse.topics import Topics

if TYPE_CHECKING:  # it loads scipy
    from databourse.influence.datamodels import Retrainings
    from databourse.influence.pool_gradients import CheckpointGradients, StepCheckpoint

T = TypeVar("T")

JsonScalar = str | int | float | bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationGroups:
    """What a language model wrote for each document, R times, and what of it means the same.

    Attributes:
        groups: shape (n, R), int64; generations of a document with equal numbers mean the same.
        log_likelihoods: mean ln p per generated token, shape (n, R), <= 0.
    """

    groups: NDArray[np.int64]
    log_likelihoods: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityAnswers:
    """What a model answered when asked whether a document is worth training on.

    Attributes:
        p_yes: P(yes) over the whole vocabulary, shape (n,), in [0, 1]; the middle of what is known
            where an endpoint shows only its likeliest tokens. NaN where there is no answer.
        yes_share: P(yes) / (P(yes) + P(no)), likewise.
    """

    p_yes: NDArray[np.float64]
    yes_share: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalInputs:
    """The documents of a snapshot, in order of document_id, as far as a signal needs them.

    Attributes:
        document_ids: n >= 1 distinct ids, sorted; row i of every array is document i.
        seed: root seed; a signal derives its own with `databourse.seeds`.
        tokens: shape (n,), int64, >= 1.
        labels: shape (n,), objects: str, or None where a document has no label.
        embeddings: shape (n, d), float32, unit rows.
        topics: the topic of each document and the centroids.
        neighbours: the nearest documents of each document.
        texts: gives the texts anew at each call, in batches of any size, in order.
        text_losses: of whole texts.
        completion_losses: of completions by themselves; prompts are not seen.
        conditioned_losses: of completions after their prompts.
        generations: sampled continuations of each document, grouped by meaning.
        answers: of the model of Ask-LLM.
        targets: of the run, in the order of the config; with embeddings where the signal also needs
            those of the documents.
        influence_of: measures what documents at some positions take off target loss, larger is
            better; dear, so it is asked about few.
        gradients: features of gradients of documents and targets, by checkpoint.
        steps: features of Adam's steps on documents and of gradients of targets, by checkpoint.
        retrainings: of a proxy on random subsets of the documents, and its losses on targets.
        progress: told the number of documents done.
    """

    document_ids: Sequence[str]
    seed: int
    tokens: NDArray[np.int64] | None = None
    labels: NDArray[np.object_] | None = None
    embeddings: NDArray[np.float32] | None = None
    topics: Topics | None = None
    neighbours: Neighbours | None = None
    texts: Callable[[], Iterator[Sequence[str]]] | None = None
    text_losses: TokenLosses | None = None
    completion_losses: TokenLosses | None = None
    conditioned_losses: TokenLosses | None = None
    generations: GenerationGroups | None = None
    answers: QualityAnswers | None = None
    targets: Sequence[TargetSet] | None = None
    influence_of: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None
    gradients: Sequence[CheckpointGradients] | None = None
    steps: Sequence[StepCheckpoint] | None = None
    retrainings: Retrainings | None = None
    progress: ProgressReport = silent

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.document_ids)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalResult:
    """The values of a signal.

    Attributes:
        values: shape (n,), float64, finite, larger is more useful.
        details: what a reader should know about how they came about, such as which of two models.
        model_calls: forward passes of a model.
    """

    values: NDArray[np.float64]
    details: Mapping[str, JsonScalar] = dataclasses.field(default_factory=dict)
    model_calls: int = 0


def required(value: T | None, need: Need) -> T:
    """Return an input that must be there.

    Raises:
        InputError: it is None.
    """
    if value is None:
        raise InputError(f"{need} must be among the inputs of this signal; they were not passed")
    return value
