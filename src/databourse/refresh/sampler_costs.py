"""What the signals that the samplers of a comparison read have cost in the refresh."""

from __future__ import annotations

from collections.abc import Sequence

from databourse.comparison.grid import ALL
from databourse.comparison.signal_costs import NOTHING, SignalCost, StoredSignal, signal_cost
from databourse.refresh.context import RunContext
from databourse.refresh.past_runs import PastRun
from databourse.refresh.settings import configured_signals
from databourse.samplers.registry import sampler_spec
from databourse.signals.specification import Need
from databourse.warehouse.store import Warehouse


def sampler_costs(
    warehouse: Warehouse, run: RunContext, past: PastRun, samplers: Sequence[str]
) -> dict[str, SignalCost]:
    """Return what each sampler reads and what that took, over the whole pool."""
    needs = {each.spec.name: each.needs for each in configured_signals(run.config)}
    nothing: frozenset[Need] = frozenset()
    versions = warehouse.rows("stg_run__signal_versions", {"signal_ids": list(past.signal_ids)})
    stored = {
        row["signal"]: StoredSignal(
            needs.get(row["signal"], nothing), row["seconds"], row["cpu_seconds"]
        )
        for row in versions.to_pylist()
    }
    return {
        name: NOTHING if name == ALL else signal_cost(sampler_spec(name), stored)
        for name in samplers
    }
