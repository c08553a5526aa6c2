"""The snapshot's documents and what the run says of them, in key order."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from databourse.digests import digest_of_lines
from databourse.warehouse.store import Warehouse


def snapshot_documents(warehouse: Warehouse, *, run_id: str, snapshot_id: str) -> pa.Table:
    """Return document_id, source, locator, label, prompt_characters, tokens in key order."""
    return warehouse.rows("stg_snapshot__documents", {"run_id": run_id, "snapshot_id": snapshot_id})


def labels_digest(labels: Sequence[str | None]) -> str:
    """Return the digest of labels in key order: a label may change where a text does not."""
    return digest_of_lines("" if label is None else f"={label}" for label in labels)


def prompts_digest(prompt_characters: Sequence[int | None]) -> str:
    """Return the digest of where prompts end, in key order: that too may change without a text."""
    return digest_of_lines("" if cut is None else str(cut) for cut in prompt_characters)
