"""The documents of a manifest as Parquet: `documents-00000.parquet` and so on, in key order.

Equal documents give equal bytes: rows are sorted by document_id, columns and types are fixed,
negative zeros become zeros, and every choice of the writer is made here. Only another version of
pyarrow, which writes its name into each file, may give other bytes for the same rows; therefore
`manifest_id` covers the rows, not the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from databourse.errors import InputError
from databourse.manifests.folders import Folder

if TYPE_CHECKING:
    import pyarrow as pa

CONTRIBUTION_PREFIX = "contribution_"
SHARD_PATTERN = r"documents-[0-9]{5,}\.parquet"
ROW_GROUP_ROWS = 10_000

_TYPES = {  # in order; contributions go after prompt_characters and before text
    "document_id": "string",
    "source": "string",
    "locator": "string",
    "label": "string",
    "tokens": "int64",
    "topic": "string",
    "price": "float64",
    "log_price": "float64",
    "price_per_token": "float64",
    "log_price_per_token": "float64",
    "rank": "int64",
    "weight": "float64",
    "inclusion_probability": "float64",
    "prompt_characters": "int64",
    "text": "large_string",  # a string column holds at most 2 GiB
}
_NULLABLE = frozenset({"label", "prompt_characters"})
_DERIVED = frozenset({"price", "price_per_token", "weight", *_NULLABLE})
OPTIONAL = frozenset({"inclusion_probability", "text"})


def shard_name(index: int) -> str:
    """Return the file name of a shard, counted from 0."""
    return f"documents-{index:05d}.parquet"


def shard_schema(traders: tuple[str, ...], *, optional: AbstractSet[str]) -> pa.Schema:
    """Return the columns of a shard, with one `contribution_<trader>` per trader.

    Args:
        traders: names of the traders.
        optional: which of `OPTIONAL` are there.
    """
    import pyarrow as pa

    left_out = OPTIONAL - optional
    fields = {name: kind for name, kind in _TYPES.items() if name not in {*left_out, "text"}}
    fields |= {f"{CONTRIBUTION_PREFIX}{trader}": "float64" for trader in traders}
    if "text" in optional:
        fields["text"] = _TYPES["text"]
    kinds = {"large_string": pa.large_string()}
    return pa.schema(
        [
            pa.field(name, kinds.get(kind) or pa.type_for_alias(kind), name in _NULLABLE)
            for name, kind in fields.items()
        ]
    )


def traders_of(names: list[str]) -> tuple[str, ...]:
    """Return the traders that have a contribution column, sorted."""
    size = len(CONTRIBUTION_PREFIX)
    return tuple(sorted(name[size:] for name in names if name.startswith(CONTRIBUTION_PREFIX)))


def canonical_documents(documents: pa.Table) -> pa.Table:
    """Return selected documents sorted by document_id, with the columns and types of a shard.

    Args:
        documents: one row per document, any order and chunking. Columns document_id, source,
            locator, topic (strings), tokens, rank (whole numbers > 0), log_price and
            log_price_per_token (finite) are required. Where absent, price and price_per_token are
            the exponentials of the latter two, weight is 1.0, label and prompt_characters are
            null. A sample has a column inclusion_probability, in (0, 1]. Contributions come as
            columns `contribution_<trader>`, or as one column `contributions` of type
            map(string, double). With a column text, texts are written.

    Raises:
        InputError: no row, a column missing, unknown or of another type, a null, a value outside
            its range, or a document_id twice.
    """
    if documents.num_rows == 0:
        raise InputError("a manifest needs at least one selected document, got none")
    table = _with_derived(_with_contribution_columns(documents))
    schema = shard_schema(
        traders_of(table.column_names), optional=OPTIONAL & set(table.column_names)
    )
    _check_columns(table.column_names, schema.names)
    table = _cast(table, schema)
    table = _without_negative_zeros(table.sort_by("document_id"))
    problem = row_problem(table)
    if problem:
        raise InputError(f"selected documents: {problem}")
    return table


def row_problem(table: pa.Table) -> str | None:
    """Return what is wrong with the values of documents that have a shard's schema, or None."""
    import pyarrow.compute as pc

    # derived prices last, so that the log they come from is named
    for field in sorted(table.schema, key=lambda field: field.name.startswith("price")):
        column = table.column(field.name)
        if not field.nullable and column.null_count:
            return f"{field.name} is null in {column.null_count:,} rows"
        if str(field.type) == "double" and not pc.all(pc.is_finite(column)).as_py():
            bad = table.filter(pc.invert(pc.is_finite(column)))
            value, where = bad.column(field.name)[0], bad.column("document_id")[0]
            return f"{field.name} must be finite, got {value} for document {where}"
    return _range_problem(table) or order_problem(table.column("document_id"))


def order_problem(ids: pa.ChunkedArray, last: str | None = None) -> str | None:
    """Return how ids fail to be strictly ascending after `last`, or None."""
    for value in ids.to_pylist():
        if last is not None and value <= last:
            return f"document_id {value} is there twice" if value == last else "rows are not sorted"
        last = value
    return None


