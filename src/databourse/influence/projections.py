"""Random projections of gradients: a fixed, small number of numbers in place of millions.

Notation: g is a gradient of p numbers, a layer's part of it G (d_out x d_in) flattened row by row;
phi = P^T g. All kinds keep inner products on average, E <P^T a, P^T b> = <a, b>, for they are
scaled: without a scale the damping of a kernel would silently mean something else (reference 1.4).

    two_sided   per layer vec(P_out^T G P_in), entries +-1/sqrt(r_out) and +-1/sqrt(r_in): signs
                where LoGra draws normals (RECONSTRUCTION); features of layers stand side by side
    sjlt        each coordinate goes to s outputs, one in each of s equal parts, with signs
                +-1/sqrt(s); layers add up
    rademacher  entries +-1/sqrt(k); layers add up
    gaussian    entries N(0, 1/k); layers add up

Var <P^T a, P^T b> is about (|a|^2 |b|^2 + <a,b>^2) / k for those whose layers add up.

P is a pure function of (seed, layer, coordinate): Philox counts from a digest of seed and layer,
and a coordinate's numbers stand at its own place of the stream, on the CPU whatever the device. So
neither the blocks in which it is made nor batches, threads or devices change it. Sums are taken in
blocks of a fixed number of coordinates, and rows in calls of a fixed shape, for the same reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of
from databourse.errors import InputError

Kind = Literal["two_sided", "sjlt", "rademacher", "gaussian"]
Shapes = Mapping[str, tuple[int, int]]
FloatArray = npt.NDArray[np.float32]

REVISION = 1
"""Of streams and scales: raise it when the same seed gives another P."""

SUMMED = "all layers"
"""The one block of features of kinds whose layers add up."""

BLOCK_COORDINATES = 1 << 14  # of one sum; a part of what features are, not of how fast they come
_KINDS = ("two_sided", "sjlt", "rademacher", "gaussian")
_TEST_SIDE = 32  # of the corner of a layer that the fingerprint projects
_FINGERPRINT = 16
_WORD_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A family of random maps, one per layer.

    Attributes:
        kind: see the module.
        seed: of all of it, in [0, 2^63); another checkpoint of an ensemble takes another one.
        size: r, the most numbers per side of a layer, for "two_sided": a layer then has
            min(r, d_out) * min(r, d_in) features; else k, the number of features.
        nonzeros: s, outputs per coordinate, for "sjlt": a divisor of `size`; None for other kinds.

    Raises:
        InputError: a field is outside its domain.
    """

    kind: Kind
    seed: int
    size: int
    nonzeros: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"projection must be one of {', '.join(_KINDS)}, got {self.kind!r}")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed of a projection must be in [0, 2^63), got {self.seed!r}")
        if self.size < 1:
            raise InputError(f"size of a projection must be >= 1, got {self.size!r}")
        if (self.kind == "sjlt") != (self.nonzeros is not None):
            raise InputError(
                f"nonzeros is for 'sjlt' alone and needed there, got {self.nonzeros!r} "
                f"for {self.kind!r}"
            )
        if self.nonzeros is not None and (self.nonzeros < 1 or self.size % self.nonzeros):
            raise InputError(
                f"nonzeros must be >= 1 and divide size, got {self.nonzeros} for {self.size}"
            )

    @property
    def is_two_sided(self) -> bool:
        """Return whether it works on the two sides of a layer, G never being formed."""
        return self.kind == "two_sided"

    def blocks(self, shapes: Shapes) -> dict[str, int]:
        """Return how many features each part of a feature vector has, in order: its k in all.

        Parts are layers for "two_sided", else one part for all layers together.

        Args:
            shapes: d_out and d_in by layer.
        """
        if not self.is_two_sided:
            return {SUMMED: self.size}
        return {
            name: min(self.size, d_out) * min(self.size, d_in)
            for name, (d_out, d_in) in shapes.items()
        }

    def features(self, shapes: Shapes) -> int:
        """Return k, the length of a feature vector."""
        return sum(self.blocks(shapes).values())

    def as_json(self) -> dict[str, object]:
        """Return what decides P, as JSON types."""
        return {**dataclasses.asdict(self), "revision": REVISION}

    def identity(self, shapes: Shapes) -> str:
        """Return the digest of P for layers: features of unequal identities may not be mixed."""
        layers = [[name, *shape] for name, shape in shapes.items()]
        return digest_of({**self.as_json(), "layers": layers})

    def fingerprint(self, shapes: Shapes) -> list[float]:
        """Return 16 numbers that tell P as it was computed: a fixed gradient's features.

        The gradient of a layer is cos(i + 2j) at (i, j) in its first 32 rows and columns, else 0;
        number m is the sum of features m, m + 16, m + 32 ..., to 9 significant digits.
        """
        rows, columns = np.ogrid[:_TEST_SIDE, :_TEST_SIDE]
        corner = np.cos(rows + 2.0 * columns)
        parts = []
        for name, (d_out, d_in) in shapes.items():
            own = corner[:d_out, :d_in]
            if self.is_two_sided:
                p_out = self.side(name, "out", d_out)[:_TEST_SIDE].astype(np.float64)
                p_in = self.side(name, "in", d_in)[:_TEST_SIDE].astype(np.float64)
                parts.append((p_out.T @ own @ p_in).ravel())
            else:
                found = np.zeros(self.size)
                for row, gradient in enumerate(own):
                    start = row * d_in
                    found += gradient @ self.dense(name, start, start + len(gradient))
                parts.append(found)
        features = np.concatenate(parts) if self.is_two_sided else np.sum(parts, axis=0)
        sums = [float(features[m::_FINGERPRINT].sum()) for m in range(_FINGERPRINT)]
        return [float(f"{each:.9g}") for each in sums]

    def side(self, layer: str, which: Literal["out", "in"], size: int) -> FloatArray:
        """Return P_out or P_in of a layer, shape (size, min(r, size)), for "two_sided".

        Args:
            layer: its name.
            which: "out" for the gradients d, "in" for the inputs a.
            size: d_out or d_in.
        """
        width = min(self.size, size)
        scale = np.float32(1 / np.sqrt(width))
        return self._signs(f"{layer}\x1f{which}", 0, size, width) * scale

    def sparse(self, layer: str, start: int, stop: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return outputs and values of coordinates `start` to `stop` - 1 of a layer, for "sjlt".

        Returns:
            Two arrays of shape (stop - start, s): coordinate i adds value [i, j] times itself to
            feature [i, j]; features of one coordinate are distinct and ascend.
        """
        count = self.nonzeros or 0
        words = self._words(layer, start, stop, count)
        part = self.size // count
        # the high half of a word, scaled: each output within 2^-32 of equally likely
        within = ((words >> np.uint64(32)) * np.uint64(part)) >> np.uint64(32)
        outputs = within.astype(np.int64) + part * np.arange(count)
        signs = (words & np.uint64(1)).astype(np.float32) * 2 - 1
        return outputs, signs * np.float32(1 / np.sqrt(count))

    def dense(self, layer: str, start: int, stop: int) -> FloatArray:
        """Return rows `start` to `stop` - 1 of a layer's P, shape (stop - start, k).

        For the kinds whose layers add up; "sjlt" is made dense, for tests and small layers.
        """
        if self.kind == "sjlt":
            outputs, values = self.sparse(layer, start, stop)
            rows: FloatArray = np.zeros((stop - start, self.size), dtype=np.float32)
            np.put_along_axis(rows, outputs, values, axis=1)
            return rows
        scale = np.float32(1 / np.sqrt(self.size))
        if self.kind == "rademacher":
            return self._signs(layer, start, stop, self.size) * scale
        return self._normals(layer, start, stop) * scale

    def _signs(self, stream: str, start: int, stop: int, width: int) -> FloatArray:
        """Return +-1, shape (stop - start, width), one bit each."""
        words = self._words(stream, start, stop, -(-width // _WORD_BITS))
        in_bytes = words.astype("<u8").view(np.uint8).reshape(stop - start, 8 * words.shape[1])
        bits = np.unpackbits(in_bytes, axis=1, count=width, bitorder="little")
        return bits.astype(np.float32) * 2 - 1

    def _normals(self, stream: str, start: int, stop: int) -> FloatArray:
        """Return standard normals by Box and Muller's formula, two from two words."""
        pairs = -(-self.size // 2)
        words = self._words(stream, start, stop, 2 * pairs)
        # 53 bits, moved off 0, whose logarithm is infinite
        uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        radius = np.sqrt(-2 * np.log(uniform[:, :pairs]))
        angle = 2 * np.pi * uniform[:, pairs:]
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return both[:, : self.size].astype(np.float32)

    def _words(self, stream: str, start: int, stop: int, per_row: int) -> npt.NDArray[np.uint64]:
        """Return 64-bit words of rows `start` to `stop` - 1 of a stream, `per_row` each."""
        text = f"{REVISION}\x1f{self.kind}\x1f{self.seed}\x1f{stream}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
        first = start * per_row
        generator = np.random.Philox(key=key)
        generator.advance(first // 4)  # a count of Philox gives four words
        words = generator.random_raw((stop * per_row) - first // 4 * 4)
        return words[first % 4 :].reshape(stop - start, per_row)
