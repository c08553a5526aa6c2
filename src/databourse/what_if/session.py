"""A session of the market on the stored board of a published manifest, under other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from databourse.config import RefreshConfig
from databourse.errors import ConfigError, IntegrityError
from databourse.manifests import Manifest, open_manifest
from databourse.market.board import Board
from databourse.market.columns import numpy_column
from databourse.market.standardisation import IntArray
from databourse.refresh.settings import configured_signals
from databourse.refresh.standing_wealth import as_settled, published_wealth
from databourse.refresh.trading import Session, Vectors, hold_session, stored_vectors, sweep
from databourse.selection.greedy import BoolArray
from databourse.selection.sweep import SweepRow
from databourse.signals.registry import parse_signal
from databourse.warehouse.boards import load_board
from databourse.warehouse.reading import open_for_reading
from databourse.what_if.comparison import Comparison, compare_selections

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
Budgets = Literal["one", "sweep"]

_TRADED = ("market", "selection", "budget", "signals")
"""Sections of the config that a what-if can change."""
_NEEDS_A_REFRESH = ("sources", "deduplicate", "encoder", "topics", "tokenizer", "seed")
"""Sections that change documents, topics or signals themselves."""


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What other settings would buy of the documents of a published manifest."""

    manifest: Manifest
    published: BoolArray
    """Shape (n,), which documents of the board the manifest holds."""
    session: Session
    comparison: Comparison
    changed: dict[str, tuple[JsonValue, JsonValue]]
    """Dotted key to the published value and the one tried; only where they differ."""
    ignored: tuple[str, ...]
    """Settings that differ from the published ones, but change nothing before the next refresh."""
    sweep: tuple[SweepRow, ...]
    """What the same settings buy with other budgets; empty unless it was asked for."""


def what_if(
    config: RefreshConfig, root: Path, *, version: int | None = None, budgets: Budgets = "one"
) -> WhatIf:
    """Return what the market of a published manifest buys under the settings of a config.

    Args:
        config: the settings to try.
        root: folder of the config file, where relative paths start.
        version: which published version's documents and signals; the latest by default.
        budgets: "one", that of the config, or a "sweep" around it too.

    Raises:
        ManifestError: nothing is published.
        ConfigError: a signal of the config was not scored, or the version has no board.
        IntegrityError: the manifest or the board is damaged.
        InputError: no document fits the budget, or limits cannot be met.
    """
    manifest = open_manifest(
        str((root / config.manifests).resolve() / config.pool),
        "latest" if version is None else version,
    )
    warehouse_root = (root / config.warehouse).resolve()
    standing = as_settled(config, published_wealth(warehouse_root, config.pool))
    board = stored_board(config, manifest, warehouse_root)
    with contextlib.ExitStack() as opened:
        background = opened.enter_context(ThreadPoolExecutor(max_workers=1))
        published = background.submit(_published, manifest, board)  # while the market clears
        connection = opened.enter_context(market_connection(config))
        vectors = _vectors(config, board, manifest, warehouse_root, opened)
        session = hold_session(connection, board, standing, vectors=vectors)
        swept = sweep(session, standing, vectors=vectors) if budgets == "sweep" else []
        before = published.result()
    return WhatIf(
        manifest=manifest,
        published=before,
        session=session,
        comparison=compare_selections(
            board,
            before=before,
            after=session.purchase.is_bought,
            ranking=session.ranking,
        ),
        changed=_changed(manifest.info.config, config),
        ignored=_ignored(manifest.info.config, config),
        sweep=tuple(swept),
    )


def market_connection(config: RefreshConfig) -> duckdb.DuckDBPyConnection:
    """Return a database in memory in which a market can be cleared."""
    return duckdb.connect(
        config={
            "threads": config.compute.threads,
            "memory_limit": config.compute.memory_limit,
            "preserve_insertion_order": False,
        }
    )


