"""Features of the steps that Adam would take on single documents: what LESS compares.

Notation: g = gradient of the mean token loss of a document, Gamma = Adam's next step from a
checkpoint by g alone, over minus the learning rate (`databourse.influence.less`), P = a projection.

    phi = P^T Gamma

Source: Xia et al. 2024 (arXiv 2402.04333). Gamma is not linear in g, so that gradients are formed,
a few documents at a time, and a two-sided projection saves nothing. That g is of the mean loss over
tokens, as the gradients that the moments were made of, is the paper's; that these were clipped at
norm 1 and Gamma is not, is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError, IntegrityError
from databourse.influence.layers import is_transposed, layer_modules, layer_shapes
from databourse.influence.less import AdamState, adam_steps
from databourse.influence.per_example import FeatureBatch, full_gradients
from databourse.influence.projecting import Projector
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import WeightedDocument
from databourse.language_models.model import LanguageModel
from databourse.language_models.training import AdamMoments
from databourse.progress import ProgressReport, silent

_BLOCK_DOCUMENTS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class AdamSteps:
    """What turns gradients of a checkpoint into Adam's next steps.

    Attributes:
        states: what Adam remembers of each layer, its weight as (d_out, d_in), flat.
        include_momentum: False leaves out b1 m, which all documents have in common.
    """

    states: Mapping[str, AdamState]
    include_momentum: bool

    @property
    def steps_id(self) -> str:
        """Return the digest of what steps depend on beside gradients."""
        digest = hashlib.sha256(f"momentum {self.include_momentum}\n".encode())
        for name, state in self.states.items():
            numbers = (state.n_steps, state.first_decay, state.second_decay, state.epsilon)
            digest.update(f"{name} {numbers!r}\n".encode())
            for each in (state.first, state.second):
                digest.update(each.astype("<f8").tobytes())
        return digest.hexdigest()

    def of_gradients(
        self, gradients: Mapping[str, npt.NDArray[np.float32]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return Gamma by layer, shape (b, d_out, d_in) each.

        Args:
            gradients: g by layer, those of `states`, shape (b, d_out, d_in) each.

        Raises:
            InputError: a gradient is not finite, or of another shape.
        """
        found = {}
        for name, each in gradients.items():
            flat = each.reshape(len(each), -1)
            steps = adam_steps(flat, self.states[name], include_momentum=self.include_momentum)
            found[name] = steps.reshape(each.shape).astype(np.float32)
        return found


def adam_steps_of(
    model: LanguageModel, layers: Sequence[str], moments: AdamMoments, *, include_momentum: bool
) -> AdamSteps:
    """Return what turns gradients of layers into Adam's steps.

    Args:
        model: the checkpoint.
        layers: names, as `tracked_layers` gives them.
        moments: of its parameters.
        include_momentum: see `AdamSteps`.

    Raises:
        InputError: moments lack a layer, or are of other shapes.
        UnknownNameError: the model has no such layer.
    """
    shapes = layer_shapes(model, layers)
    states = {}
    for name, module in layer_modules(model, layers).items():
        key = f"{name}.weight"
        if key not in moments.first or key not in moments.second:
            raise InputError(
                f"moments of {model.model_id} lack {key}; take those that were saved with it"
            )
        both = [moments.first[key], moments.second[key]]
        turned = [each.T if is_transposed(module) else each for each in both]
        if any(each.shape != shapes[name] for each in turned):
            raise InputError(
                f"moments of {key} must have the shape of the weight {shapes[name]}, got "
                f"{turned[0].shape} and {turned[1].shape}"
            )
        first, second = (each.astype(np.float64).ravel() for each in turned)
        states[name] = AdamState(
            first=first,
            second=second,
            n_steps=moments.n_steps,
            first_decay=moments.decays[0],
            second_decay=moments.decays[1],
            epsilon=moments.epsilon,
        )
    return AdamSteps(states=states, include_momentum=include_momentum)


def step_features(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    *,
    projection: Projection,
    steps: AdamSteps,
    batch_tokens: int,
    threads: int,
    progress: ProgressReport = silent,
) -> Iterator[FeatureBatch]:
    """Yield P^T Gamma of documents, each document once; Q is 1.

    Args:
        model: the checkpoint.
        documents: that weigh the mean loss of their tokens.
        projection: what P is.
        steps: of the same checkpoint; its layers are those that count.
        batch_tokens, threads, progress: as `databourse.influence.per_example.captured`.

    Raises:
        As there; IntegrityError also if a feature is not finite.
    """
    layers = list(steps.states)
    projector = Projector(projection, layer_shapes(model, layers))
    for block in full_gradients(
        model,
        documents,
        layers,
        output="loss",
        batch_tokens=batch_tokens,
        threads=threads,
        most_documents=_BLOCK_DOCUMENTS,
        progress=progress,
    ):
        features = projector.of_gradients(steps.of_gradients(block.gradients))
        if not np.isfinite(features).all():
            raise IntegrityError(f"model {model.model_id} gave a step that is not finite")
        yield FeatureBatch(block.positions, features, np.ones(len(features)))
