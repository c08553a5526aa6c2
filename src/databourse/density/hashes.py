"""Hash functions under which near items collide, and how likely two items are to.

Notation: c = Euclidean distance, r = bandwidth, t = r / c, a = angle, J = Jaccard. The probability
that two items get the same code is the kernel k; p concatenated functions have the kernel k^p.

    L2:        floor((w . x + b) / r)    k = 1 - 2 Phi(-t) - 2 (1 - e^(-t^2 / 2)) / (sqrt(2 pi) t)
    sign:      w . x >= 0                k = 1 - a / pi
    min-hash:  least h over a set        k = J, of the last `bits` bits J + (1 - J) / 2^bits

Sources: Datar, Immorlica, Indyk & Mirrokni 2004 (p-stable hashes), Charikar 2002 (signs of random
projections), Broder 1997, Li & Koenig 2010 (min-hash and its last bits). w is Gaussian, b uniform
on [0, r).

Whole numbers are our choice: w is rounded to multiples of 1/64 and x to multiples of a power of two
so fine that no sum of products, in whatever order, exceeds 2^24 of the common unit. float32 adds
such numbers without rounding, so a code depends neither on the other rows of a batch nor on
threads, BLAS library or device. For 384 dimensions and unit vectors x moves by about 0.0007.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from databourse.dedup import minhash
from databourse.dedup.shingles import ShingleSets
from databourse.errors import InputError
from databourse.neighbours.vectors import NORM_TOLERANCE

FloatArray: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.uint32]
Items = TypeVar("Items", bound=Sized, contravariant=True)  # noqa: PLC0105 - what is hashed

LEAST_BANDWIDTH = 50.0
"""Least bandwidth, in units of the length by which rounding moves a vector."""

_DIRECTION_STEPS = 64  # per standard deviation: adds 2e-5 to a variance of 1
_EXACT = 2**24  # float32 holds every whole number up to here
_BLOCK_VECTORS = 2048


@dataclass(frozen=True)
class HashedBlock:
    """Items that are hashed together.

    Attributes:
        n_items: how many.
        codes: (first, end) to the codes under these hash functions, shape (end - first, n_items).
    """

    n_items: int
    codes: Callable[[int, int], Codes]


class HashFamily(Protocol[Items]):
    """Hash functions that were drawn."""

    @property
    def n_hashes(self) -> int:
        """Number of functions."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for families that give every item the same codes."""
        ...

    def blocks(self, items: Items) -> Iterator[HashedBlock]:
        """Yield all items in order, block by block."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Projections:
    """Random directions, and the unit in which vectors are rounded.

    Attributes:
        directions: shape (n_hashes, d), float32, whole numbers: 64 per standard deviation.
        quantum: the unit of vectors, a power of two.
        longest: what no vector's length may exceed (by more than a thousandth).
    """

    directions: NDArray[np.float32]
    quantum: float
    longest: float

    @property
    def shift(self) -> float:
        """Root mean square of the length by which rounding moves a vector of random places."""
        return self.quantum * math.sqrt(self.directions.shape[1] / 12)

    def rounded_blocks(self, vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors as whole numbers of quanta, block by block.

        Raises:
            InputError: another shape, a number that is not finite, or a vector that is too long.
        """
        dimension = self.directions.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != dimension:
            raise InputError(f"vectors must have shape (n, {dimension}), got {vectors.shape}")
        most = (self.longest * (1 + NORM_TOLERANCE)) ** 2
        for start in range(0, len(vectors), _BLOCK_VECTORS):
            block = vectors[start : start + _BLOCK_VECTORS].astype(np.float32, copy=False)
            squares = np.einsum("ij,ij->i", block, block)
            bad = np.flatnonzero(~(squares <= most))  # NaN is bad too
            if bad.size:
                raise InputError(
                    f"vectors must be finite and of length at most {self.longest:g}, got length "
                    f"{math.sqrt(float(squares[bad[0]])):.6g} at row {start + int(bad[0])}; state "
                    "the longest length when drawing the hashes"
                )
            yield np.rint(block * np.float32(1 / self.quantum))

    def sums(self, rounded: NDArray[np.float32], first: int, end: int) -> NDArray[np.float32]:
        """Return the exact products of directions and rounded vectors, shape (end - first, n)."""
        products: NDArray[np.float32] = self.directions[first:end] @ rounded.T
        return products


