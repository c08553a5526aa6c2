"""Exact duplicates: which arrival of a document survives, told in Arrow.

A refresh applies the rule in `sql/intermediate/int_arrivals_ranked.sql`; this is its plain twin,
and a test holds the two equal.

The same text may arrive many times: from several sources, with several labels. One arrival stands
for the document, and the choice may not depend on the order of files or on how rows are spread
over them, so it is made on what the arrival says before where it was found:

1. `source_rank`, the position of the source in the config: the earlier source keeps the document;
2. `label`, smallest text first; an arrival without a label comes last;
3. `metadata`, smallest text first; none last;
4. `prompt_characters`, smallest first; none last;
5. `locator`, which therefore only decides between arrivals that agree on everything else.

Texts compare by the bytes of their UTF-8, as in DuckDB and Arrow.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from databourse.errors import InputError

SURVIVAL_COLUMNS = ("source_rank", "label", "metadata", "prompt_characters", "locator")
_SORT_KEYS: list[tuple[str, Literal["ascending", "descending"]]] = [
    (column, "ascending") for column in ("document_id", *SURVIVAL_COLUMNS)
]


def surviving_arrivals(arrivals: pa.Table) -> npt.NDArray[np.int64]:
    """Return the rows of `arrivals` that survive: one per document, in order of document_id.

    Args:
        arrivals: one row per arrival, with the columns document_id and those of
            `SURVIVAL_COLUMNS`; document_id, source_rank and locator are never null, and no two rows
            share a document_id and a locator.

    Returns:
        Row numbers, shape (distinct document_ids,).

    Raises:
        InputError: a column is missing, or one that must be filled has a null.
    """
    _check_columns(arrivals)
    order = pc.sort_indices(arrivals, sort_keys=_SORT_KEYS)  # nulls last by default
    ids = arrivals.column("document_id").take(order).to_numpy(zero_copy_only=False)
    is_first = np.ones(len(ids), dtype=bool)
    is_first[1:] = ids[1:] != ids[:-1]
    rows: npt.NDArray[np.int64] = order.to_numpy().astype(np.int64)[is_first]
    return rows


def _check_columns(arrivals: pa.Table) -> None:
    expected = ("document_id", *SURVIVAL_COLUMNS)
    missing = sorted(set(expected) - set(arrivals.column_names))
    if missing:
        raise InputError(
            f"arrivals must have the columns {', '.join(expected)}; missing: {', '.join(missing)}"
        )
    for column in ("document_id", "source_rank", "locator"):
        if arrivals.column(column).null_count:
            raise InputError(
                f"column {column} of arrivals must have no null, "
                f"got {arrivals.column(column).null_count:,}"
            )
