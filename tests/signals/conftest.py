import numpy as np
import pytest

from databourse.neighbours import nearest_neighbours
from databourse.signals.computation import compute_signal
from databourse.signals.inputs import SignalInputs
from databourse.signals.registry import parse_signal
from databourse.topics import topics_from_names


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pool(vectors=None, *, n=None, texts=None, labels=None, k=10, batch=1000, **others):
    """Return the inputs of a pool: what is not given is made from what is."""
    n = n or next(len(each) for each in (vectors, texts, labels) if each is not None)
    ids = others.pop("document_ids", [f"{i:05d}" for i in range(n)])
    names = others.pop("topics", ["topic-000"] * n)
    return SignalInputs(
        document_ids=ids,
        seed=17,
        labels=np.array(labels if labels is not None else [None] * n, dtype=object),
        embeddings=vectors,
        topics=topics_from_names(names, vectors),
        neighbours=None if vectors is None else nearest_neighbours(vectors, k),
        texts=(
            None
            if texts is None
            else lambda: (texts[i : i + batch] for i in range(0, len(texts), batch))
        ),
        **others,
    )


def score(entry, inputs):
    """Return the result of a signal as the config would write it."""
    spec, parameters = parse_signal(entry)
    return compute_signal(spec, parameters, inputs)


@pytest.fixture(name="unit")
def _unit():
    return unit


@pytest.fixture(name="pool")
def _pool():
    return pool


@pytest.fixture(name="score")
def _score():
    return score
