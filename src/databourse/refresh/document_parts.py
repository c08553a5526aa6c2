"""Which part of which document a language model reads, and what is before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from databourse.signals.folds import document_folds
from databourse.signals.specification import Need
from databourse.warehouse.store import Warehouse

Part = Literal["text", "completion", "conditioned"]
PARTS: dict[Need, Part] = {
    "text_losses": "text",
    "completion_losses": "completion",
    "conditioned_losses": "conditioned",
}
"""What of a document each need is about: all of it, or its completion alone or after its prompt."""


@dataclass(frozen=True)
class PartTexts:
    """A batch of documents as a model reads them.

    Attributes:
        rows: document_id and prompt_characters, in key order.
        texts: what is scored.
        prompts: what is read before it; None for nothing.
    """

    rows: pa.Table
    texts: list[str]
    prompts: list[str] | None


def wanted_parts(documents: pa.Table, part: Part) -> pa.Table:
    """Return document_id and prompt_characters of the documents that have a part.

    Args:
        documents: with document_id and prompt_characters, null where a text is no pair.
        part: of the whole text, prompt_characters is 0: it does not matter there.
    """
    if part == "text":
        zeros = pa.array(np.zeros(documents.num_rows, dtype=np.int64))
        return pa.table({"document_id": documents["document_id"], "prompt_characters": zeros})
    pairs = documents.filter(pa.compute.is_valid(documents["prompt_characters"]))
    return pairs.select(["document_id", "prompt_characters"])


def of_fold(rows: pa.Table, fold: int, folds: int) -> pa.Table:
    """Return the rows whose document is in a fold; all of them if there is but one."""
    if folds == 1:
        return rows
    mine = document_folds(rows["document_id"].to_pylist(), folds) == fold
    return rows.filter(pa.array(mine))


def read_parts(
    warehouse: Warehouse, rows: pa.Table, part: Part, *, batch_documents: int
) -> Iterator[PartTexts]:
    """Yield documents as a model reads them, in key order."""
    done = 0
    for batch in warehouse.texts_of(
        rows["document_id"].combine_chunks(), batch_documents=batch_documents
    ):
        own = rows.slice(done, batch.num_rows)
        done += batch.num_rows
        texts = batch["text"].to_pylist()
        cuts = own["prompt_characters"].to_pylist()
        yield PartTexts(own, _scored(texts, cuts), _prompts(texts, cuts, part))


def _scored(texts: Sequence[str], cuts: Sequence[int]) -> list[str]:
    return [text[cut:] for text, cut in zip(texts, cuts, strict=True)]


def _prompts(texts: Sequence[str], cuts: Sequence[int], part: Part) -> list[str] | None:
    if part != "conditioned":
        return None
    return [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
