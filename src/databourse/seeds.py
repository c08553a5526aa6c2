"""Seeds: each stage derives its own from the root seed, so stages cannot disturb each other."""

from __future__ import annotations

import hashlib

import numpy as np


def stage_seed(root_seed: int, *stage: str) -> int:
    """Return the seed of a named stage: 31 bits of blake2b over the root seed and the names.

    31 bits because faiss and scikit-learn take signed 32-bit seeds.
    """
    text = "\x1f".join([str(root_seed), *stage])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def stage_rng(root_seed: int, *stage: str) -> np.random.Generator:
    """Return the random generator of a named stage."""
    return np.random.default_rng(stage_seed(root_seed, *stage))
