"""Proxy models that are trained on a pick and measured on examples that no sampler has seen.

Every pick of a comparison is trained on in the same way: the same proxy, settings and tokenizer,
and, where training reads tokens, as many tokens.

    linear     softmax regression on frozen embeddings, to its optimum; accuracy, macro-F1 and loss
    encoder    the encoder itself with a linear head, fine-tuned for a number of tokens; the same
    causal_lm  a small causal transformer from scratch, for a number of tokens; bits per token of
               the examples, or of their completions where they have prompts
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from databourse.errors import InputError
from databourse.samplers.interface import Candidates, required
from databourse.selection.greedy import IntArray
from databourse.targets import TargetSet

if TYPE_CHECKING:
    from databourse.encoders.fine_tuning import FineTuningSettings, TrainableEncoder
    from databourse.language_models.model import LanguageModel
    from databourse.language_models.tokenizer import ModelTokenizer
    from databourse.language_models.training import TrainingSettings


@dataclass(frozen=True)
class Measurement:
    """One number about a trained proxy, or about a pick.

    Attributes:
        target: name of the set of examples; `pick` for what a pick is like.
        metric: accuracy, macro_f1 (both in [0, 1]), loss (nats per example) or bits_per_token; of
            picks see `databourse.comparison.grid.described`.
        value: of the metric.
    """

    target: str
    metric: str
    value: float


LARGER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "loss": False,
    "bits_per_token": False,
    "label_noise": False,
}
"""Of each metric of a proxy, and of those of a pick that are better at one end."""


class Proxy(Protocol):
    """A way of training on a pick and of measuring what was learnt."""

    @property
    def proxy_id(self) -> str:
        """Return what decides its numbers, beside pick and seed."""

    def measure(self, positions: IntArray, *, seed: int) -> tuple[Measurement, ...]:
        """Train on the documents at some positions and measure each set of examples.

        Args:
            positions: of the candidates, at least one.
            seed: of what training draws.
        """


@dataclass(frozen=True, eq=False)
class LinearProxy:
    """Softmax regression on frozen embeddings.

    Attributes:
        embeddings: of the candidates, shape (n, d).
        label_index: class of each, -1 for none: such documents train nothing.
        tests: sets of examples: name, embeddings and classes.
        n_classes: C; a class of the examples may lack documents in a pick.
        l2: penalty on the sum of losses.
    """

    embeddings: NDArray[np.float32]
    label_index: IntArray
    tests: Sequence[tuple[str, NDArray[np.float32], IntArray]]
    n_classes: int
    l2: float = 1.0

    @property
    def proxy_id(self) -> str:
        """Return what decides its numbers, beside pick and seed."""
        return f"softmax-regression-l2-{self.l2:g}"

    def measure(self, positions: IntArray, *, seed: int) -> tuple[Measurement, ...]:
        """Train on a pick and measure accuracy, macro-F1 and loss; nothing is drawn.

        Raises:
            InputError: no document of the pick has a label.
        """
        from databourse.influence.softmax_regression import (
            accuracy,
            fit_proxy,
            macro_f1,
            mean_loss,
        )

        del seed
        picked = np.sort(positions)
        proxy = fit_proxy(
            self.embeddings[picked],
            self.label_index[picked],
            n_classes=self.n_classes,
            l2=self.l2,
        )
        return tuple(
            Measurement(name, metric, float(measure(proxy, rows, label_index=classes)))
            for name, rows, classes in self.tests
            for metric, measure in (
                ("accuracy", accuracy),
                ("macro_f1", macro_f1),
                ("loss", mean_loss),
            )
        )


def linear_proxy(candidates: Candidates, tests: Sequence[TargetSet], *, l2: float) -> LinearProxy:
    """Return the linear proxy of a labelled pool.

    Args:
        candidates: with embeddings and labels.
        tests: with embeddings and a label for each example.
        l2: penalty on the sum of losses.

    Raises:
        InputError: something is missing, or an example has a label that no candidate has.
    """
    codes, classes, n_classes = _classes(candidates, tests)
    return LinearProxy(
        embeddings=required(candidates.embeddings, "embeddings"),
        label_index=codes,
        tests=[
            (test.name, required(test.embeddings, "embeddings of examples"), own)
            for test, own in zip(tests, classes, strict=True)
        ],
        n_classes=n_classes,
        l2=l2,
    )


def _classes(
    candidates: Candidates, tests: Sequence[TargetSet]
) -> tuple[IntArray, list[IntArray], int]:
    """Return the class of each candidate (-1: none), those of the examples, and how many."""
    from databourse.signals.labels import label_codes

    labels = required(candidates.labels, "labels")
    codes = label_codes(labels)
    code_of = {label: code for label, code in zip(labels, codes.tolist(), strict=True) if code >= 0}
    classes = []
    for test in tests:
        unknown = sorted({str(label) for label in test.labels if label not in code_of})
        if unknown:
            raise InputError(
                f"set {test.name!r} has examples labelled {unknown[0]!r}, which no document of the "
                f"pool is; the pool has {', '.join(sorted(code_of)[:10])}"
            )
        classes.append(np.array([code_of[label] for label in test.labels], dtype=np.int64))
    return codes, classes, len(code_of)


@dataclass(frozen=True, eq=False)
class EncoderProxy:
    """An encoder with a linear head, all of whose weights are trained.

    Attributes:
        encoder: that every training starts from.
        documents: token ids of each candidate.
        label_index: class of each, -1 for none: such documents train nothing.
        tests: sets of examples: name, token ids of each, and classes.
        n_classes: C; a class of the examples may lack documents in a pick.
        settings: of the training.
        training_tokens: read by every training, whatever the pick.
        threads: of torch; another number sums in another order.
    """

    encoder: TrainableEncoder
    documents: Sequence[Sequence[int]]
    label_index: IntArray
    tests: Sequence[tuple[str, Sequence[Sequence[int]], IntArray]]
    n_classes: int
    settings: FineTuningSettings
    training_tokens: int
    threads: int = 1

    @property
    def proxy_id(self) -> str:
        """Return what decides its numbers, beside pick and seed."""
        from databourse.encoders.fine_tuning import training_id

        start = training_id(self.encoder, self.settings, threads=self.threads)
        return f"{start}-{self.training_tokens}"

    def measure(self, positions: IntArray, *, seed: int) -> tuple[Measurement, ...]:
        """Train on a pick and measure accuracy, macro-F1 and loss.

        Raises:
            InputError: no document of the pick has a label.
        """
        from databourse.encoders.fine_tuning import class_log_probabilities, fine_tune
        from databourse.influence.softmax_regression import macro_f1_of

        picked = np.sort(positions)
        picked = picked[self.label_index[picked] >= 0]
        if not picked.size:
            raise InputError("no document of the pick has a label to train on")
        classifier = fine_tune(
            self.encoder,
            [self.documents[position] for position in picked.tolist()],
            label_index=self.label_index[picked],
            n_classes=self.n_classes,
            settings=self.settings,
            tokens=self.training_tokens,
            seed=seed,
            threads=self.threads,
        )
        found: list[Measurement] = []
        for name, examples, classes in self.tests:
            log_p = class_log_probabilities(classifier, examples, threads=self.threads)
            predicted = log_p.argmax(axis=1).astype(np.int64)
            own = log_p[np.arange(len(classes)), classes]
            found += [
                Measurement(name, "accuracy", float((predicted == classes).mean())),
                Measurement(
                    name, "macro_f1", macro_f1_of(predicted, classes, n_classes=self.n_classes)
                ),
                Measurement(name, "loss", -math.fsum(own.tolist()) / len(own)),
            ]
        return tuple(found)


def encoder_proxy(
    candidates: Candidates,
    tests: Sequence[TargetSet],
    *,
    encoder: TrainableEncoder,
    settings: FineTuningSettings,
    threads: int = 1,
) -> EncoderProxy:
    """Return the encoder as the proxy of a labelled pool, `training_tokens` still to be set.

    Args:
        candidates: with texts and labels.
        tests: with a label for each example.
        encoder: to fine-tune.
        settings: of the training.
        threads: of torch.

    Raises:
        InputError: something is missing, or an example has a label that no candidate has.
    """
    codes, classes, n_classes = _classes(candidates, tests)
    texts = required(candidates.texts, "texts")
    return EncoderProxy(
        encoder=encoder,
        documents=[ids for batch in texts() for ids in encoder.tokenize(batch)],
        label_index=codes,
        tests=[
            (test.name, encoder.tokenize(list(test.texts)), own)
            for test, own in zip(tests, classes, strict=True)
        ],
        n_classes=n_classes,
        settings=settings,
        training_tokens=0,
        threads=threads,
    )


@dataclass(frozen=True, eq=False)
class CausalProxy:
    """A small causal transformer that is trained from scratch.

    Attributes:
        texts: of the candidates.
        tests: sets of examples; what follows a prompt is scored, or all where there is none.
        tokenizer: one for all picks, or bits per token could not be compared.
        settings: of the model and its training.
        training_tokens: read by every training, whatever the pick.
        threads: of torch; another number sums in another order.
        device: "cpu" or a torch device.
    """

    texts: Sequence[str]
    tests: Sequence[TargetSet]
    tokenizer: ModelTokenizer
    settings: TrainingSettings
    training_tokens: int
    threads: int = 1
    device: str = "cpu"

    @property
    def proxy_id(self) -> str:
        """Return what decides its numbers, beside pick and seed."""
        from databourse.digests import digest_of

        what = [
            self.tokenizer.tokenizer_id,
            repr(self.settings),
            self.training_tokens,
            self.threads,
            self.device,
        ]
        return f"causal-lm-{digest_of(what)[:12]}"

    def measure(self, positions: IntArray, *, seed: int) -> tuple[Measurement, ...]:
        """Train on a pick and measure bits per token of each set.

        Raises:
            InputError: no document of the pick has a token, or no example has one to score.
        """
        from databourse.language_models.training import train_to_the_end

        model = train_to_the_end(
            [self.texts[position] for position in np.sort(positions).tolist()],
            tokenizer=self.tokenizer,
            settings=self.settings,
            tokens=self.training_tokens,
            seed=seed,
            threads=self.threads,
            device=self.device,
        )
        return tuple(
            Measurement(test.name, "bits_per_token", bits_per_token(model, test, self.threads))
            for test in self.tests
        )


def bits_per_token(model: LanguageModel, examples: TargetSet, threads: int) -> float:
    """Return the mean loss of the tokens of examples in bits; of their completions, given prompts.

    Raises:
        InputError: there is no token to score.
    """
    from databourse.language_models.scoring import score_documents

    cuts = examples.prompt_characters.tolist()
    losses = score_documents(
        model,
        [text[cut:] for text, cut in zip(examples.texts, cuts, strict=True)],
        prompts=[text[:cut] for text, cut in zip(examples.texts, cuts, strict=True)],
        window_tokens=model.context_tokens,
        overlap_tokens=max(1, model.context_tokens // 2),
        threads=threads,
    )
    tokens = int(losses.token_counts.sum())
    if not tokens:
        raise InputError(f"set {examples.name!r} has no token to score")
    return math.fsum(losses.loss_sums.tolist()) / tokens / math.log(2)
