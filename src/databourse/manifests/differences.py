"""What changed from one manifest to another: documents, prices, topics, totals and settings.

Documents are matched by `document_id`, so by their text. A price counts as changed if its log
differs at all: equal inputs give equal bits. Topics are compared by name: where they are clusters
of two snapshots, the same number may stand for other documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from databourse.manifests.model import ManifestInfo, SignalRecord, SourceTotals, TopicTotals
from databourse.manifests.reader import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ["document_id", "source", "topic", "tokens", "log_price", "rank", "weight"]
_COMPARED = ("topic", "source", "tokens", "log_price", "rank", "weight")


@dataclass(frozen=True)
class Shift:
    """What was bought of one topic or source, before and after."""

    name: str
    documents_before: int
    documents_after: int
    tokens_before: int
    tokens_after: int

    @property
    def tokens(self) -> int:
        """Return how many tokens more are bought after."""
        return self.tokens_after - self.tokens_before


@dataclass(frozen=True)
class Change:
    """A setting, or a property of a signal, that is not what it was; None: it was not there."""

    name: str
    before: JsonValue
    after: JsonValue


@dataclass(frozen=True)
class SignalChange:
    """A trader that came, went, or is another version of itself."""

    signal: str
    what: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class ManifestDiff:
    """What changed between two manifests; tables are in order of document_id.

    Attributes:
        before: the manifest that is compared with.
        after: the other one.
        entered: rows of `after` whose documents `before` lacks: document_id, source, topic, tokens,
            log_price, rank, weight.
        left: rows of `before` whose documents `after` lacks, with the same columns.
        kept: documents of both: document_id, and each other column twice, `_before` and `_after`.
        topics: by name, those of either.
        sources: by name, those of either.
        settings: what the configs say otherwise, and which snapshot, encoder, tokenizer and code.
        signals: by name.
    """

    before: ManifestInfo
    after: ManifestInfo
    entered: pa.Table
    left: pa.Table
    kept: pa.Table
    topics: tuple[Shift, ...]
    sources: tuple[Shift, ...]
    settings: tuple[Change, ...]
    signals: tuple[SignalChange, ...]

    @property
    def same_content(self) -> bool:
        """Return whether both say the same about the same documents, bought by the same rules."""
        return self.before.manifest_id == self.after.manifest_id

    def changed(self, column: str) -> pa.Table:
        """Return the kept documents of which a column changed, such as `log_price` or `topic`."""
        import pyarrow.compute as pc

        before, after = self.kept[f"{column}_before"], self.kept[f"{column}_after"]
        return self.kept.filter(pc.not_equal(before, after))


def diff_manifests(before: Manifest, after: Manifest) -> ManifestDiff:
    """Return what changed from one manifest to another, of the same pool or not.

    Reads seven columns of both into memory, about 150 bytes per document.

    Raises:
        IntegrityError: a file is not Parquet any more.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    old, new = before.to_arrow(_COLUMNS), after.to_arrow(_COLUMNS)
    place = pc.index_in(new["document_id"], value_set=old["document_id"])
    was_there = pc.is_valid(place)
    stays = pc.is_in(old["document_id"], value_set=new["document_id"])
    kept_new = new.filter(was_there)
    kept_old = old.take(pc.drop_null(place))
    columns = {"document_id": kept_new["document_id"]}
    for name in _COMPARED:
        columns |= {f"{name}_before": kept_old[name], f"{name}_after": kept_new[name]}
    return ManifestDiff(
        before=before.info,
        after=after.info,
        entered=new.filter(pc.invert(was_there)),
        left=old.filter(pc.invert(stays)),
        kept=pa.table(columns),
        topics=_shifts(
            {part.topic: part for part in before.info.topics},
            {part.topic: part for part in after.info.topics},
        ),
        sources=_shifts(
            {part.source: part for part in before.info.sources},
            {part.source: part for part in after.info.sources},
        ),
        settings=_changes(_settings(before.info), _settings(after.info)),
        signals=_signal_changes(before.info, after.info),
    )


