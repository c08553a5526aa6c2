"""Steps of training: loss, gradients, optimiser and learning rate.

AdamW with betas 0.9 and 0.95, weight decay on matrices, gradients clipped at norm 1, a linear
warm-up and a cosine to a tenth of the learning rate (Brown et al. 2020, arXiv 2005.14165, appendix
B). The logits of a step are never all made: head, softmax, loss and their gradients are computed
for a few positions at a time (`head_gradients`), in memory that stays in a processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from databourse.language_models.model import LanguageModel, import_torch
from databourse.language_models.packing import IGNORED, PackedRows, Rows, batches
from databourse.progress import ProgressReport
from databourse.seeds import stage_rng

if TYPE_CHECKING:
    import torch

    from databourse.language_models.training import TrainingSettings

_BETAS, _CLIP_NORM, _LAST_RATE = (0.9, 0.95), 1.0, 0.1
_CPU_CHUNK, _GPU_CHUNK = 256, 4_096  # positions whose logits exist at a time


@dataclass(frozen=True)
class StepTaken:
    """One step.

    Attributes:
        step: its number, from 1.
        tokens: of its rows, with padding.
        targets: tokens whose loss was lowered.
        loss_sum: of these before the step, nats.
    """

    step: int
    tokens: int
    targets: int
    loss_sum: float


def take_steps(
    model: LanguageModel,
    rows: PackedRows,
    *,
    steps: int,
    settings: TrainingSettings,
    seed: int,
    progress: ProgressReport,
    optimizer: Any = None,  # noqa: ANN401 - torch's
) -> Iterator[StepTaken]:
    """Train a model in place, one step for each item that is taken from this.

    Args:
        model: to train; in evaluation mode between steps.
        rows: of the documents.
        steps: in all; the learning rate falls over these.
        settings: of the optimiser.
        seed: of the order of documents.
        progress: told of the tokens of each step.
        optimizer: what takes the steps, from `new_optimizer`, where the caller reads what it
            remembers; None for one of their own.
    """
    torch = import_torch()
    module: Any = model.module
    optimizer = optimizer or new_optimizer(module, settings)
    order = batches(rows, settings.batch_rows, stage_rng(seed, "order of documents"))
    for step in range(1, steps + 1):
        batch = next(order)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=steps, settings=settings)
        module.train()
        loss = take_step(torch, module, optimizer, batch, settings)
        module.eval()
        progress(batch.inputs.size)
        n_targets = int(np.count_nonzero(batch.targets != IGNORED))
        yield StepTaken(step, batch.inputs.size, n_targets, loss)


def take_step(
    torch: Any,  # noqa: ANN401 - a module
    module: Any,  # noqa: ANN401 - transformers' model
    optimizer: Any,  # noqa: ANN401 - torch's
    batch: Rows,
    settings: TrainingSettings,
) -> float:
    """Take one step and return the sum of the losses of its tokens before it."""
    device = next(module.parameters()).device
    n_targets = int(np.count_nonzero(batch.targets != IGNORED))
    embedding = module.get_output_embeddings().weight
    total = 0.0
    optimizer.zero_grad(set_to_none=True)
    for first in range(0, len(batch.inputs), settings.micro_rows):
        part = slice(first, first + settings.micro_rows)
        inputs, positions, targets = (
            torch.from_numpy(np.ascontiguousarray(each[part])).to(device)
            for each in (batch.inputs, batch.positions, batch.targets)
        )
        # no attention mask: positions that begin again keep documents apart
        states = module.base_model(
            input_ids=inputs, position_ids=positions, use_cache=False
        ).last_hidden_state
        loss, by_state, by_embedding = head_gradients(
            torch,
            states.detach().flatten(0, 1),
            embedding,
            targets.flatten(),
            n_targets=n_targets,
            chunk=_CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK,
        )
        states.backward(by_state.view_as(states))
        embedding.grad.add_(by_embedding)  # tied: it has one as the input's embedding already
        total += loss
    torch.nn.utils.clip_grad_norm_(module.parameters(), _CLIP_NORM)
    optimizer.step()
    return total


def head_gradients(
    torch: Any,  # noqa: ANN401 - a module
    states: torch.Tensor,
    embedding: torch.Tensor,
    targets: torch.Tensor,
    *,
    n_targets: int,
    chunk: int,
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Return the loss of positions and its gradients by their states and by the embedding.

    With p = softmax(E h): the loss is the sum of -ln p_target, and what is derived is that sum
    over n_targets: by E h it is (p - 1_target) / n_targets. Positions that are ignored count as 0.

    Args:
        torch: the module.
        states: h, shape (n, width).
        embedding: E, shape (vocabulary, width).
        targets: shape (n,), ids or the ignored one.
        n_targets: of the whole step.
        chunk: positions at a time.
    """
    total = torch.zeros((), dtype=torch.float64, device=states.device)
    by_state, by_embedding = torch.empty_like(states), torch.zeros_like(embedding)
    buffer = states.new_empty((min(chunk, len(states)), len(embedding)))
    with torch.no_grad():
        for first in range(0, len(states), chunk):
            part = slice(first, first + chunk)
            own, kept = states[part], targets[part] != IGNORED
            target = targets[part].clamp(min=0).unsqueeze(1)
            logits = torch.mm(own, embedding.t(), out=buffer[: len(own)])
            logits -= logits.amax(dim=1, keepdim=True)
            at_target = logits.gather(1, target).squeeze(1)
            weights = logits.exp_()
            sums = weights.sum(dim=1)
            total += ((sums.log() - at_target) * kept).sum()
            gradient = weights.mul_((kept / (sums * n_targets)).unsqueeze(1))
            gradient.scatter_add_(1, target, (kept / -n_targets).unsqueeze(1).to(gradient.dtype))
            torch.mm(gradient, embedding, out=by_state[part])
            by_embedding.addmm_(gradient.t(), own)
    return float(total), by_state, by_embedding


