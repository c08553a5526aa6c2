"""Parquet: only the needed columns, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from databourse.digests import canonical_json
from databourse.errors import SourceError
from databourse.sources.columns import check_columns
from databourse.sources.files import FoundFile, reading
from databourse.sources.rows import (
    Row,
    RowShape,
    excerpt_of,
    rejected_row,
    source_row,
    too_long,
)
from databourse.sources.streams import DamagedStreamError, check_magic
from databourse.sources.template import RowRejectedError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BATCH_BYTES = 8 * 2**20
_BATCH_ROWS = 1_024


def parquet_rows(
    file: FoundFile, shape: RowShape, *, max_row_bytes: int, start_row: int
) -> Iterator[Row]:
    """Yield the rows of a Parquet file from `start_row` on; row groups before it are not read.

    Memory is that of about 8 MiB of rows, by the sizes in the file's footer.

    Raises:
        SourceError: the file is no Parquet file, lacks a column, or holds no text in it.
        DamagedStreamError: a page is damaged; every row of the batches before was yielded.
    """
    with opened_parquet(file, shape) as parquet:
        groups, number = _groups_from(parquet, start_row)
        for values in _records(parquet, groups, shape.columns()):
            if number >= start_row:
                yield _row(number, values, shape, max_row_bytes)
            number += 1


@contextmanager
def opened_parquet(file: FoundFile, shape: RowShape) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file and check that its columns fit the shape.

    Raises:
        SourceError: they do not, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open() as stream:
        with reading(file):
            check_magic(file.uri, stream.read(8), "Parquet")
            stream.seek(0)
        try:
            parquet = pq.ParquetFile(stream, page_checksum_verification=True)
            schema = parquet.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{file.uri} is no whole Parquet file: {_one_line(error)}; fetch it again"
            ) from None
        _check_schema(file.uri, schema, shape)
        yield parquet


class _Unreadable:
    """Stands for a value whose bytes are not UTF-8."""


def _check_schema(uri: str, schema: Any, shape: RowShape) -> None:  # noqa: ANN401 - pyarrow is untyped
    import pyarrow as pa

    check_columns(uri, schema.names, shape.columns())
    label = () if shape.label is None else (shape.label,)
    for column in (*shape.template_columns(), *label):
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind) or _is_bytes(kind):
            raise SourceError(
                f"column {column!r} of {uri} holds {kind}; templates and labels take text, "
                "numbers, booleans, dates and times: cast it"
            )


def _is_bytes(kind: Any) -> bool:  # noqa: ANN401
    import pyarrow as pa

    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _groups_from(parquet: pq.ParquetFile, start_row: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows from `start_row` on, and the number of their first."""
    first, n_groups = 0, parquet.metadata.num_row_groups
    for group in range(n_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first + rows > start_row:
            return list(range(group, n_groups)), first
        first += rows
    return [], first


def _records(
    parquet: pq.ParquetFile, groups: Sequence[int], columns: Sequence[str]
) -> Iterator[dict[str, object]]:
    import pyarrow as pa

    try:
        for group in groups:
            batches = parquet.iter_batches(
                batch_size=_batch_rows(parquet, group),
                row_groups=[group],
                columns=list(columns),
                use_threads=False,
            )
            for batch in batches:
                lists = [_pylist(batch.column(name)) for name in columns]
                for values in zip(*lists, strict=True):
                    yield dict(zip(columns, values, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise DamagedStreamError(_one_line(error)) from None


def _batch_rows(parquet: pq.ParquetFile, group: int) -> int:
    metadata = parquet.metadata.row_group(group)
    row_bytes = int(metadata.total_byte_size) // max(1, int(metadata.num_rows))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes)))


def _pylist(column: Any) -> list[object]:  # noqa: ANN401 - pyarrow is untyped
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_pyvalue(value) for value in column]


def _pyvalue(scalar: Any) -> object:  # noqa: ANN401
    try:
        value: object = scalar.as_py()
    except UnicodeDecodeError:
        return _Unreadable()
    return value


def _row(number: int, values: dict[str, object], shape: RowShape, max_row_bytes: int) -> Row:
    try:
        _check_encoding(values)
        _check_size(values, max_row_bytes)
        return source_row(number, values, shape)
    except RowRejectedError as error:
        return rejected_row(number, error, _came(values))


def _check_encoding(values: Mapping[str, object]) -> None:
    for column, value in values.items():
        if isinstance(value, _Unreadable):
            raise RowRejectedError("wrong_encoding", f"column {column!r} is not UTF-8")


def _check_size(values: Mapping[str, object], max_row_bytes: int) -> None:
    texts = [value for value in values.values() if isinstance(value, str)]
    if sum(map(len, texts)) * 4 <= max_row_bytes:  # UTF-8 takes at most 4 bytes
        return
    n_bytes = sum(len(text.encode("utf-8", errors="surrogatepass")) for text in texts)
    if n_bytes > max_row_bytes:
        raise too_long(n_bytes, max_row_bytes)


def _came(values: Mapping[str, object]) -> str:
    shown = {
        column: excerpt_of(value) if isinstance(value, str) else _plain(value)
        for column, value in values.items()
    }
    return canonical_json(shown)


def _plain(value: object) -> object:
    plain = value is None or isinstance(value, bool | int)
    return value if plain else excerpt_of(str(value))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
