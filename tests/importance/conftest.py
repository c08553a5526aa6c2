import numpy as np
import pytest

COMMON = ["the", "of", "and", "to", "in", "that", "is", "was", "for", "on"]
MARKETS = ["shares", "bonds", "rates", "traders", "profit", "index"]
KITCHEN = ["oven", "salt", "butter", "flour", "onion", "dough"]


def sentences(words, count, *, rng, length=(15, 40), share=0.5):
    """Return sentences of which a share of the words is special and the rest common."""
    made = []
    for _ in range(count):
        n = int(rng.integers(*length))
        special = rng.random(n) < share
        made.append(
            " ".join(
                str(rng.choice(words)) if each else str(rng.choice(COMMON)) for each in special
            )
        )
    return made


@pytest.fixture(name="sentences")
def _sentences():
    return sentences


@pytest.fixture
def planted():
    """Return a pool with 60 of 300 texts about markets, where they are, and 30 target texts."""
    rng = np.random.default_rng(3)
    is_market = np.zeros(300, dtype=bool)
    is_market[rng.choice(300, 60, replace=False)] = True
    texts = [
        sentences(MARKETS if each else KITCHEN, 1, rng=rng, share=0.3)[0] for each in is_market
    ]
    return texts, is_market, sentences(MARKETS, 30, rng=rng, share=0.3)
