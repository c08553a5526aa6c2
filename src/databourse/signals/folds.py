"""Folds by document_id: which fold a document is in never depends on the other documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def document_folds(document_ids: Sequence[str], folds: int) -> NDArray[np.int64]:
    """Return the fold of each document, 0 to folds - 1: blake2b of its id, modulo `folds`.

    Hashed again although ids are hashes, so that folds are independent of any order or sharding
    by id.
    """
    digests = (hashlib.blake2b(f"fold\x1f{each}".encode(), digest_size=8) for each in document_ids)
    return np.fromiter(
        (int.from_bytes(digest.digest(), "big") % folds for digest in digests),
        dtype=np.int64,
        count=len(document_ids),
    )
