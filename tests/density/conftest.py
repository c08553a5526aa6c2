import numpy as np
import pytest

from databourse.density.hashes import draw_l2_hashes
from databourse.density.race import draw_row_hashes


def mixture(seed=0):
    """Return 2,000 points in 16 dimensions, of a dense and a loose cluster and noise, shuffled."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(0, 0.15, (1500, 16)),
        rng.normal(1, 0.3, (400, 16)),
        rng.uniform(-2, 2, (100, 16)),
    ]
    return rng.permutation(np.concatenate(parts)).astype(np.float32)


def l2_rows(*, seed, rows, hashes_per_row=1, columns=20_000, dimension=16, bandwidth=1.0):
    """Return rows of L2 hashes for vectors up to length 8."""
    rng = np.random.default_rng(seed)
    family = draw_l2_hashes(
        rows * hashes_per_row, dimension=dimension, bandwidth=bandwidth, longest=8.0, rng=rng
    )
    return draw_row_hashes(family, hashes_per_row=hashes_per_row, columns=columns, rng=rng)


def clusters(seed=0):
    """Return 8,540 unit vectors in 64 dimensions and the cluster of each: sizes 4,000 to 20.

    The cosine is 0.85 within a cluster and 0.6 between two, on average.
    """
    rng = np.random.default_rng(seed)
    sizes = [4000, 2000, 1000, 600, 400, 250, 150, 80, 40, 20]
    basis, _ = np.linalg.qr(rng.normal(size=(64, 11)))
    centres = np.sqrt(0.6 / 0.85) * basis[:, :1] + np.sqrt(0.25 / 0.85) * basis[:, 1:]
    index = np.repeat(np.arange(10), sizes)
    own = centres.T[index]
    noise = rng.normal(size=own.shape)
    noise -= (noise * own).sum(axis=1, keepdims=True) * own
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (np.sqrt(0.85) * own + np.sqrt(0.15) * noise).astype(np.float32), index


@pytest.fixture(name="mixture")
def _mixture():
    return mixture


@pytest.fixture(name="l2_rows")
def _l2_rows():
    return l2_rows


@pytest.fixture(name="clusters")
def _clusters():
    return clusters