def diff_record(diff: ManifestDiff) -> dict[str, object]:
    """Return a diff as JSON types, every document listed."""
    return {
        "before": _reference(diff.before),
        "after": _reference(diff.after),
        "same_content": diff.same_content,
        "entered": diff.entered.to_pylist(),
        "left": diff.left.to_pylist(),
        "kept": {"documents": diff.kept.num_rows, "tokens": _sum(diff.kept["tokens_after"])},
        **{
            f"changed_{column}": diff.changed(column)
            .select(["document_id", f"{column}_before", f"{column}_after"])
            .rename_columns(["document_id", "before", "after"])
            .to_pylist()
            for column in _COMPARED
        },
        "topics": [_shift_record(shift) for shift in diff.topics],
        "sources": [_shift_record(shift) for shift in diff.sources],
        "settings": [_change_record(change) for change in diff.settings],
        "signals": [
            {
                "signal": change.signal,
                "what": change.what,
                "changes": [_change_record(each) for each in change.changes],
            }
            for change in diff.signals
        ],
    }


def _sum(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(column).as_py() or 0)


def _reference(info: ManifestInfo) -> dict[str, object]:
    return {
        "pool": info.pool,
        "version": info.version,
        "manifest_id": info.manifest_id,
        "documents": info.spent.documents,
        "tokens": info.spent.tokens,
    }


def _shift_record(shift: Shift) -> dict[str, object]:
    return {
        "name": shift.name,
        "documents_before": shift.documents_before,
        "documents_after": shift.documents_after,
        "tokens_before": shift.tokens_before,
        "tokens_after": shift.tokens_after,
    }


def _change_record(change: Change) -> dict[str, object]:
    return {"name": change.name, "before": change.before, "after": change.after}


def _shifts(
    before: Mapping[str, TopicTotals] | Mapping[str, SourceTotals],
    after: Mapping[str, TopicTotals] | Mapping[str, SourceTotals],
) -> tuple[Shift, ...]:
    shifts = []
    for name in sorted({*before, *after}, key=_in_order_of_number):
        old, new = before.get(name), after.get(name)
        shifts.append(
            Shift(
                name=name,
                documents_before=old.selected_documents if old else 0,
                documents_after=new.selected_documents if new else 0,
                tokens_before=old.selected_tokens if old else 0,
                tokens_after=new.selected_tokens if new else 0,
            )
        )
    return tuple(shifts)


def _in_order_of_number(name: str) -> tuple[int, str]:
    """Return a key that puts cluster 2 before cluster 10."""
    return (int(name), "") if name.isascii() and name.isdigit() else (-1, name)


def _settings(info: ManifestInfo) -> dict[str, JsonValue]:
    """Return what decided a manifest, by dotted name; signals are told apart elsewhere."""
    facts: dict[str, JsonValue] = {
        "databourse": info.databourse_version,
        "snapshot": info.snapshot_id,
        "encoder": info.encoder_id,
        "tokenizer": f"{info.tokenizer.name} ({info.tokenizer.id})",
    }
    config = {key: value for key, value in info.config.items() if key not in {"signals", *facts}}
    return facts | _flat(config)


def _flat(value: JsonValue, name: str = "") -> dict[str, JsonValue]:
    """Return the leaves of nested settings by dotted name; lists of named parts go by their names.

    An empty mapping or list is a leaf, so that one that came or went shows.
    """
    if isinstance(value, list) and value and all(_name_of(part) for part in value):
        value = {_name_of(part): part for part in value}
    if not isinstance(value, dict) or not value:
        return {name: value}
    leaves: dict[str, JsonValue] = {}
    for key, part in value.items():
        leaves |= _flat(part, f"{name}.{key}" if name else key)
    return leaves


def _name_of(part: JsonValue) -> str:
    name = part.get("name") if isinstance(part, dict) else None
    return name if isinstance(name, str) else ""


def _changes(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _signal_changes(before: ManifestInfo, after: ManifestInfo) -> tuple[SignalChange, ...]:
    old = {signal.signal: signal for signal in before.signals}
    new = {signal.signal: signal for signal in after.signals}
    found = []
    for name in sorted({*old, *new}):
        was = _properties(old[name]) if name in old else {}
        is_now = _properties(new[name]) if name in new else {}
        changes = _changes(was, is_now)
        if not changes:
            continue
        what = "left" if not is_now else "entered" if not was else _what(changes)
        found.append(SignalChange(name, what, changes))
    return tuple(found)


def _properties(signal: SignalRecord) -> dict[str, JsonValue]:
    return {
        "signal_id": signal.signal_id,
        "scope": signal.scope,
        "revision": signal.revision,
        "model": signal.model_fingerprint,
        "orientation": signal.orientation,
        "weight": signal.weight,
        **_flat(dict(signal.parameters), "parameters"),
    }


def _what(changes: tuple[Change, ...]) -> str:
    return "weighs otherwise" if {change.name for change in changes} == {"weight"} else "changed"