@dataclass(frozen=True, eq=False, kw_only=True)
class L2Hashes:
    """Hash functions of the L2 family; `offsets`: b / r, shape (n_hashes,), float32."""

    projections: Projections
    offsets: NDArray[np.float32]
    bandwidth: float

    @property
    def n_hashes(self) -> int:
        """Number of functions."""
        return len(self.offsets)

    @property
    def fingerprint(self) -> str:
        """Equal for families that give every vector the same codes."""
        numbers = np.array([self.projections.quantum, self.bandwidth])
        return _digest(self.projections.directions, self.offsets, numbers)

    def blocks(self, items: NDArray[np.float32]) -> Iterator[HashedBlock]:
        """Yield all vectors in order, block by block.

        Raises:
            InputError: as for `Projections.rounded_blocks`.
        """
        for rounded in self.projections.rounded_blocks(items):
            yield HashedBlock(len(rounded), self._codes(rounded))

    def _codes(self, rounded: NDArray[np.float32]) -> Callable[[int, int], Codes]:
        scale = np.float32(self.projections.quantum / _DIRECTION_STEPS / self.bandwidth)

        def codes(first: int, end: int) -> Codes:
            places = self.projections.sums(rounded, first, end)
            places *= scale
            places += self.offsets[first:end, None]
            return np.floor(places, out=places).astype(np.int32).view(np.uint32)

        return codes


@dataclass(frozen=True, eq=False, kw_only=True)
class SignHashes:
    """Hash functions of the sign family: codes 0 and 1."""

    projections: Projections

    @property
    def n_hashes(self) -> int:
        """Number of functions."""
        return len(self.projections.directions)

    @property
    def fingerprint(self) -> str:
        """Equal for families that give every vector the same codes."""
        return _digest(self.projections.directions, np.array([self.projections.quantum]))

    def blocks(self, items: NDArray[np.float32]) -> Iterator[HashedBlock]:
        """Yield all vectors in order, block by block.

        Raises:
            InputError: as for `Projections.rounded_blocks`.
        """
        for rounded in self.projections.rounded_blocks(items):
            yield HashedBlock(len(rounded), self._codes(rounded))

    def _codes(self, rounded: NDArray[np.float32]) -> Callable[[int, int], Codes]:
        def codes(first: int, end: int) -> Codes:
            return (self.projections.sums(rounded, first, end) >= 0).astype(np.uint32)

        return codes


@dataclass(frozen=True, eq=False, kw_only=True)
class MinHashes:
    """Hash functions of the min-hash family; of each the last `bits` bits."""

    family: minhash.HashFamily
    bits: int

    @property
    def n_hashes(self) -> int:
        """Number of functions."""
        return len(self.family)

    @property
    def fingerprint(self) -> str:
        """Equal for families that give every set the same codes."""
        drawn = self.family
        return _digest(drawn.multipliers, drawn.increments, np.array([self.bits]))

    def blocks(self, items: ShingleSets) -> Iterator[HashedBlock]:
        """Yield all sets in one block."""
        last_bits = np.uint32((1 << self.bits) - 1)

        def codes(first: int, end: int) -> Codes:
            drawn = minhash.HashFamily(
                self.family.multipliers[first:end], self.family.increments[first:end]
            )
            return np.ascontiguousarray(minhash.signatures(items, drawn).T) & last_bits

        if len(items):
            yield HashedBlock(len(items), codes)


def draw_l2_hashes(
    n_hashes: int,
    *,
    dimension: int,
    bandwidth: float,
    rng: np.random.Generator,
    longest: float = 1.0,
) -> L2Hashes:
    """Return hash functions of the L2 family.

    Args:
        n_hashes: how many, >= 1.
        dimension: of the vectors, >= 1.
        bandwidth: r, in the unit of the vectors.
        rng: directions and offsets are drawn from it.
        longest: greatest length of a vector, > 0.

    Raises:
        InputError: an argument is outside its domain, or the bandwidth is below `LEAST_BANDWIDTH`
            times what rounding moves a vector by.
    """
    projections = _draw_projections(n_hashes, dimension=dimension, longest=longest, rng=rng)
    least = LEAST_BANDWIDTH * projections.shift
    if not least <= bandwidth < math.inf:
        raise InputError(
            f"the bandwidth must be at least {least:.3g} for {dimension} dimensions and lengths up "
            f"to {longest:g}, got {bandwidth!r}"
        )
    offsets = rng.random(n_hashes).astype(np.float32)
    return L2Hashes(projections=projections, offsets=offsets, bandwidth=bandwidth)