def write_shards(table: pa.Table, folder: Path, *, shard_rows: int) -> list[Path]:
    """Write canonical documents as Parquet files of at most `shard_rows` rows; return the files.

    Raises:
        InputError: `shard_rows` is not > 0.
    """
    import pyarrow.parquet as pq

    if shard_rows < 1:
        raise InputError(f"shard_rows must be > 0 rows, got {shard_rows!r}")
    paths = []
    for index, start in enumerate(range(0, table.num_rows, shard_rows)):
        path = folder / shard_name(index)
        pq.write_table(
            table.slice(start, shard_rows).combine_chunks(),
            path,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=3,
            version="2.6",
            data_page_version="1.0",
            use_dictionary=True,
            write_statistics=True,
            write_page_checksum=True,
        )
        paths.append(path)
    return paths


def row_groups(
    folder: Folder, names: list[str], columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of shards in order, one row group at a time.

    Raises:
        OSError, pyarrow.ArrowInvalid: a file is missing or is not Parquet.
    """
    import pyarrow.parquet as pq

    for name in names:
        with folder.open(name) as stream, pq.ParquetFile(stream) as file:
            for index in range(file.num_row_groups):
                yield file.read_row_group(index, columns=columns)


def _with_contribution_columns(table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    if "contributions" not in table.column_names:
        return table
    position = table.column_names.index("contributions")
    maps = table.column(position)
    table = table.remove_column(position)
    traders = sorted({trader for row in maps.to_pylist() for trader, _ in row or ()})
    for trader in traders:
        values = pc.map_lookup(maps, query_key=trader, occurrence="first")
        table = table.append_column(f"{CONTRIBUTION_PREFIX}{trader}", values)
    return table


def _with_derived(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    for name, log_name in (("price", "log_price"), ("price_per_token", "log_price_per_token")):
        if name not in table.column_names and log_name in table.column_names:
            logs = table.column(log_name).to_pylist()
            values = [_exponential(value) for value in logs]
            table = table.append_column(name, pa.array(values, pa.float64()))
    if "weight" not in table.column_names:
        table = table.append_column("weight", pa.array([1.0] * table.num_rows, pa.float64()))
    for name in sorted(_NULLABLE - set(table.column_names)):
        kind = pa.type_for_alias(_TYPES[name])
        table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def _exponential(value: float | None) -> float | None:
    # libm, not SIMD: the last bit must not depend on the processor's vector width
    if value is None or math.isnan(value):
        return value
    return math.exp(value) if value < 700.0 else math.inf  # inf is refused as not finite


def _check_columns(names: list[str], expected: list[str]) -> None:
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    twice = sorted({name for name in names if names.count(name) > 1})
    for what, found in (("lack", missing), ("have the unknown", unknown), ("repeat", twice)):
        if found:
            raise InputError(
                f"selected documents {what} column{'s' * (len(found) > 1)} {', '.join(found)}; "
                f"expected: {', '.join(expected)}"
            )


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = []
    for field in schema:
        column = table.column(field.name)
        if not _is_accepted(column.type, field.type):
            raise InputError(
                f"selected documents: column {field.name} must be {field.type}, got {column.type}"
            )
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise InputError(
                f"selected documents: column {field.name} must be {field.type}: {error}"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _is_accepted(came: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a cast keeps the meaning: numbers stay numbers, texts stay texts."""
    from pyarrow import types

    came = came.value_type if types.is_dictionary(came) else came
    if types.is_integer(came):
        return bool(types.is_integer(wanted) or types.is_floating(wanted))
    if types.is_floating(came):
        return bool(types.is_floating(wanted))
    is_text = types.is_string(came) or types.is_large_string(came) or types.is_string_view(came)
    is_text_wanted = types.is_string(wanted) or types.is_large_string(wanted)
    return bool(types.is_null(came) or (is_text and is_text_wanted))


def _without_negative_zeros(table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    for index, field in enumerate(table.schema):
        if str(field.type) == "double":
            table = table.set_column(index, field, pc.add(table.column(index), 0.0))
    return table


def _range_problem(table: pa.Table) -> str | None:
    import pyarrow.compute as pc

    price, per_token = table.column("price"), table.column("price_per_token")
    weight = table.column("weight")
    rules: list[tuple[str, Any, str]] = [
        ("tokens", pc.less(table.column("tokens"), 1), "must be >= 1"),
        ("rank", pc.less(table.column("rank"), 1), "must be >= 1"),
        ("weight", pc.less_equal(weight, 0.0), "must be > 0"),
        ("price", pc.less(price, 0.0), "must be >= 0"),
        ("price_per_token", pc.less(per_token, 0.0), "must be >= 0"),
        ("document_id", pc.equal(table.column("document_id"), ""), "must not be empty"),
    ]
    if "inclusion_probability" in table.column_names:
        probability = table.column("inclusion_probability")
        is_none = pc.or_(pc.less_equal(probability, 0.0), pc.greater(probability, 1.0))
        rules.append(("inclusion_probability", is_none, "must be in (0, 1]"))
        difference = pc.abs(pc.subtract(pc.multiply(probability, weight), 1.0))
        is_other = pc.greater(difference, 1e-12)  # the rounding of a division is far below
        rules.append(("weight", is_other, "must be 1 / inclusion_probability"))
    for name, is_bad, rule in rules:
        bad = table.filter(is_bad)
        if bad.num_rows:
            value, where = bad.column(name)[0], bad.column("document_id")[0]
            return f"{name} {rule}, got {value} for document {where}"
    return None
