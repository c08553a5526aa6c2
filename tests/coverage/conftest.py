import numpy as np
import pytest


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(n, dimension, seed, centres=5, spread=0.4):
    """Return unit vectors around a few centres, with two pairs of equal ones."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, dimension))
    rows = middle[rng.integers(0, centres, n)] + spread * rng.normal(size=(n, dimension))
    if n > 5:
        rows[n // 2], rows[n - 1] = rows[0], rows[3]
    return unit(rows)


def cosine(left, right):
    """Return the cosine of two vectors, rounded to 6 decimals, one number at a time."""
    dot = sum(float(a) * float(b) for a, b in zip(left, right, strict=True))
    lengths = [sum(float(a) ** 2 for a in each) ** 0.5 for each in (left, right)]
    return round(dot / (lengths[0] * lengths[1]), 6) + 0.0


@pytest.fixture(name="unit")
def _unit():
    return unit


@pytest.fixture(name="planted")
def _planted():
    return planted


@pytest.fixture(name="cosine")
def _cosine():
    return cosine
