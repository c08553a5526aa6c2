"""A causal language model with its tokenizer, and a forward pass: loss and entropy per token.

Logits of shape (rows, length, vocabulary) are never made where a model's head can be applied to its
last hidden states alone: only the positions to be scored are, a fixed number at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from databourse.errors import ConfigError, InputError, MissingExtraError
from databourse.language_models.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "int8"]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_CPU_CHUNK, _GPU_CHUNK = 64, 2_048  # positions whose logits exist at a time
_LEAST_SHIFTED_LOGIT = -1e4


@dataclass(frozen=True)
class LanguageModel:
    """A causal transformer, ready to score.

    Attributes:
        model_id: what decides its numbers: equal ids give equal scores.
        module: a transformers model for causal language modelling, in evaluation mode.
        tokenizer: texts to its token ids.
        start_token_id: what stands before the first token of every text.
        context_tokens: the most tokens that it reads at once, the start token included.
        head: "separate" if its logits are its output embedding applied to the last hidden states,
            "inside" if it does more than that to them.
        weights: what its linear layers hold; see `databourse.language_models.int8`.
    """

    model_id: str
    module: torch.nn.Module
    tokenizer: ModelTokenizer
    start_token_id: int
    context_tokens: int
    head: Literal["separate", "inside"]
    weights: Literal["float32", "int8"] = "float32"

    @property
    def device_type(self) -> str:
        """Return where it computes: "cpu", "cuda"."""
        return str(next(self.module.parameters()).device.type)


def prepared_model(
    module: torch.nn.Module,
    tokenizer: ModelTokenizer,
    *,
    model_id: str,
    start_token_id: int,
    context_tokens: int,
) -> LanguageModel:
    """Return a language model, after finding out by two probes how it computes.

    Raises:
        ConfigError: its tokenizer has more ids than it, or a token changes what comes before it.
    """
    torch = import_torch()
    module.eval()
    own: Any = module
    size = int(own.get_input_embeddings().weight.shape[0])
    if tokenizer.vocabulary_size > size or not 0 <= start_token_id < size:
        raise ConfigError(
            f"model {model_id} has {size:,} tokens, but its tokenizer {tokenizer.vocabulary_size:,}"
            f" and start token {start_token_id}: the files are not of one model"
        )
    device = next(module.parameters()).device
    probe = torch.tensor([[start_token_id, 0, 1 % size], [start_token_id, 0, size - 1]]).to(device)
    probe = probe[:, :context_tokens]
    with torch.inference_mode():
        logits = own(input_ids=probe, use_cache=False).logits.float()
        if not torch.allclose(logits[0, :-1], logits[1, :-1], rtol=1e-3, atol=1e-3):
            raise ConfigError(
                f"model {model_id} is not causal: a later token changed the prediction of an "
                "earlier one; expected a model that reads left to right"
            )
        head: Literal["separate", "inside"] = "inside"
        if own.get_output_embeddings() is not None and own.base_model is not own:
            rebuilt = own.get_output_embeddings()(_states(own, probe)).float()
            if rebuilt.shape == logits.shape and torch.allclose(
                rebuilt, logits, rtol=1e-5, atol=1e-5
            ):
                head = "separate"
    return LanguageModel(model_id, module, tokenizer, start_token_id, context_tokens, head)


def losses_and_entropies(
    model: LanguageModel,
    token_ids: IntArray,
    *,
    rows: IntArray,
    columns: IntArray,
    targets: IntArray,
    precision: Precision,
) -> tuple[FloatArray, FloatArray]:
    """Return the loss of tokens and the entropy before them, nats, shape (n,) each.

    Args:
        model: the model.
        token_ids: shape (rows, length); rows are padded on the right with any id, which a causal
            model never sees.
        rows: of the positions to predict from, shape (n,).
        columns: of these positions, shape (n,).
        targets: the ids that follow them, shape (n,).
        precision: "bfloat16" runs the transformer in it on a GPU; softmax stays in float32.
            "int8" is float32 here: it is the model's weights that are rounded.
    """
    torch = import_torch()
    own: Any = model.module
    device = next(model.module.parameters()).device
    chunk = _CPU_CHUNK if model.device_type == "cpu" else _GPU_CHUNK
    filled = -(-len(rows) // chunk) * chunk
    # every chunk has the same shape, so that kernels do not depend on how many there are
    places = [_filled(each, filled) for each in (rows, columns, targets)]
    row, column, target = (torch.from_numpy(each).to(device) for each in places)
    losses, entropies = np.empty(filled), np.empty(filled)
    with torch.inference_mode(), _autocast(model, precision):
        ids = torch.from_numpy(token_ids).to(device)
        separate = model.head == "separate"
        outputs = _states(own, ids) if separate else own(input_ids=ids, use_cache=False).logits
        for start in range(0, filled, chunk):
            part = slice(start, start + chunk)
            logits = outputs[row[part], column[part]]
            if separate:
                logits = own.get_output_embeddings()(logits)
            loss, entropy = _loss_and_entropy(logits.float(), target[part])
            losses[part] = loss.cpu().numpy()
            entropies[part] = entropy.cpu().numpy()
    return losses[: len(rows)], entropies[: len(rows)]


def check_precision(model: LanguageModel, precision: Precision) -> None:
    """Pass if a model can be run in a precision.

    Raises:
        InputError: bfloat16 is asked of a CPU, int8 of a GPU, or more than int8 of weights in it.
    """
    if precision not in ("float32", "bfloat16", "int8"):
        raise InputError(f"precision must be 'float32', 'bfloat16' or 'int8', got {precision!r}")
    if precision == "bfloat16" and model.device_type == "cpu":
        raise InputError("precision 'bfloat16' needs a GPU, got a model on the cpu; use 'float32'")
    if precision == "int8" and model.device_type != "cpu":
        raise InputError("precision 'int8' needs a CPU, got a model on a GPU; use 'bfloat16'")
    if precision != "int8" and model.weights == "int8":
        raise InputError(
            f"the weights of {model.model_id} were rounded to int8 when it was loaded, "
            f"got precision {precision!r}; load it without, or use 'int8'"
        )


def _loss_and_entropy(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return -ln p(target) and H(p) of logits, shape (n, vocabulary); `logits` is overwritten.

    With z = logits - max: ln Z = ln sum exp z, loss = ln Z - z_target, H = ln Z - sum p z.
    """
    logits -= logits.amax(dim=1, keepdim=True)
    at_target = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    # exp is 0 there either way, and 0 * -inf would be NaN
    logits.clamp_(min=_LEAST_SHIFTED_LOGIT)
    weights = logits.exp()
    total = weights.sum(dim=1)
    mean = weights.mul_(logits).sum(dim=1) / total
    return total.log() - at_target, (total.log() - mean).clamp_(min=0.0)


