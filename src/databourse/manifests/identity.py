"""The identity of a manifest: `manifest_id`, a sha256 over what was bought and by which rules.

It is the sha256 of these UTF-8 lines, each ended by a newline:

1. `databourse-manifest-1`
2. the canonical JSON (sorted keys, no spaces) of an object with `pool`, `snapshot_id`,
   `tokenizer_id`, `budget`, `market` and `selection` as in manifest.json, `traders` (sorted names)
   and `text` (whether texts are included); what is null in `market` is left out, and so is
   `selection` where it is null, as in manifests that were written before these existed;
3. per document, in ascending order of document_id, the canonical JSON of the list [document_id,
   source, label, tokens, topic, log_price, log_price_per_token, rank, weight, prompt_characters,
   [contribution of every trader, in the order of `traders`]].

Floats are written by Python's `repr`, the shortest text that reads back as the same number. Price
and price per token are left out because they are the exponentials of their logs; the probability of
a sampled document, because its weight is the inverse; the text, because document_id is its digest.
Locators, run ids, timestamps, seconds and file boundaries are not content: two refreshes of the
same inputs and config share their identity wherever they ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from databourse.digests import canonical_json
from databourse.errors import InputError
from databourse.manifests.model import Budget, MarketRecord, SelectionRecord
from databourse.manifests.shards import CONTRIBUTION_PREFIX, order_problem, traders_of

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = (
    "document_id",
    "source",
    "label",
    "tokens",
    "topic",
    "log_price",
    "log_price_per_token",
    "rank",
    "weight",
    "prompt_characters",
)


def manifest_identity(
    tables: Iterable[pa.Table],
    *,
    pool: str,
    snapshot_id: str,
    tokenizer_id: str,
    budget: Budget,
    market: MarketRecord,
    selection: SelectionRecord | None = None,
) -> str:
    """Return the manifest_id of documents under the rules that bought them.

    Args:
        tables: at least one, with the columns of a shard; document_id ascends over all of them.

    Returns:
        A sha256, 64 hex digits; the same wherever the rows are cut into tables.

    Raises:
        InputError: there is no table, or rows are not in strictly ascending order of document_id.
    """
    state, last = hashlib.sha256(), None
    traders: tuple[str, ...] | None = None
    for table in tables:
        if traders is None:
            traders = traders_of(table.column_names)
            rules = {
                "pool": pool,
                "snapshot_id": snapshot_id,
                "tokenizer_id": tokenizer_id,
                "budget": budget.model_dump(mode="json"),
                "market": market.model_dump(mode="json", exclude_none=True),
                "traders": list(traders),
                "text": "text" in table.column_names,
            }
            if selection is not None:
                rules["selection"] = selection.model_dump(mode="json")
            state.update(f"databourse-manifest-1\n{canonical_json(rules)}\n".encode())
        problem = order_problem(table.column("document_id"), last)
        if problem:
            raise InputError(f"documents of a manifest ascend by document_id: {problem}")
        if table.num_rows:
            last = table.column("document_id")[-1].as_py()
        _add_rows(state, table, traders)
    if traders is None:
        raise InputError("a manifest_id needs at least one table of documents, got none")
    return state.hexdigest()


def _add_rows(state: hashlib._Hash, table: pa.Table, traders: tuple[str, ...]) -> None:
    values = [table.column(name).to_pylist() for name in _COLUMNS]
    parts = [table.column(f"{CONTRIBUTION_PREFIX}{trader}").to_pylist() for trader in traders]
    contributions = zip(*parts, strict=True) if parts else iter([()] * table.num_rows)
    for *row, contribution in zip(*values, contributions, strict=True):
        state.update(canonical_json([*row, list(contribution)]).encode("utf-8"))
        state.update(b"\n")
