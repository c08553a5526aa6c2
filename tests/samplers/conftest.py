import numpy as np
import pytest

from databourse.samplers.interface import Candidates, sample
from databourse.samplers.registry import sampler_spec


def candidates(costs, **measures):
    """Return documents 00000, 00001, ... with these costs and measures."""
    return Candidates(
        document_ids=[f"{i:05d}" for i in range(len(costs))],
        costs=np.array(costs, dtype=np.int64),
        measures={name: np.array(values, dtype=np.float64) for name, values in measures.items()},
    )


def buy(name, documents, budget, seed=0):
    """Return the positions that a sampler of the registry buys, as a list."""
    rng = np.random.default_rng(seed)
    return sample(sampler_spec(name), documents, budget, rng=rng).tolist()


@pytest.fixture(name="candidates")
def _candidates():
    return candidates


@pytest.fixture(name="buy")
def _buy():
    return buy
