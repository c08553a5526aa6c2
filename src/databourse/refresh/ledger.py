"""The ledger, counted: from the rows that came in to the documents that were bought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from databourse.reports.data import Dropped, FunnelStage
from databourse.warehouse.store import Warehouse

_STAGES = (  # stage of the ledger, and what is left after it
    ("ingest", "readable rows"),
    ("exact_dedup", "distinct documents"),
    ("near_dedup", "unlike documents"),
    ("decontaminate", "uncontaminated documents"),
    ("semantic_dedup", "documents of different meaning"),
)
_OPTIONAL_STAGES = {"decontaminate", "semantic_dedup"}


def dropped_by_stage(warehouse: Warehouse, run_id: str) -> tuple[Dropped, ...]:
    """Return what was taken out before the market: by stage and reason, in the order of stages."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in warehouse.rows("int_decisions_counted", {"run_id": run_id}).to_pylist():
        counts[row["stage"], row["reason"]] += row["decided_rows"]
    order = [stage for stage, _ in _STAGES]
    return tuple(
        Dropped(stage, reason, count)
        for (stage, reason), count in sorted(counts.items(), key=lambda item: item[0])
        if stage in order
    )


def dropped_by_reason(warehouse: Warehouse, run_id: str) -> dict[str, int]:
    """Return rows that never were for sale, by reason, the most frequent first."""
    counts = {each.reason: each.count for each in dropped_by_stage(warehouse, run_id)}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def funnel(warehouse: Warehouse, run_id: str) -> tuple[FunnelStage, ...]:
    """Return how many rows or documents were left after each stage, from read to bought."""
    left = _read_rows(warehouse, run_id)
    stages = [FunnelStage("rows read", left, "rows")]
    dropped = dropped_by_stage(warehouse, run_id)
    for stage, name in _named_stages(dropped):
        gone = [each for each in dropped if each.stage == stage]
        left -= sum(each.count for each in gone)
        note = ", ".join(f"{each.count:,} {each.reason}" for each in gone)
        stages.append(FunnelStage(name, left, "rows" if stage == "ingest" else "documents", note))
    bought = _bought(warehouse, run_id)
    return (*stages, FunnelStage("bought", bought, "documents", f"{left - bought:,} left"))


def _named_stages(dropped: Sequence[Dropped]) -> list[tuple[str, str]]:
    """Return the stages and what is left after each: in the end, candidates.

    An optional stage that dropped nothing is left out.
    """
    idle = _OPTIONAL_STAGES - {each.stage for each in dropped}
    stages = [(stage, name) for stage, name in _STAGES if stage not in idle]
    return [*stages[:-1], (stages[-1][0], "candidates")]


def _read_rows(warehouse: Warehouse, run_id: str) -> int:
    sources = warehouse.rows("stg_run__sources", {"run_id": run_id})
    return sum(int(rows) for rows in sources["read_rows"].to_pylist())


def _bought(warehouse: Warehouse, run_id: str) -> int:
    rows = warehouse.rows("int_decisions_counted", {"run_id": run_id}).to_pylist()
    return sum(row["decided_rows"] for row in rows if row["outcome"] == "selected")