def stored_board(config: RefreshConfig, manifest: Manifest, warehouse_root: Path) -> Board:
    """Return the board of a manifest, with the signals of the config alone.

    Raises:
        ConfigError: the manifest has none, or a signal of the config was not scored for it.
        IntegrityError: its file is missing or damaged.
    """
    info = manifest.info
    if info.board_id is None:
        raise ConfigError(
            f"{info.pool} version {info.version} was published without its board; refresh the pool "
            "once more, then price"
        )
    board = load_board(warehouse_root, info.board_id)
    names = [signal.spec.name for signal in configured_signals(config)]
    unknown = [name for name in names if name not in board.signals]
    if unknown:
        raise ConfigError(
            f"signal {unknown[0]!r} was not scored for {info.pool} version {info.version}, which "
            f"has {', '.join(board.traders)}; refresh the pool, or add --without {unknown[0]}"
        )
    return board.of_traders(names)


def _published(manifest: Manifest, board: Board) -> BoolArray:
    """Return which documents of a board a manifest holds, shape (n,)."""
    published = manifest.to_arrow(["document_id"])["document_id"]
    found = pc.is_in(board.document_ids, value_set=published.combine_chunks())
    places = numpy_column(pc.indices_nonzero(found))
    n_missing = len(published) - places.size
    if n_missing:
        raise IntegrityError(
            f"{manifest.location} holds {n_missing:,} documents that its board lacks; refresh the "
            "pool again"
        )
    result = np.zeros(board.n_documents, dtype=np.bool_)
    result[places] = True
    return result


def _vectors(
    config: RefreshConfig,
    board: Board,
    manifest: Manifest,
    warehouse_root: Path,
    opened: contextlib.ExitStack,
) -> Vectors:
    """Return what reads vectors from the warehouse, which is opened when the first are wanted."""
    readers: list[Vectors] = []

    def vectors(positions: IntArray) -> NDArray[np.float32]:
        if not readers:
            compute = config.compute
            warehouse = opened.enter_context(
                open_for_reading(
                    warehouse_root, threads=compute.threads, memory_limit=compute.memory_limit
                )
            )
            encoder_id = manifest.info.encoder_id or ""
            readers.append(stored_vectors(warehouse.connection, board, encoder_id))
        return readers[0](positions)

    return vectors


def _changed(
    published: Mapping[str, JsonValue], config: RefreshConfig
) -> dict[str, tuple[JsonValue, JsonValue]]:
    """Return the settings of the market that differ from the published ones, by dotted key."""
    before = _flat({key: published.get(key) for key in _TRADED if key != "signals"})
    tried = config.model_dump(mode="json", include=set(_TRADED) - {"signals"})
    after = _flat(tried)
    changed = {
        key: (before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }
    names = [_signal_names(published.get("signals")), _signal_names(list(config.signals))]
    if config.selection.method == "sample" and published.get("seed") != config.seed:
        changed["seed"] = (published.get("seed"), config.seed)
    if names[0] != names[1]:
        changed["signals"] = (", ".join(names[0]), ", ".join(names[1]))
    return changed


def _ignored(published: Mapping[str, JsonValue], config: RefreshConfig) -> tuple[str, ...]:
    """Return the settings that differ but take a refresh to have an effect."""
    tried = config.model_dump(mode="json")
    differing = [key for key in _NEEDS_A_REFRESH if tried.get(key) != published.get(key)]
    if config.selection.method == "sample" and "seed" in differing:
        differing.remove("seed")  # another sample of the same market
    before, after = _parameters(published.get("signals")), _parameters(tried.get("signals"))
    differing += [
        f"signals.{name}" for name in after if name in before and before[name] != after[name]
    ]
    return tuple(differing)


def _parameters(entries: object) -> dict[str, dict[str, object]]:
    """Return the parameters of signals by name, defaults written out."""
    parsed = [parse_signal(entry) for entry in _entries(entries)]
    return {spec.name: parameters.model_dump(mode="json") for spec, parameters in parsed}


def _flat(settings: object, prefix: str = "") -> dict[str, JsonValue]:
    """Return settings by dotted key, without those that are null or empty."""
    if isinstance(settings, Mapping):
        pairs = [
            pair
            for key, value in settings.items()
            for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
        ]
        return dict(pairs)
    return {} if settings is None else {prefix: _JSON.validate_python(settings)}


def _signal_names(entries: object) -> list[str]:
    return sorted(_signal_name(entry) for entry in _entries(entries))


def _entries(entries: object) -> list[str | dict[str, object]]:
    return list(entries) if isinstance(entries, list | tuple) else []


def _signal_name(entry: str | Mapping[str, object]) -> str:
    return entry if isinstance(entry, str) else str(entry["name"])
