"""Gradients put through a projection: from captured passes, or from gradients that exist already.

The matrices of a run are made once, on the CPU, and kept where the model is. Dense P is made anew
for every block where it would not fit into `_KEPT_NUMBERS`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError
from databourse.influence.capture import CapturedPass
from databourse.influence.projections import BLOCK_COORDINATES, Projection, Shapes
from databourse.language_models.model import import_torch

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float32]

_KEPT_NUMBERS = 1 << 26  # of dense P: 256 MiB
_GRADIENT_NUMBERS = 1 << 22  # of gradients formed at a time: 16 MiB
_CALL_ROWS = 16  # of one product: kernels, and so bits, do not depend on how many rows come


class Projector:
    """A projection of the layers of one model, ready to be applied; threads may share it.

    Args:
        projection: what P is.
        shapes: d_out and d_in by layer, in the order of the features.
    """

    def __init__(self, projection: Projection, shapes: Shapes) -> None:
        self.projection = projection
        self.shapes = dict(shapes)
        self.n_features = projection.features(shapes)
        self._made: dict[object, Any] = {}
        self._making = threading.Lock()
        blocks = projection.blocks(shapes)
        ends = np.cumsum(list(blocks.values()))
        self._places = {
            name: slice(int(end) - width, int(end))
            for (name, width), end in zip(blocks.items(), ends, strict=True)
        }

    def of_pass(self, captured: CapturedPass) -> npt.NDArray[np.float64]:
        """Return the features of the rows of a pass, shape (rows, k)."""
        features = np.zeros((len(captured.documents), self.n_features))
        for name, d in captured.gradients.items():
            a = captured.inputs[name]
            if self.projection.is_two_sided:
                p_out, p_in = self._sides(name, d)
                own = (d @ p_out).transpose(1, 2) @ (a.to(d.dtype) @ p_in)
                features[:, self._places[name]] = own.flatten(1).cpu().numpy()
                continue
            at_once = max(1, _GRADIENT_NUMBERS // (d.shape[2] * a.shape[2]))
            for first in range(0, len(d), at_once):
                part = slice(first, first + at_once)
                formed = d[part].transpose(1, 2) @ a[part].to(d.dtype)
                features[part] += self._summed(name, formed.flatten(1))
        return features

    def of_gradients(self, gradients: Mapping[str, FloatArray]) -> FloatArray:
        """Return the features of gradients, shape (n, k), float32.

        Bit for bit the same for any number of rows, but for "two_sided".

        Args:
            gradients: by layer, all layers, shape (n, d_out, d_in) each.

        Raises:
            InputError: layers or shapes are others than those of the projector.
        """
        torch = import_torch()
        found = {name: each.shape[1:] for name, each in gradients.items()}
        if found != self.shapes:
            raise InputError(f"expected gradients of layers {self.shapes}, got {found}")
        n_rows = {len(each) for each in gradients.values()}
        if len(n_rows) != 1:
            raise InputError(f"expected as many gradients of every layer, got {sorted(n_rows)}")
        features = np.zeros((n_rows.pop(), self.n_features))
        for name in self.shapes:
            own = torch.from_numpy(np.ascontiguousarray(gradients[name], dtype=np.float32))
            if self.projection.is_two_sided:
                p_out, p_in = self._sides(name, own)
                both = p_out.t() @ own @ p_in
                features[:, self._places[name]] = both.flatten(1).numpy()
            else:
                features += self._summed(name, own.flatten(1))
        return features.astype(np.float32)

    def _sides(self, name: str, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        package = import_torch()
        d_out, d_in = self.shapes[name]

        def make() -> Any:  # noqa: ANN401 - two tensors
            p_out = package.from_numpy(self.projection.side(name, "out", d_out))
            p_in = package.from_numpy(self.projection.side(name, "in", d_in))
            return p_out.to(like), p_in.to(like)

        sides: tuple[torch.Tensor, torch.Tensor] = self._once((name, like.device, like.dtype), make)
        return sides

    def _summed(self, name: str, rows: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return P^T g of a layer, shape (rows, k); rows of shape (rows, d_out * d_in)."""
        total = np.zeros((len(rows), self.n_features))
        n_coordinates = rows.shape[1]
        for start in range(0, n_coordinates, BLOCK_COORDINATES):
            stop = min(start + BLOCK_COORDINATES, n_coordinates)
            block = rows[:, start:stop]
            if self.projection.kind == "sjlt":
                total += self._sparse_product(name, start, stop, block)
            else:
                total += self._dense_product(name, start, stop, block)
        return total

    def _sparse_product(self, name: str, start: int, stop: int, rows: torch.Tensor) -> FloatArray:
        torch = import_torch()
        if rows.device.type != "cpu":
            outputs, values = self._once(
                (name, start, rows.device),
                lambda: tuple(
                    torch.from_numpy(each).to(rows.device)
                    for each in self.projection.sparse(name, start, stop)
                ),
            )
            found = rows.new_zeros((self.n_features, len(rows)), dtype=torch.float32)
            for place in range(outputs.shape[1]):
                found.index_add_(
                    0, outputs[:, place], rows.t().float() * values[:, place].unsqueeze(1)
                )
            moved: FloatArray = found.t().cpu().numpy()
            return moved

        def make() -> Any:  # noqa: ANN401 - scipy's
            from scipy.sparse import csr_array

            outputs, values = self.projection.sparse(name, start, stop)
            coordinates = np.repeat(np.arange(stop - start), outputs.shape[1])
            return csr_array(
                (values.ravel(), (outputs.ravel(), coordinates)),
                shape=(self.n_features, stop - start),
            )

        # coordinates by rows, so that what is added up lies side by side
        product: FloatArray = (
            self._once((name, start), make) @ rows.t().contiguous().float().numpy()
        )
        return product.T

    def _dense_product(self, name: str, start: int, stop: int, rows: torch.Tensor) -> FloatArray:
        torch = import_torch()

        def make() -> Any:  # noqa: ANN401 - a tensor
            return torch.from_numpy(self.projection.dense(name, start, stop)).to(rows.device)

        n_numbers = self.n_features * sum(d_out * d_in for d_out, d_in in self.shapes.values())
        keep = n_numbers <= _KEPT_NUMBERS
        matrix = self._once((name, start, rows.device), make) if keep else make()
        products = torch.empty((len(rows), self.n_features))
        for first in range(0, len(rows), _CALL_ROWS):
            part = rows[first : first + _CALL_ROWS].float()
            filled = part.new_zeros((_CALL_ROWS, part.shape[1]))
            filled[: len(part)] = part
            products[first : first + len(part)] = (filled @ matrix)[: len(part)].cpu()
        found: FloatArray = products.numpy()
        return found

    def _once(self, key: object, make: Any) -> Any:  # noqa: ANN401 - what `make` returns
        if key not in self._made:
            with self._making:
                if key not in self._made:
                    self._made[key] = make()
        return self._made[key]
