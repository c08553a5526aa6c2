"""Two slower ways to per-example gradients, to check the fast one against on one's own model.

`loop_gradients` derives one window after the other by autograd and is what all others must equal;
`vmap_gradients` maps a functional gradient over windows, which holds windows * p numbers at once.
Neither uses hooks, a head derived by hand, or the stable form of the margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.influence.capture import plain_attention
from databourse.influence.layers import is_transposed, layer_modules, layer_shapes
from databourse.influence.outputs import Output, check_output
from databourse.influence.weighted_documents import WeightedDocument, windows_of_document
from databourse.language_models.model import LanguageModel, import_torch

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float64]


def loop_gradients(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    output: Output,
) -> dict[str, FloatArray]:
    """Return gradients by layer, shape (n, d_out, d_in), from one backward pass per window.

    Args:
        model: in evaluation mode.
        documents: any number; all their gradients are held.
        layers: names, as `tracked_layers` gives them.
        output: as `databourse.influence.outputs` derives it.

    Raises:
        InputError: there is no such output function.
        UnknownNameError: the model has no such layer.
    """
    check_output(output)
    torch = import_torch()
    own: Any = model.module
    modules = layer_modules(model, layers)
    found = _zeros(model, documents, layers)
    for ids, targets, weights, document in _windows(model, documents):
        with plain_attention():
            logits = own(input_ids=ids.unsqueeze(0), use_cache=False).logits[0]
            derived = torch.autograd.grad(
                _function(logits, targets, weights, output),
                [each.weight for each in modules.values()],
            )
        for (name, module), gradient in zip(modules.items(), derived, strict=True):
            found[name][document] += _oriented(module, gradient).double().cpu().numpy()
    return found


def vmap_gradients(
    model: LanguageModel,
    documents: Sequence[WeightedDocument],
    layers: Sequence[str],
    *,
    output: Output,
) -> dict[str, FloatArray]:
    """Return what `loop_gradients` returns, from one functional gradient mapped over windows.

    Args and Raises: as `loop_gradients`.
    """
    check_output(output)
    torch = import_torch()
    modules = layer_modules(model, layers)
    derived_by = {f"{name}.weight": module.weight.detach() for name, module in modules.items()}
    kept = {
        name: each.detach()
        for name, each in model.module.named_parameters()
        if name not in derived_by
    }

    def value(by: Any, ids: Any, targets: Any, weights: Any) -> Any:  # noqa: ANN401 - tensors
        reply: Any = torch.func.functional_call(
            model.module, {**kept, **by}, (), {"input_ids": ids.unsqueeze(0), "use_cache": False}
        )
        return _function(reply.logits[0], targets, weights, output)

    found = _zeros(model, documents, layers)
    windows = _windows(model, documents)
    if not windows:
        return found
    longest = max(len(ids) for ids, *_ in windows)
    pad = torch.nn.functional.pad
    padded = [
        torch.stack([pad(each[part], (0, longest - len(each[0]))) for each in windows])
        for part in range(3)
    ]
    with plain_attention():
        derived = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0, 0, 0))(
            derived_by, *padded
        )
    for name, module in modules.items():
        for (*_, document), gradient in zip(windows, derived[f"{name}.weight"], strict=True):
            found[name][document] += _oriented(module, gradient).double().cpu().numpy()
    return found


def _function(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, output: Output
) -> torch.Tensor:
    """Return what is derived, as its definition says."""
    log_p = logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if output == "loss":
        return -(weights * log_p).sum()
    return (weights * (log_p - (-log_p.exp()).log1p())).sum()


def _windows(
    model: LanguageModel, documents: Sequence[WeightedDocument]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]]:
    """Return input ids, targets, weights and document of every window."""
    torch = import_torch()
    device = next(model.module.parameters()).device
    found = []
    for place, document in enumerate(documents):
        for window in windows_of_document(
            document.weights, document=place, context_tokens=model.context_tokens
        ):
            part = slice(window.first, window.end)
            tokens = torch.from_numpy(document.token_ids[part]).to(device)
            start = tokens.new_tensor([model.start_token_id])
            weights = torch.from_numpy(document.weights[part]).to(device)
            found.append((torch.cat([start, tokens[:-1]]), tokens, weights, place))
    return found


def _zeros(
    model: LanguageModel, documents: Sequence[WeightedDocument], layers: Sequence[str]
) -> dict[str, FloatArray]:
    shapes = layer_shapes(model, layers)
    return {name: np.zeros((len(documents), *shape)) for name, shape in shapes.items()}


def _oriented(module: torch.nn.Module, gradient: torch.Tensor) -> torch.Tensor:
    """Return a gradient as d_out x d_in."""
    return gradient.t() if is_transposed(module) else gradient
