"""Which labels of a refresh are known to be wrong: for a comparison, once samplers have bought.

The truth is a metadata column. Metadata is stored beside texts and is no input of any signal or
sampler; a column that a source puts into its texts is refused here, or the truth would be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from databourse.config import RefreshConfig
from databourse.errors import ConfigError, InputError
from databourse.refresh.past_runs import PastRun
from databourse.selection.greedy import FloatArray
from databourse.sources.rows import label_of
from databourse.sources.template import RowRejectedError, parse_template
from databourse.warehouse.store import Warehouse

_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


def check_truth(config: RefreshConfig) -> None:
    """Check that the truth is kept by a source and is in no text.

    Raises:
        ConfigError: it is in a text, or no source keeps it.
    """
    truth = config.compare.truth
    if truth is None:
        return
    column = truth.label or truth.is_wrong
    for source in config.sources:
        for key in ("text", "prompt", "completion"):
            template = getattr(source, key)
            if template and column in parse_template(template, where=key).columns():
                raise ConfigError(
                    f"compare.truth names the column {column!r}, which source {source.name!r} puts "
                    f"into its {key}, where signals read it; take it out of one of the two"
                )
    if not any(column in source.metadata for source in config.sources):
        raise ConfigError(
            f"compare.truth names the column {column!r}, which no source keeps; add metadata: "
            f"[{column}] to its source and refresh the pool"
        )


def wrong_labels(warehouse: Warehouse, config: RefreshConfig, past: PastRun) -> FloatArray | None:
    """Return 1 where a label is wrong, 0 where it is right, NaN where nobody knows; by document_id.

    Returns:
        Shape (n,), of the documents of a refresh; None where the config names no truth.

    Raises:
        ConfigError: no document of the refresh has the column.
        InputError: a value of it is neither true nor false, where it must be.
    """
    truth = config.compare.truth
    if truth is None:
        return None
    column = str(truth.label or truth.is_wrong)
    rows = warehouse.rows(
        "stg_snapshot__metadata",
        {"run_id": past.run_id, "snapshot_id": past.ids.snapshot_id},
    )
    values = _column(rows, column)
    if all(each is None for each in values):
        raise ConfigError(
            f"compare.truth names the column {column!r}, which no document of the last refresh "
            "has; refresh the pool with it among the metadata of its source"
        )
    labels = rows["label"].to_pylist()
    if truth.label is not None:
        return disagreements(labels, values)
    return flags(values, column)


def disagreements(labels: Sequence[str | None], truths: Sequence[object]) -> FloatArray:
    """Return 1 where a label is not the true one, 0 where it is, NaN where one of them is missing.

    Args:
        labels: as they are stored.
        truths: of a column of any type; read as labels are, so that 3, 3.0 and "3" are the same.
    """
    found = np.full(len(labels), np.nan)
    for place, (label, value) in enumerate(zip(labels, truths, strict=True)):
        try:
            truth = label_of(value, "truth")
        except RowRejectedError as error:
            raise InputError(f"the true label of a document cannot be read: {error}") from error
        if label is not None and truth is not None:
            found[place] = float(label != truth)
    return found


def flags(values: Sequence[object], column: str) -> FloatArray:
    """Return 1 for what is true, 0 for what is false, NaN for null and blank.

    Args:
        values: truth values, or 0, 1, "0", "1", "true", "false" in any case.
        column: their name, for messages.

    Raises:
        InputError: a value is none of these.
    """
    found = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        text = str(value).strip().lower()
        if value is None or not text:
            continue
        if text not in _TRUE | _FALSE:
            raise InputError(
                f"compare.truth.is_wrong: column {column!r} must be true or false, got {value!r}"
            )
        found[place] = float(text in _TRUE)
    return found


def _column(rows: pa.Table, column: str) -> list[object]:
    stored = rows["metadata"].to_pylist()
    return [None if text is None else json.loads(text).get(column) for text in stored]
