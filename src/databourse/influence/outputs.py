"""What is derived of a document: the loss of its tokens, or their margin; and its rows in a pass.

Output functions f of a document, w_t the weights of its tokens:

    loss      what is derived is sum_t w_t * -ln p_t; f itself is its negative, Q = 1
    margin    f = sum_t w_t ln(p_t / (1 - p_t)), Q = sum_t w_t (1 - p_t) / sum_t w_t

Both are RECONSTRUCTION for a language model (reference 3.6). Features of "loss" are gradients of
the LOSS, so that v^T H^-1 g is a value when both sides are; those of "margin" are gradients of the
margin, so that phi_x^T K^-1 phi_i Q_i is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.weighted_documents import TokenWindow, WeightedDocument
from databourse.language_models.model import LanguageModel, import_torch

if TYPE_CHECKING:
    import torch

Output = Literal["loss", "margin"]
FloatArray = npt.NDArray[np.float64]

_CPU_CHUNK, _GPU_CHUNK = 256, 4_096  # positions whose logits exist at a time
_MOST_LOGITS = 1 << 28  # of a pass, where they cannot be made in chunks: 1 GiB


def check_output(output: Output) -> None:
    """Pass if there is such an output function.

    Raises:
        InputError: there is none.
    """
    if output not in ("loss", "margin"):
        raise InputError(f"output must be 'loss' or 'margin', got {output!r}")


def most_pass_tokens(model: LanguageModel, batch_tokens: int) -> int:
    """Return the most tokens of a pass: fewer where all logits of a pass must exist at once."""
    if model.head == "separate":
        return batch_tokens
    return min(batch_tokens, max(1, _MOST_LOGITS // model.tokenizer.vocabulary_size))


@dataclass(frozen=True, eq=False)
class PassRows:
    """Arrays of a pass: inputs, is_token and weights of shape (rows, length); the rest (n,)."""

    inputs: npt.NDArray[np.int64]
    is_token: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    draws: FloatArray | None

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        documents: Sequence[WeightedDocument],
        windows: Sequence[TokenWindow],
        sampled_seed: int | None,
    ) -> PassRows:
        """Return the rows of windows; see `Capture.run`."""
        length = max(each.end - each.first for each in windows)
        shape = (len(windows), length)
        tokens = np.zeros((len(windows), length + 1), dtype=np.int64)
        tokens[:, 0] = model.start_token_id
        is_token, weights = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.float32)
        draws = None if sampled_seed is None else np.zeros(shape)
        for place, window in enumerate(windows):
            part = slice(window.first, window.end)
            count = window.end - window.first
            tokens[place, 1 : count + 1] = documents[window.document].token_ids[part]
            weights[place, :count] = documents[window.document].weights[part]
            is_token[place, :count] = True
            if draws is not None and sampled_seed is not None:
                key = np.array([sampled_seed, window.document], dtype=np.uint64)
                generator = np.random.Generator(np.random.Philox(key=key))
                draws[place, :count] = generator.random(window.end)[part]
        _check_ids(model, tokens)
        row, column = np.nonzero(weights)
        return cls(
            np.ascontiguousarray(tokens[:, :-1]),
            is_token,
            weights,
            row,
            column,
            tokens[row, column + 1],
            None if draws is None else draws[row, column],
        )


@dataclass(frozen=True, eq=False)
class Objective:
    """What autograd begins with; loss -ln p and doubt 1 - p of positions, shape (n,) each."""

    root: torch.Tensor
    gradient: torch.Tensor | None
    loss: torch.Tensor
    doubt: torch.Tensor


def objective_of(
    model: LanguageModel, ids: torch.Tensor, rows: PassRows, output: Output
) -> Objective:
    """Return what to derive of a pass, after its forward run.

    Args:
        model: the model.
        ids: the inputs of `rows`, on its device.
        rows: the pass.
        output: what is derived.
    """
    if model.head == "separate":
        return _separate_head(model, ids, rows, output)
    return _inside_head(model, ids, rows, output)


def _separate_head(
    model: LanguageModel, ids: torch.Tensor, rows: PassRows, output: Output
) -> Objective:
    """Derive the head by hand, for a few positions at a time: their logits stay in cache."""
    torch = import_torch()
    own: Any = model.module
    states = own.base_model(input_ids=ids, use_cache=False).last_hidden_state
    head = own.get_output_embeddings()
    row, column, targets = (
        torch.from_numpy(each).to(ids.device) for each in (rows.row, rows.column, rows.targets)
    )
    weights = torch.from_numpy(rows.weights).to(ids.device)[row, column].to(states.dtype)
    chunk = _CPU_CHUNK if ids.device.type == "cpu" else _GPU_CHUNK
    with torch.no_grad():
        gradient = torch.zeros_like(states)
        counted = states[row, column]
        by_state = torch.empty_like(counted)
        loss, doubt = counted.new_empty(len(counted)), counted.new_empty(len(counted))
        for first in range(0, len(counted), chunk):
            part = slice(first, first + chunk)
            logits = torch.nn.functional.linear(counted[part], head.weight, head.bias)
            target = _drawn(logits, targets[part], rows.draws, part).unsqueeze(1)
            loss[part], doubt[part], by_logits, sign = _by_logits(logits, target, output)
            torch.mm(by_logits, head.weight, out=by_state[part])
            by_state[part] -= head.weight[target.squeeze(1)]
            by_state[part] *= sign * weights[part].unsqueeze(1)
        gradient[row, column] = by_state
    return Objective(states, gradient, loss, doubt)


def _inside_head(
    model: LanguageModel, ids: torch.Tensor, rows: PassRows, output: Output
) -> Objective:
    """Derive all logits of a pass: what the model does to them after the head is its own."""
    torch = import_torch()
    own: Any = model.module
    row, column, targets = (
        torch.from_numpy(each).to(ids.device) for each in (rows.row, rows.column, rows.targets)
    )
    weights = torch.from_numpy(rows.weights).to(ids.device)[row, column]
    logits = own(input_ids=ids, use_cache=False).logits[row, column]
    with torch.no_grad():
        target = _drawn(logits, targets, rows.draws, slice(None)).unsqueeze(1)
        loss, doubt, by_logits, sign = _by_logits(logits.detach().clone(), target, output)
        by_logits.scatter_add_(1, target, torch.full_like(target, -1, dtype=by_logits.dtype))
        by_logits *= sign * weights.to(by_logits.dtype).unsqueeze(1)
    return Objective(logits, by_logits, loss, doubt)


def _by_logits(
    logits: torch.Tensor, target: torch.Tensor, output: Output
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Return loss, doubt, q and a sign: sign (q - 1_target) is the derivative by the logits.

    For the loss q = softmax(logits), for the margin q = softmax of the logits of all others, 0 at
    the target: ln p - ln(1 - p) = z_target - ln sum_others exp z. `logits` is overwritten.
    """
    torch = import_torch()
    functional = torch.nn.functional
    if output == "loss":
        log_p = torch.log_softmax(logits, dim=1)
        loss = -log_p.gather(1, target).squeeze(1)
        doubt = -torch.expm1(-loss)
        return loss, doubt, log_p.exp_(), 1.0
    at_target = logits.gather(1, target)
    logits.scatter_(1, target, -torch.inf)
    margin = (at_target - logits.logsumexp(dim=1, keepdim=True)).squeeze(1)
    q = torch.softmax(logits, dim=1)
    return functional.softplus(-margin), torch.sigmoid(-margin), q, -1.0


def _drawn(
    logits: torch.Tensor, targets: torch.Tensor, draws: FloatArray | None, part: slice
) -> torch.Tensor:
    """Return targets, or tokens drawn from the model by uniform numbers, one per position."""
    if draws is None:
        return targets
    package = import_torch()
    cumulative = logits.double().softmax(dim=1).cumsum(dim=1)
    wanted = package.from_numpy(draws[part]).to(logits.device).unsqueeze(1) * cumulative[:, -1:]
    found: torch.Tensor = package.searchsorted(cumulative, wanted, right=True).squeeze(1)
    return found.clamp_(max=logits.shape[1] - 1)


def _check_ids(model: LanguageModel, tokens: npt.NDArray[np.int64]) -> None:
    own: Any = model.module
    size = int(own.get_input_embeddings().weight.shape[0])
    if tokens.min() < 0 or tokens.max() >= size:
        raise InputError(
            f"token ids must be in [0, {size}) for {model.model_id}, got "
            f"{int(tokens.min())} to {int(tokens.max())}; tokenize with this model's tokenizer"
        )
