"""What linear maps saw and what came back: one forward and one backward pass for many documents.

Notation: a_t is the input of a linear map at token t, d_t the gradient of the output function by
what the map returns. For row b of a pass the gradient by its weight is

    G_b = sum_t d_bt a_bt^T          (d_out x d_in)

for the function that is derived (`databourse.influence.outputs`) is a plain sum over tokens and
rows, so d_b depends on row b alone (reference 1.3 (c)).

Rows are padded on the right. A causal model never looks there, and nothing there counts, so d is
exactly 0 at padding. Attention is computed by plain matrix products: fused kernels of some devices
sum in an order that depends on the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError, IntegrityError
from databourse.influence.layers import layer_modules
from databourse.influence.outputs import Output, PassRows, objective_of
from databourse.influence.weighted_documents import TokenWindow, WeightedDocument
from databourse.language_models.model import LanguageModel, import_torch

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CapturedPass:
    """Inputs and gradients of linear maps for the rows (windows) of one pass.

    Attributes:
        documents: which document each row is of, shape (rows,); one may have several rows.
        inputs: a by layer, shape (rows, length, d_in), in the model's precision, on its device.
        gradients: d by layer, shape (rows, length, d_out); 0 at padding.
        is_token: whether a position was read, shape (rows, length); False for padding.
        weights: of the loss predicted from each position, shape (rows, length); 0 at padding.
        weight_sums: sum_t w_t by row, shape (rows,).
        loss_sums: sum_t w_t * -ln p_t by row, nats, shape (rows,).
        doubt_sums: sum_t w_t (1 - p_t) by row, shape (rows,).
    """

    documents: npt.NDArray[np.int64]
    inputs: Mapping[str, torch.Tensor]
    gradients: Mapping[str, torch.Tensor]
    is_token: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]
    weight_sums: FloatArray
    loss_sums: FloatArray
    doubt_sums: FloatArray


class Capture:
    """Hooks on the linear maps of one model; several threads may capture at the same time.

    It changes nothing of the model: passes of others meanwhile are left alone. Use `capturing`.
    """

    def __init__(self, model: LanguageModel, layers: Sequence[str]) -> None:
        if model.module.training:
            raise InputError(
                f"model {model.model_id} is in training mode, where dropout acts; "
                "call module.eval() first"
            )
        attention = getattr(model.module.config, "_attn_implementation", "eager")
        if attention not in ("eager", "sdpa", None):
            raise InputError(
                f"model {model.model_id} computes attention by {attention!r}, whose gradients may "
                "depend on the batch; load it with attn_implementation 'sdpa' or 'eager'"
            )
        self.model = model
        self._modules = layer_modules(model, layers)
        self._own = threading.local()
        self._handles: list[Any] = []

    def attach(self) -> None:
        """Set the hooks."""
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def detach(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def run(
        self,
        documents: Sequence[WeightedDocument],
        windows: Sequence[TokenWindow],
        *,
        output: Output,
        sampled_seed: int | None = None,
    ) -> CapturedPass:
        """Return what one pass over windows gives.

        Args:
            documents: all of them; windows say which.
            windows: the rows of the pass, at least one.
            output: the function to derive.
            sampled_seed: None to predict the documents' own tokens; a seed to predict tokens drawn
                from the model instead (true Fisher). Draws depend on the seed, the document's
                position and the token's place alone.

        Raises:
            InputError: a token id is not the model's, or a layer was used twice or not at all.
            IntegrityError: a loss is not finite.
        """
        torch = import_torch()
        rows = PassRows.of(self.model, documents, windows, sampled_seed)
        device = next(self.model.module.parameters()).device
        ids = torch.from_numpy(rows.inputs).to(device)
        self._own.seen = {}
        try:
            with torch.enable_grad(), plain_attention():
                objective = objective_of(self.model, ids, rows, output)
                seen = self._own.seen
                self._check_seen(seen)
                derived = torch.autograd.grad(
                    objective.root, [seen[name][1] for name in self._modules], objective.gradient
                )
        finally:
            self._own.seen = None
        losses, doubts = (each.cpu().double().numpy() for each in (objective.loss, objective.doubt))
        if not np.isfinite(losses).all():
            raise IntegrityError(f"model {self.model.model_id} gave a loss that is not finite")
        n_rows = len(windows)
        counted = rows.weights[rows.row, rows.column].astype(np.float64)
        return CapturedPass(
            np.array([each.document for each in windows], dtype=np.int64),
            {name: seen[name][0] for name in self._modules},
            dict(zip(self._modules, derived, strict=True)),
            rows.is_token,
            rows.weights,
            _by_row(rows.row, counted, n_rows),
            _by_row(rows.row, counted * losses, n_rows),
            _by_row(rows.row, counted * doubts, n_rows),
        )

    def _hook(self, name: str) -> Any:  # noqa: ANN401 - torch's signature
        def keep(module: Any, inputs: Any, output: Any) -> None:  # noqa: ANN401
            del module
            seen = getattr(self._own, "seen", None)
            if seen is None:  # a pass of somebody else
                return
            if name in seen:
                raise InputError(f"layer {name} is used twice in one pass; leave it out")
            if not output.requires_grad:  # all before it is frozen
                output.requires_grad_(requires_grad=True)
            seen[name] = (inputs[0].detach(), output)

        return keep

    def _check_seen(self, seen: Mapping[str, object]) -> None:
        for name in self._modules:
            if name not in seen:
                raise InputError(f"layer {name} was not used in a pass; leave it out")


@contextmanager
def capturing(model: LanguageModel, layers: Sequence[str]) -> Iterator[Capture]:
    """Give a capture of layers; its hooks are gone afterwards.

    Raises:
        InputError: the model is in training mode, computes attention by a fused kernel of its own,
            or there is no layer.
        UnknownNameError: the model has no such layer.
    """
    capture = Capture(model, layers)
    capture.attach()
    try:
        yield capture
    finally:
        capture.detach()


@contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention be computed by matrix products meanwhile; several threads may be inside.

    The choice is the process's own: the first one in makes it, the last one out restores it.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with _Attention.lock:
        if _Attention.inside == 0:
            _Attention.chosen = sdpa_kernel(SDPBackend.MATH)
            _Attention.chosen.__enter__()
        _Attention.inside += 1
    try:
        yield
    finally:
        with _Attention.lock:
            _Attention.inside -= 1
            if _Attention.inside == 0:
                _Attention.chosen.__exit__(None, None, None)


class _Attention:
    """Of torch: see `plain_attention`."""

    lock = threading.Lock()
    inside = 0
    chosen: Any = None


def _by_row(rows: npt.NDArray[np.int64], values: FloatArray, n_rows: int) -> FloatArray:
    sums = np.zeros(n_rows)
    np.add.at(sums, rows, values)
    return sums
