"""A diff of manifests in words and rows of text, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from databourse.digests import canonical_json
from databourse.manifests.differences import Change, ManifestDiff, Shift, SignalChange
from databourse.manifests.model import ManifestInfo

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_VALUE = 80


def headlines(diff: ManifestDiff) -> list[tuple[str, str]]:
    """Return name and text of each line that opens a diff."""
    import pyarrow.compute as pc

    def size(table: pa.Table, tokens: str = "tokens") -> str:
        count = pc.sum(table[tokens]).as_py() or 0
        return f"{table.num_rows:,} documents, {count:,} tokens"

    retopic = diff.changed("topic").num_rows
    lines = [
        ("before", _manifest(diff.before)),
        ("after", _manifest(diff.after)),
        ("content", "the same" if diff.same_content else "changed"),
        ("entered", size(diff.entered)),
        ("left", size(diff.left)),
        ("kept", size(diff.kept, "tokens_after")),
        ("price changed", f"{diff.changed('log_price').num_rows:,} documents"),
        ("topic changed", f"{retopic:,} documents{_caution(diff) if retopic else ''}"),
    ]
    for column, name in (("tokens", "length changed"), ("weight", "weight changed")):
        changed = diff.changed(column).num_rows
        if changed:
            lines.append((name, f"{changed:,} documents"))
    return lines


def shift_rows(shifts: Sequence[Shift]) -> list[list[str]]:
    """Return name, documents and tokens before and after, and the tokens gained."""
    return [
        [
            shift.name,
            f"{shift.documents_before:,}",
            f"{shift.documents_after:,}",
            f"{shift.tokens_before:,}",
            f"{shift.tokens_after:,}",
            f"{shift.tokens:+,}",
        ]
        for shift in shifts
    ]


def document_rows(table: pa.Table, *, n_documents: int) -> list[list[str]]:
    """Return the dearest documents: id, source, topic, tokens, log price."""
    order = [("log_price", "descending"), ("document_id", "ascending")]
    return [
        [
            row["document_id"],
            row["source"],
            row["topic"],
            f"{row['tokens']:,}",
            f"{row['log_price']:.4f}",
        ]
        for row in table.sort_by(order).slice(0, n_documents).to_pylist()
    ]


def price_rows(diff: ManifestDiff, *, n_documents: int) -> list[list[str]]:
    """Return the documents whose price changed most: id, log price before, after, change."""
    import pyarrow.compute as pc

    table = diff.changed("log_price")
    change = pc.subtract(table["log_price_after"], table["log_price_before"])
    table = table.append_column("change", change).append_column("size", pc.abs(change))
    order = [("size", "descending"), ("document_id", "ascending")]
    return [
        [
            row["document_id"],
            f"{row['log_price_before']:.4f}",
            f"{row['log_price_after']:.4f}",
            f"{row['change']:+.4f}",
        ]
        for row in table.sort_by(order).slice(0, n_documents).to_pylist()
    ]


def setting_rows(changes: Sequence[Change]) -> list[list[str]]:
    """Return name, value before and value after."""
    return [[change.name, _value(change.before), _value(change.after)] for change in changes]


def signal_rows(changes: Sequence[SignalChange]) -> list[list[str]]:
    """Return signal, what happened to it, and property, value before and after, row by row."""
    return [
        [signal.signal, signal.what, change.name, _value(change.before), _value(change.after)]
        for signal in changes
        for change in signal.changes
    ]


def _manifest(info: ManifestInfo) -> str:
    return (
        f"{info.pool} version {info.version}, {info.spent.documents:,} documents, "
        f"{info.spent.tokens:,} tokens, manifest id {info.manifest_id}"
    )


def _caution(diff: ManifestDiff) -> str:
    if diff.before.snapshot_id == diff.after.snapshot_id:
        return ""
    return " (by name; clusters of two snapshots may be named otherwise)"


def _value(value: JsonValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
