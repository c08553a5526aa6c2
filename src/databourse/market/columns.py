"""Columns of numbers between numpy and Arrow, without a copy and without pandas.

pyarrow's own conversions import pandas, which takes longer than clearing the market of a million
documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.errors import InputError


def arrow_column(values: NDArray[Any]) -> pa.Array:
    """Return a vector of numbers as an Arrow array on the same memory.

    Args:
        values: shape (n,), of a floating or integer type.

    Raises:
        InputError: it is no vector, or not of numbers.
    """
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise InputError(
            f"a column must be a vector of numbers, got shape {values.shape} of {values.dtype}"
        )
    kind = pa.from_numpy_dtype(values.dtype)
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, values.size, [None, buffer])


def numpy_column(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """Return a column of numbers as a numpy vector; on the same memory if it is in one piece.

    Args:
        column: of a primitive numeric type, without nulls.

    Raises:
        InputError: it holds nulls, or is not of numbers.
    """
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if column.null_count or not is_number:
        raise InputError(
            f"a column must hold numbers and no null, got {column.null_count:,} nulls in a column "
            f"of {column.type}"
        )
    dtype = np.dtype(column.type.to_pandas_dtype())
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in chunks
        if len(chunk)
    ]
    if not parts:
        return np.empty(0, dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