def learning_rate(step: int, *, steps: int, settings: TrainingSettings) -> float:
    """Return the learning rate of a step, 1 to steps: linear warm-up, then a cosine to a tenth."""
    return rate_of_step(
        settings.learning_rate, step, steps=steps, warmup_share=settings.warmup_share
    )


def rate_of_step(highest: float, step: int, *, steps: int, warmup_share: float) -> float:
    """Return the learning rate of a step, 1 to steps, as `learning_rate` does, of any highest."""
    warmup = round(steps * warmup_share)
    if step <= warmup:
        return highest * step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return highest * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


def number_of_steps(n_rows: int, settings: TrainingSettings) -> int:
    """Return how many steps epochs and tokens allow, at least one; n_rows of an epoch."""
    within_epochs = settings.epochs * -(-n_rows // settings.batch_rows)
    within_tokens = settings.most_tokens // (settings.batch_rows * settings.context_tokens)
    return max(1, min(within_epochs, within_tokens))


def steps_for_tokens(tokens: int, n_rows: int, settings: TrainingSettings) -> int:
    """Return the fewest steps that read so many tokens; n_rows of an epoch, whose last is short."""
    wanted = -(-tokens // settings.context_tokens)
    epochs, rest = divmod(wanted, n_rows)
    return epochs * -(-n_rows // settings.batch_rows) + -(-rest // settings.batch_rows)


def new_optimizer(module: Any, settings: TrainingSettings) -> Any:  # noqa: ANN401 - torch's
    """Return AdamW for a model; what has one dimension does not decay."""
    parameters = list(module.parameters())
    groups = [
        {
            "params": [each for each in parameters if each.ndim >= 2],
            "weight_decay": settings.weight_decay,
        },
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    return import_torch().optim.AdamW(groups, lr=settings.learning_rate, betas=_BETAS, fused=True)
