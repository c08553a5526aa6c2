"""A classifier that is made of an encoder: all of its weights and a linear head are trained.

The head reads the pooled state of a document before it is scaled to norm 1. Training lowers the
mean over the documents of a batch of -ln p of their class, by AdamW (betas 0.9 and 0.999, weight
decay on matrices, gradients clipped at norm 1), a linear warm-up and a cosine to a tenth (Devlin et
al. 2019, arXiv 1810.04805, section A.3, for AdamW, warm-up and the size of the rate). Our choices:
no dropout, so that nothing is drawn but the head and the order of documents; a rate of its own for
the head; batches of a number of tokens and a number of steps that tokens decide, so that
classifiers of different documents have read equally much in equally many steps.

On a CPU the same weights, documents, settings, seed, number of threads and versions give the same
classifier, bit for bit.
"""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from databourse.digests import digest_of
from databourse.encoders.encoder import check_threads
from databourse.encoders.locations import (
    DEFAULT_MODEL,
    DEFAULT_WEIGHTS_SHA256,
    HubId,
    check_weights,
    default_model_folder,
    fetch,
    locate,
)
from databourse.encoders.model_files import files_digest
from databourse.encoders.torch_backend import MODEL_PATTERNS, TorchModel, check_model_folder
from databourse.errors import ConfigError, InputError
from databourse.language_models.model import import_torch, threads_of_torch
from databourse.language_models.optimisation import rate_of_step
from databourse.seeds import stage_rng

if TYPE_CHECKING:
    import torch

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Tokens = Sequence[Sequence[int]]

REVISION = 1
"""Raised when the same documents, settings and seed give another classifier."""

_BETAS, _CLIP_NORM = (0.9, 0.999), 1.0
_HEAD_DEVIATION = 0.02
_LIBRARIES = ("torch", "transformers", "sentence-transformers", "numpy")


