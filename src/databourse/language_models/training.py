"""The reference language model: a small causal transformer trained on the pool itself.

Documents are packed: each is the start token and its tokens, one after the other in an order that
is drawn again every epoch, cut into rows of `context_tokens`. Positions begin again at every
document and at every row, and attention does not cross documents, so training meets texts exactly
as scoring shows them. The loss is that of every token, and of the start token that ends a document.

Architecture GPT-2 (Radford et al. 2019) without dropout; AdamW with betas 0.9 and 0.95, weight
decay on matrices, gradients clipped at norm 1, a linear warm-up and a cosine to a tenth of the
learning rate (Brown et al. 2020, arXiv 2005.14165, appendix B). Sizes, learning rate and stopping
rule are choices of this package, and so is one departure from GPT-2: initial weights of a larger
deviation, from which a narrow model learns more in the same seconds. Steps are short for the same
reason: many of few tokens teach more than few of many.

On a CPU the same documents, settings, seed, number of threads and versions give the same weights,
bit for bit; another number of threads sums in another order. The model of a fold is trained by one
thread, whatever else goes on. The order of the documents changes nothing: they are sorted by id
first.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of, digest_of_lines
from databourse.encoders.encoder import check_threads
from databourse.errors import InputError, MissingExtraError
from databourse.language_models.model import (
    LanguageModel,
    import_torch,
    prepared_model,
    threads_of_torch,
)
from databourse.language_models.optimisation import (
    learning_rate,
    new_optimizer,
    number_of_steps,
    steps_for_tokens,
    take_steps,
)
from databourse.language_models.packing import PackedRows
from databourse.language_models.scoring import score_documents
from databourse.language_models.tokenizer import START_TOKEN, ModelTokenizer
from databourse.progress import ProgressReport, silent
from databourse.seeds import stage_seed
from databourse.signals.folds import document_folds

if TYPE_CHECKING:
    import torch

CODE_REVISION = 2
"""Of architecture, packing and optimisation: raise it when the same inputs give other weights."""

_LIBRARIES = ("torch", "transformers", "numpy")
_HELD_OUT_BUCKETS = 1 << 40
_INITIAL_DEVIATION = 0.06  # GPT-2's 0.02 suits states six times as wide
_DRAWING = threading.Lock()  # initial weights are drawn from torch's one global state


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the reference model is and how long it learns.

    Attributes:
        layers: transformer blocks, >= 1.
        width: size of a state, a multiple of `heads`.
        heads: attention heads, >= 1.
        context_tokens: tokens of a row, the longest that the model can read, >= 2.
        batch_rows: rows per step, >= 1.
        micro_rows: rows whose states exist at a time; they bound memory, not what a step is.
        epochs: the most passes over the documents, >= 1.
        most_tokens: the most tokens to train on, all passes together, >= 1.
        learning_rate: the highest, > 0.
        warmup_share: of the steps, in [0, 1).
        weight_decay: of matrices, >= 0.
        held_out_share: of the documents, in (0, 1): not trained on, they say when to stop.
        held_out_most: the most documents held out, >= 1.
        evaluations: how often the held-out loss is taken, at even distances, >= 1.
        patience: evaluations without a lower held-out loss before training stops, >= 1.
    """

    layers: int = 2
    width: int = 128
    heads: int = 2
    context_tokens: int = 256
    batch_rows: int = 2
    micro_rows: int = 2
    epochs: int = 2
    most_tokens: int = 3_000_000
    learning_rate: float = 3e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.1
    held_out_share: float = 0.05
    held_out_most: int = 128
    evaluations: int = 5
    patience: int = 2

    def __post_init__(self) -> None:
        counts = ("layers", "width", "heads", "batch_rows", "micro_rows", "epochs", "most_tokens")
        for name in (*counts, "held_out_most", "evaluations", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if self.width % self.heads:
            raise InputError(f"width must be a multiple of heads, got {self.width}, {self.heads}")
        if self.context_tokens < 2:
            raise InputError(f"context_tokens must be >= 2, got {self.context_tokens!r}")
        for name, fits in (
            ("learning_rate", 0 < self.learning_rate < math.inf),
            ("warmup_share", 0 <= self.warmup_share < 1),
            ("weight_decay", 0 <= self.weight_decay < math.inf),
            ("held_out_share", 0 < self.held_out_share < 1),
        ):
            if not fits:
                raise InputError(f"{name} is outside its domain, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation.

    Attributes:
        step: steps taken.
        tokens: tokens trained on so far.
        train_loss: mean loss per token since the last point, nats.
        held_out_loss: mean loss per token of the held-out documents, nats.
    """

    step: int
    tokens: int
    train_loss: float
    held_out_loss: float


@dataclass(frozen=True)
class TrainedModel:
    """A reference model and how it came about.

    Attributes:
        model: with the weights of the lowest held-out loss.
        fingerprint: digest of all that decides the weights; known before training.
        settings: how it was trained.
        curve: evaluations in order, the first one before any step.
        n_documents: documents trained on, held-out ones not counted.
    """

    model: LanguageModel
    fingerprint: str
    settings: TrainingSettings
    curve: tuple[CurvePoint, ...]
    n_documents: int


@dataclass(frozen=True, kw_only=True, eq=False)
class AdamMoments:
    """What AdamW remembers, by name of parameter: shape and order of the parameter itself.

    Attributes:
        first: mean of gradients, clipped as steps take them.
        second: mean of their squares, >= 0.
        n_steps: steps taken, >= 1.
        decays: of the two means.
        epsilon: what is added to the root.
    """

    first: Mapping[str, npt.NDArray[np.float32]]
    second: Mapping[str, npt.NDArray[np.float32]]
    n_steps: int
    decays: tuple[float, float]
    epsilon: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model on the way through its training; it is trained on once whoever is told of it returns.

    Attributes:
        model: as it is now.
        number: from 1 to `of`.
        of: how many there are; the last is the end.
        steps: taken so far.
        learning_rate: mean over the steps since the checkpoint before.
        moments: of the optimiser.
    """

    model: LanguageModel
    number: int
    of: int
    steps: int
    learning_rate: float
    moments: AdamMoments


def training_fingerprint(
    document_ids: Sequence[str],
    *,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    seed: int,
    threads: int,
    device: str,
) -> str:
    """Return the digest of what decides the weights of a model, without training it.

    That is documents (by their ids, which are digests of content), tokenizer, settings, seed, the
    revision of this code, versions of libraries, device, and threads on a CPU.
    """
    return digest_of(
        {
            "documents": digest_of_lines(sorted(document_ids)),
            "tokenizer": tokenizer.tokenizer_id,
            "settings": dataclasses.asdict(settings),
            "seed": seed,
            "revision": CODE_REVISION,
            "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            "device": device,
            "threads": threads if device == "cpu" else 0,
        }
    )


def trained_model_id(fingerprint: str) -> str:
    """Return the model_id of the reference model of a fingerprint."""
    return f"reference@{fingerprint[:16]}"


def train_reference_model(
    document_ids: Sequence[str],
    texts: Sequence[str],
    *,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    seed: int,
    threads: int,
    device: str = "cpu",
    progress: ProgressReport = silent,
) -> TrainedModel:
    """Return a causal transformer trained on documents.

    Args:
        document_ids: distinct, in any order.
        texts: one per id.
        tokenizer: with the start token of `train_tokenizer`.
        settings: what it is and how long it learns.
        seed: of initial weights and of the order of documents.
        threads: of torch, on a CPU, >= 1; another number gives other weights.
        device: "cpu" or a torch device such as "cuda".
        progress: told of the tokens of each step.

    Raises:
        InputError: fewer than two documents, ids that repeat, no token to train on, or another
            number of texts than of ids.
        MissingExtraError: a package is missing.
    """
    check_threads(threads)
    order = _checked_order(document_ids, texts)
    sorted_ids = [document_ids[each] for each in order]
    held_out = _held_out(sorted_ids, settings)
    kept = [place for place, out in zip(order, held_out, strict=True) if not out]
    evaluated = [texts[place] for place, out in zip(order, held_out, strict=True) if out]
    start_token_id = _start_token(tokenizer)
    tokens = _encoded(tokenizer, [texts[place] for place in kept])
    fingerprint = training_fingerprint(
        document_ids,
        tokenizer=tokenizer,
        settings=settings,
        seed=seed,
        threads=threads,
        device=device,
    )
    with threads_of_torch(threads):
        module = _new_module(tokenizer.vocabulary_size, start_token_id, settings, seed).to(device)
        model = prepared_model(
            module,
            tokenizer,
            model_id=trained_model_id(fingerprint),
            start_token_id=start_token_id,
            context_tokens=settings.context_tokens,
        )
        rows = PackedRows(tokens, start_token_id, settings.context_tokens)
        curve = _fit(
            model,
            rows,
            evaluated,
            settings=settings,
            seed=seed,
            threads=threads,
            progress=progress,
        )
    return TrainedModel(model, fingerprint, settings, tuple(curve), len(kept))


def train_to_the_end(
    texts: Sequence[str],
    *,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    tokens: int,
    seed: int,
    threads: int,
    device: str = "cpu",
    progress: ProgressReport = silent,
    checkpoints: int = 1,
    keep: Callable[[Checkpoint], None] | None = None,
) -> LanguageModel:
    """Return a causal transformer trained on all of some texts, for a number of tokens.

    Nothing is held out and no step is left out: models of other texts that were trained for as many
    tokens can be compared with it.

    Args:
        texts: to train on, in an order that is part of the seed.
        tokenizer: with the start token of `train_tokenizer`.
        settings: what it is and how it learns; held-out documents, epochs, most_tokens and patience
            are not read.
        tokens: to read, texts as often as that takes; rounded up to whole steps, >= 1.
        seed: of initial weights and of the order of documents.
        threads: of torch, on a CPU, >= 1; another number gives other weights.
        device: "cpu" or a torch device such as "cuda".
        progress: told of the tokens of each step.
        checkpoints: at how many steps, at even distances, `keep` is told, >= 1; the last one is the
            end. They change no weight.
        keep: told of every checkpoint; None for nobody.

    Raises:
        InputError: there is no token to train on, fewer than one to read, or fewer steps than
            checkpoints.
        MissingExtraError: a package is missing.
    """
    check_threads(threads)
    if tokens < 1:
        raise InputError(f"tokens to train for must be >= 1, got {tokens!r}")
    start_token_id = _start_token(tokenizer)
    ids = _encoded(tokenizer, texts)
    with threads_of_torch(threads):
        module = _new_module(tokenizer.vocabulary_size, start_token_id, settings, seed).to(device)
        model = prepared_model(
            module,
            tokenizer,
            model_id=f"trained for {tokens} tokens",
            start_token_id=start_token_id,
            context_tokens=settings.context_tokens,
        )
        rows = PackedRows(ids, start_token_id, settings.context_tokens)
        steps = steps_for_tokens(tokens, rows.n_rows, settings)
        number_at = _checkpoint_steps(steps, checkpoints)
        optimizer = new_optimizer(module, settings)
        rates: list[float] = []
        for taken in take_steps(
            model,
            rows,
            steps=steps,
            settings=settings,
            seed=seed,
            progress=progress,
            optimizer=optimizer,
        ):
            rates.append(learning_rate(taken.step, steps=steps, settings=settings))
            if keep is not None and taken.step in number_at:
                keep(
                    Checkpoint(
                        model=model,
                        number=number_at[taken.step],
                        of=checkpoints,
                        steps=taken.step,
                        learning_rate=math.fsum(rates) / len(rates),
                        moments=_moments(module, optimizer),
                    )
                )
                rates = []
    return model


def _checkpoint_steps(steps: int, checkpoints: int) -> dict[int, int]:
    """Return the step of each checkpoint and its number from 1."""
    if not 1 <= checkpoints <= steps:
        raise InputError(
            f"a training of {steps:,} steps has 1 to {steps:,} checkpoints, got {checkpoints!r}"
        )
    return {-(-steps * number // checkpoints): number for number in range(1, checkpoints + 1)}


def _moments(module: Any, optimizer: Any) -> AdamMoments:  # noqa: ANN401 - torch's
    """Return a copy of what AdamW remembers, by name: order in it is not that of the model."""
    group = optimizer.param_groups[0]
    state = {
        name: optimizer.state[each]
        for name, each in module.named_parameters()
        if each in optimizer.state
    }
    return AdamMoments(
        first={name: each["exp_avg"].cpu().numpy().copy() for name, each in state.items()},
        second={name: each["exp_avg_sq"].cpu().numpy().copy() for name, each in state.items()},
        n_steps=int(next(iter(state.values()))["step"]),
        decays=(float(group["betas"][0]), float(group["betas"][1])),
        epsilon=float(group["eps"]),
    )


def fold_fingerprint(
    document_ids: Sequence[str],
    *,
    fold: int,
    folds: int,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    seed: int,
    device: str = "cpu",
) -> str:
    """Return the fingerprint of the model that `train_fold` would give, without training it.

    It changes with every document that the model is trained on, and with none of its own fold.

    Args and Raises: as `train_fold`.
    """
    return training_fingerprint(
        [document_ids[place] for place in _other_folds(document_ids, fold, folds)],
        tokenizer=tokenizer,
        settings=settings,
        seed=_seed_of_fold(seed, fold),
        threads=1,
        device=device,
    )


def train_fold(
    document_ids: Sequence[str],
    texts: Sequence[str],
    *,
    fold: int,
    folds: int,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    seed: int,
    device: str = "cpu",
    progress: ProgressReport = silent,
) -> TrainedModel:
    """Return the model of one fold, trained on the documents of all other folds by one thread.

    Folds are those of `document_folds`, so which model scores a document never depends on the
    others. The tokenizer is one for all, or losses per token could not be compared; it may have
    seen every document. Several folds may be trained at once, by threads of Python or by processes:
    no weight changes by that.

    Args:
        document_ids: of the whole pool, distinct, in any order; those of the fold are left out.
        texts: one per id.
        fold: 0 to folds - 1.
        folds: >= 2.
        tokenizer, settings, seed, device, progress: as `train_reference_model`.

    Raises:
        InputError: as `train_reference_model`, or there is no such fold.
        MissingExtraError: a package is missing.
    """
    _checked_order(document_ids, texts)
    others = _other_folds(document_ids, fold, folds)
    return train_reference_model(
        [document_ids[place] for place in others],
        [texts[place] for place in others],
        tokenizer=tokenizer,
        settings=settings,
        seed=_seed_of_fold(seed, fold),
        threads=1,
        device=device,
        progress=progress,
    )


def train_cross_fitted(
    document_ids: Sequence[str],
    texts: Sequence[str],
    *,
    folds: int,
    tokenizer: ModelTokenizer,
    settings: TrainingSettings,
    seed: int,
    threads: int,
    device: str = "cpu",
    progress: ProgressReport = silent,
) -> tuple[TrainedModel, ...]:
    """Return one model per fold, each as `train_fold` gives it.

    Cost: folds - 1 times that of one model, per epoch.

    Args:
        document_ids, texts, folds, tokenizer, settings, seed, device: as `train_fold`.
        threads: folds that are trained at a time, >= 1, one thread each; they change no weight.
        progress: told of the tokens of each step of any fold, by one thread at a time.

    Raises:
        InputError: as `train_fold`, or threads < 1.
        MissingExtraError: a package is missing.
    """
    check_threads(threads)
    _check_fold(0, folds)
    telling = threading.Lock()

    def tell(done: int) -> None:
        with telling:
            progress(done)

    def train(fold: int) -> TrainedModel:
        return train_fold(
            document_ids,
            texts,
            fold=fold,
            folds=folds,
            tokenizer=tokenizer,
            settings=settings,
            seed=seed,
            device=device,
            progress=tell,
        )

    with ThreadPoolExecutor(min(threads, folds)) as pool:
        return tuple(pool.map(train, range(folds)))


def most_training_tokens(n_tokens: int, settings: TrainingSettings) -> int:
    """Return how many tokens training reads if it does not stop early: what progress adds up to.

    Args:
        n_tokens: of the documents, their start tokens included.
        settings: how it is trained.
    """
    per_epoch = -(-max(n_tokens - 1, 1) // settings.context_tokens)
    rows = settings.epochs * -(-per_epoch // settings.batch_rows) * settings.batch_rows
    return min(rows * settings.context_tokens, settings.most_tokens)


def _start_token(tokenizer: ModelTokenizer) -> int:
    start_token_id = tokenizer.id_of(START_TOKEN)
    if start_token_id is None:
        raise InputError(f"the tokenizer has no token {START_TOKEN!r}; train it by train_tokenizer")
    return start_token_id


def _encoded(tokenizer: ModelTokenizer, texts: Sequence[str]) -> Sequence[npt.NDArray[np.int32]]:
    tokens = tokenizer.encode(texts)
    if not any(len(each) for each in tokens):
        raise InputError(f"expected texts to train on, got {len(tokens):,} empty ones")
    return tokens


def _fit(
    model: LanguageModel,
    rows: PackedRows,
    evaluated: Sequence[str],
    *,
    settings: TrainingSettings,
    seed: int,
    threads: int,
    progress: ProgressReport,
) -> list[CurvePoint]:
    """Train a model in place, leave it with its best weights, and return its curve."""
    module: Any = model.module
    steps = number_of_steps(rows.n_rows, settings)
    evaluated_at = {
        max(1, round(steps * each / settings.evaluations))
        for each in range(1, settings.evaluations + 1)
    }
    held_out = _held_out_loss(model, evaluated, threads)
    curve = [CurvePoint(0, 0, math.nan, held_out)]
    best, best_step, weights = held_out, 0, copy.deepcopy(module.state_dict())
    seen, loss_sum, loss_tokens, worse = 0, 0.0, 0, 0
    for taken in take_steps(
        model, rows, steps=steps, settings=settings, seed=seed, progress=progress
    ):
        loss_sum += taken.loss_sum
        loss_tokens += taken.targets
        seen += taken.tokens
        if taken.step not in evaluated_at:
            continue
        held_out = _held_out_loss(model, evaluated, threads)
        curve.append(CurvePoint(taken.step, seen, loss_sum / loss_tokens, held_out))
        loss_sum, loss_tokens = 0.0, 0
        worse += 1
        if held_out < best:
            best, best_step, worse = held_out, taken.step, 0
            weights = copy.deepcopy(module.state_dict())
        if worse >= settings.patience:
            break
    if best_step != curve[-1].step:
        module.load_state_dict(weights)
    return curve


def _held_out_loss(model: LanguageModel, texts: Sequence[str], threads: int) -> float:
    """Return the mean loss per token of documents, as scoring would find it."""
    scores = score_documents(
        model,
        texts,
        window_tokens=model.context_tokens,
        overlap_tokens=max(1, model.context_tokens // 2),
        threads=threads,
    )
    tokens = int(scores.token_counts.sum())
    return float(scores.loss_sums.sum() / tokens) if tokens else math.inf


def _held_out(sorted_ids: Sequence[str], settings: TrainingSettings) -> npt.NDArray[np.bool_]:
    """Return which documents are held out: those of the lowest hashes, at least one."""
    share = round(len(sorted_ids) * settings.held_out_share)
    count = min(max(1, share), settings.held_out_most, len(sorted_ids) - 1)
    hashes = document_folds([f"held out\x1f{each}" for each in sorted_ids], _HELD_OUT_BUCKETS)
    chosen = np.zeros(len(sorted_ids), dtype=np.bool_)
    chosen[np.argsort(hashes, kind="stable")[:count]] = True
    return chosen


def _other_folds(document_ids: Sequence[str], fold: int, folds: int) -> list[int]:
    """Return the places of the documents that are not in a fold."""
    _check_fold(fold, folds)
    places: list[int] = np.flatnonzero(document_folds(document_ids, folds) != fold).tolist()
    return places


def _check_fold(fold: int, folds: int) -> None:
    if folds < 2:
        raise InputError(f"folds must be >= 2, got {folds!r}")
    if not 0 <= fold < folds:
        raise InputError(f"fold must be in [0, {folds}), got {fold!r}")


def _seed_of_fold(seed: int, fold: int) -> int:
    return stage_seed(seed, "fold", str(fold))


def _checked_order(document_ids: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Return the places of the documents by id."""
    if len(document_ids) != len(texts):
        raise InputError(
            f"expected one text per document_id, got {len(texts):,} for {len(document_ids):,}"
        )
    if len(document_ids) < 2:
        raise InputError(
            "a language model needs at least two documents, one of them held out; "
            f"got {len(document_ids)}"
        )
    if len(set(document_ids)) != len(document_ids):
        raise InputError("document_ids must be distinct; some repeat")
    return sorted(range(len(document_ids)), key=lambda place: document_ids[place])


def _new_module(
    vocabulary_size: int, start_token_id: int, settings: TrainingSettings, seed: int
) -> torch.nn.Module:
    """Return an untrained model with tied embeddings; it leaves torch's own seed as it was."""
    package = import_torch()
    with _DRAWING:  # transformers loads its parts when they are first asked for, one at a time
        try:
            from transformers import GPT2Config, GPT2LMHeadModel
        except ImportError as error:
            raise MissingExtraError("transformers", "pipeline", "language models") from error
        config = GPT2Config(
            vocab_size=vocabulary_size,
            n_positions=settings.context_tokens,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            activation_function="gelu_pytorch_tanh",  # that of GPT-2, in one kernel
            initializer_range=_INITIAL_DEVIATION,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=start_token_id,
            eos_token_id=start_token_id,
            use_cache=False,
        )
        with package.random.fork_rng(devices=[]):
            package.manual_seed(stage_seed(seed, "initial weights"))
            module: torch.nn.Module = GPT2LMHeadModel(config)
    return module
