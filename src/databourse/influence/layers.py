"""Which parameters gradients are taken for: the linear maps of the transformer blocks.

Left out are embeddings, the output head (tied to an embedding or not), gains and biases: they have
no gradient of the form sum_t d_t a_t^T, and a tied head would count twice. What stays is recorded
by name wherever gradients are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from databourse.errors import InputError, MissingExtraError, UnknownNameError
from databourse.language_models.model import LanguageModel, import_torch

if TYPE_CHECKING:
    import torch

Layers = Literal["all", "attention", "mlp"]
Shape = tuple[int, int]

_ATTENTION_LEAVES = frozenset({"wqkv", "wq", "wk", "wv", "wo"})


def tracked_layers(model: LanguageModel, which: Layers) -> tuple[str, ...]:
    """Return the names of linear maps of a model's blocks, in the order in which it defines them.

    Args:
        model: a transformer whose blocks are items of a list.
        which: "attention" for the maps of queries, keys, values (fused or not) and outputs,
            "mlp" for the other maps of the blocks, "all" for both.

    Raises:
        InputError: it has no such map, or its weights were rounded to int8.
        MissingExtraError: a package is missing.
    """
    if which not in ("all", "attention", "mlp"):
        raise InputError(f"layers must be 'all', 'attention' or 'mlp', got {which!r}")
    if model.weights == "int8":
        raise InputError(
            f"the weights of {model.model_id} were rounded to int8, which have no gradient; "
            "load it without"
        )
    names = tuple(
        name
        for name, part in _block_parts(model)
        if which == "all" or _is_attention(part) == (which == "attention")
    )
    if not names:
        raise InputError(
            f"model {model.model_id} has no linear map that counts as {which!r} in its blocks; "
            "expected torch.nn.Linear or Conv1D inside a torch.nn.ModuleList"
        )
    return names


def layer_shapes(model: LanguageModel, layers: Sequence[str]) -> dict[str, Shape]:
    """Return d_out and d_in of linear maps by name, in the order given.

    Raises:
        UnknownNameError: the model has no such map in its blocks.
        InputError: there is no layer, or a name comes twice.
        MissingExtraError: a package is missing.
    """
    return {
        name: (int(weight.shape[0]), int(weight.shape[1]))
        for name, weight in layer_weights(model, layers).items()
    }


def layer_weights(model: LanguageModel, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the weights of linear maps by name, shape (d_out, d_in) each: views, not copies.

    Raises: as `layer_shapes`.
    """
    return {
        name: module.weight.t() if is_transposed(module) else module.weight
        for name, module in layer_modules(model, layers).items()
    }


def layer_modules(model: LanguageModel, layers: Sequence[str]) -> Mapping[str, Any]:
    """Return the modules of linear maps by name, in the order given.

    Raises: as `layer_shapes`.
    """
    known = [name for name, _ in _block_parts(model)]
    if not layers or len(set(layers)) != len(layers):
        raise InputError(f"expected distinct names of layers, at least one, got {list(layers)!r}")
    for name in layers:
        if name not in known:
            raise UnknownNameError("layer", name, known, model.model_id)
    return {name: model.module.get_submodule(name) for name in layers}


def is_transposed(module: torch.nn.Module) -> bool:
    """Return whether a linear map keeps its weight as d_in x d_out: Conv1D of transformers."""
    return not isinstance(module, import_torch().nn.Linear)


def _block_parts(model: LanguageModel) -> list[tuple[str, tuple[str, ...]]]:
    """Return name and, below the block, path of each linear map of the blocks."""
    torch = import_torch()
    try:
        from transformers.pytorch_utils import Conv1D
    except ImportError as error:
        raise MissingExtraError("transformers", "pipeline", "language models") from error
    module: Any = model.module
    head = module.get_output_embeddings()
    lists = [
        f"{name}." for name, each in module.named_modules() if isinstance(each, torch.nn.ModuleList)
    ]
    parts = []
    for name, each in module.named_modules():
        owner = next((start for start in lists if name.startswith(start)), None)
        if owner is not None and each is not head and isinstance(each, (torch.nn.Linear, Conv1D)):
            parts.append((name, tuple(name.removeprefix(owner).split(".")[1:])))
    return parts


def _is_attention(part: tuple[str, ...]) -> bool:
    inside = any("attn" in each or "attention" in each for each in part)
    return inside or (bool(part) and part[-1] in _ATTENTION_LEAVES)
