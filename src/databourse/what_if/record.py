"""A what-if as one JSON object, for programs."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from pydantic import JsonValue, TypeAdapter

from databourse.market.columns import arrow_column
from databourse.market.standardisation import IntArray
from databourse.what_if.comparison import Mover, movers
from databourse.what_if.session import WhatIf

_JSON: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def record(answer: WhatIf) -> dict[str, JsonValue]:
    """Return what would change, with the ids of all documents that enter or leave."""
    from databourse.reports.sweep import sweep_records

    session, comparison = answer.session, answer.comparison
    board, info = session.board, answer.manifest.info
    summary = session.cleared.summary

    def ids(positions: IntArray) -> list[str]:
        found: list[str] = board.document_ids.take(arrow_column(positions)).to_pylist()
        return found

    return _JSON.validate_python(
        {
            "pool": info.pool,
            "version": info.version,
            "manifest_id": info.manifest_id,
            "changed": {key: list(pair) for key, pair in answer.changed.items()},
            "needs_a_refresh": list(answer.ignored),
            "candidates": board.n_documents,
            "budget": session.limit,
            "before": asdict(comparison.before),
            "after": asdict(comparison.after),
            "kept": asdict(comparison.kept),
            "overlap": comparison.overlap,
            "utility_before": utility(answer, published=True),
            "utility_after": utility(answer, published=False),
            "marginal_log_price_per_token_before": info.marginal_log_price_per_token,
            "marginal_log_price_per_token_after": session.purchase.marginal_log_price_per_token,
            "effective_sample_size": summary.pool_effective_sample_size(),
            "entered": ids(comparison.entered),
            "left": ids(comparison.left),
            "topics": [asdict(shift) for shift in comparison.topics],
            "sources": [asdict(shift) for shift in comparison.sources],
            "sweep": sweep_records(answer.sweep),
            "market": [asdict(topic) for topic in summary.topics],
        }
    )


def utility(answer: WhatIf, *, published: bool) -> float:
    """Return the sum of prices, at the settings tried, of what is published or would be bought."""
    bought = answer.published if published else answer.session.purchase.is_bought
    return float(np.exp(answer.session.cleared.log_price[bought]).sum())


def first_movers(answer: WhatIf, *, n_documents: int) -> tuple[list[Mover], list[Mover]]:
    """Return the dearest documents that enter and the cheapest that leave, at the new prices."""
    session = answer.session
    ranks = np.empty(session.board.n_documents, dtype=np.int64)
    ranks[session.ranking] = np.arange(1, session.board.n_documents + 1)
    entered, left = (
        movers(
            session.board,
            positions[:n_documents],
            ranks=ranks,
            log_price_per_token=session.cleared.log_price_per_token,
        )
        for positions in (answer.comparison.entered, answer.comparison.left)
    )
    return entered, left
