"""What was bought of every topic and source, beside what was for sale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from databourse.errors import InputError
from databourse.manifests.model import (
    Counts,
    SourceSupply,
    SourceTotals,
    TopicMarket,
    TopicTotals,
)

if TYPE_CHECKING:
    import pyarrow as pa

_NOTHING = Counts(documents=0, tokens=0)


def counts_by(tables: Iterable[pa.Table], column: str) -> dict[str, Counts]:
    """Return documents and tokens by the values of a column, sorted by value."""
    documents: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for table in tables:
        grouped = table.group_by(column).aggregate([("tokens", "count"), ("tokens", "sum")])
        for row in grouped.to_pylist():
            name = row[column]
            documents[name] = documents.get(name, 0) + row["tokens_count"]
            tokens[name] = tokens.get(name, 0) + row["tokens_sum"]
    return {name: Counts(documents=documents[name], tokens=tokens[name]) for name in sorted(tokens)}


def topic_totals(
    markets: Iterable[TopicMarket], selected: Mapping[str, Counts]
) -> tuple[TopicTotals, ...]:
    """Return every topic with what was bought of it, sorted by name.

    Raises:
        InputError: documents of an unknown topic were bought.
    """
    by_name = {market.topic: market for market in markets}
    _check_known("topic", selected, by_name)
    return tuple(
        TopicTotals(
            **by_name[name].model_dump(),
            selected_documents=selected.get(name, _NOTHING).documents,
            selected_tokens=selected.get(name, _NOTHING).tokens,
        )
        for name in sorted(by_name)
    )


def source_totals(
    supplies: Iterable[SourceSupply], selected: Mapping[str, Counts]
) -> tuple[SourceTotals, ...]:
    """Return every source with what was bought of it, sorted by name.

    Raises:
        InputError: documents of an unknown source were bought.
    """
    by_name = {supply.source: supply for supply in supplies}
    _check_known("source", selected, by_name)
    return tuple(
        SourceTotals(
            **by_name[name].model_dump(),
            selected_documents=selected.get(name, _NOTHING).documents,
            selected_tokens=selected.get(name, _NOTHING).tokens,
        )
        for name in sorted(by_name)
    )


def _check_known(kind: str, selected: Mapping[str, object], known: Mapping[str, object]) -> None:
    unknown = sorted(set(selected) - set(known))
    if unknown:
        raise InputError(
            f"documents of {kind} {unknown[0]!r} were selected, but the candidates have only the "
            f"{kind}s {', '.join(sorted(known)) or '(none)'}"
        )
