"""DSIR's log weights by the product, as published but for the hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from databourse.importance.dsir import PUBLISHED, pool_importance
from databourse.importance.ngrams import HashName


def weigh(pool: Sequence[str], targets: Sequence[str], hash_name: HashName) -> list[float]:
    """Return ln w of each document of the pool."""
    hashing = dataclasses.replace(PUBLISHED.hashing, hash_name=hash_name)
    found = pool_importance(
        lambda: iter([pool]),
        targets,
        n_documents=len(pool),
        per="document",
        settings=dataclasses.replace(PUBLISHED, hashing=hashing),
    )
    weights: list[float] = found.log_weights.tolist()
    return weights