@dataclass(frozen=True, kw_only=True)
class FineTuningSettings:
    """How an encoder becomes a classifier.

    Attributes:
        learning_rate: the highest, of the encoder's weights, > 0.
        head_learning_rate: the highest, of the head, > 0.
        warmup_share: of the steps, in [0, 1).
        weight_decay: of matrices, >= 0.
        batch_tokens: of a step: it ends with the document that reaches them, >= 1.
        most_tokens: of a document; what follows is not read, >= 3.
    """

    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-2
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    batch_tokens: int = 1_024
    most_tokens: int = 128

    def __post_init__(self) -> None:
        for name, fits in (
            ("learning_rate", 0 < self.learning_rate < math.inf),
            ("head_learning_rate", 0 < self.head_learning_rate < math.inf),
            ("warmup_share", 0 <= self.warmup_share < 1),
            ("weight_decay", 0 <= self.weight_decay < math.inf),
            ("batch_tokens", self.batch_tokens >= 1),
            ("most_tokens", self.most_tokens >= 3),
        ):
            if not fits:
                raise InputError(f"{name} is outside its domain, got {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class TrainableEncoder:
    """The weights that every classifier starts from.

    Attributes:
        model_id: name, weights, limit, versions and device: what decides the start.
        model: loaded; it is copied for every training, never changed.
        most_tokens: where documents are cut.
    """

    model_id: str
    model: TorchModel
    most_tokens: int

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, cut.

        Raises:
            InputError: a text is not valid Unicode.
        """
        return self.model.tokenize(texts, most_tokens=self.most_tokens)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained copy of an encoder, and its head.

    Attributes:
        module: token ids and mask to pooled states.
        head: pooled states to logits.
        pad_token_id: what padding is made of.
    """

    module: Any
    head: torch.nn.Module
    pad_token_id: int


def load_trainable_encoder(
    name: str, *, root: Path, most_tokens: int, device: str = "cpu"
) -> TrainableEncoder:
    """Return an encoder as it is before training.

    Args:
        name: as for `load_encoder`: `default`, a model folder or a hub id.
        root: folder of the config.
        most_tokens: of a document; never more than the model takes.
        device: "cpu" or a torch device.

    Raises:
        ConfigError: it is `hashing`, which has no weights, or cannot be loaded.
        DatabourseError: as `load_encoder`.
    """
    if name == "hashing":
        raise ConfigError(
            "the encoder 'hashing' has no weights, so it cannot be fine-tuned; name a model with "
            "compare.encoder.model, for example default, or take the proxy 'linear'"
        )
    if name == "default":
        folder, called = default_model_folder(), DEFAULT_MODEL
        check_weights(folder, DEFAULT_WEIGHTS_SHA256)
    else:
        place = locate(name, kind="encoder", known=("default",), root=root)
        folder = fetch(place, MODEL_PATTERNS) if isinstance(place, HubId) else place
        called = str(place) if isinstance(place, HubId) else "local"
    check_model_folder(folder)
    model = TorchModel(folder, device)
    limit = min(most_tokens, model.max_tokens)
    versions = {each: importlib.metadata.version(each) for each in _LIBRARIES}
    start = {"weights": files_digest(folder, MODEL_PATTERNS), "limit": limit, **versions}
    return TrainableEncoder(
        model_id=f"{called}@{digest_of(start)[:12]}/{model.device_type}",
        model=model,
        most_tokens=limit,
    )


def training_id(encoder: TrainableEncoder, settings: FineTuningSettings, *, threads: int) -> str:
    """Return what decides a classifier beside documents, tokens and seed."""
    what = [encoder.model_id, asdict(settings), threads, REVISION]
    return f"encoder-{digest_of(what)[:12]}"


def fine_tune(
    encoder: TrainableEncoder,
    documents: Tokens,
    *,
    label_index: IntArray,
    n_classes: int,
    settings: FineTuningSettings,
    tokens: int,
    seed: int,
    threads: int = 1,
) -> Classifier:
    """Return a classifier that was trained for a number of tokens.

    Args:
        encoder: to start from.
        documents: token ids of each, as `encoder.tokenize` gives them.
        label_index: class of each document, in [0, n_classes).
        n_classes: C, >= 2.
        settings: of the training.
        tokens: to read, documents as often as that takes: rounded up to a whole document, >= 1.
        seed: of the head and of the order of documents.
        threads: of torch, on a CPU, >= 1; another number sums in another order.

    Raises:
        InputError: there is no document, a label is outside its domain, or an argument is.
        MissingExtraError: torch is not installed.
    """
    check_threads(threads)
    labels = np.asarray(label_index, dtype=np.int64)
    if not len(documents) or labels.shape != (len(documents),):
        raise InputError(
            f"expected at least one document and a label of each, got {len(documents):,} and "
            f"{labels.size:,}"
        )
    if n_classes < 2 or labels.min() < 0 or labels.max() >= n_classes:
        raise InputError(
            f"labels must be in [0, {n_classes}) with at least two classes, got "
            f"{labels.min()} to {labels.max()}"
        )
    if tokens < 1:
        raise InputError(f"tokens to train for must be >= 1, got {tokens!r}")
    torch = import_torch()
    planned = plan_steps(
        [len(each) for each in documents],
        tokens=tokens,
        batch_tokens=settings.batch_tokens,
        rng=stage_rng(seed, "order of documents"),
    )
    with threads_of_torch(threads):
        classifier = _new_classifier(torch, encoder, n_classes, seed)
        _train(classifier, documents, labels, planned=planned, settings=settings)
    return classifier


def class_log_probabilities(
    classifier: Classifier, documents: Tokens, *, batch_tokens: int = 4_096, threads: int = 1
) -> FloatArray:
    """Return ln p of every class for every document, shape (n, C).

    Args:
        classifier: trained.
        documents: token ids of each.
        batch_tokens: about how many are computed at once, padding included.
        threads: of torch, on a CPU.
    """
    torch = import_torch()
    lengths = np.array([len(each) for each in documents])
    order = np.argsort(-lengths, kind="stable")
    found: FloatArray = np.empty((len(documents), int(classifier.head.out_features)))  # type: ignore[arg-type]
    first = 0
    with threads_of_torch(threads), torch.inference_mode():
        while first < len(order):
            rows = order[first : first + max(1, batch_tokens // int(lengths[order[first]]))]
            logits = _logits(torch, classifier, [documents[row] for row in rows.tolist()])
            found[rows] = logits.double().log_softmax(dim=1).cpu().numpy()
            first += len(rows)
    return found


def plan_steps(
    lengths: Sequence[int], *, tokens: int, batch_tokens: int, rng: np.random.Generator
) -> list[list[int]]:
    """Return which documents each step reads: epoch after epoch in an order drawn anew.

    Step k ends with the document that brings the tokens read to k times `batch_tokens`, the last
    one with the document that reaches `tokens`. So the number of steps is tokens / batch_tokens,
    rounded up, whichever documents there are, as long as none fills a batch alone.

    Args:
        lengths: tokens of each document, >= 1.
        tokens: to read in all, >= 1.
        batch_tokens: of a step, >= 1.
        rng: orders are drawn from it.
    """
    steps: list[list[int]] = [[]]
    read, limit = 0, batch_tokens
    for place in _endless_order(len(lengths), rng):
        steps[-1].append(place)
        read += lengths[place]
        if read >= tokens:
            return steps
        if read >= limit:
            steps.append([])
            limit = (read // batch_tokens + 1) * batch_tokens
    raise AssertionError("the order of documents never ends")


def _endless_order(n_documents: int, rng: np.random.Generator) -> Iterator[int]:
    return itertools.chain.from_iterable(
        rng.permutation(n_documents).tolist() for _ in itertools.count()
    )


def _new_classifier(
    torch: Any,  # noqa: ANN401 - a module
    encoder: TrainableEncoder,
    n_classes: int,
    seed: int,
) -> Classifier:
    module = copy.deepcopy(encoder.model.module).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    shape = (n_classes, encoder.model.dimension)
    drawn = stage_rng(seed, "head").normal(0.0, _HEAD_DEVIATION, shape)
    head = torch.nn.utils.skip_init(torch.nn.Linear, shape[1], shape[0])
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(drawn))
        head.bias.zero_()
    return Classifier(module, head.to(module.device), encoder.model.pad_token_id)


def _train(
    classifier: Classifier,
    documents: Tokens,
    labels: IntArray,
    *,
    planned: Sequence[Sequence[int]],
    settings: FineTuningSettings,
) -> None:
    """Take the planned steps."""
    torch = import_torch()
    own, head = list(classifier.module.parameters()), list(classifier.head.parameters())
    groups = [
        {
            "params": [each for each in parameters if (each.ndim >= 2) == decays],
            "weight_decay": settings.weight_decay if decays else 0.0,
            "highest": rate,
        }
        for parameters, rate in (
            (own, settings.learning_rate),
            (head, settings.head_learning_rate),
        )
        for decays in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=_BETAS, fused=True)
    for step, rows in enumerate(planned, start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate_of_step(
                group["highest"], step, steps=len(planned), warmup_share=settings.warmup_share
            )
        logits = _logits(torch, classifier, [documents[row] for row in rows])
        wanted = torch.from_numpy(labels[list(rows)]).to(logits.device)
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*own, *head], _CLIP_NORM)
        optimizer.step()


def _logits(torch: Any, classifier: Classifier, documents: Tokens) -> Any:  # noqa: ANN401 - tensors
    """Return the logits of some documents, padded to the longest of them."""
    length = max(len(each) for each in documents)
    token_ids = np.full((len(documents), length), classifier.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(token_ids)
    for row, own in enumerate(documents):
        token_ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
    device = classifier.module.device
    features = {
        "input_ids": torch.from_numpy(token_ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }
    for module in classifier.module:
        if type(module).__name__ != "Normalize":
            features = module(features)
    return classifier.head(features["sentence_embedding"].float())
