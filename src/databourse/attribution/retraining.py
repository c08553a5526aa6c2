"""What is retrained on a subset of a pool, and what its models say of examples.

    linear     softmax regression on frozen embeddings; the loss of an example, nats
    causal_lm  a small causal transformer from scratch; the mean loss per token of an example's
               completion given its prompt, or of all of it where there is no prompt, nats

Every subset is trained on in the same way, transformers for as many tokens, so that a subset of
longer documents does not learn for longer. The regression is fitted to its optimum: nothing is
drawn, and a second seed would give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.progress import ProgressReport

if TYPE_CHECKING:
    from databourse.language_models.tokenizer import ModelTokenizer
    from databourse.language_models.training import TrainingSettings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Retraining(Protocol):
    """A way of training on some documents of a pool and of measuring examples."""

    @property
    def proxy_id(self) -> str:
        """Return what decides its outputs, beside documents, examples and seed."""

    @property
    def draws(self) -> bool:
        """Tell whether training draws anything, so that seeds differ."""

    def losses(self, positions: IntArray, *, seed: int, alive: ProgressReport) -> FloatArray:
        """Train on the documents at some positions; return the loss of each example, shape (m,).

        Args:
            positions: ascending, at least one.
            seed: of what training draws.
            alive: told of progress in no certain unit; it may raise to end the training.
        """


@dataclass(frozen=True, eq=False)
class LinearRetraining:
    """Softmax regression on frozen embeddings.

    Attributes:
        embeddings: of the pool, shape (n, d).
        label_index: class of each document, -1 for none: such documents train nothing.
        example_embeddings: shape (m, d).
        example_labels: class of each example, shape (m,), each that of some document.
        n_classes: C.
        l2: penalty on the sum of losses.
        start: coefficients that every fit starts from; None is 0. They change no number.
    """

    embeddings: NDArray[np.float32]
    label_index: IntArray
    example_embeddings: NDArray[np.float32]
    example_labels: IntArray
    n_classes: int
    l2: float
    start: FloatArray | None = None

    @property
    def proxy_id(self) -> str:
        """Return what decides its outputs."""
        return f"softmax-regression-l2-{self.l2:g}"

    @property
    def draws(self) -> bool:
        """Return that nothing is drawn."""
        return False

    def losses(self, positions: IntArray, *, seed: int, alive: ProgressReport) -> FloatArray:
        """Fit the documents that have labels; return the loss of each example.

        Raises:
            InputError: none of the documents has a label.
        """
        from databourse.influence.softmax_regression import fit_proxy, losses

        del seed
        proxy = fit_proxy(
            self.embeddings[positions],
            self.label_index[positions],
            n_classes=self.n_classes,
            l2=self.l2,
            start=self.start,
        )
        alive(1)
        return losses(proxy, self.example_embeddings, label_index=self.example_labels)


@dataclass(frozen=True, eq=False)
class CausalRetraining:
    """A small causal transformer that is trained from scratch.

    Attributes:
        texts: of the pool.
        prompts: of the examples, "" for none.
        completions: of the examples, scored; none is empty.
        tokenizer: one for all subsets.
        settings: of the model and its training.
        training_tokens: read by every training.
        device: "cpu" or a torch device.
    """

    texts: Sequence[str]
    prompts: Sequence[str]
    completions: Sequence[str]
    tokenizer: ModelTokenizer
    settings: TrainingSettings
    training_tokens: int
    device: str = "cpu"

    @property
    def proxy_id(self) -> str:
        """Return what decides its outputs."""
        from importlib.metadata import version

        from databourse.digests import digest_of

        what = [
            self.tokenizer.tokenizer_id,
            repr(self.settings),
            self.training_tokens,
            self.device,
            version("torch"),
        ]
        return f"causal-lm-{digest_of(what)[:12]}"

    @property
    def draws(self) -> bool:
        """Return that weights and the order of documents are drawn."""
        return True

    def losses(self, positions: IntArray, *, seed: int, alive: ProgressReport) -> FloatArray:
        """Train for the tokens on one thread; return the mean loss per token of each example.

        Raises:
            InputError: none of the documents has a token, or an example has none to score.
        """
        from databourse.language_models.scoring import score_documents
        from databourse.language_models.training import train_to_the_end

        model = train_to_the_end(
            [self.texts[position] for position in positions.tolist()],
            tokenizer=self.tokenizer,
            settings=self.settings,
            tokens=self.training_tokens,
            seed=seed,
            threads=1,  # another number sums in another order
            device=self.device,
            progress=alive,
        )
        means = score_documents(
            model,
            self.completions,
            prompts=self.prompts,
            window_tokens=model.context_tokens,
            overlap_tokens=max(1, model.context_tokens // 2),
            threads=1,
        ).mean_losses
        if np.isnan(means).any():
            place = int(np.flatnonzero(np.isnan(means))[0])
            raise InputError(f"example {place} has no token to score; leave it out")
        return means