def draw_sign_hashes(
    n_hashes: int, *, dimension: int, rng: np.random.Generator, longest: float = 1.0
) -> SignHashes:
    """Return hash functions of the sign family.

    Args:
        n_hashes: as for `draw_l2_hashes`.
        dimension: as for `draw_l2_hashes`.
        rng: directions are drawn from it.
        longest: as for `draw_l2_hashes`.

    Raises:
        InputError: an argument is outside its domain.
    """
    drawn = _draw_projections(n_hashes, dimension=dimension, longest=longest, rng=rng)
    return SignHashes(projections=drawn)


def draw_min_hashes(n_hashes: int, *, rng: np.random.Generator, bits: int = 32) -> MinHashes:
    """Return hash functions of the min-hash family.

    Args:
        n_hashes: how many, >= 1.
        rng: the functions are drawn from it.
        bits: kept of each, 1 .. 32.

    Raises:
        InputError: an argument is outside its domain.
    """
    if not 1 <= bits <= 32:
        raise InputError(f"bits must be in 1 .. 32, got {bits!r}")
    return MinHashes(family=minhash.draw_hash_family(n_hashes, rng), bits=bits)


def l2_kernel(distances: FloatArray, *, bandwidth: float) -> FloatArray:
    """Return the probability that two vectors of a distance share an L2 code, in [0, 1].

    Args:
        distances: c >= 0, any shape.
        bandwidth: r > 0.
    """
    from scipy.special import erf

    ratio = np.full(np.shape(distances), np.inf)
    np.divide(bandwidth, distances, out=ratio, where=distances > 0)
    # 1 - 2 Phi(-t) = erf(t / sqrt 2); the least normal keeps 0 / 0 away at infinite distances
    tail = math.sqrt(2 / math.pi) * -np.expm1(-0.5 * ratio**2) / np.maximum(ratio, 1e-300)
    kernel: FloatArray = erf(ratio / math.sqrt(2)) - tail
    return kernel


def sign_kernel(cosines: FloatArray) -> FloatArray:
    """Return the probability that two vectors of a cosine have the same sign, in [0, 1].

    Args:
        cosines: any shape; beyond [-1, 1] by rounding errors alone.
    """
    kernel: FloatArray = 1 - np.arccos(np.clip(cosines, -1, 1)) / math.pi
    return kernel


def min_hash_kernel(similarities: FloatArray, *, bits: int = 32) -> FloatArray:
    """Return the probability that two sets of a Jaccard similarity share a code, in [0, 1].

    Args:
        similarities: J in [0, 1], any shape.
        bits: kept of each code, 1 .. 32.
    """
    kernel: FloatArray = similarities + (1 - similarities) / 2.0**bits
    return kernel


def _draw_projections(
    n_hashes: int, *, dimension: int, longest: float, rng: np.random.Generator
) -> Projections:
    if n_hashes < 1 or dimension < 1:
        raise InputError(f"hashes and dimensions must be >= 1, got {n_hashes!r} and {dimension!r}")
    if not 0 < longest < math.inf:
        raise InputError(f"the longest length must be finite and > 0, got {longest!r}")
    drawn = rng.standard_normal((n_hashes, dimension))
    directions = np.rint(drawn * _DIRECTION_STEPS)
    steepest = math.sqrt(float((directions**2).sum(axis=1).max()))
    # By Cauchy and Schwarz no partial sum exceeds |direction| |rounded vector|, and rounding adds
    # at most sqrt(d) / 2 quanta to a vector.
    room = _EXACT / max(steepest, 1.0) - math.sqrt(dimension) / 2
    if room < 1:
        raise InputError(f"vectors of {dimension:,} dimensions are too many to add exactly")
    quantum = 2.0 ** math.ceil(math.log2(longest * (1 + 2 * NORM_TOLERANCE) / room))
    return Projections(directions=directions.astype(np.float32), quantum=quantum, longest=longest)


def _digest(*arrays: NDArray[np.generic]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for array in arrays:
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()