def _states(module: Any, ids: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - transformers' model
    states: torch.Tensor = module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return states


def _filled(values: IntArray, size: int) -> IntArray:
    return np.concatenate([values, np.zeros(size - len(values), dtype=np.int64)])


def _autocast(model: LanguageModel, precision: Precision) -> AbstractContextManager[object]:
    if precision != "bfloat16":
        return nullcontext()
    torch = import_torch()
    context: AbstractContextManager[object] = torch.autocast(model.device_type, torch.bfloat16)
    return context


def import_torch() -> Any:  # noqa: ANN401 - a module
    """Return torch.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "pipeline", "language models") from error
    return torch


@contextmanager
def threads_of_torch(threads: int) -> Iterator[None]:
    """Let torch compute by `threads` threads in what this thread of Python does meanwhile.

    torch has a number for each thread and one that new threads begin with; setting the first sets
    both. Threads may be inside at the same time: the last one to leave restores what new threads
    begin with.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = import_torch()
    with _Threads.lock:
        before = torch.get_num_threads()
        if _Threads.inside == 0:
            _Threads.outside = before
        _Threads.inside += 1
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _Threads.lock:
            _Threads.inside -= 1
            torch.set_num_threads(before)
            if _Threads.inside == 0 and before != _Threads.outside:
                # by a thread of its own, as this one keeps its own number
                restoring = threading.Thread(target=torch.set_num_threads, args=(_Threads.outside,))
                restoring.start()
                restoring.join()


def compute_on_one_thread() -> None:
    """Begin a thread in which torch computes by this thread alone, for ever.

    Sums split over threads would depend on how many there are.
    """
    torch = import_torch()
    torch.get_num_threads()  # a thread reads torch's default once: it may not do so later
    torch.set_num_threads(1)


class _Threads:
    """Of torch: see `threads_of_torch`."""

    lock = threading.Lock()
    inside = 0
    outside = 1
